"""Real bitstreams: reports, the cache, and builds that must fail."""

import json

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from spikeloom.errors import BuildError, ToolError
from spikeloom.hardware.memory_image import columns, image_crc
from spikeloom.hardware.parameters import DenseParameters, Folding, NetworkParameters
from spikeloom_boards.board import BoardTop
from spikeloom_boards.build import MARGIN, build
from spikeloom_boards.netlist import board_verilog, post_synthesis_verilog, prepare, structure
from spikeloom_boards.registry import board
from spikeloom_boards.report import BuildReport
from spikeloom_hdl.memory import BlockMemory
from spikeloom_sim.random_network import random_network


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


def test_fixed_weights_need_a_network_and_memories_that_hold_them():
    network = random_network((16, 8, 4), seed=1)
    spram = [Folding(lanes=2, weight_memory="spram"), Folding(lanes=2)]
    with pytest.raises(BuildError, match="fixed weights need a network: these are parameters"):
        build("icebreaker", network.parameters(spram), fixed=True)
    with pytest.raises(BuildError, match="layer 0: fixed weights cannot lie in SPRAM"):
        build("icebreaker", network, foldings=spram, fixed=True)
    with pytest.raises(BuildError, match="foldings go with a network"):
        build("icebreaker", network.parameters(spram), foldings=spram)


def test_a_board_folds_fixed_weights_without_spram():
    network = random_network((256, 24, 10), seed=1)
    device = board("icebreaker")
    memories = {
        fixed: {fold.weight_memory for fold in device.fold(network, fixed=fixed)}
        for fixed in (False, True)
    }
    assert "spram" in memories[False]
    assert memories[True] == {"block"}


def test_weights_are_part_of_the_design_only_where_they_are_fixed():
    device = board("ulx3s-85f")
    foldings = [Folding(lanes=4), Folding(lanes=2)]
    parameters = random_network((16, 8, 4), seed=1, spare_bits=2).parameters(foldings)
    designs, described = [], []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        image = [
            (c, rng.integers(0, 1 << c.bits, c.rows, dtype=np.uint32)) for c in columns(parameters)
        ]
        designs.append(prepare(device, parameters, image=image).content())
        described.append(json.loads(structure(device, parameters, image)))
        assert described[-1].pop("weights_crc") == f"{image_crc(image):08x}"
    assert designs[0] != designs[1]
    loaded = prepare(device, parameters)
    assert loaded.content() == prepare(device, parameters).content()
    assert 'rom_style "block"' not in loaded.files["top.il"]
    assert json.loads(structure(device, parameters)) == described[0] == described[1]


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
