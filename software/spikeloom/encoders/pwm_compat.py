"""Pulse width modulation as in spike-encoding 1.8.2: its carrier, its rule, its decoder.

All of it is float32, in the package's order of operations, with the NumPy that is installed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spikeloom.encoders.signal import State

__all__ = ["TIMES", "carrier", "decode", "encode", "periods"]

#: The package's carrier is a table over [0, 1]: 999 steps, that it calls a second.
TIMES = np.linspace(0, 1, 1000).astype(np.float32)


def carrier(frequency: Tensor) -> Tensor:
    """Sawtooth over one pass of the table, float32 (rows, 1000), for frequencies (rows,)."""
    return torch.fmod(frequency.float()[:, None] * torch.from_numpy(TIMES).to(frequency.device), 1)


def periods(saw: Tensor) -> Tensor:
    """Samples, int64 (rows,), after which the package starts the table again.

    Wherever the sawtooth falls: ceil(999 / frequency) but for rounding, 1000 if it never does.
    """
    falls = saw[:, 1:] < saw[:, :-1]
    return torch.where(falls.any(1), falls.to(torch.uint8).argmax(1) + 1, saw.shape[1])


def encode(z: Tensor, frequency: Tensor, state: State, out: Tensor) -> None:
    """Torch reference; z (rows, time), spikes to out, state: started, place in table, level."""
    saw = carrier(frequency)
    period = periods(saw)
    started, place, last = state.count.unbind(1)
    begin = 0
    if not started[0]:  # the first sample has no spike, and the carrier starts at the second
        started.fill_(1)
        out[:, 0] = 0
        begin = 1
    for t in range(begin, z.shape[1]):
        now = saw.gather(1, place[:, None])[:, 0]
        level = (z[:, t] < now).to(torch.int64)
        level = torch.where(z[:, t] > 1 - now, -1, level)
        out[:, t] = torch.where(level != last, level, 0)
        last.copy_(level)
        place.copy_((place + 1) % period)


def decode(s: Tensor, frequency: Tensor, start: Tensor) -> Tensor:
    """Signal (rows, time), of spikes, start (rows,) its value at t = 0.

    A spike stands for the carrier, mirrored if it is down; the last sample counts as a down spike
    if it has none; between spikes ``numpy.linspace``.
    """
    saw = carrier(frequency)
    length = s.shape[1]
    time = torch.arange(length, device=s.device)
    now = saw.gather(1, (time - 1).clamp(min=0) % periods(saw)[:, None])
    value = torch.where(s == 1, now, 1 - now).to(s.dtype)
    # a line from an infinite value is nan from its first sample on
    value[:, 0] = start + 0 * start if length > 1 else start
    knot = s.abs() == 1
    knot[:, 0] = knot[:, -1] = True
    after = time.where(knot, length).flip(1).cummin(1).values.flip(1)
    # of a knot its own line is the one that ends there
    before = time.where(knot, 0).cummax(1).values.roll(1, 1)
    before[:, 0] = 0
    first, last = value.gather(1, before), value.gather(1, after)
    count, place = (after - before).to(s.dtype), (time - before).to(s.dtype)
    change = last - first
    step = change / count
    # numpy divides first where the step is too small to be a number
    line = torch.where(step == 0, (place / count) * change, place * step) + first
    return torch.where(knot, value, line)
