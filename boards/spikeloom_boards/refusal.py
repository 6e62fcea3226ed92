"""Why a network does not fit a board: which layer, which resource, how much, and what would fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from spikeloom.errors import BuildError
from spikeloom.hardware.parameters import (
    ConvParameters,
    DenseParameters,
    LayerParameters,
    NetworkParameters,
    SynapseParameters,
)

from spikeloom_boards.activity import assumed

if TYPE_CHECKING:
    from spikeloom_boards.board import Board
    from spikeloom_boards.search import Search

__all__ = ["refusal", "too_slow"]

_NAMES = {
    "block_rams": "block RAMs",
    "luts": "LUTs",
    "spram": "SPRAMs",
    "multipliers": "multipliers",
}


def label(index: int, layer: LayerParameters) -> str:
    """A layer as people call it: its number and its size."""
    if isinstance(layer, DenseParameters):
        return f"layer {index} ({layer.inputs} x {layer.outputs})"
    if isinstance(layer, ConvParameters):
        w = layer.window
        kernel = f"{w.kernel_height}x{w.kernel_width}"
        return f"layer {index} ({layer.channels} x {layer.outputs} channels, {kernel})"
    return f"layer {index} ({layer.kind}, {layer.port_out.channels} channels)"


def _least(search: Search, resource: str) -> list[int]:
    """The least of a resource that each layer takes in any folding."""
    return [min(getattr(o.cost, resource) for o in found) for found in search.options]


def refusal(search: Search) -> BuildError:
    """Return the error that says why nothing fits."""
    board = search.board
    for index, found in enumerate(search.options):
        if not found:
            where = label(index, search.network.layers[index])
            return BuildError(
                f"{board.title}: {where} has more weights than a weight memory of {1 << 14} rows"
                f" can hold in any folding that fits{_remedy(search, index)}"
            )
    missing: list[tuple[float, str, int, int, int]] = []
    for resource in _NAMES:
        least = _least(search, resource)
        need = sum(least) + getattr(search.link, resource)
        have = getattr(search.limit, resource)
        if need > have:
            worst = max(range(len(least)), key=least.__getitem__)
            missing.append((need / max(have, 1), resource, need, have, worst))
    if missing:
        _, resource, need, have, worst = max(missing)
        least = _least(search, resource)[worst]
    else:  # each resource by itself would do
        resource, need, have, worst, least = _together(search)
    name = _NAMES[resource]
    where = label(worst, search.network.layers[worst])
    return BuildError(
        f"{board.title}: {need - have} {name} are missing: the network needs {need} {name}, the"
        f" board has {have}; {where} alone needs {least}{_remedy(search, worst)}"
    )


def _together(search: Search) -> tuple[str, int, int, int, int]:
    """The resource of which the smallest share is missing, when all of them count together."""
    found: list[tuple[float, str, int, int]] = []
    chosen = search.within(float("inf"), any_area=True)
    if chosen is not None:
        need, have = search.luts(chosen), search.limit.luts
        found.append((need / have, "luts", need, have))
    for any_area in (False, True):
        for index, resource in enumerate(("multipliers", "block_rams", "spram")):
            least, have = search.least(index, any_area=any_area), getattr(search.limit, resource)
            if least is not None and have:
                need = least + getattr(search.link, resource)
                found.append((need / have, resource, need, have))
        if found:
            break
    else:
        found.append((1.0, "luts", search.limit.luts + 1, search.limit.luts))
    _, resource, need, have = min(found)
    # of those foldings that take any: SPRAM is never the only place for weights
    costs = [[getattr(o.cost, resource) for o in found] for found in search.options]
    amounts = [min((n for n in row if n), default=0) for row in costs]
    if chosen is not None and resource == "luts":
        amounts = [option.cost.luts for option in chosen]
    worst = max(range(len(amounts)), key=amounts.__getitem__)
    return resource, need, have, worst, amounts[worst]


def _fits(network: NetworkParameters, board: Board) -> bool:
    from spikeloom_boards.search import Search

    search = Search(network, assumed(network), board)
    return search.within(float("inf")) is not None


def _smaller(search: Search, worst: int) -> Iterator[tuple[str, NetworkParameters, Board]]:
    """Changes in the order in which they hurt: board, weight bits, size of the worst layer."""
    from spikeloom_boards import registry

    board, network = search.board, search.network
    mine = board.resources.luts
    others = [registry.board(name) for name in registry.names()]
    for other in sorted(others, key=lambda b: b.resources.luts):
        if other.resources.luts > mine:
            yield f"the {other.title} would do", network, other
    most = max(
        (p.weight_bits for p in network.layers if isinstance(p, SynapseParameters)), default=2
    )
    for bits in range(most - 1, 1, -1):
        layers = tuple(
            dataclasses.replace(p, weight_bits=min(bits, p.weight_bits))
            if isinstance(p, SynapseParameters)
            else p
            for p in network.layers
        )
        yield f"{bits}-bit weights would do", NetworkParameters(layers, network.sources), board


def _remedy(search: Search, worst: int) -> str:
    """The nearest changes that fit, one of each kind."""
    found: dict[str, str] = {}
    for text, network, board in _smaller(search, worst):
        kind = "board" if board is not search.board else "bits"
        if kind not in found and _fits(network, board):
            found[kind] = text
    narrower = _narrower(search, worst)
    if narrower:
        found["size"] = narrower
    return ": " + ", or ".join(found.values()) if found else ": use a smaller network"


def _narrower(search: Search, worst: int) -> str:
    """How many outputs of the worst layer fit, in steps of an eighth."""
    network = search.network
    layer = network.layers[worst]
    if not isinstance(layer, DenseParameters) or worst == len(network.layers) - 1:
        return ""
    after = network.consumers(worst)
    if not all(isinstance(network.layers[k], DenseParameters) for k, _ in after):
        return ""
    for eighths in range(7, 0, -1):
        outputs = layer.outputs * eighths // 8
        if not outputs:
            break
        layers = list(network.layers)
        fold = dataclasses.replace(layer.folding, lanes=outputs, fire_lanes=1)
        layers[worst] = dataclasses.replace(layer, outputs=outputs, folding=fold)
        for k, _ in after:
            layers[k] = dataclasses.replace(layers[k], inputs=outputs)  # type: ignore[call-arg]
        if _fits(NetworkParameters(tuple(layers), network.sources), search.board):
            return f"{outputs} outputs in layer {worst} would do"
    return ""


def too_slow(search: Search, rate: float, fastest: float) -> BuildError:
    """Return the error that says how fast the network can be, and what holds it up."""
    board = search.board
    chosen = search.within(fastest)
    assert chosen is not None
    index = max(range(len(chosen)), key=lambda k: chosen[k].cycles)
    return BuildError(
        f"{board.title}: {rate:g} images a second are {board.clock_hz / rate:.0f} cycles each, the"
        f" fastest plan that fits takes {fastest:.0f}"
        f" ({board.clock_hz / fastest:.0f} images a second);"
        f" {label(index, search.network.layers[index])} is the slowest"
    )
