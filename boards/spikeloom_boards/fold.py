"""Lays the layers of a network onto a board: how many lanes, which multipliers, which memories.

A greedy search: every layer starts with its smallest legal folding; while something is left, the
layer that takes the most cycles gets the next faster folding that fits. Costs are those of the
gateware (measured once, see :func:`cost`), with a reserve for the link.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikeloom.errors import BuildError
from spikeloom.hardware.parameters import DenseParameters, Folding, NetworkParameters

if TYPE_CHECKING:
    from spikeloom.network import Network

    from spikeloom_boards.board import Board, Resources

__all__ = ["Cost", "cost", "cycles", "fold_ecp5", "fold_ice40", "unfolded"]

#: share of non-zero words assumed at the input of the first and of the later layers
INPUT_DENSITY, HIDDEN_DENSITY = 0.25, 0.5

#: a device this full of LUTs still places and routes with good timing
LUT_SHARE = {"ecp5": 0.75, "ice40": 0.97}

#: LUTs and block RAMs of everything that is not a layer: link, buffers, registers, reset
LINK_LUTS, LINK_BLOCKS = 2200, 8

#: rows up to which synthesis makes a memory of an ECP5 from LUTs
LUT_RAM_ROWS = 32


@dataclass(frozen=True)
class Cost:
    """What a layer, or a design, takes from a device."""

    luts: int = 0
    block_rams: int = 0
    multipliers: int = 0
    spram: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(_tuple(self), _tuple(other), strict=True)))


def _tuple(c: Cost) -> tuple[int, int, int, int]:
    return (c.luts, c.block_rams, c.multipliers, c.spram)


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _blocks(depth: int, width: int, resources: Resources) -> int:
    """Blocks of a memory: the best of the aspect ratios (full width, half, quarter, ...)."""
    best = 1 << 30
    wide, deep = resources.block_ram_width, resources.block_ram_bits // resources.block_ram_width
    while wide >= 1:
        best = min(best, _ceil_div(width, wide) * _ceil_div(depth, deep))
        wide, deep = wide // 2, deep * 2
    return best


def cost(layer: DenseParameters, resources: Resources) -> Cost:
    """Estimate what a layer takes; memories and multipliers are exact, LUTs are a fit.

    The fit is to what synthesis makes of layers of 784 x 128 and 128 x 10 on both families.
    """
    f = layer.folding
    a, t, w = layer.accumulator_bits, layer.input_bits, layer.weight_bits
    lanes = f.lanes * f.slices
    columns = f.slices * layer.columns_per_slice
    width = layer.lanes_per_column * w
    spram = blocks = 0
    if f.weight_memory == "spram":
        spram = columns * _ceil_div(width, 16)
    else:
        blocks = columns * _blocks(layer.weight_depth, width, resources)
    # event lists: two banks; an entry is a beat's number, and a mark and a word for each input
    index = max(1, (layer.beats - 1).bit_length())
    entry = index + f.scan // f.slices * (1 + t)
    blocks += f.slices * _blocks(2 << index, entry, resources)
    per_neuron = (a, layer.threshold_bits) if layer.fires else (a,)
    luts = 0
    for bits in per_neuron:
        if resources.multiplier == "mult18x18d" and layer.drain_rows <= LUT_RAM_ROWS:
            luts += f.fire_lanes * bits * _ceil_div(layer.drain_rows, 16)
        else:
            blocks += f.fire_lanes * _blocks(layer.drain_rows, bits, resources)
    multiply = 0 if f.multiplier != "lut" else 2 * w if f.form == "serial" else w * (t + 2)
    accumulate = 0 if f.multiplier == "sb_mac16" else a + (f.slices - 1) * (w + t)
    luts += 250 + f.slices * (40 + f.scan // f.slices * (2 * t + 4)) + 32 * columns
    luts += f.lanes * (accumulate + f.slices * multiply + a)
    luts += f.fire_lanes * (a + layer.output_bits * (2 * max(a, layer.threshold_bits) + 4))
    cells = lanes if f.form == "packed" and f.multiplier != "lut" else 0
    return Cost(luts, blocks, cells, spram)


def cycles(layer: DenseParameters, density: float) -> float:
    """Estimate the cycles between two samples, with a share ``density`` of non-zero words."""
    f = layer.folding
    # slices wait for the fullest of them
    imbalance = 1.0 if f.slices == 1 else 1.15
    events = imbalance * layer.passes * density * layer.inputs / f.slices
    return max(layer.beats, events, layer.drain_rows, 1)


def unfolded(network: Network) -> NetworkParameters:
    """Return a network's parameters with a neutral folding, as a start for the search.

    Raises BuildError for a network that no folding can bring into the gateware.
    """
    for slices in (1, 2, 4, 8):  # few rows a memory: the load bus addresses 2^ROW_BITS
        try:
            return network.parameters(
                [Folding(lanes=op.outputs, slices=slices, scan=8) for op in network.layers]
            )
        except ValueError as error:
            reason = str(error)
    raise BuildError(f"the gateware cannot run this network: {reason}")


def _lanes(outputs: int, *, step: int = 1) -> Iterable[int]:
    """Numbers of lanes worth trying: those that leave few idle in the last pass.

    More than ``step`` are rounded up to a multiple of it, so that ``step`` can fire at once.
    """
    lanes = {_ceil_div(outputs, passes) for passes in range(1, outputs + 1)}
    return sorted({n if n <= step else _ceil_div(n, step) * step for n in lanes})


def _options(layer: DenseParameters, candidates: Iterable[Folding]) -> list[DenseParameters]:
    options = []
    for folding in candidates:
        try:
            options.append(dataclasses.replace(layer, folding=folding))
        except ValueError:  # a weight memory deeper than the load bus can address
            continue
    return options


def _search(
    network: NetworkParameters, options: Sequence[list[DenseParameters]], board: Board
) -> tuple[Folding, ...]:
    resources = board.resources
    limit = Cost(
        int(resources.luts * LUT_SHARE[board.family]),
        resources.block_rams,
        resources.multipliers,
        resources.spram,
    )
    link = Cost(luts=LINK_LUTS, block_rams=LINK_BLOCKS)
    density = [INPUT_DENSITY] + [HIDDEN_DENSITY] * (len(options) - 1)

    def total(chosen: Sequence[DenseParameters]) -> Cost:
        result = link
        for layer in chosen:
            result = result + cost(layer, resources)
        return result

    def fits(chosen: Sequence[DenseParameters]) -> bool:
        return all(n <= h for n, h in zip(_tuple(total(chosen)), _tuple(limit), strict=True))

    def size(layer: DenseParameters) -> float:
        """The largest share that a layer takes of any resource."""
        pairs = zip(_tuple(cost(layer, resources)), _tuple(limit), strict=True)
        return max(need / have if have else 2.0 * (need > 0) for need, have in pairs)

    for index, choices in enumerate(options):
        if not choices:
            n = network.layers[index]
            raise BuildError(
                f"{board.title}: layer {index} ({n.inputs} x {n.outputs}) has more weights than a"
                f" weight memory of {1 << 14} rows can hold: use a larger board or a smaller layer"
            )
    chosen = [min(choices, key=size) for choices in options]
    if not fits(chosen):
        raise _too_big(network, chosen, total(chosen), limit, board)
    stuck: set[int] = set()
    while len(stuck) < len(chosen):
        times = [cycles(layer, density[k]) for k, layer in enumerate(chosen)]
        # layers that cannot be faster no longer matter: speed up the slowest of the others
        index = max((k for k in range(len(chosen)) if k not in stuck), key=times.__getitem__)
        faster = [o for o in options[index] if cycles(o, density[index]) < times[index]]
        for option in sorted(faster, key=lambda o: (size(o), cycles(o, density[index]))):
            trial = [*chosen[:index], option, *chosen[index + 1 :]]
            if fits(trial):
                chosen = trial
                break
        else:
            # nothing is gained by making the layers faster that wait for this one
            waiting = {k for k, time in enumerate(times) if time <= times[index]}
            stuck |= waiting
    if board.family == "ecp5":
        chosen = _widen_fire(chosen, fits)
    return tuple(layer.folding for layer in chosen)


def _widen_fire(
    chosen: list[DenseParameters], fits: Callable[[Sequence[DenseParameters]], bool]
) -> list[DenseParameters]:
    """Spend what is left on latency: more neurons that fire in one cycle."""
    for index, layer in enumerate(chosen):
        for fire in (8, 4, 2):
            if not layer.fires or layer.folding.lanes % fire:
                continue
            folding = dataclasses.replace(layer.folding, fire_lanes=fire)
            wider = dataclasses.replace(layer, folding=folding)
            trial = [*chosen[:index], wider, *chosen[index + 1 :]]
            if fits(trial):
                chosen = trial
                break
    return chosen


def _too_big(
    network: NetworkParameters,
    chosen: Sequence[DenseParameters],
    need: Cost,
    have: Cost,
    board: Board,
) -> BuildError:
    names = ("LUTs", "block RAMs", "multipliers", "SPRAMs")
    index, resource = next(
        (k, name)
        for k, name in enumerate(names)
        if _tuple(need)[k] > _tuple(have)[k]
    )
    costs = [_tuple(cost(layer, board.resources))[index] for layer in chosen]
    worst = max(range(len(costs)), key=costs.__getitem__)
    layer = network.layers[worst]
    return BuildError(
        f"{board.title}: the network needs {_tuple(need)[index]} {resource}, the board has"
        f" {_tuple(have)[index]}; layer {worst} ({layer.inputs} x {layer.outputs},"
        f" {layer.weight_bits}-bit weights) alone needs {costs[worst]}: use a larger board,"
        " fewer neurons or fewer weight bits"
    )


def fold_ecp5(network: NetworkParameters, board: Board) -> tuple[Folding, ...]:
    """Fold onto an ECP5: multiplier cells, block RAM, 8 words scanned and up to 8 fired a cycle."""
    options = []
    for layer in network.layers:
        # slices come after lanes: they cost the same multipliers, and adders on top
        candidates = [
            Folding(lanes, slices, 8, 1, "packed", "mult18x18d", "block")
            for lanes in _lanes(layer.outputs, step=8 if layer.fires else 1)
            for slices in ((1, 2, 4) if lanes >= layer.outputs else (1,))
        ]
        options.append(_options(layer, candidates))
    return _search(network, options, board)


def fold_ice40(network: NetworkParameters, board: Board) -> tuple[Folding, ...]:
    """Fold onto an iCE40 UP5K: the largest layer gets the multipliers and, if needed, the SPRAM."""
    layers = network.layers
    largest = max(range(len(layers)), key=lambda k: layers[k].inputs * layers[k].outputs)
    options = []
    for index, layer in enumerate(layers):
        bits = layer.inputs * layer.outputs * layer.weight_bits
        spram = index == largest and bits > board.resources.block_rams * 4096 // 3
        candidates = []
        for lanes in _lanes(layer.outputs):
            if index == largest and lanes <= 8:
                memory = "spram" if spram else "block"
                candidates.append(Folding(lanes, 1, 8, 1, "packed", "sb_mac16", memory))
            elif index != largest and lanes <= 2:
                candidates.append(Folding(lanes, 1, 8, 1, "packed", "lut", "block"))
        options.append(_options(layer, candidates))
    return _search(network, options, board)
