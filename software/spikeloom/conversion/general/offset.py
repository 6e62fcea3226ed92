"""Thresholds together with zero points, for words of values that may be negative.

GELU, SiLU and Hardswish hardly go below zero, and features behind a norm or a linear bottleneck lie
around a bias: half the codes of a two's complement word, or more, would never be used. A zero point
z moves them to where the values are: x = theta * (p - z).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from spikeloom.conversion.general.plan import Firing
from spikeloom.conversion.general.search import Gathered, clips_of
from spikeloom.conversion.thresholds import FLOOR, PERCENTILE, Choice

__all__ = ["BelowZero", "search_offset"]

#: Words of values that may be negative.
BelowZero = Literal["signed", "offset"]

#: Clips between two that are tried first; those around the better one follow.
_COARSE = 5
#: Place of the words that begin at the least value.
_UPPER = 2


def search_offset(g: Gathered, firing: Firing, choice: Choice) -> tuple[Tensor, Tensor]:
    """Thresholds, float64, and zero points, int64, of channels (channels,).

    As in ``search``; where mean squares decide, the words lie around the mean, or reach less than
    the values by one factor above and below zero, or begin at the least value, or end at the
    greatest.
    """
    shared, rule = choice.granularity == "tensor", choice.rule
    low, high = _span(g, shared, rule == "percentile")
    codes = (1 << firing.steps) - 1
    full = (high - low) / codes
    # silent channels take the layer's range
    silent = full <= 0
    if bool(silent.any()):
        low, high = torch.where(silent, low.min(), low), torch.where(silent, high.max(), high)
        full = torch.where(high > low, high - low, 1.0) / codes
    mean = g.target.mean(0, dtype=torch.float64)
    mean = mean.mean().expand_as(mean) if shared else mean
    bounds = (
        full.new_zeros(()) if choice.granularity != "floor" else full.max() * FLOOR,
        full.new_tensor(torch.inf) if firing.cap is None else (firing.cap - low) / codes,
    )

    def zero(theta: Tensor, side: Tensor) -> Tensor:
        upper, lower = torch.round(-low / theta), codes - torch.round(high / theta)
        around = torch.round(codes / 2 - mean / theta)
        share = torch.round(-low / full)  # clips on both sides of zero
        return torch.stack([around, share, upper, lower]).gather(0, side[None])[0]

    def bounded(clip: Tensor) -> Tensor:
        return (clip * full).maximum(bounds[0]).minimum(bounds[1])

    if rule != "mse":
        theta = bounded(torch.ones_like(full))
        return theta, zero(theta, torch.full_like(full, _UPPER).long()).long()
    clips = clips_of(firing.steps).to(full.device)

    def error(index: Tensor, side: Tensor) -> Tensor:
        theta = bounded(clips[index])
        a, z = theta.to(g.v.dtype), zero(theta, side).to(g.v.dtype)
        word = torch.floor(g.v / a + (z + 0.5)).clamp_(0, codes).sub_(z)
        e = word.mul_(a).sub_(g.target).square_().sum(0)
        return e.sum().expand_as(e) if shared else e

    def best(tried: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        least = torch.stack([error(*t) for t in tried]).argmin(0, keepdim=True)
        index, side = (torch.stack(t).gather(0, least)[0] for t in zip(*tried, strict=True))
        return index, side

    first = torch.zeros_like(full, dtype=torch.int64)
    every = range(0, len(clips), _COARSE)
    index, side = best([(first + i, first + s) for i in every for s in range(4)])
    around = range(1 - _COARSE, _COARSE)
    index, side = best([((index + i).clamp(0, len(clips) - 1), side) for i in around])
    theta = bounded(clips[index])
    return theta, zero(theta, side).long()


def _span(g: Gathered, shared: bool, percentile: bool) -> tuple[Tensor, Tensor]:
    """What the words have to reach, float64 (channels,)."""
    low, high = g.low.double(), g.high.double()
    if percentile:
        ordered = g.target.sort(0).values
        index = min(int(PERCENTILE * len(ordered)), len(ordered) - 1)
        low = low.maximum(ordered[len(ordered) - 1 - index].double())
        high = high.minimum(ordered[index].double())
    if shared:
        low, high = low.min().expand_as(low), high.max().expand_as(high)
    return low, high
