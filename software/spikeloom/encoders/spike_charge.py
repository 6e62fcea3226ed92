"""What a spike of leaky integrate and fire stands for: the gain that its decoder needs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["spike_charge"]


def spike_charge(leak: Tensor, refractory: Tensor, *, subtract: bool) -> Tensor:
    """What a spike stands for, in thresholds: 1 where nothing of the signal is dropped, else more.

    A constant signal u, in thresholds, gives a certain rate of spikes a sample. The charge c is the
    constant with which c * rate has the least mean square error against u, uniform in 0..1. Reset
    by subtraction: rate = u / (1 + u * refractory), leak neglected. Reset to zero: 1 / (n +
    refractory), n the least number with u * (1 + leak + ... + leak^(n-1)) > 1; none if there is no
    such n.

    leak, refractory: () or (channels,). Returns float64 of the shape of both, without a gradient.
    """
    leaks, rests = np.broadcast_arrays(
        leak.detach().cpu().double().numpy()[..., None],
        refractory.cpu().double().numpy()[..., None],
    )
    steps = np.arange(4096)
    if subtract:
        u = (steps + 0.5) / len(steps)
        rate, width = u / (1 + u * rests), 1 / len(steps)
    else:
        powers = np.broadcast_to(leaks, (*leaks.shape[:-1], len(steps))) ** steps
        edge = 1 / np.cumsum(powers, -1)  # the least u that takes n samples
        high, low = edge[..., :-1], edge[..., 1:]
        u, width, rate = (high + low) / 2, high - low, 1 / (steps[1:] + 1 + rests)
    cross, square = (u * rate * width).sum(-1), (rate**2 * width).sum(-1)
    # with a leak of 0, nothing below the threshold spikes
    charge = np.divide(cross, square, out=np.ones_like(cross), where=square > 0)
    return torch.as_tensor(charge, device=leak.device)
