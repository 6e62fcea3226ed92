"""One core, or a whole network with stream ports, as self-contained Verilog with its own manual."""

from __future__ import annotations

import dataclasses
import os
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.back import rtlil
from amaranth.back.verilog import _convert_rtlil_text
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
from spikeloom.errors import InputError
from spikeloom.hardware.memory_image import columns
from spikeloom.hardware.parameters import DenseParameters, Folding, NetworkParameters

from spikeloom_hdl.layers.dense import Dense
from spikeloom_hdl.layers.readout import Readout
from spikeloom_hdl.memory import relax_collisions
from spikeloom_hdl.network import NetworkCore
from spikeloom_hdl.neuron.fire import Fire

__all__ = ["CORES", "core_verilog", "emit", "network_verilog"]

_STREAMS = (
    "Streams: a transfer happens in a cycle with valid and ready both 1; valid never waits for"
    " ready, and payload holds while valid is 1 and ready is 0. `first` and `last` mark the"
    " first and the last transfer of a sample. Everything is synchronous to the rising edge of clk;"
    " rst is synchronous, active high, and may be tied to 0 where registers power up initialised."
)
_LOAD = (
    "Load port: before the first sample, and only while busy is 0 (a core without busy: while no"
    " sample is inside), write every memory word: a cycle with load__write stores load__data at"
    " load__address = layer << 26 | kind << 24 | column << 14 | row. load__read asks for the word"
    " at load__address, which comes in load__read_data with load__read_valid, in order."
)


@dataclass(frozen=True)
class Core:
    """A core that can be written alone.

    defaults: its settings. make: from settings to the component. notes: formats, rates, latency.
    """

    title: str
    defaults: dict[str, Any]
    make: Callable[[dict[str, Any]], wiring.Component]
    notes: Callable[[Any], list[str]]


def _dense_parameters(settings: dict[str, Any]) -> DenseParameters:
    """Split settings between the shape of a layer and its folding."""
    names = {f.name for f in dataclasses.fields(Folding)}
    folding = Folding(**{k: v for k, v in settings.items() if k in names})
    shape = {k: v for k, v in settings.items() if k not in names}
    return DenseParameters(**shape, folding=folding)


def _layer_notes(layer: DenseParameters, skew: int) -> list[str]:
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


def _column_lines(parameters: NetworkParameters) -> list[str]:
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
        *_layer_notes(core.parameters, core.potentials.skew),
        _LOAD,
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
    return [x for x in _column_lines(NetworkParameters(layers)) if x.startswith("  layer 0")]


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

CORES: dict[str, Core] = {
    "fire": Core(
        "SpikePack fire stage: compare, spike, reset by subtraction",
        {"lanes": 1, "bits": 24, "steps": 4, "threshold_bits": 16},
        lambda s: Fire(**s),
        _fire_notes,
    ),
    "dense": Core(
        "fully connected SpikePack layer, event driven",
        {**_HIDDEN, **_FOLDING},
        lambda s: Dense(_dense_parameters(s)),
        _dense_notes,
    ),
    "readout": Core(
        "readout layer: membrane potentials, no spikes",
        {**_HIDDEN, "outputs": 10, "output_bits": 0, **_FOLDING},
        lambda s: Readout(_dense_parameters(s)),
        _dense_notes,
    ),
}


def _settings(core: str, options: Sequence[str]) -> dict[str, Any]:
    """Read ``name=value`` options over a core's defaults; InputError on a wrong one."""
    settings = dict(CORES[core].defaults)
    for option in options:
        name, mark, text = option.partition("=")
        if not mark or name not in settings:
            known = ", ".join(f"{k}={v}" for k, v in settings.items())
            raise InputError(f"{core} has no setting {option!r}; it has {known}")
        if isinstance(settings[name], int):
            try:
                settings[name] = int(text)
            except ValueError:
                raise InputError(f"{core}: {name} takes a whole number, not {text!r}") from None
        else:
            settings[name] = text
    return settings


