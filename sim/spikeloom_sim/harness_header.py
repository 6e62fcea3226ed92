"""The ports of a network core for the C++ of the data-set harness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikeloom.hardware.parameters import NetworkParameters, SynapseParameters

__all__ = ["core_header"]

_STREAMS = (("INPUT", "i"), ("OUTPUT", "o"), ("LOAD", "load"))


def _words32(bits: int) -> int:
    """32-bit words that a Verilated port of so many bits is copied to."""
    return max(2, -(-bits // 32))


def _quiet_limit(parameters: NetworkParameters) -> int:
    """Cycles without a transfer anywhere after which a core is stuck: no pixel takes as long."""
    work = 10_000
    for layer in parameters.layers:
        if isinstance(layer, SynapseParameters):
            fold = layer.folding
            bits = layer.input_bits if fold.form == "serial" else 1
            work += 2 * layer.passes * (layer.rows_per_pass * bits + fold.lanes + 64)
    return work


def core_header(
    parameters: NetworkParameters, depths: Mapping[tuple[int, int], int], *, fixed: bool = False
) -> str:
    """Describe the ports of a core, with buffers of the given depths, as core.h.

    fixed: its memories cannot be written.
    """
    first, last = parameters.input_port, parameters.layers[-1].port_out
    probes, widest = [], 1
    for index in parameters.potential_layers:
        layer: Any = parameters.layers[index]
        lanes, bits = layer.port_out.lanes, layer.accumulator_bits
        probes.append(f"  X({index}, probe_{index}_valid, probe_{index}, {lanes}, {bits})")
        widest = max(widest, lanes * bits)
    shown = []
    for index in parameters.output_layers:
        port = parameters.layers[index].port_out
        sign = "signed_field" if port.signed else "unsigned_field"
        name = f"words_{index}"
        shown.append(f"  X({index}, {name}_valid, {name}, {port.lanes}, {port.bits}, {sign})")
        widest = max(widest, port.lanes * port.bits)
    fifos = []
    for index, ((layer, slot), depth) in enumerate(depths.items()):
        name = f"fifo_{layer}_{slot}"
        fifos.append(f'  X({index}, "{name}", {depth}, {name}_level, {name}_stalled)')
    flows = [
        f"  X({k}, flow_{k}, {int(len(feeds) > 1)})" for k, feeds in enumerate(parameters.sources)
    ]
    constants = {
        "LAYERS": len(parameters.layers),
        "FIXED": int(fixed),
        "INPUTS": first.transfers * first.lanes,
        "SCAN": first.lanes,
        "IN_BITS": first.bits,
        "IN_WORDS": _words32(first.lanes * first.bits + 2),
        "BEATS": first.transfers,
        "OUT_LANES": last.lanes,
        "OUT_BITS": last.bits,
        "OUT_WORDS": _words32(last.lanes * last.bits + 2),
        "OUT_TRANSFERS": last.transfers,
        "PROBE_WORDS": _words32(widest),
        "COUNTERS": len(parameters.counter_names),
        "BUFFERS": len(depths),
        "QUIET_LIMIT": _quiet_limit(parameters),
    }
    lines = ["#pragma once", *(f"#define {name} {value}" for name, value in constants.items())]
    # Verilator writes the double underscore of a Verilog name as an escape
    lines += [f"#define {name}(pin) {stream}___05F##pin" for name, stream in _STREAMS]
    for name, entries in (
        ("PROBES", probes),
        ("OUTPUTS", shown),
        ("FIFOS", fifos),
        ("FLOWS", flows),
    ):
        lines += [f"#define {name}(X) \\", " \\\n".join(entries) or " "]
    return "\n".join([*lines, ""])
