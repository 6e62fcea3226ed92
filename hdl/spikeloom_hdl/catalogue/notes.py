"""What the headers of layers say: what goes in and out, how fast, and where memory words lie."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from spikeloom.hardware.memory_image import Kind, columns
from spikeloom.hardware.parameters import (
    AddParameters,
    ConvParameters,
    DenseParameters,
    DepthwiseParameters,
    PadParameters,
    PoolParameters,
    Port,
    SynapseParameters,
)

__all__ = ["FIXED", "LOAD", "column_lines", "layer_notes", "layer_title", "lone_columns"]

LOAD = (
    "Load port: before the first sample, and only while busy is 0 (a core without busy: while no"
    " sample is inside), write every memory word: a cycle with load__write stores load__data at"
    " load__address = layer << 26 | kind << 24 | column << 14 | row. load__read asks for the word"
    " at load__address, which comes in load__read_data with load__read_valid, in order."
)


FIXED = (
    "Memories are fixed: they hold the weights of one network as soon as the device is configured,"
    " and load__write must stay 0. While busy is 0, load__read asks for the word at load__address ="
    " layer << 26 | kind << 24 | column << 14 | row, which comes in load__read_data with"
    " load__read_valid, in order."
)


def _stream(port: Port, frame: Any = None) -> str:
    """``64 words of 4 bits a sample, 8 a transfer, 8 transfers``."""
    kind = "potentials v" if port.signed else "words"
    coding = "two's complement" if port.signed else "first spike = most significant bit"
    per, pixel = "a sample", ""
    if port.pixels > 1:
        per = "a pixel"
        size = str(port.pixels)
        if frame is not None:
            size = f"{frame[0]} x {frame[1]} = {port.pixels}"
        pixel = f"; {size} pixels a sample, row by row"
    rest = ", the last padded" if port.channels % port.lanes else ""
    count = port.transfers_per_pixel
    return (
        f"{port.channels} {kind} of {port.bits} bits {per} ({coding}), {port.lanes} a transfer,"
        f" {count} transfer{'s' if count > 1 else ''}{rest}{pixel}."
    )


def _fires(layer: Any) -> str:
    top = 2**layer.output_bits - 1
    return (
        f" clip(floor(v / threshold), 0, {top}); thresholds: {layer.threshold_bits} bits,"
        " unsigned, >= 1."
    )


def layer_title(layer: Any) -> str:
    """``64 > 16``, or what goes in and out in pixels."""
    if isinstance(layer, DenseParameters):
        return f"{layer.inputs} > {layer.outputs}"
    a, b = layer.ports_in[0], layer.port_out
    kind = layer.kind if not isinstance(layer, PoolParameters) else f"{layer.rule} pool"
    return f"{kind}, {a.pixels} pixels of {a.channels} > {b.pixels} of {b.channels}"


def layer_notes(core: Any) -> list[str]:
    """What a user of one layer must know."""
    layer = core.parameters
    if isinstance(layer, DenseParameters):
        return _dense(layer, core.potentials.skew)
    window = getattr(layer, "window", None)
    frame = (window.height, window.width) if window else None
    out = (window.out_height, window.out_width) if window else None
    if isinstance(layer, PadParameters):
        frame, out = (layer.height, layer.width), (layer.out_height, layer.out_width)
    lines = [f"In: {_stream(layer.ports_in[0], frame)}"]
    if len(layer.ports_in) > 1:
        lines.append(f"Skip: {_stream(layer.ports_in[1], out)}")
    if window:
        lines.append(
            f"Window: {window.kernel_height} x {window.kernel_width}, stride {window.stride_y},"
            f" {window.stride_x}, padding {window.pad_y}, {window.pad_x} (height, width)."
        )
    lines += _arithmetic(layer)
    fires = _fires(layer) if hasattr(layer, "threshold_bits") and layer.output_bits else ""
    lines.append(f"Out: {_stream(layer.port_out, out)}{fires}")
    return [*lines, *_speed(core, layer)]


def _arithmetic(layer: Any) -> list[str]:
    """How v comes about."""
    if isinstance(layer, SynapseParameters):
        skip = ""
        if isinstance(layer, ConvParameters) and layer.skip_bits:
            weight = f"{layer.skip_weight_bits} bits, " if layer.skip_weight_bits else ""
            skip = f" + {'weight * ' if weight else ''}skip"
            skip += f" (its weights: {weight}two's complement)" if weight else ""
        return [
            f"Weights: {layer.weight_bits} bits, two's complement. Membrane potential v ="
            f" weights * words + bias{skip}: {layer.accumulator_bits} bits, two's complement; it"
            " must fit."
        ]
    if isinstance(layer, AddParameters):
        return [
            "Membrane potential v = weight * in + weight * skip + bias, weights"
            f" {layer.weight_bits} bits a channel and stream, v {layer.accumulator_bits} bits, all"
            " two's complement; it must fit."
        ]
    if isinstance(layer, PoolParameters) and layer.rule == "average":
        top = 2**layer.output_bits - 1
        return [
            f"Word out: clip(floor((sum of the window + {layer.bias}) / {layer.threshold}), 0,"
            f" {top}); padding counts as zero words."
        ]
    if isinstance(layer, PoolParameters):
        return ["The greatest of the window; padding never wins."]
    if isinstance(layer, PadParameters):
        sides = (layer.top, layer.bottom, layer.left, layer.right)
        return [f"Frame: {sides} pixels (top, bottom, left, right), words from the load port."]
    return []


def _speed(core: Any, layer: Any) -> list[str]:
    transfers = layer.ports_in[0].transfers
    if isinstance(layer, ConvParameters):
        event = "non-zero words" if layer.folding.form == "packed" else "set bits of the words"
        return [
            f"Rate: a window takes a unit {layer.passes} * max(e + 1, {core.spacing}) cycles, e ="
            f" {event} under it{_busiest(layer)}; units: {layer.folding.units}, each on its own"
            " columns of a row. A row of windows takes at least its columns, a transfer in at"
            " least as many cycles as its fullest slice has non-zero words.",
            f"Latency: about {core.skew + 17} + e + {layer.output_bits} cycles from the last"
            " transfer that a window needs to its first transfer out.",
        ]
    if isinstance(layer, DepthwiseParameters):
        rows, latency = layer.folding.lanes // layer.folding.fire_lanes, core.membranes.sums.latency
        return [
            f"Rate: a window takes {layer.passes} * max(n, {max(rows, (rows + latency + 6) // 2)})"
            " cycles, n = its taps inside the sample; a sample at least its"
            f" {transfers} transfers.",
            f"Latency: about {11 + latency} + n + {layer.output_bits} cycles from the last"
            " transfer that a window needs to its first transfer out.",
        ]
    if isinstance(layer, PoolParameters):
        return [
            "Rate: a transfer in a cycle where windows do not overlap and nothing is padded; else"
            f" a tap of {layer.folding.lanes} channels a cycle.",
            f"Latency: about {8 + layer.output_bits} cycles from the last transfer that a window"
            " needs, if they do not overlap; else its taps more.",
        ]
    latency = {"fire": "output_bits", "add": "output_bits + 2 to 4", "pad": "1"}[layer.kind]
    if not isinstance(layer, PadParameters):
        latency = latency.replace("output_bits", str(layer.output_bits))
    out = "out " if isinstance(layer, PadParameters) else ""
    return [f"Rate: a transfer {out}a cycle. Latency: {latency} cycles."]


def _busiest(layer: SynapseParameters) -> str:
    slices = layer.folding.slices
    return f", counted in the busiest of {slices} slices" if slices > 1 else ""


def _dense(layer: DenseParameters, skew: int) -> list[str]:
    fold = layer.folding
    event = "non-zero words" if fold.form == "packed" else "set bits of the words"
    pixels = f" ({layer.pixels} pixels, each of {layer.channels})" if layer.pixels > 1 else ""
    where = "of each pixel " if layer.pixels > 1 else ""
    lines = [
        f"In: {layer.inputs} words{pixels} of {layer.input_bits} bits a sample (first spike = most"
        f" significant bit), {fold.scan} a transfer, {layer.beats} transfers, the last {where}"
        "padded with zero words.",
        f"Weights: {layer.weight_bits} bits, two's complement. Membrane potential v:"
        f" {layer.accumulator_bits} bits, two's complement; weights * words + bias must fit.",
    ]
    if layer.fires:
        lines.append(
            f"Out: {layer.outputs} words of {layer.output_bits} bits, {fold.fire_lanes} a transfer:"
            f"{_fires(layer)}"
        )
    else:
        lines.append(f"Out: {layer.outputs} potentials v a sample, {fold.fire_lanes} a transfer.")
    drain = layer.drain_rows + layer.passes * (skew + 2)
    first_row = min(layer.drain_rows, fold.lanes // fold.fire_lanes)
    latency = skew + 6 + first_row + layer.output_bits
    return [
        *lines,
        f"Rate: a sample every max({layer.passes} * (e + 1), {layer.beats}, {drain}) cycles,"
        f" e = {event}{_busiest(layer)}.",
        f"Latency: at most {layer.beats} + {layer.passes} * (e + 1) + {latency} cycles from the"
        " first transfer in to the last transfer out.",
    ]


def _weights_lie(p: SynapseParameters) -> str:
    """Which row and column of the weight memory holds a weight."""
    fold = p.folding
    lane = f"lane // {p.lanes_per_column}, lane = {{}} % {fold.lanes}; weight at bit lane %"
    lane += f" {p.lanes_per_column} * {p.weight_bits}"
    if isinstance(p, DepthwiseParameters):
        where = f"row = channel // {fold.lanes} * {p.rows_per_pass} + kernel row *"
        where += f" {p.window.kernel_width} + kernel column; column = " + lane.format("channel")
        return where
    index, neuron = "input", "neuron"
    row = f"input // {fold.slices}"
    unit = ""
    if isinstance(p, ConvParameters):
        index, neuron = "input channel", "output channel"
        row = f"(kernel row * {p.window.kernel_width} + kernel column) * {p.slice_channels}"
        row += f" + input channel // {fold.slices}"
        pair = "unit // 2" if fold.paired else "unit"
        unit = "" if fold.copies == 1 else f"({pair} * {fold.slices} + "
    elif isinstance(p, DenseParameters) and p.pixels > 1:
        wide = p.ports_in[0].transfers_per_pixel * fold.scan
        row = f"input // {fold.slices}, input = pixel * {wide} + channel"
    first = f"{index} % {fold.slices}"
    first = f"{unit}{first}) *" if unit else f"{first} *"
    every = ""
    if fold.units > 1:
        every = f"; {fold.units} units, all with the same weights"
        every += ", two share a copy" if fold.paired else ""
    return (
        f"row = {neuron} // {fold.lanes} * {p.rows_per_pass} + {row}; column = {first}"
        f" {p.columns_per_slice} + {lane.format(neuron)}{every}"
    )


def _lies(p: Any, kind: Kind) -> str:
    """Which row and column of a memory holds what."""
    if kind == Kind.WEIGHT:
        return _weights_lie(p)
    synapses = isinstance(p, SynapseParameters)
    lanes = p.folding.fire_lanes if synapses else p.folding.lanes
    flat = isinstance(p, DenseParameters)
    where = f"row, column = {'neuron' if flat else 'channel'} // and % {lanes}"
    if isinstance(p, AddParameters) and kind == Kind.SKIP:
        where += f"; column + {lanes} for those of skip"
    rounds = kind == Kind.BIAS and getattr(p, "output_bits", 0)
    return where + ("; bias + threshold // 2 to round" if rounds else "")


def column_lines(parameters: Any) -> list[str]:
    """One line for each kind of memory of each layer; parameters: anything with ``layers``."""
    groups: dict[tuple, int] = {}
    for c in columns(parameters):
        key = (c.layer, c.kind, c.bits, c.rows)
        groups[key] = groups.get(key, 0) + 1
    return [
        f"  layer {layer} kind {int(kind)} ({kind.name.lower()}): {count} columns, {rows} words of"
        f" {bits} bits; {_lies(parameters.layers[layer], kind)}"
        for (layer, kind, bits, rows), count in groups.items()
    ]


def lone_columns(layer: Any) -> list[str]:
    """Load port and memories of a layer that stands alone; nothing for a pool."""
    if isinstance(layer, PoolParameters):
        return []
    lines = column_lines(SimpleNamespace(layers=(layer,)))
    title = "Memories (a lone layer does not look at the layer bits of the address):"
    return [LOAD, title, *lines]
