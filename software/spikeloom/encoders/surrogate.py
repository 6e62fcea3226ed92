"""Surrogate gradients along known spikes, without a graph over time: what training runs on.

The same numbers as :mod:`spikeloom.encoders.relax` gives with ``hard`` spikes, by hand: once the
spikes are known, the gradient through the state is a linear recurrence backwards in time, and
everything else is done for all samples at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spikeloom.encoders.relax import band

__all__ = ["lif", "step_forward"]

Gradients = tuple[Tensor | None, ...]


def step_forward(
    z: Tensor,
    threshold: Tensor,
    initial: Tensor,
    temperature: float,
    hard: Tensor,
    *,
    side_band: bool,
) -> tuple[Tensor, Tensor]:
    """ON and OFF parts of ``hard`` spikes with a gradient; as ``relax.step_forward``, levels 0."""
    result: Any = _StepForward.apply(z, threshold, initial, hard, temperature, side_band)
    return result


def lif(
    z: Tensor,
    threshold: Tensor,
    leak: Tensor,
    temperature: float,
    hard: Tensor,
    *,
    subtract: bool,
) -> tuple[Tensor, Tensor]:
    """ON and OFF parts of ``hard`` spikes with a gradient; as ``relax.lif``."""
    result: Any = _LIF.apply(z, threshold, leak, hard, temperature, subtract)
    return result


def _backwards(keep: Tensor, add: Tensor) -> tuple[Tensor, Tensor]:
    """Solve m_(t-1) = keep_t m_t + add_t from m = 0 after the last; (m_t, m before the first)."""
    keeps, adds = keep.t().contiguous(), add.t().contiguous()
    m = torch.zeros_like(adds[0])
    after = torch.empty_like(adds)
    for t in range(len(adds) - 1, -1, -1):
        after[t] = m
        m = torch.addcmul(adds[t], keeps[t], m)
    return after.t(), m


def _slopes(u: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Slopes of the ON and the OFF spike over u: the second is negative."""
    up, down = band(u, temperature)
    return up * (1 - up) / temperature, down * (down - 1) / temperature


def _parts(hard: Tensor) -> tuple[Tensor, Tensor]:
    return hard.clamp_min(0), (-hard).clamp_min(0)


class _StepForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        threshold: Tensor,
        initial: Tensor,
        hard: Tensor,
        temperature: float,
        side_band: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(z, threshold, initial, hard)
        ctx.options = temperature, side_band
        return _parts(hard)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Gradients:
        z, threshold, initial, s = ctx.saved_tensors
        temperature, side_band = ctx.options
        theta = threshold[:, None]
        start = z[:, 0] if side_band else initial
        u = (z - start[:, None]) / theta - (s.cumsum(1) - s)
        up, down = _slopes(u, temperature)
        if side_band:  # the first sample is the base, and cannot spike
            up[:, 0], down[:, 0] = 0, 0
        # of_u = dL/du; m = theta dL/dbase, and base_before acts through u and directly
        slope, own = up - down, up * gradients[0] + down * gradients[1]
        m, before = _backwards(1 - slope, -own)
        of_u = own + slope * m
        of_z = of_u / theta
        of_threshold = ((m * s - of_u * u) / theta).sum(1)
        of_start = before / threshold
        if side_band:
            of_z[:, 0] += of_start
            return of_z, of_threshold, None, None, None, None
        return of_z, of_threshold, of_start, None, None, None


class _LIF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        threshold: Tensor,
        leak: Tensor,
        hard: Tensor,
        temperature: float,
        subtract: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(z, threshold, leak, hard)
        ctx.options = temperature, subtract
        return _parts(hard)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Gradients:
        z, threshold, leak, s = ctx.saved_tensors
        temperature, subtract = ctx.options
        theta = threshold[:, None]
        v, before, left = torch.zeros_like(threshold), [], []
        for sample, spike in zip(z.unbind(1), s.unbind(1), strict=True):
            v = v + sample
            before.append(v)
            if subtract:
                v = torch.clamp(v - spike * threshold, -threshold, threshold)
            else:
                v = v * (1 - spike.abs())
            left.append(v)
            v = v * leak
        potential, rest = torch.stack(before, 1), torch.stack(left, 1)
        u = potential / theta
        up, down = _slopes(u, temperature)
        own = up * gradients[0] + down * gradients[1]
        # m = dL/dv after the leak, w = dL/d(what a reset leaves)
        if subtract:
            inside = ((potential - s * theta).abs() <= theta).to(z.dtype)
            keep = inside * (1 - (up - down))
        else:
            keep = (1 - s.abs()) - u * (up + down)
        m, _ = _backwards(leak[:, None] * keep, own / theta)
        w = m * leak[:, None]
        if subtract:
            of_u = own - (up - down) * inside * w * theta
            direct = w * ((1 - inside) * rest.sign() - inside * s)
        else:
            of_u = own - (up + down) * potential * w
            direct = torch.zeros_like(w)
        of_z = keep * w + own / theta
        of_threshold = (direct - of_u * u / theta).sum(1)
        of_leak = (m * rest).sum(1)
        return of_z, of_threshold, of_leak, None, None, None
