"""Real bitstreams: reports, the cache, and builds that must fail."""

import json

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from spikeloom.errors import BuildError, ToolError
from spikeloom.hardware.parameters import DenseParameters, NetworkParameters
from spikeloom_boards.board import BoardTop
from spikeloom_boards.build import MARGIN, build
from spikeloom_boards.netlist import board_verilog, post_synthesis_verilog
from spikeloom_boards.registry import board
from spikeloom_boards.report import BuildReport
from spikeloom_hdl.memory import BlockMemory


class Loopback(wiring.Component):
    """Stands in for the accelerator: bytes come back; ``memories`` take room."""

    rx: In(1, init=1)
    tx: Out(1, init=1)
    heartbeat: Out(1)
    link_error: Out(1)
    link_active: Out(1)

    def __init__(self, memories=1):
        self.memories = memories
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        count = Signal(24)
        m.d.sync += [count.eq(count + 1), self.tx.eq(self.rx)]
        read = []
        for k in range(self.memories):
            m.submodules[f"ram_{k}"] = ram = BlockMemory(rows=256, bits=16)
            m.d.comb += [
                ram.write.eq(self.rx),
                ram.write_row.eq(count),
                ram.write_data.eq(count + k),
                ram.read.eq(1),
                ram.read_row.eq(~count),
            ]
            read.append(ram.read_data[k % 16])
        m.d.comb += [self.heartbeat.eq(count[-1]), self.link_error.eq(Cat(read).xor())]
        return m


def tiny():
    """The structure that a report describes; the loopback ignores it."""
    return NetworkParameters(
        (
            DenseParameters(16, 8, 8, 4, 8, 20),
            DenseParameters(8, 4, 4, 0, 8, 18),
        )
    )


def loopback(name, **kwargs):
    device = board(name)
    return device, BoardTop(device, tiny(), core=Loopback(**kwargs))


@pytest.mark.parametrize("name", ["icebreaker", "ulx3s-12f"])
def test_bitstream_report_and_cache(tmp_path, name):
    lines = []

    def once(out):
        device, top = loopback(name)
        return build(
            device,
            tiny(),
            out_dir=tmp_path / out,
            cache_dir=tmp_path / "cache",
            progress=lines.append,
            top=top,
        )

    report = once("first")
    device = board(name)
    image = (tmp_path / "first" / report.bitstream).read_bytes()
    assert len(image) > 10_000
    assert report.board == name
    assert report.build_id == f"{tiny().build_id:016x}"
    assert report.clock_hz == device.clock_hz
    assert report.fmax_hz >= MARGIN * report.clock_hz
    assert report.flip_flops >= 24
    assert report.luts > 0
    assert report.block_rams == 1
    assert 0 < report.logic_cells <= report.logic_cells_available
    assert report.block_rams_available == device.resources.block_rams
    assert report.multipliers_available == device.resources.multipliers
    assert report.spram_available == device.resources.spram
    assert report.logic_cells_available == device.resources.luts
    assert "yosys" in report.tools
    written = (tmp_path / "first" / "report.json").read_text()
    assert BuildReport.from_json(written) == report
    assert f"{report.fmax_hz / 1e6:.3f} MHz" in (tmp_path / "first" / "report.txt").read_text()
    described = json.loads((tmp_path / "first" / "structure.json").read_text())
    assert NetworkParameters.from_words(tuple(described["words"])) == tiny()
    assert any("place" in line or "placing" in line for line in lines)

    lines.clear()
    assert once("second") == report
    assert (tmp_path / "second" / report.bitstream).read_bytes() == image
    assert lines == [f"{device.title}: elaborating", lines[-1]]
    assert "cache" in lines[-1]

    # a damaged cache is built again, not handed out
    stored = next((tmp_path / "cache").glob("*/" + report.bitstream))
    stored.write_bytes(image[:-1])
    lines.clear()
    assert once("third").luts == report.luts
    assert any("synthesis" in line for line in lines)
    assert (tmp_path / "third" / report.bitstream).read_bytes() == image


def test_timing_failure_names_both_numbers(tmp_path):
    device = board("icebreaker").at_clock(270e6)
    top = BoardTop(device, tiny(), core=Loopback())
    with pytest.raises(BuildError, match=r"clock of 270 MHz needs .* 283\.5 MHz.* reached \d+"):
        build(
            device,
            tiny(),
            out_dir=tmp_path / "out",
            cache_dir=tmp_path / "cache",
            seeds=(1,),
            top=top,
        )
    assert not list(tmp_path.glob("**/top.bin"))
    assert (tmp_path / "out" / "nextpnr.log").exists()


def test_too_large_a_design_names_the_resource(tmp_path):
    device, top = loopback("icebreaker", memories=31)
    with pytest.raises(BuildError, match=r"does not fit the device: ICESTORM_RAM 31 of 30"):
        build(
            device,
            tiny(),
            out_dir=tmp_path / "out",
            cache_dir=tmp_path / "cache",
            top=top,
        )


def test_failing_tool_is_named(tmp_path, monkeypatch):
    broken = tmp_path / "broken-yosys"
    broken.write_text("#!/bin/sh\necho 'ERROR: nothing works today'\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("YOSYS", str(broken))
    device, top = loopback("icebreaker")
    with pytest.raises(ToolError, match="yosys failed with status 3: ERROR: nothing works today"):
        build(device, tiny(), out_dir=tmp_path / "out", cache_dir=tmp_path / "cache", top=top)


@pytest.mark.parametrize(
    ("name", "pll"), [("icebreaker", "SB_PLL40_PAD"), ("ulx3s-85f", "EHXPLLL")]
)
def test_board_verilog_keeps_vendor_cells(name, pll):
    device, top = loopback(name)
    text = board_verilog(device, tiny(), top=top)
    assert "module top(" in text
    assert f"  {pll} " in text
    assert "SB_LUT4" not in text
    assert "LUT4" not in text


def test_post_synthesis_netlist_is_cells_only():
    device, top = loopback("icebreaker")
    text = post_synthesis_verilog(device, tiny(), top=top)
    assert "module top(" in text
    assert text.count("module ") == text.count("endmodule") == 1
    assert "  SB_LUT4 " in text
    assert "SB_PLL40_PAD" in text
    assert "always" not in text
