"""A network as a table: what each layer is, takes and costs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from spikeloom.ops import Add, AvgPool2d, Conv2d, Dense, MaxPool2d, Readout, Synapses

if TYPE_CHECKING:
    from spikeloom.network import Layer, Network

__all__ = ["LayerRow", "layer_rows", "network_table"]


@dataclass(frozen=True)
class LayerRow:
    """One layer; None where it has no such thing.

    kind: such as "conv 3x3/2" (the stride behind the slash). takes: names of the layers that feed
    it. shape_in, shape_out: of one sample. bits_in: T of the words that enter, None for potentials;
    bits_out: T of the words that leave, None for potentials. weight_bits, accumulator_bits: widths.
    parameters: integers that it stores. multiply_adds: for one sample, as if no word were zero,
    padding included. pruned: channels that never fire; clipped: weights that had to be clipped;
    both as the lowering reported them.
    """

    name: str
    kind: str
    takes: tuple[str, ...]
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]
    bits_in: int | None
    bits_out: int | None
    weight_bits: int | None
    accumulator_bits: int | None
    parameters: int
    multiply_adds: int
    pruned: int | None
    clipped: int | None


def layer_rows(network: Network) -> list[LayerRow]:
    """One row a layer, in the network's order."""
    lowered = {entry["name"]: entry for entry in _lowering(network)}
    rows = []
    for op in network.layers:
        edge, out = network.edges[network.sources(op)[0]], network.edges[op.name]
        entry = lowered.get(op.name, {})
        rows.append(
            LayerRow(
                op.name,
                _kind(op),
                network.layer_sources(op),
                edge.shape,
                out.shape,
                None if edge.signed else edge.bits,
                None if out.signed else out.bits,
                getattr(op, "weight_bits", None),
                op.accumulator_bits if isinstance(op, Synapses) else None,
                _parameters(op),
                _multiply_adds(op, math.prod(out.shape)),
                entry.get("pruned"),
                entry.get("clipped"),
            )
        )
    return rows


def network_table(network: Network, title: str) -> Table:
    """Return the rows as a table, with their sums below."""
    rows = layer_rows(network)
    before = ["input", *(row.name for row in rows)]
    chain = all(row.takes == (name,) for row, name in zip(rows, before, strict=False))
    heads = ["layer", "kind", "from", "in > out", "T", "W", "v", "params", "mult-adds"]
    heads += ["pruned", "clip"] if _lowering(network) else []
    if chain:
        heads.remove("from")
    table = Table(title=title, box=SIMPLE_HEAD, show_footer=True, padding=0)
    sums = {
        "layer": "all",
        "params": _short(sum(row.parameters for row in rows)),
        "mult-adds": _short(sum(row.multiply_adds for row in rows)),
    }
    for head in heads:
        left = head in ("layer", "kind", "from")
        table.add_column(
            head,
            sums.get(head, ""),
            justify="left" if left else "right",
            no_wrap=head not in ("layer", "from"),
            overflow="fold",
        )
    for index, row in enumerate(rows):
        cells = {
            "layer": row.name,
            "kind": row.kind,
            "from": "" if row.takes == (before[index],) else " + ".join(row.takes),
            "in > out": f"{_shape(row.shape_in)} > {_shape(row.shape_out)}",
            "T": f"{row.bits_in or '-'} > {row.bits_out or '-'}",
            "W": _text(row.weight_bits),
            "v": _text(row.accumulator_bits),
            "params": _short(row.parameters),
            "mult-adds": _short(row.multiply_adds),
            "pruned": _text(row.pruned),
            "clip": _text(row.clipped),
        }
        table.add_row(*(cells[head] for head in heads))
    return table


def _lowering(network: Network) -> list[dict[str, Any]]:
    """What the lowering wrote into the metadata; nothing where that is no such thing."""
    try:
        entries = json.loads(network.metadata.get("lowering", "[]"))
    except (ValueError, RecursionError):
        return []
    good = isinstance(entries, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in entries
    )
    return entries if good else []


def _kind(op: Layer) -> str:
    if isinstance(op, (Conv2d, MaxPool2d, AvgPool2d)):
        if isinstance(op, Conv2d):
            name = "depthwise" if op.depthwise else "conv"
        else:
            name = "max" if isinstance(op, MaxPool2d) else "mean"
        stride = "" if op.stride == (1, 1) else f"/{_pair(op.stride)}"
        height, width = op.kernel
        return f"{name} {height}x{width}{stride}"
    return op.kind.removesuffix("2d")


def _pair(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]},{pair[1]}"


def _parameters(op: Layer) -> int:
    names = ("weight", "bias", "threshold", "skip_weight", "word")
    return sum(getattr(getattr(op, name, None), "size", 0) for name in names)


def _multiply_adds(op: Layer, outputs: int) -> int:
    if isinstance(op, (Dense, Readout)):
        return op.weight.size
    if isinstance(op, Conv2d):
        return outputs * (op.weight[0].size + (op.skip_weight is not None))
    return 2 * outputs if isinstance(op, Add) else 0


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _short(count: int) -> str:
    """Three digits: 88, 1.18k, 56.4k, 903k, 1.81M; nothing for 0."""
    value, unit = float(count), ""
    for larger in "kMG":
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    if not unit:
        return str(count or "")
    return f"{value:.{2 - (value >= 9.995) - (value >= 99.95)}f}{unit}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)
