"""Smooth relaxations of the codes: where a gradient of a spike train comes from.

A spike is a step of u = (signal - base) / threshold at +-1. Its relaxation is a sigmoid of width
``temperature`` there, one for ON and one for OFF spikes, the same for any threshold; towards 0 it
becomes the step. A recurrence runs in one of two ways: all smooth (``hard`` is None), a function
whose gradient is exact; or along given hard spikes, with the sigmoids' slope in the backward pass
only (a surrogate gradient; Neftci, Mostafa & Zenke 2019).

Through the feedback of step-forward, d base_t / d base_(t-1) = 1 - slope, and the slope is at most
1 / (4 temperature) (and a little, where the sigmoids overlap): from temperature 1/8 upwards
gradients cannot grow over time; at the default of 1/4 they do not change sign either.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["TEMPERATURE", "band", "lif", "replace", "step_forward"]

#: Default width of a relaxed spike, in thresholds.
TEMPERATURE = 0.25


class _Replace(torch.autograd.Function):
    """Value of one tensor, gradient of another."""

    @staticmethod
    def forward(ctx: Any, smooth: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def replace(smooth: Tensor, value: Tensor) -> Tensor:
    """Return ``value`` with the gradient of ``smooth``, of the same shape and dtype."""
    result: Any = _Replace.apply(smooth, value)
    return result


def band(u: Tensor, temperature: float, hard: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """ON and OFF spikes, 0..1 each, of u; with the values of ``hard`` (-1, 0, 1) if given."""
    up = torch.sigmoid((u - 1) / temperature)
    down = torch.sigmoid((-u - 1) / temperature)
    if hard is None:
        return up, down
    return replace(up, (hard > 0).to(u.dtype)), replace(down, (hard < 0).to(u.dtype))


def step_forward(
    z: Tensor,
    threshold: Tensor,
    initial: Tensor,
    temperature: float,
    hard: Tensor | None = None,
    *,
    side_band: bool,
    levels: int,
) -> tuple[Tensor, Tensor]:
    """ON and OFF spikes of step-forward of z (rows, time), see ``StepForward``.

    threshold, initial: (rows,). An adaptive level becomes real: it changes by 2 again - 1, again
    being the product of like spikes.
    """
    samples = z.unbind(1)
    given = hard.unbind(1) if hard is not None else (None,) * len(samples)
    base, ups, downs = initial, [], []
    theta, level = threshold, torch.zeros_like(base)
    up = down = torch.zeros_like(base)
    for t, (sample, spike) in enumerate(zip(samples, given, strict=True)):
        if t == 0 and side_band:
            base = sample
            ups.append(up)
            downs.append(down)
            continue
        if levels:
            theta = threshold * torch.exp2(level)
        up_before, down_before = up, down
        up, down = band((sample - base) / theta, temperature, spike)
        base = base + theta * (up - down)
        ups.append(up)
        downs.append(down)
        if levels:
            again = up * up_before + down * down_before
            level = (level + 2 * again - 1).clamp(0, levels)
    return torch.stack(ups, 1), torch.stack(downs, 1)


def lif(
    z: Tensor,
    threshold: Tensor,
    leak: Tensor,
    temperature: float,
    hard: Tensor | None = None,
    *,
    subtract: bool,
) -> tuple[Tensor, Tensor]:
    """ON and OFF spikes of leaky integrate and fire of z (rows, time), see ``LIF``.

    threshold, leak: (rows,). A reset takes away in proportion to the spike; its gradient is kept.
    """
    samples = z.unbind(1)
    given = hard.unbind(1) if hard is not None else (None,) * len(samples)
    v, ups, downs = torch.zeros_like(threshold), [], []
    for sample, spike in zip(samples, given, strict=True):
        v = v + sample
        up, down = band(v / threshold, temperature, spike)
        ups.append(up)
        downs.append(down)
        if subtract:
            v = (v - (up - down) * threshold).clamp(-threshold, threshold)
        else:
            v = v * (1 - up - down)
        v = v * leak
    return torch.stack(ups, 1), torch.stack(downs, 1)
