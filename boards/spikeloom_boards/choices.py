"""The foldings worth trying for each layer on a board, with their time and cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from spikeloom.hardware.parameters import (
    AddParameters,
    ConvParameters,
    DenseParameters,
    Folding,
    LayerParameters,
    Multiplier,
    SynapseParameters,
    WeightMemory,
)

from spikeloom_boards.board import Board
from spikeloom_boards.cost import Cost, layer_cost, memories
from spikeloom_boards.cycle_model import LayerTimes
from spikeloom_boards.memory_map import map_ram

__all__ = ["Option", "options"]

#: words of a transfer into a fully connected layer
DENSE_SCAN = 8

FIRE_LANES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Option:
    """A layer with one folding: mean cycles of a sample, and what it takes."""

    layer: LayerParameters
    cycles: float
    cost: Cost


def _power(count: int) -> int:
    """The least power of two that is not below ``count``."""
    return 1 << (count - 1).bit_length()


def _lanes(outputs: int, step: int) -> list[int]:
    """Numbers of lanes that leave few idle in the last pass, as multiples of ``step``."""
    needed = {-(-outputs // passes) for passes in range(1, outputs + 1)}
    return sorted({-(-n // step) * step for n in needed})


def _widths(channels: int) -> list[int]:
    """Numbers of words a transfer, powers of two."""
    return [n for n in (1, 2, 4, 8, 16, 32) if n <= _power(channels)]


def _multipliers(board: Board) -> tuple[Multiplier, ...]:
    return (board.resources.multiplier, "lut") if board.resources.multipliers else ("lut",)


def _memories(board: Board) -> tuple[WeightMemory, ...]:
    return ("block", "spram") if board.resources.spram else ("block",)


def _paired(units: int, memory: WeightMemory, board: Board) -> tuple[bool, ...]:
    """Whether units may be paired: both ways, where they can be."""
    can = board.resources.dual_port and memory == "block" and units % 2 == 0
    return (False, True) if can else (False,)


def _saves(layer: LayerParameters, family: str) -> bool:
    """Whether a memory with two reading ports takes fewer blocks than two memories."""
    ram = next(ram for ram in memories(layer) if ram.dual)
    one = dataclasses.replace(ram, dual=False)
    return map_ram(ram, family).blocks < 2 * map_ram(one, family).blocks


def _dense(layer: DenseParameters, board: Board) -> Iterator[Folding]:
    scan = min(DENSE_SCAN, max(4, _power(layer.channels)))
    for fire in FIRE_LANES[:4] if layer.fires else (1,):
        for lanes in _lanes(layer.outputs, fire):
            for slices in (1, 2, 4, 8) if lanes >= layer.outputs else (1,):
                wide = max(scan, slices)
                for multiplier in _multipliers(board):
                    for memory in _memories(board):
                        yield Folding(
                            lanes,
                            slices,
                            wide,
                            fire,
                            "packed",
                            multiplier,
                            memory,
                        )


def _conv(layer: ConvParameters, board: Board) -> Iterator[Folding]:
    w = layer.window
    shares = [n for n in (1, 2, 4, 8) if n <= layer.channels]
    columns = {-(-w.out_width // turns) for turns in range(1, w.out_width + 1)}
    copies = sorted(n for n in columns if n <= 16)
    for fire in FIRE_LANES:
        for lanes in _lanes(layer.outputs, fire):
            if lanes < fire:
                continue
            alone = lanes < layer.outputs
            for slices in (1,) if alone else shares:
                for units in (1,) if alone else copies:
                    for multiplier in _multipliers(board):
                        for memory in _memories(board):
                            for scan in _widths(layer.channels):
                                if scan < slices:
                                    continue
                                for paired in _paired(units, memory, board):
                                    yield Folding(
                                        lanes,
                                        slices,
                                        scan,
                                        fire,
                                        "packed",
                                        multiplier,
                                        memory,
                                        units,
                                        paired,
                                    )


def _candidates(layer: LayerParameters, board: Board) -> Iterator[Folding]:
    if isinstance(layer, DenseParameters):
        yield from _dense(layer, board)
    elif isinstance(layer, ConvParameters):
        yield from _conv(layer, board)
    elif isinstance(layer, SynapseParameters):  # depthwise
        for lanes in _widths(layer.outputs):
            for fire in FIRE_LANES:
                if fire <= lanes:
                    for multiplier in _multipliers(board):
                        yield Folding(lanes, 1, lanes, fire, "packed", multiplier)
    else:
        # an iCE40's cells have no place in an addition
        cells = isinstance(layer, AddParameters) and board.family == "ecp5"
        for lanes in _widths(layer.port_out.channels):
            for multiplier in _multipliers(board) if cells else ("lut",):
                yield Folding(lanes, 1, lanes, 1, "packed", multiplier)


def _numbers(option: Option) -> tuple[float, ...]:
    c = option.cost
    return (option.cycles, c.luts, c.multipliers, c.block_rams, c.spram)


def pareto(found: Sequence[Option]) -> list[Option]:
    """Return the options that no other one beats in everything, the fastest first."""
    if not found:
        return []
    rows = np.array([_numbers(option) for option in found])
    order = np.lexsort(rows.T[::-1])
    kept: list[int] = []
    front = np.empty((0, rows.shape[1]))
    for index in order:
        row = rows[index]
        if len(front) and bool((front <= row).all(1).any()):
            continue
        kept.append(int(index))
        front = np.vstack([front, row])
    return [found[k] for k in kept]


def options(layer: LayerParameters, times: LayerTimes, board: Board) -> list[Option]:
    """List what is worth considering for a layer on a board, the fastest first.

    Empty when the layer cannot be laid onto the gateware at all.
    """
    legal: list[Option] = []
    limit = board.resources
    for folding in _candidates(layer, board):
        try:
            folded = dataclasses.replace(layer, folding=folding)
        except ValueError:  # a weight memory deeper than the load bus can address
            continue
        if folding.paired and not _saves(folded, board.family):
            continue
        cost = layer_cost(folded, board.family)
        legal.append(Option(folded, float(times.of(folded).mean()), cost))
    fits = [
        o
        for o in legal
        if o.cost.luts <= limit.luts
        and o.cost.multipliers <= limit.multipliers
        and o.cost.block_rams <= limit.block_rams
        and o.cost.spram <= limit.spram
    ]
    return pareto(fits or legal)
