"""Block RAM with two reading ports: behaviour, and what synthesis makes of it."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from amaranth.back import rtlil
from amaranth.back.verilog import _convert_rtlil_text
from amaranth.sim import Simulator
from spikeloom_boards.toolchain import find_tool
from spikeloom_hdl.dual_memory import DualColumnMemory, DualMemory
from spikeloom_hdl.memory import relax_collisions


def simulate(component, testbench):
    sim = Simulator(component)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()


async def fill(ctx, ram, rows):
    for row in range(rows):
        ctx.set(ram.row_a, row)
        ctx.set(ram.write_data, 100 + row)
        ctx.set(ram.write, 1)
        await ctx.tick()
    ctx.set(ram.write, 0)


def test_both_ports_read_rows_of_their_own_and_keep_them():
    ram = DualMemory(rows=5, bits=9)

    async def main(ctx):
        await fill(ctx, ram, 5)
        for a, b in ((3, 1), (0, 0), (4, 2)):
            ctx.set(ram.row_a, a)
            ctx.set(ram.row_b, b)
            ctx.set(ram.read_a, 1)
            ctx.set(ram.read_b, 1)
            await ctx.tick()
            assert (ctx.get(ram.data_a), ctx.get(ram.data_b)) == (100 + a, 100 + b)
            ctx.set(ram.read_a, 0)
            ctx.set(ram.read_b, 0)
            ctx.set(ram.row_a, 1)
            ctx.set(ram.row_b, 3)
            await ctx.tick()
            assert (ctx.get(ram.data_a), ctx.get(ram.data_b)) == (100 + a, 100 + b)

    simulate(ram, main)


def test_fixed_contents_are_there_at_both_ports_from_the_start():
    words = [[5, 0, 511, 3, 7], [1, 2, 3, 4, 5]]
    ram = DualColumnMemory(columns=2, rows=5, bits=9, contents=words)

    async def main(ctx):
        for a, b in ((3, 1), (0, 0), (4, 2)):
            for name, value in (("row_a", a), ("row_b", b), ("read_a", 1), ("read_b", 1)):
                ctx.set(getattr(ram, name), value)
            await ctx.tick().repeat(2)
            for c in range(2):
                assert ctx.get(ram.data_a[c]) == words[c][a]
                assert ctx.get(ram.data_b[c]) == words[c][b]

    simulate(ram, main)


def test_writing_fixed_contents_is_a_fault():
    ram = DualColumnMemory(columns=1, rows=2, bits=9, contents=[[5, 6]])

    async def main(ctx):
        ctx.set(ram.write, 1)
        await ctx.tick().repeat(2)

    with pytest.raises(AssertionError, match="a memory with fixed contents is written"):
        simulate(ram, main)


def test_contents_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="contents must be 5 words, not 4"):
        DualMemory(rows=5, bits=9, contents=[1] * 4)
    with pytest.raises(ValueError, match="contents must be of 2 columns, not of 1"):
        DualColumnMemory(columns=2, rows=1, bits=9, contents=[[1]])


def test_port_a_keeps_its_word_while_another_row_is_written():
    ram = DualMemory(rows=5, bits=9)

    async def main(ctx):
        await fill(ctx, ram, 5)
        ctx.set(ram.row_a, 2)
        ctx.set(ram.read_a, 1)
        await ctx.tick()
        ctx.set(ram.read_a, 0)
        await fill(ctx, ram, 2)
        assert ctx.get(ram.data_a) == 102

    simulate(ram, main)


def both_kinds():
    return [DualMemory(rows=4, bits=8), DualColumnMemory(columns=2, rows=4, bits=8)]


@pytest.mark.parametrize("ram", both_kinds(), ids=["memory", "columns"])
def test_reading_through_the_port_that_writes_is_a_fault(ram):
    async def main(ctx):
        ctx.set(ram.row_a, 1)
        ctx.set(ram.write, 1)
        await ctx.tick()
        ctx.set(ram.read_a, 1)
        await ctx.tick()

    with pytest.raises(AssertionError, match="row 1 is read (and written|while)"):
        simulate(ram, main)


@pytest.mark.parametrize("ram", both_kinds(), ids=["memory", "columns"])
def test_reading_what_is_written_through_the_other_port_is_a_fault(ram):
    async def main(ctx):
        ctx.set(ram.write, 1)
        ctx.set(ram.read_b, 1)
        ctx.set(ram.row_b, 1)
        await ctx.tick()  # other rows: allowed
        ctx.set(ram.row_a, 1)
        await ctx.tick()

    with pytest.raises(AssertionError, match="row 1 is read and written in one cycle"):
        simulate(ram, main)


def test_columns_are_written_one_by_one_and_read_together():
    ram = DualColumnMemory(columns=3, rows=4, bits=8)

    async def main(ctx):
        for row in range(4):
            for column in range(3):
                ctx.set(ram.row_a, row)
                ctx.set(ram.write_data, 16 * row + column)
                ctx.set(ram.write, 1 << column)
                await ctx.tick()
        ctx.set(ram.write, 0)
        ctx.set(ram.read_a, 1)
        ctx.set(ram.read_b, 1)
        for row in range(4):
            ctx.set(ram.row_a, row)
            ctx.set(ram.row_b, 3 - row)
            await ctx.tick()
            if row:  # two cycles after the read
                assert list(ctx.get(ram.data_a)) == [16 * (row - 1) + c for c in range(3)]
                assert list(ctx.get(ram.data_b)) == [16 * (4 - row) + c for c in range(3)]

    simulate(ram, main)


@pytest.mark.parametrize(("rows", "bits"), [(0, 8), (8, 0)])
def test_wrong_parameters(rows, bits):
    message = re.escape(f"a memory needs >= 1 rows and bits, not {rows} rows of {bits} bits")
    with pytest.raises(ValueError, match=message):
        DualMemory(rows=rows, bits=bits)


@pytest.mark.parametrize("language", ["rtlil", "verilog"])
def test_one_block_serves_two_readers(tmp_path, language):
    """Two columns of 1024 x 32, read twice: the blocks of one copy, bare registers, an enable."""
    ram = DualColumnMemory(columns=2, rows=1024, bits=32)
    text = relax_collisions(rtlil.convert(ram, emit_src=False))
    if language == "verilog":
        text = _convert_rtlil_text(text)
    (tmp_path / f"top.{language}").write_text(text)
    read = "read_rtlil" if language == "rtlil" else "read_verilog -sv"
    script = (
        f"{read} top.{language}; chformal -remove; synth_ecp5 -top top; write_json top.json;"
        " tee -q -o stat.json stat -json"
    )
    command = [*find_tool("yosys").command, "-q", "-p", script]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    stat = json.loads((tmp_path / "stat.json").read_text())["design"]["num_cells_by_type"]
    cells = {kind.rsplit("\\", 1)[-1]: n for kind, n in stat.items() if kind != "$scopeinfo"}
    assert cells == {"DP16KD": 4, "TRELLIS_FF": 128, "LUT4": 2}
    module = json.loads((tmp_path / "top.json").read_text())["modules"]["top"]
    row_a, row_b = (module["ports"][f"row_{port}"]["bits"] for port in "ab")
    for cell in module["cells"].values():
        if cell["type"] == "DP16KD":
            pins, settings = cell["connections"], cell["parameters"]
            # what the port that writes gives meanwhile is nobody's business: the plain mode
            assert settings["WRITEMODE_A"] == "NORMAL"
            assert [pins[f"ADA{k}"][0] for k in range(4, 14)] == row_a
            assert [pins[f"ADB{k}"][0] for k in range(4, 14)] == row_b
            assert pins["WEB"] == ["0"]
