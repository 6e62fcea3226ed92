"""One core, or a whole network with stream ports, as self-contained Verilog with its own manual."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Sequence

from amaranth.back import rtlil
from amaranth.back.verilog import _convert_rtlil_text
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
from spikeloom.errors import InputError
from spikeloom.hardware.fixed_image import Image, fixed_crc
from spikeloom.hardware.parameters import NetworkParameters

from spikeloom_hdl.catalogue import CORES, make_core
from spikeloom_hdl.catalogue.notes import FIXED, LOAD, column_lines, layer_notes, layer_title
from spikeloom_hdl.memory import relax_collisions
from spikeloom_hdl.network import NetworkCore

__all__ = ["CORES", "core_verilog", "emit", "network_verilog"]

_STREAMS = (
    "Streams: a transfer happens in a cycle with valid and ready both 1; valid never waits for"
    " ready, and payload holds while valid is 1 and ready is 0. `first` and `last` mark the"
    " first and the last transfer of a {whole}. Everything is synchronous to the rising edge of"
    " clk; rst is synchronous, active high, and may be tied to 0 where registers power up"
    " initialised."
)


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
                elif Shape.cast(place.shape).signed:
                    shape = ": two's complement"
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


def emit(
    component: wiring.Component,
    *,
    name: str,
    title: str,
    notes: Sequence[str],
    whole: str = "sample",
) -> str:
    """Convert a component to Verilog, top module ``name``, with a header that documents it.

    whole: what the markers ``first`` and ``last`` enclose.
    """
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")  # the same text everywhere
    # without assertions, initial zeros of memories, and names that make Yosys' abc9 fail
    plain = relax_collisions(rtlil.convert(component, name=name, emit_src=False))
    body = _convert_rtlil_text(plain, strip_internal_attrs=True)
    text = [f"{name}: {title}", "", "Ports", *_port_lines(component), "", *notes, ""]
    text.append(_STREAMS.format(whole=whole))
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
    entry = CORES[core]
    component, chosen = make_core(core, entry, options)
    return emit(
        component,
        name=f"spikeloom_{core.replace('-', '_')}",
        title=entry.title,
        notes=[*entry.notes(component), "", f"Settings: {chosen}"],
        whole=entry.whole,
    )


def _feeds(layer: int, sources: Sequence[int]) -> str:
    """What feeds a layer, unless it is the layer before it."""
    if list(sources) == [layer - 1]:
        return ""
    names = ["the input" if s < 0 else f"layer {s}" for s in sources]
    return f", takes {' and '.join(names)}"


def network_verilog(parameters: NetworkParameters, *, name: str, image: Image | None = None) -> str:
    """Write a whole network: words in, potentials of the readout out, a load port, no link.

    image: weights that are fixed in it, as ``memory_image`` gives them.
    """
    core = NetworkCore(parameters, image=image)
    notes = []
    for k, (layer, feeds) in enumerate(zip(core.layers, parameters.sources, strict=True)):
        notes.append(f"Layer {k}: {layer_title(layer.parameters)}{_feeds(k, feeds)}")
        notes += [f"  {line}" for line in layer_notes(layer)]
    notes += [
        *(
            f"A buffer of {depth} transfers stands before {'the skip of ' if slot else ''}layer {k}"
            for (k, slot), depth in core.depths.items()
        ),
        "Samples follow each other without a gap; the slowest layer sets the rate.",
        LOAD if image is None else f"{FIXED} CRC-32 of the image: {fixed_crc(image):#010x}.",
        "Memories:",
        *column_lines(parameters),
        f"counters: {', '.join(parameters.counter_names)}, 32 bits each, low bits first.",
        f"Structure (build id): {parameters.build_id:016x}",
    ]
    module = re.sub(r"\W", "_", name)
    module = module if re.match(r"[A-Za-z_]", module) else f"net_{module}"
    return emit(core, name=module, title="a spiking network, event driven", notes=notes)
