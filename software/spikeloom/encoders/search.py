"""Where ``fit`` looks for a parameter, and how it proposes the next ones to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Range", "Space"]


@dataclass(frozen=True)
class Range:
    """Range of a parameter: low to high, searched evenly, or evenly in its logarithm.

    relative: low and high are times the peak-to-peak range of the normalised channel. integer: only
    whole numbers. Nothing forbids better values beyond: give them to ``fit`` as ``candidates``.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False
    relative: bool = False


class Space:
    """The parameters to search, each mapped to 0..1; points are float64 (channels, k, dimensions).

    span: peak-to-peak range of each normalised channel, float64 (channels,).
    """

    def __init__(self, ranges: Mapping[str, Range], span: Tensor):
        self.names = tuple(ranges)
        self.ranges = tuple(ranges.values())
        self.span = span
        self.channels, self.dimensions = len(span), len(ranges)

    def values(self, points: Tensor) -> dict[str, Tensor]:
        """Parameters of points, float64 (channels, k) each."""
        found = {}
        for d, (name, r) in enumerate(zip(self.names, self.ranges, strict=True)):
            u = points[..., d]
            value = r.low * (r.high / r.low) ** u if r.log else r.low + (r.high - r.low) * u
            if r.relative:
                value = value * self.span[:, None]
            found[name] = value.round() if r.integer else value
        return found

    def points(self, values: Mapping[str, Tensor]) -> Tensor:
        """Points of parameters; beyond 0..1 where they are beyond the ranges."""
        columns = []
        for name, r in zip(self.names, self.ranges, strict=True):
            value = values[name] / self.span[:, None] if r.relative else values[name]
            if r.log:
                tiny = torch.finfo(torch.float64).tiny
                u = (value.clamp_min(tiny) / r.low).log() / torch.tensor(r.high / r.low).log()
            else:
                u = (value - r.low) / (r.high - r.low)
            columns.append(u)
        if not columns:
            return self.span.new_zeros((self.channels, 1, 0))
        return torch.stack(columns, -1)

    def spread(self, count: int, seed: int) -> Tensor:
        """About ``count`` points spread evenly, the same for every channel."""
        if self.dimensions == 0:
            return self.span.new_zeros((self.channels, 1, 0))
        if self.dimensions == 1:
            grid = torch.linspace(0.0, 1.0, count, dtype=torch.float64)[:, None]
        else:
            engine = torch.quasirandom.SobolEngine(self.dimensions, scramble=True, seed=seed)
            grid = engine.draw(count, dtype=torch.float64)
        return grid.expand(self.channels, *grid.shape)

    def around(
        self, centres: Tensor, count: int, radius: float, generator: torch.Generator
    ) -> Tensor:
        """``count`` random points in boxes of +- radius around each channel's centres in turn.

        Clipped to 0..1, or to the centre where that is beyond.
        """
        turns = torch.arange(count) % centres.shape[1]
        chosen = centres[:, turns]
        shape = (self.channels, count, self.dimensions)
        noise = 2 * torch.rand(shape, dtype=torch.float64, generator=generator) - 1
        moved = chosen + radius * noise
        return torch.maximum(torch.minimum(moved, chosen.clamp_min(1.0)), chosen.clamp_max(0.0))
