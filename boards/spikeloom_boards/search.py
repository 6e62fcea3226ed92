"""Chooses one folding a layer: the fewest LUTs for an interval, within the limits of a board."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from spikeloom.hardware.parameters import (
    ConvParameters,
    DenseParameters,
    DepthwiseParameters,
    NetworkParameters,
    PoolParameters,
)

from spikeloom_boards.activity import Activity
from spikeloom_boards.choices import Option, options, pareto
from spikeloom_boards.cost import Cost, link_cost, sample_ram
from spikeloom_boards.cycle_model import LayerTimes
from spikeloom_boards.memory_map import map_ram

if TYPE_CHECKING:
    from spikeloom_boards.board import Board

__all__ = ["LUT_SHARE", "Search", "limits"]

#: a device this full of LUTs still places and routes with good timing
LUT_SHARE = {"ecp5": 0.75, "ice40": 0.97}


def limits(board: Board) -> Cost:
    """Return what a design may take of a board."""
    r = board.resources
    return Cost(
        int(r.luts * LUT_SHARE[board.family]),
        r.flip_flops,
        r.block_rams,
        r.multipliers,
        r.spram,
    )


class Search:
    """Chooses one option a layer: the fewest LUTs for an interval, within a board's limits."""

    def __init__(self, network: NetworkParameters, activity: Activity, board: Board):
        self.network, self.board = network, board
        samples = map_ram(sample_ram(network.input_port), board.family).blocks
        link = link_cost(network, board)
        # samples wait in a buffer that is as wide as the first layer's input: counted there
        self.link = dataclasses.replace(link, block_rams=link.block_rams - samples)
        self.limit = limits(board)
        self.options = [
            options(layer, LayerTimes(words), board)
            for layer, words in zip(network.layers, activity.spikes, strict=True)
        ]
        self._known: dict[tuple[float, float], list[Option] | None] = {}

    def luts(self, chosen: Sequence[Option]) -> int:
        """LUTs of a choice, the link included."""
        return self.link.luts + sum(option.cost.luts for option in chosen)

    def fits(self, chosen: Sequence[Option]) -> bool:
        """Whether a choice keeps to the limits."""
        total = self.link
        for option in chosen:
            total = total + option.cost
        cells = np.sum([self._taken(k, option) for k, option in enumerate(chosen)], 0)
        return (
            total.luts <= self.limit.luts
            and self.link.multipliers + cells[0] <= self.limit.multipliers
            and self.link.block_rams + cells[1] <= self.limit.block_rams
            and self.link.spram + cells[2] <= self.limit.spram
        )

    def within(
        self, interval: float, *, hurry: float = 0.0, any_area: bool = False
    ) -> list[Option] | None:
        """Return the choice with the fewest LUTs whose layers all take ``interval`` at most.

        hurry: LUTs that a cycle of latency is worth. any_area: even if there are not so many LUTs.
        None if nothing fits.
        """
        key = (interval, hurry)
        if key not in self._known:
            self._known[key] = self._solve(interval, hurry)
        chosen = self._known[key]
        return chosen if chosen is None or any_area or self.fits(chosen) else None

    def _solve(self, interval: float, hurry: float) -> list[Option] | None:
        left = self._left()
        if min(left) < 0:
            return None
        best, traces = self._table(interval, hurry, left)
        place = np.unravel_index(int(np.argmin(best)), best.shape)
        if not np.isfinite(best[place]):
            return None
        chosen: list[Option] = []
        at = tuple(int(n) for n in place)
        for index, (fast, which) in reversed(list(enumerate(traces))):
            option = fast[which[at]]
            chosen.append(option)
            at = tuple(n - m for n, m in zip(at, self._taken(index, option), strict=True))
        return chosen[::-1]

    def least(self, resource: int, *, any_area: bool = False) -> int | None:
        """Return how much of a resource the layers take at least if there were plenty of it.

        resource: 0 for multipliers, 1 for block RAMs, 2 for SPRAMs; all others within the limits,
        LUTs only without any_area. None if that would not help.
        """
        left = list(self._left())
        left[resource] = 4 * left[resource] + 8
        if min(left) < 0:
            return None
        best, _ = self._table(np.inf, 0.0, (left[0], left[1], left[2]))
        others = tuple(axis for axis in range(3) if axis != resource)
        limit = np.finfo(float).max if any_area else self.limit.luts
        fits = np.flatnonzero(best.min(others) + self.link.luts <= limit)
        return int(fits[0]) if fits.size else None

    def _left(self) -> tuple[int, int, int]:
        """Multipliers, block RAMs and SPRAMs that the link leaves to the layers."""
        return (
            self.limit.multipliers - self.link.multipliers,
            self.limit.block_rams - self.link.block_rams,
            self.limit.spram - self.link.spram,
        )

    def _table(
        self, interval: float, hurry: float, left: tuple[int, int, int]
    ) -> tuple[np.ndarray, list[tuple[list[Option], np.ndarray]]]:
        """Fewest LUTs (and delay) of all layers for so many multipliers, blocks and SPRAMs.

        Returns the table, and for each layer its options and which of them is best where.
        """
        shape = tuple(n + 1 for n in left)
        best = np.full(shape, np.inf)
        best[0, 0, 0] = 0
        traces: list[tuple[list[Option], np.ndarray]] = []
        for index, found in enumerate(self.options):
            fast = [o for o in found if o.cycles <= interval]
            if not hurry:
                fast = _without_time(fast)
            new = np.full(shape, np.inf)
            which = np.full(shape, -1, dtype=np.int16)
            for k, option in enumerate(fast):
                d, b, s = self._taken(index, option)
                if d > left[0] or b > left[1] or s > left[2]:
                    continue
                weight = option.cost.luts + hurry * _delay(option)
                moved = best[: shape[0] - d, : shape[1] - b, : shape[2] - s] + weight
                target = new[d:, b:, s:]
                better = moved < target
                target[better] = moved[better]
                which[d:, b:, s:][better] = k
            best = new
            traces.append((fast, which))
        return best, traces

    def _taken(self, index: int, option: Option) -> tuple[int, int, int]:
        """Multipliers, block RAMs and SPRAMs of an option; the first layer's with its samples."""
        blocks = option.cost.block_rams
        if index == 0:
            blocks += map_ram(sample_ram(option.layer.ports_in[0]), self.board.family).blocks
        return option.cost.multipliers, blocks, option.cost.spram

    def intervals(self) -> list[float]:
        """Intervals worth trying, ascending: those of the layers' options, thinned out."""
        floor = max((found[0].cycles for found in self.options if found), default=1.0)
        every = sorted({max(o.cycles, floor) for found in self.options for o in found})
        thin: list[float] = []
        for value in reversed(every):
            if not thin or value <= thin[-1] / 1.01:
                thin.append(value)
        return thin[::-1]

    def fastest(self) -> float | None:
        """Return the shortest interval that fits, None if nothing does."""
        values = self.intervals()
        low, high = 0, len(values)
        while low < high:
            middle = (low + high) // 2
            if self.within(values[middle]) is None:
                low = middle + 1
            else:
                high = middle
        return values[low] if low < len(values) else None


def _delay(option: Option) -> float:
    """Cycles for which a layer holds up an image: all, or until its first window is full."""
    layer = option.layer
    if isinstance(layer, (ConvParameters, DepthwiseParameters, PoolParameters)):
        return option.cycles * layer.needs(0) / layer.window.pixels
    return option.cycles if isinstance(layer, DenseParameters) else 0.0


def _without_time(found: Sequence[Option]) -> list[Option]:
    """Keep the options that matter once they are all fast enough."""
    flat = [Option(o.layer, 0.0, o.cost) for o in found]
    kept = {id(o.layer) for o in pareto(flat)}
    return [o for o in found if id(o.layer) in kept]
