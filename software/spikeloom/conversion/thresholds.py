"""The threshold that fires potentials closest to what the original network gives.

One search for integer and for float networks: rules, granularities, and the choice between them by
the error on data that thresholds were not fitted to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

__all__ = [
    "CLIPS",
    "LOW_CLIPS",
    "SAMPLES",
    "Choice",
    "Codes",
    "Found",
    "Granularity",
    "Rule",
    "Shared",
    "choose",
    "fire",
    "peak_of",
    "positions",
    "thresholds",
]

#: How a threshold is found: ``mse``, least mean square error; ``max``, the greatest activation;
#: ``percentile``, a share of the values clips; ``auto``, whichever errs least on held-out data.
Rule = Literal["mse", "max", "percentile", "auto"]
Found = Literal["mse", "max", "percentile"]
#: Who shares one: a layer (``tensor``); a ``channel``; a channel, but none far below the layer's
#: (``floor``); ``auto``, whichever errs least on held-out data.
Granularity = Literal["tensor", "floor", "channel", "auto"]
Shared = Literal["tensor", "floor", "channel"]

#: Share of the values that the rule ``percentile`` does not clip.
PERCENTILE = 0.9995
#: Least threshold of a channel with the granularity ``floor``, as a share of the greatest.
FLOOR = 1 / 8
#: Clips tried, as shares of a channel's greatest activation.
CLIPS = torch.linspace(0.2, 1.2, 101, dtype=torch.float64)
#: Further ones for images: of so many positions the greatest may be far from all others.
LOW_CLIPS = torch.cat([torch.linspace(0.02, 0.19, 18, dtype=torch.float64), CLIPS])
#: Potentials of a layer that a search looks at: more do not move the threshold.
SAMPLES = 1 << 20


@dataclass(frozen=True)
class Choice:
    """A rule and a granularity, both decided."""

    granularity: Shared
    rule: Found


@dataclass(frozen=True)
class Codes:
    """Words that a neuron gives, from ``low`` to ``high``."""

    low: int
    high: int

    @property
    def size(self) -> int:
        """How many thresholds the greatest activation is made of."""
        return max(self.high, 1)

    def __call__(self, v: Tensor, theta: Tensor) -> Tensor:
        """Words of potentials, as floats, rounded half up; theta broadcasts against v."""
        return (v / theta).add_(0.5).floor_().clamp_(self.low, self.high)


def fire(v: Tensor, theta: Tensor, top: int) -> Tensor:
    """Values of the unsigned words of potentials v; theta broadcasts against v."""
    return Codes(0, top)(v, theta) * theta


def positions(v: Tensor, target: Tensor, samples: int = SAMPLES) -> tuple[Tensor, Tensor]:
    """Rows (m, channels) of two tensors (n, channels, ...): all, or enough for a search."""
    channels = v.shape[1]
    rows = [t.movedim(1, -1).reshape(-1, channels) for t in (v, target)]
    most = max(samples // channels, 4096)
    if v.ndim > 2 and len(rows[0]) > most:
        pick = torch.randperm(len(rows[0]), generator=torch.Generator().manual_seed(0))[:most]
        rows = [r[pick] for r in rows]
    return rows[0], rows[1]


def thresholds(
    v: Tensor,
    target: Tensor,
    codes: Codes,
    choice: Choice,
    clips: Tensor = CLIPS,
    *,
    peak: Tensor | None = None,
    cap: float | None = None,
) -> Tensor:
    """Thresholds (channels,) that fire potentials v (n, channels) closest to target; float64.

    clips: shares of the peak that the rule ``mse`` tries. peak: (channels,), as :func:`peak_of`
    gives it, where target does not hold all of the data. cap: no activation can be
    above it.
    """
    peak = peak_of(target, codes) if peak is None else peak
    if choice.rule == "percentile":
        peak = torch.minimum(peak, _percentile(target, codes))
    shared = choice.granularity == "tensor"
    if shared:
        peak = peak.max().expand_as(peak)
    # silent channels take the layer's threshold
    peak = torch.where(peak > 0, peak, peak.max() if bool(peak.max() > 0) else 1.0)
    theta = peak.double() / codes.size
    if choice.rule == "mse":
        errors = []
        for clip in clips.to(v.dtype):
            tried = (clip * peak / codes.size).to(v.dtype)
            e = codes(v, tried).mul_(tried).sub_(target).square_().sum(0)
            errors.append(e.sum().expand_as(e) if shared else e)
        best = torch.stack(errors).argmin(0)
        theta = clips.to(best.device)[best] * peak.double() / codes.size
    if choice.granularity == "floor":
        theta = theta.clamp(min=float(theta.max()) * FLOOR)
    return theta if cap is None else theta.clamp(max=cap / codes.size)


def _sizes(target: Tensor, codes: Codes) -> Tensor:
    """Activations as ``codes`` count them: below zero, words may reach further."""
    sizes = target.clamp(min=0) if codes.high else torch.zeros_like(target)
    if codes.low:
        sizes = torch.maximum(sizes, target / codes.low * codes.size)
    return sizes


def peak_of(target: Tensor, codes: Codes) -> Tensor:
    """Greatest activation of rows (n, channels), (channels,), as ``codes`` count it."""
    return torch.maximum(_sizes(target.amax(0), codes), _sizes(target.amin(0), codes))


def _percentile(target: Tensor, codes: Codes) -> Tensor:
    index = min(int(PERCENTILE * len(target)), len(target) - 1)
    return _sizes(target, codes).kthvalue(index + 1, 0).values


def choose(
    granularity: Granularity, rule: Rule, loss: Callable[[Choice], float], *, channels: bool = True
) -> Choice:
    """Return what was asked for; where that is ``auto``, whichever loses least.

    loss: error on held-out data with thresholds of a choice; asked only where there is one to make.
    channels: whether there are any, each with a threshold of its own.
    """
    shared = get_args(Shared) if granularity == "auto" else (granularity,)
    rules = get_args(Found) if rule == "auto" else (rule,)
    open_ = [Choice(g, r) for r in rules for g in (shared if channels else ("tensor",))]
    return open_[0] if len(open_) == 1 else min(open_, key=loss)