def _port_lines(component: wiring.Component) -> list[str]:
    """Every port with direction, width and the bits of its payload fields."""
    lines = ["  input   clk", "  input   rst"]
    for path, member, value in component.signature.flatten(component):
        name = "__".join(str(part) for part in path)
        width = Shape.cast(member.shape).width
        direction = "input " if member.flow == In else "output"
        lines.append(f"  {direction}  {f'[{width - 1}:0] ' if width > 1 else ''}{name}")
        if isinstance(member.shape, data.StructLayout):
            for field, place in member.shape:
                low, size = place.offset, place.width
                bits = f"[{low}]" if size == 1 else f"[{low + size - 1}:{low}]"
                shape = ""
                if isinstance(place.shape, data.ArrayLayout):
                    element = Shape.cast(place.shape.elem_shape)
                    kind = "two's complement" if element.signed else "unsigned"
                    shape = f": {place.shape.length} x {element.width} bits, {kind}, low bits first"
                lines.append(f"            {bits} {field}{shape}")
        del value
    return lines


def _wrap(lines: Sequence[str]) -> list[str]:
    """Break long lines, the rest indented below its beginning."""
    wrapped = []
    for line in lines:
        indent = line[: len(line) - len(line.lstrip())]
        wrapped += textwrap.wrap(line, 97, subsequent_indent=indent + "  ") or [""]
    return wrapped


def emit(component: wiring.Component, *, name: str, title: str, notes: Sequence[str]) -> str:
    """Convert a component to Verilog, top module ``name``, with a header that documents it."""
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")  # the same text everywhere
    # without assertions, initial zeros of memories, and names that make Yosys' abc9 fail
    plain = relax_collisions(rtlil.convert(component, name=name, emit_src=False))
    body = _convert_rtlil_text(plain, strip_internal_attrs=True)
    text = [f"{name}: {title}", "", "Ports", *_port_lines(component), "", *notes, "", _STREAMS]
    cells = sorted(set(re.findall(r"^  (MULT18X18D|SB_MAC16|SB_SPRAM256KA) ", body, re.M)))
    if cells:
        text += [
            "",
            f"Uses the vendor's cells {', '.join(cells)}; everything else is in this file.",
        ]
    text += ["", "Written by Spikeloom (Apache-2.0); the output is yours to use in any design."]
    return "\n".join(f"// {line}".rstrip() for line in _wrap(text)) + "\n\n" + body


def core_verilog(core: str, options: Sequence[str] = ()) -> str:
    """Write one core of :data:`CORES`; options are ``name=value`` over its defaults.

    Raises InputError for an unknown core or setting, or a value that the core refuses.
    """
    if core not in CORES:
        raise InputError(f"no core {core!r}: one of {', '.join(sorted(CORES))}")
    settings = _settings(core, options)
    try:
        component = CORES[core].make(settings)
    except (ValueError, TypeError) as error:
        raise InputError(f"{core}: {error}") from error
    chosen = ", ".join(f"{k}={v}" for k, v in settings.items())
    notes = [*CORES[core].notes(component), "", f"Settings: {chosen}"]
    return emit(component, name=f"spikeloom_{core}", title=CORES[core].title, notes=notes)


def network_verilog(parameters: NetworkParameters, *, name: str) -> str:
    """Write a whole network: words in, potentials of the readout out, a load port, no link."""
    core = NetworkCore(parameters)
    notes = []
    for k, layer in enumerate(core.layers):
        p = layer.parameters
        notes.append(f"Layer {k}: {p.inputs} > {p.outputs}")
        notes += [f"  {line}" for line in _layer_notes(p, layer.potentials.skew)]
    notes += [
        "Samples follow each other without a gap; the slowest layer sets the rate.",
        _LOAD,
        "Memories:",
        *_column_lines(parameters),
        f"counters: {', '.join(parameters.counter_names)}, 32 bits each, low bits first.",
        f"Structure (build id): {parameters.build_id:016x}",
    ]
    module = re.sub(r"\W", "_", name)
    module = module if re.match(r"[A-Za-z_]", module) else f"net_{module}"
    return emit(core, name=module, title="a spiking network, event driven", notes=notes)
