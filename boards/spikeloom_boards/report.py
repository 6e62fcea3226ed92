"""What a build reports: resources, timing and where the bitstream came from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["BuildReport", "layer_line"]


@dataclass(frozen=True)
class BuildReport:
    """The result of a build, beside its bitstream as report.json and report.txt.

    luts, flip_flops: cells after synthesis. block_rams, multipliers, spram: as placed.
    logic_cells, logic_cells_available: LUT and register pairs as placed (iCE40), LUTs (ECP5).
    fmax_hz: what nextpnr guarantees for the clock that the design uses, ``clock_hz``.
    build_id: hash of the network's structure; the driver asks the board for it. key: hash of
    everything that went into the bitstream. seconds: wall time of the build (of the first one when
    it came from the cache). weights_crc: of weights that are fixed in the bitstream, else empty.
    """

    board: str
    device: str
    build_id: str
    key: str
    luts: int
    flip_flops: int
    logic_cells: int
    logic_cells_available: int
    block_rams: int
    block_rams_available: int
    multipliers: int
    multipliers_available: int
    spram: int
    spram_available: int
    clock_hz: float
    fmax_hz: float
    seed: int
    seconds: float
    bitstream: str
    tools: dict[str, str]
    layers: list[dict[str, Any]]
    weights_crc: str = ""

    @property
    def margin(self) -> float:
        """Fmax over the clock; a build with less than 1.05 fails."""
        return self.fmax_hz / self.clock_hz

    def to_json(self) -> str:
        """Serialise to JSON text."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> BuildReport:
        """Read :meth:`to_json` back."""
        return cls(**json.loads(text))

    def to_text(self) -> str:
        """Return the report for people."""
        rows = [
            ("LUT", self.luts, None),
            ("flip-flops", self.flip_flops, None),
            ("logic cells", self.logic_cells, self.logic_cells_available),
            ("block RAM", self.block_rams, self.block_rams_available),
            ("DSP", self.multipliers, self.multipliers_available),
            ("SPRAM", self.spram, self.spram_available),
        ]
        lines = [
            f"{self.bitstream} for {self.board} ({self.device})",
            f"build id {self.build_id}, content {self.key}",
        ]
        if self.weights_crc:
            lines.append(f"weights fixed in the bitstream, CRC {self.weights_crc}")
        lines.append("")
        for name, used, available in rows:
            if available == 0:
                continue
            of = f" of {available:6d}  {used / available:6.1%}" if available else ""
            lines.append(f"{name:12s} {used:7d}{of}")
        lines += [
            "",
            f"clock  {self.clock_hz / 1e6:8.3f} MHz",
            f"Fmax   {self.fmax_hz / 1e6:8.3f} MHz  ({self.margin:.2f} x clock, seed {self.seed})",
            "",
        ]
        lines += [layer_line(index, layer) for index, layer in enumerate(self.layers)]
        lines += ["", f"built in {self.seconds:.0f} s with"]
        lines += [f"  {name} {version}" for name, version in self.tools.items()]
        return "\n".join(lines) + "\n"


def layer_line(index: int, layer: dict[str, Any]) -> str:
    """Say what a layer is and how it is folded; ``layer`` is its parameters, with ``kind``."""
    fold, parts = layer["folding"], []
    if "inputs" in layer:
        parts.append(f"{layer['inputs']} x {layer['outputs']}")
    elif "channels" in layer and "outputs" in layer:
        parts.append(f"{layer['channels']} > {layer['outputs']} channels")
    else:
        parts.append(f"{layer.get('channels', layer.get('outputs'))} channels")
    window = layer.get("window")
    if window is not None:
        kernel = f"{window['kernel_height']}x{window['kernel_width']}"
        parts.append(f"{kernel} windows of {window['height']}x{window['width']} pixels")
    names = {
        "input_bits": "T",
        "bits": "T",
        "weight_bits": "W",
        "accumulator_bits": "A",
    }
    parts += [f"{short}={layer[name]}" for name, short in names.items() if layer.get(name)]
    if "output_bits" in layer and layer["kind"] != "pool":
        last = "readout" if layer["kind"] == "dense" else "potentials"
        parts.append("fires" if layer["output_bits"] else last)
    line = f"layer {index}: {layer['kind']}, {', '.join(parts)}; {fold['lanes']} lanes"
    if "weight_bits" not in layer or layer["kind"] == "add":
        return line
    units = f", {fold['units']} units" if fold["units"] > 1 else ""
    units += " in pairs" if fold.get("paired") else ""  # older reports lack it
    return (
        f"{line}, {fold['slices']} slices{units}, {fold['fire_lanes']} fire lanes,"
        f" {fold['multiplier']}, {fold['weight_memory']}"
    )
