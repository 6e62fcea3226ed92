"""Thresholds of neurons, signed or not, from what reaches them in calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from spikeloom.conversion.general.plan import Firing

__all__ = [
    "FLOOR", "PERCENTILE", "AnyGranularity", "AnyRule", "Gathered", "Shared", "clips_of", "gather",
    "search", "words_of",
]  # fmt: skip

AnyRule = Literal["mse", "max", "percentile"]
AnyGranularity = Literal["channel", "tensor", "floor", "auto"]
Shared = Literal["channel", "tensor", "floor"]

#: Share of the values that the rule ``percentile`` does not clip.
PERCENTILE = 0.9995

#: Clips tried, as shares of the greatest value. Many steps lose more by clipping than by rounding.
_FINE = torch.linspace(0.3, 1.1, 17, dtype=torch.float64)
_CLIPS = torch.cat(
    [
        torch.linspace(0.02, 0.19, 18, dtype=torch.float64),
        torch.linspace(0.2, 1.2, 51, dtype=torch.float64),
    ]
)
#: Values that a search looks at, and rows that it looks at in any case: fewer would miss peaks.
_SAMPLES, _ROWS = 1 << 19, 8192
#: Least threshold of a channel with the granularity ``floor``, as a share of the greatest.
FLOOR = 1 / 8


@dataclass(frozen=True, eq=False)
class Gathered:
    """Values at a neuron, rows (m, channels): what reaches it, and what the original has there.

    peak: (channels,), greatest value of the original in thresholds of a full word, over all data.
    low, high: (channels,), least and greatest value, over all data.
    """

    v: Tensor
    target: Tensor
    peak: Tensor
    low: Tensor
    high: Tensor


def limits(firing: Firing) -> tuple[int, int]:
    """Least and greatest word."""
    if firing.signed:
        half = 1 << (firing.steps - 1)
        return -half, half - 1
    return 0, (1 << firing.steps) - 1


def words_of(v: Tensor, theta: Tensor, firing: Firing) -> Tensor:
    """Words of potentials, as floats, rounded half up; theta broadcasts against v."""
    low, high = limits(firing)
    return torch.floor(v / theta + 0.5).clamp(low, high)


def gather(
    parts: Sequence[tuple[Tensor, Tensor]], firing: Firing, samples: int = _SAMPLES
) -> Gathered:
    """Collect (v, target) of all batches: enough rows for a search, peaks of everything."""
    low, high = limits(firing)
    rows: tuple[list[Tensor], list[Tensor]] = ([], [])
    peak = least = greatest = None
    generator = torch.Generator().manual_seed(0)
    for v, target in parts:
        pair = [
            t.reshape(-1, 1) if firing.axis is None else t.movedim(firing.axis, -1).flatten(0, -2)
            for t in (v, target)
        ]
        most = max(samples // pair[0].shape[1], _ROWS) // len(parts) + 1
        bottom, top = pair[1].amin(0), pair[1].amax(0)
        span = top / high if high else torch.zeros_like(top)
        if firing.signed:
            span = torch.maximum(span, bottom / low)
        peak = span if peak is None else torch.maximum(peak, span)
        least = bottom if least is None else torch.minimum(least, bottom)
        greatest = top if greatest is None else torch.maximum(greatest, top)
        if len(pair[0]) > most:
            pick = torch.randint(len(pair[0]), (most,), generator=generator)
            pair = [t[pick] for t in pair]
        for part, kept in zip(rows, pair, strict=True):
            part.append(kept)
    assert peak is not None
    assert least is not None
    assert greatest is not None
    return Gathered(torch.cat(rows[0]), torch.cat(rows[1]), peak.clamp(min=0), least, greatest)


def clips_of(steps: int) -> Tensor:
    """Clips to try, float64, as shares of the greatest value."""
    return _FINE if steps > 5 else _CLIPS


def search(g: Gathered, firing: Firing, granularity: Shared, rule: AnyRule) -> Tensor:
    """Thresholds (channels,), float64: where words of v are closest to the target, or by peaks.

    granularity: ``floor`` is a threshold a channel, but none far below the layer's: channels that
    hardly fired in calibration may do so later.
    """
    peak = g.peak.double()
    if rule == "percentile":
        peak = torch.minimum(peak, _percentile(g, firing))
    shared = granularity == "tensor"
    if shared:
        peak = peak.max().expand_as(peak)
    # silent channels take the layer's threshold
    peak = torch.where(peak > 0, peak, peak.max() if bool(peak.max() > 0) else 1.0)
    if rule != "mse":
        return _limited(peak, firing, granularity)
    errors, clips = [], clips_of(firing.steps)
    for clip in clips.to(g.v.dtype):
        theta = (clip * peak).to(g.v.dtype)
        e = (words_of(g.v, theta, firing) * theta - g.target).square().sum(0)
        errors.append(e.sum().expand_as(e) if shared else e)
    return _limited(clips[torch.stack(errors).argmin(0)] * peak, firing, granularity)


def _limited(theta: Tensor, firing: Firing, granularity: Shared) -> Tensor:
    """Thresholds within their bounds: the floor, and what the activation can reach."""
    if granularity == "floor":
        theta = theta.clamp(min=float(theta.max()) * FLOOR)
    if firing.cap is None:
        return theta
    return theta.clamp(max=firing.cap / max(limits(firing)[1], 1))


def _percentile(g: Gathered, firing: Firing) -> Tensor:
    low, high = limits(firing)
    positive = g.target.clamp(min=0) / max(high, 1)
    sizes = torch.maximum(positive, g.target / low) if firing.signed else positive
    index = min(int(PERCENTILE * len(sizes)), len(sizes) - 1)
    return sizes.sort(0).values[index].double()
