"""Single layers after synthesis: what the starting weights of the cost model come from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from spikeloom.errors import ToolError
from spikeloom.hardware.parameters import (
    AddParameters,
    ConvParameters,
    DenseParameters,
    DepthwiseParameters,
    FireParameters,
    Folding,
    LayerParameters,
    PadParameters,
    PoolParameters,
    Window,
)
from spikeloom_hdl.network import make_layer

from spikeloom_boards.cache import default_cache
from spikeloom_boards.flow import FLOWS
from spikeloom_boards.netlist import memory_hints
from spikeloom_boards.toolchain import find_tool

__all__ = ["registers", "sample_layers", "synthesise_layer", "tables"]

_SYNTH = {
    "ecp5": "synth_ecp5 -nodsp -top top -json top.json",
    "ice40": "synth_ice40 -device u -top top -json top.json",
}


def synthesise_layer(layer: LayerParameters, family: str) -> dict[str, int]:
    """Count the cells of one layer after synthesis, by type; kept by content.

    Raises ToolError when yosys is missing or fails.
    """
    from amaranth.back import rtlil

    yosys = find_tool("yosys")
    text = memory_hints(rtlil.convert(make_layer(layer), name="top", emit_src=False), family)
    script = f"read_rtlil top.il\n{_SYNTH[family]}\ntee -q -o stat.json stat -json\n"
    what = json.dumps([text, script, yosys.identity])
    key = hashlib.blake2s(what.encode(), digest_size=12).hexdigest()
    kept = default_cache().parent / "layers" / f"{key}.json"
    if not kept.exists():
        with tempfile.TemporaryDirectory(prefix="spikeloom-layer-") as folder:
            work = Path(folder)
            (work / "top.il").write_text(text)
            (work / "top.ys").write_text(script)
            command = ["nice", "-n", "10", *yosys.command, "-q", "top.ys"]
            done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
            if done.returncode:
                lines = (done.stderr + done.stdout).strip().splitlines() or ["no message"]
                raise ToolError(f"yosys failed with status {done.returncode}: {lines[-1]}")
            cells = json.loads((work / "stat.json").read_text())["design"]["num_cells_by_type"]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(cells))
    return json.loads(kept.read_text())


def sample_layers(family: str) -> dict[str, LayerParameters]:
    """Layers that vary one thing at a time, by name."""
    dsp = "mult18x18d" if family == "ecp5" else "sb_mac16"
    found: dict[str, LayerParameters] = {}

    def fold(lanes: int, slices: int = 1, scan: int = 8, fire: int = 1, **more: Any) -> Folding:
        return Folding(lanes, slices, scan, fire, **more)

    dense = DenseParameters(196, 32, 4, 4, 8, 20, folding=fold(8, multiplier=dsp))

    def vary(name: str, base: Any, **more: Any) -> None:
        found[name] = dataclasses.replace(base, **more)

    vary("dense 8 cells", dense)
    vary("dense 16 cells", dense, folding=fold(16, multiplier=dsp))
    vary("dense 8 LUT", dense, folding=fold(8))
    vary("dense 8 LUT T8", dense, input_bits=8, folding=fold(8))
    vary("dense 8 LUT T2", dense, input_bits=2, folding=fold(8))
    vary("dense 8 LUT W4", dense, weight_bits=4, folding=fold(8))
    vary("dense 8 serial", dense, folding=fold(8, form="serial"))
    vary("dense 8 cells A28", dense, accumulator_bits=28, folding=fold(8, multiplier=dsp))
    vary("dense 8 cells 2 slices", dense, folding=fold(8, 2, multiplier=dsp))
    vary("dense 8 LUT 4 slices", dense, folding=fold(8, 4))
    vary("dense fire 4", dense, folding=fold(8, fire=4, multiplier=dsp))
    vary("dense T8 out", dense, output_bits=8, folding=fold(8, multiplier=dsp))
    vary("dense readout", dense, outputs=10, output_bits=0, folding=fold(2))
    vary("dense one lane", dense, folding=fold(1))
    vary("dense large", dense, inputs=1568, folding=fold(8, multiplier=dsp))
    window = Window(14, 14, 3, 3, 1, 1, 1, 1)
    conv = ConvParameters(8, 16, window, 4, 4, 8, 20, folding=fold(16, 1, 2, 2, multiplier=dsp))
    if family == "ice40":
        conv = dataclasses.replace(conv, outputs=8, folding=fold(8, 1, 2, 2, multiplier=dsp))
    vary("conv cells", conv)
    n = conv.folding.lanes
    vary("conv LUT", conv, folding=fold(n, 1, 2, 2))
    vary("conv 2 slices", conv, folding=fold(n, 2, 2, 2))
    vary("conv 4 slices", conv, folding=fold(4, 4, 4, 2))
    vary("conv 2 units", conv, folding=fold(8, 1, 2, 2, units=2))
    vary("conv 4 units", conv, folding=fold(4, 1, 2, 2, units=4))
    vary("conv serial", conv, folding=fold(8, 1, 2, 2, form="serial"))
    vary("conv one lane", conv, folding=fold(1, 1, 1, 1))
    vary("conv scan 8", conv, folding=fold(8, 1, 8, 4, multiplier=dsp))
    vary("conv first", conv, channels=1, input_bits=8, folding=fold(4, 1, 1, 2))
    vary("conv 12 channels", conv, channels=12, folding=fold(4, 1, 2, 2))
    big = Window(28, 28, 5, 5, 1, 1, 2, 2)
    vary("conv 5x5", conv, window=big, folding=fold(4, 1, 2, 2))
    vary("conv 1x1", conv, window=Window(14, 14, 1, 1), folding=fold(4, 1, 2, 2))
    vary("conv stride", conv, window=Window(14, 14, 3, 3, 2, 2, 1, 1), folding=fold(4, 1, 2, 2))
    vary("conv skip", conv, skip_bits=4, skip_weight_bits=8, folding=fold(4, 1, 2, 2))
    vary("conv potentials", conv, output_bits=0, folding=fold(4, 1, 2, 2))
    two = Window(14, 14, 2, 2, 2, 2)
    for lanes in (1, 4):
        lane = fold(lanes, 1, lanes)
        found[f"max pool {lanes}"] = PoolParameters("max", 16, two, 4, folding=lane)
        found[f"max pool walked {lanes}"] = PoolParameters("max", 16, window, 4, folding=lane)
        found[f"average {lanes}"] = PoolParameters(
            "average", 16, two, 4, output_bits=4, threshold=4, bias=2, folding=lane
        )
        found[f"average of 9, {lanes}"] = PoolParameters(
            "average", 16, window, 4, output_bits=4, threshold=9, bias=4, folding=lane
        )
        found[f"max of potentials {lanes}"] = PoolParameters(
            "max", 16, two, 20, signed=True, folding=lane
        )
        found[f"fire {lanes}"] = FireParameters(196, 16, 20, 4, folding=lane)
        found[f"add {lanes}"] = AddParameters(196, 16, 4, 4, 9, 16, 4, folding=lane)
        found[f"pad {lanes}"] = PadParameters(14, 14, 1, 1, 1, 1, 16, 4, folding=lane)
        found[f"depthwise {lanes}"] = DepthwiseParameters(
            16, window, 4, 4, 8, 20, folding=fold(lanes, 1, lanes, lanes, multiplier=dsp)
        )
        found[f"depthwise LUT {lanes}"] = DepthwiseParameters(
            16, window, 4, 4, 8, 20, folding=fold(lanes, 1, lanes, 1)
        )
    return found


def tables(cells: dict[str, int], family: str) -> int:
    """Four-input tables of cells counted by type."""
    return sum(count * cells.get(cell, 0) for cell, count in FLOWS[family].luts.items())


def registers(cells: dict[str, int], family: str) -> int:
    """Registers of cells counted by type."""
    return sum(n for cell, n in cells.items() if cell.startswith(FLOWS[family].flip_flops))
