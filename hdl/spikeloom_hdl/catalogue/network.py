"""The parts of SpikePack networks that stand alone: the fire stage, one layer, a readout."""

from __future__ import annotations

import dataclasses
from typing import Any

from spikeloom.hardware.memory_image import columns
from spikeloom.hardware.parameters import DenseParameters, Folding, NetworkParameters

from spikeloom_hdl.catalogue.core import Core
from spikeloom_hdl.layers.dense import Dense
from spikeloom_hdl.layers.readout import Readout
from spikeloom_hdl.neuron.fire import Fire

__all__ = ["LOAD", "NETWORK_CORES", "column_lines", "dense_parameters", "layer_notes"]

LOAD = (
    "Load port: before the first sample, and only while busy is 0 (a core without busy: while no"
    " sample is inside), write every memory word: a cycle with load__write stores load__data at"
    " load__address = layer << 26 | kind << 24 | column << 14 | row. load__read asks for the word"
    " at load__address, which comes in load__read_data with load__read_valid, in order."
)


def dense_parameters(settings: dict[str, Any]) -> DenseParameters:
    """Split settings between the shape of a layer and its folding."""
    names = {f.name for f in dataclasses.fields(Folding)}
    folding = Folding(**{k: v for k, v in settings.items() if k in names})
    shape = {k: v for k, v in settings.items() if k not in names}
    return DenseParameters(**shape, folding=folding)


def layer_notes(layer: DenseParameters, skew: int) -> list[str]:
    """What a user of one layer must know."""
    fold = layer.folding
    event = "non-zero words" if fold.form == "packed" else "set bits of the words"
    busiest = f", counted in the busiest of {fold.slices} slices" if fold.slices > 1 else ""
    lines = [
        f"In: {layer.inputs} words of {layer.input_bits} bits a sample (first spike = most"
        f" significant bit), {fold.scan} a transfer, {layer.beats} transfers, the last padded with"
        " zero words.",
        f"Weights: {layer.weight_bits} bits, two's complement. Membrane potential v:"
        f" {layer.accumulator_bits} bits, two's complement; weights * words + bias must fit.",
    ]
    if layer.fires:
        top = 2**layer.output_bits - 1
        lines.append(
            f"Out: {layer.outputs} words of {layer.output_bits} bits, {fold.fire_lanes} a transfer:"
            f" clip(floor(v / threshold), 0, {top}); thresholds: {layer.threshold_bits} bits, >= 1."
        )
    else:
        lines.append(f"Out: {layer.outputs} potentials v a sample, {fold.fire_lanes} a transfer.")
    drain = layer.drain_rows + layer.passes * (skew + 2)
    first_row = min(layer.drain_rows, fold.lanes // fold.fire_lanes)
    latency = skew + 6 + first_row + layer.output_bits
    lines += [
        f"Rate: a sample every max({layer.passes} * (e + 1), {layer.beats}, {drain}) cycles,"
        f" e = {event}{busiest}.",
        f"Latency: at most {layer.beats} + {layer.passes} * (e + 1) + {latency} cycles from the"
        " first transfer in to the last transfer out.",
    ]
    return lines


def column_lines(parameters: NetworkParameters) -> list[str]:
    """One line for each kind of memory of each layer."""
    groups: dict[tuple, int] = {}
    for c in columns(parameters):
        key = (c.layer, c.kind, c.bits, c.rows)
        groups[key] = groups.get(key, 0) + 1
    lines = []
    for (layer, kind, bits, rows), count in groups.items():
        p = parameters.layers[layer]
        where = {
            0: f"row = neuron // {p.folding.lanes} * {p.rows_per_pass} + input //"
            f" {p.folding.slices}; column = input % {p.folding.slices} * {p.columns_per_slice} +"
            f" lane // {p.lanes_per_column}, lane = neuron % {p.folding.lanes}; weight at bit"
            f" lane % {p.lanes_per_column} * {p.weight_bits}",
            1: f"row, column = neuron // and % {p.folding.fire_lanes}"
            + ("; bias + threshold // 2 to round" if p.fires else ""),
            2: f"row, column = neuron // and % {p.folding.fire_lanes}",
        }[int(kind)]
        lines.append(
            f"  layer {layer} kind {int(kind)} ({kind.name.lower()}): {count} columns, {rows} words"
            f" of {bits} bits; {where}"
        )
    return lines


def _dense_notes(core: Dense | Readout) -> list[str]:
    return [
        *layer_notes(core.parameters, core.potentials.skew),
        LOAD,
        "Memories (a lone layer does not look at the layer bits of the address):",
        *_column_lines_of_layer(core.parameters),
    ]


def _column_lines_of_layer(layer: DenseParameters) -> list[str]:
    """Memories of a lone layer; a readout makes any of them a network."""
    tail = DenseParameters(
        inputs=layer.outputs,
        outputs=1,
        input_bits=layer.output_bits or 1,
        output_bits=0,
        weight_bits=2,
        accumulator_bits=32,
        folding=Folding(lanes=1, scan=layer.folding.fire_lanes),
    )
    layers = (layer, tail) if layer.fires else (layer,)
    return [x for x in column_lines(NetworkParameters(layers)) if x.startswith("  layer 0")]


def _fire_notes(core: Fire) -> list[str]:
    return [
        f"In: {core.lanes} membrane potentials ({core.bits} bits, two's complement) and their"
        f" thresholds ({core.threshold_bits} bits, unsigned, >= 1) a transfer.",
        f"Out: {core.lanes} words of {core.steps} bits, first spike = most significant bit:"
        f" clip(floor(v / threshold), 0, {2**core.steps - 1}), floor toward minus infinity.",
        f"Rate: a transfer a cycle. Latency: {core.steps} cycles.",
    ]


_HIDDEN = {
    "inputs": 64, "outputs": 16, "input_bits": 4, "output_bits": 4, "weight_bits": 8,
    "accumulator_bits": 24, "threshold_bits": 16,
}  # fmt: skip
_FOLDING = {f.name: f.default for f in dataclasses.fields(Folding)}

NETWORK_CORES: dict[str, Core] = {
    "fire": Core(
        "SpikePack fire stage: compare, spike, reset by subtraction",
        {"lanes": 1, "bits": 24, "steps": 4, "threshold_bits": 16},
        lambda s: Fire(**s),
        _fire_notes,
    ),
    "dense": Core(
        "fully connected SpikePack layer, event driven",
        {**_HIDDEN, **_FOLDING},
        lambda s: Dense(dense_parameters(s)),
        _dense_notes,
    ),
    "readout": Core(
        "readout layer: membrane potentials, no spikes",
        {**_HIDDEN, "outputs": 10, "output_bits": 0, **_FOLDING},
        lambda s: Readout(dense_parameters(s)),
        _dense_notes,
    ),
}
