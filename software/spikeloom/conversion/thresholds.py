"""The threshold that fires potentials closest to what the original network gives."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Granularity", "Rule", "fire", "positions", "thresholds"]

Granularity = Literal["channel", "tensor"]
Rule = Literal["mse", "max"]

#: Clips tried, as shares of a channel's greatest activation.
_CLIPS = torch.linspace(0.2, 1.2, 101, dtype=torch.float64)
#: Further ones for images: of so many positions the greatest may be far from all others.
_LOW_CLIPS = torch.linspace(0.02, 0.19, 18, dtype=torch.float64)
#: Potentials of a layer that a search looks at: more do not move the threshold.
_SAMPLES = 1 << 20


def fire(v: Tensor, theta: Tensor, top: int) -> Tensor:
    """Values of the words of potentials v, rounded half up; theta broadcasts against v."""
    return torch.floor(v / theta + 0.5).clamp(0, top) * theta


def positions(v: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (m, channels) of two tensors (n, channels, ...): all, or enough for a search."""
    channels = v.shape[1]
    rows = [t.movedim(1, -1).reshape(-1, channels) for t in (v, target)]
    most = max(_SAMPLES // channels, 4096)
    if v.ndim > 2 and len(rows[0]) > most:
        pick = torch.randperm(len(rows[0]), generator=torch.Generator().manual_seed(0))[:most]
        rows = [r[pick] for r in rows]
    return rows[0], rows[1]


def thresholds(
    v: Tensor,
    target: Tensor,
    steps: int,
    granularity: Granularity,
    rule: Rule,
    peak: Tensor | None = None,
    *,
    low: bool = False,
) -> Tensor:
    """Thresholds (channels,) that fire potentials v (n, channels) closest to target; float64.

    peak: (channels,), greatest activation, where target does not hold all of them. low: try much
    lower thresholds too.
    """
    top = (1 << steps) - 1
    peak = target.amax(0) if peak is None else peak
    if granularity == "tensor":
        peak = peak.max().expand_as(peak)
    peak = torch.where(peak > 0, peak, 1.0)  # pruned channels: any threshold does
    if rule == "max":
        return peak.double() / top
    clips = torch.cat([_LOW_CLIPS, _CLIPS]) if low else _CLIPS
    errors = []
    for clip in clips.to(v.dtype):
        e = (fire(v, clip * peak / top, top) - target).square().sum(0)
        errors.append(e.sum().expand_as(e) if granularity == "tensor" else e)
    best = torch.stack(errors).argmin(0)
    return clips[best] * peak.double() / top
