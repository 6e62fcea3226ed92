"""Area and Fmax of a core by itself: its own cells are counted, results are kept, misfits named."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.errors import BuildError, ToolError
from spikeloom_boards.core_area import TARGETS, measure_core
from spikeloom_boards.toolchain import find_tool
from spikeloom_hdl.memory import BlockMemory


class Inverter(wiring.Component):
    """24 + 1 flip-flops and, if ``rows``, block RAMs of 256 rows of 16 bits."""

    def __init__(self, *, memories=0):
        self.memories = memories
        super().__init__({"i": In(stream.Signature(24)), "o": Out(stream.Signature(24))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        value = Signal(24)
        m.d.comb += value.eq(~self.i.payload)
        for k in range(self.memories):
            m.submodules[f"ram_{k}"] = ram = BlockMemory(rows=256, bits=16)
            m.d.comb += [
                ram.read.eq(self.i.valid),
                ram.read_row.eq(self.i.payload[:8] + k),
                ram.write.eq(~self.i.valid),
                ram.write_row.eq(self.i.payload[8:16]),
                ram.write_data.eq(self.i.payload[:16]),
            ]
            value = value ^ ram.read_data
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(value)]
        return m


@pytest.fixture(autouse=True)
def tools():
    try:
        find_tool("yosys"), find_tool("nextpnr-ice40")
    except ToolError as error:
        pytest.skip(f"needs the open tools: {error}")


def test_the_cells_of_the_core_alone_are_counted(tmp_path):
    lines = []
    target = TARGETS["up5k"]
    area = measure_core(Inverter(memories=2), target, cache_dir=tmp_path, progress=lines.append)
    assert area.flip_flops == 24 + 1
    assert area.block_ram == 2
    assert (area.dsp, area.lut_ram) == (0, 0)
    # each output bit is an exclusive or of three (16 of them) or one; sums of row numbers, ready
    assert 24 <= area.lut4 <= 45
    assert 20 < area.fmax_mhz < 200
    assert area.device == target.device
    assert "yosys" in lines
    assert any(line.startswith("nextpnr-ice40, seed 1") for line in lines)
    # the same again costs nothing, another core is another entry
    lines.clear()
    again = measure_core(Inverter(memories=2), target, cache_dir=tmp_path, progress=lines.append)
    assert again == area
    assert lines == []
    assert [path.stem for path in tmp_path.iterdir()] == [area.netlist]


def test_a_core_that_does_not_fit_is_named(tmp_path):
    with pytest.raises(BuildError, match="does not fit the device: ERROR: .*RAM"):
        measure_core(Inverter(memories=31), TARGETS["up5k"], cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())
