"""The link stays small: cells of the accelerator around an empty network core."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, ClockSignal, Instance, Module
from amaranth.lib import wiring
from spikeloom.errors import ToolError
from spikeloom.hardware.parameters import DenseParameters, Folding, NetworkParameters
from spikeloom_boards.toolchain import find_tool
from spikeloom_hdl import accelerator
from spikeloom_hdl.memory import relax_collisions
from spikeloom_hdl.network import NetworkCore

LUTS, BLOCK_RAMS = 2000, 8

PARAMETERS = NetworkParameters(
    (
        DenseParameters(784, 128, 8, 4, 8, 20, folding=Folding(lanes=8, scan=8)),
        DenseParameters(128, 10, 4, 0, 8, 18, folding=Folding(lanes=2, scan=8)),
    )
)


class EmptyCore(wiring.Component):
    """The ports of a NetworkCore, and a black box behind them."""

    def __init__(self, parameters: NetworkParameters, image: Any = None) -> None:
        super().__init__(NetworkCore(parameters, image=image).signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ins, outs = [], []
        for _, member, value in self.signature.flatten(self):
            (ins if member.flow == wiring.In else outs).append(value)
        m.submodules.core = Instance("CORE", i_clk=ClockSignal(), i_i=Cat(*ins), o_o=Cat(*outs))
        return m


def test_the_link_fits_a_small_fpga(monkeypatch, tmp_path, capsys):
    try:
        yosys = find_tool("yosys")
    except ToolError as error:
        pytest.skip(f"needs Yosys: {error}")
    monkeypatch.setattr(accelerator, "NetworkCore", EmptyCore)
    dut = accelerator.Accelerator(PARAMETERS, clock_hz=24e6)
    ports = [dut.rx, dut.tx, dut.heartbeat, dut.link_error, dut.link_active]
    text = relax_collisions(rtlil.convert(dut, ports=ports, emit_src=False))
    cell = re.search(r"cell \\CORE .*?\n(.*?)\n  end", text, re.S)
    assert cell is not None
    core = dut._core
    widths = {wiring.In: 0, wiring.Out: 0}
    for _, member, value in core.signature.flatten(core):
        widths[member.flow] += len(value.as_value() if hasattr(value, "as_value") else value)
    (tmp_path / "link.il").write_text(text)
    (tmp_path / "core.v").write_text(
        f"module CORE(input clk, input [{widths[wiring.In] - 1}:0] i,"
        f" output [{widths[wiring.Out] - 1}:0] o); endmodule\n"
    )
    (tmp_path / "link.ys").write_text(
        "read_rtlil link.il\nread_verilog -lib core.v\nsynth_ice40 -top top\n"
        "tee -q -o stat.json stat -json\n"
    )
    subprocess.run([*yosys.command, "-q", "link.ys"], cwd=tmp_path, check=True)
    cells = json.loads((tmp_path / "stat.json").read_text())["design"]["num_cells_by_type"]
    with capsys.disabled():
        print(f"\nlink on iCE40: {cells['SB_LUT4']} LUT4, {cells['SB_RAM40_4K']} block RAMs")
    assert cells["SB_LUT4"] <= LUTS
    assert cells["SB_RAM40_4K"] <= BLOCK_RAMS
