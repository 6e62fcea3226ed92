"""The block-RAM wrapper: behaviour, and what synthesis makes of it."""

from __future__ import annotations

import json
import random
import re
import subprocess

import pytest
from amaranth.back import rtlil
from amaranth.back.verilog import _convert_rtlil_text
from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import memory
from amaranth.sim import Simulator
from spikeloom.hardware.parameters import DenseParameters, Folding
from spikeloom_boards.toolchain import find_tool
from spikeloom_hdl.layers.dense import Dense
from spikeloom_hdl.memory import BlockMemory, ColumnMemory, Rom, relax_collisions


def simulate(component, testbench):
    sim = Simulator(component)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()


def test_block_memory_keeps_its_output():
    ram = BlockMemory(rows=5, bits=9)

    async def main(ctx):
        for row in range(5):
            ctx.set(ram.write_row, row)
            ctx.set(ram.write_data, 100 + row)
            ctx.set(ram.write, 1)
            await ctx.tick()
        ctx.set(ram.write, 0)
        for row in (3, 0, 4):
            ctx.set(ram.read_row, row)
            ctx.set(ram.read, 1)
            await ctx.tick()
            assert ctx.get(ram.read_data) == 100 + row
            ctx.set(ram.read, 0)
            ctx.set(ram.read_row, 1)
            await ctx.tick()
            assert ctx.get(ram.read_data) == 100 + row

    simulate(ram, main)


def test_reading_what_is_written_is_a_fault():
    ram = BlockMemory(rows=4, bits=8)

    async def main(ctx):
        ctx.set(ram.write, 1)
        ctx.set(ram.read, 1)
        ctx.set(ram.read_row, 1)
        await ctx.tick()  # other rows: allowed
        ctx.set(ram.write_row, 1)
        await ctx.tick()

    with pytest.raises(AssertionError, match="row 1 is read and written"):
        simulate(ram, main)


def test_columns_are_written_one_by_one_and_read_together():
    ram = ColumnMemory(columns=3, rows=4, bits=8)

    async def main(ctx):
        for row in range(4):
            for column in range(3):
                ctx.set(ram.write_row, row)
                ctx.set(ram.write_data, 16 * row + column)
                ctx.set(ram.write, 1 << column)
                await ctx.tick()
        ctx.set(ram.write, 0)
        ctx.set(ram.read, 1)
        for row in range(4):
            ctx.set(ram.read_row, row)
            await ctx.tick()
            if row:
                assert list(ctx.get(ram.read_data)) == [16 * (row - 1) + c for c in range(3)]
        ctx.set(ram.advance, 0)
        await ctx.tick()
        assert list(ctx.get(ram.read_data)) == [32 + c for c in range(3)]
        ctx.set(ram.advance, 1)
        await ctx.tick()
        assert list(ctx.get(ram.read_data)) == [48 + c for c in range(3)]

    simulate(ram, main)


def random_columns(columns, rows, bits, seed=1):
    generator = random.Random(seed)
    return [[generator.randrange(1 << bits) for _ in range(rows)] for _ in range(columns)]


@pytest.mark.parametrize("kind", ["block", "distributed", "any"])
def test_fixed_columns_hold_their_contents_from_the_start(kind):
    contents = random_columns(3, 5, 8)
    ram = ColumnMemory(columns=3, rows=5, bits=8, kind=kind, contents=contents)

    async def main(ctx):
        ctx.set(ram.read, 1)
        for row in range(5):
            ctx.set(ram.read_row, row)
            await ctx.tick()
            if row:
                assert list(ctx.get(ram.read_data)) == [words[row - 1] for words in contents]
        ctx.set(ram.advance, 0)
        await ctx.tick()
        assert list(ctx.get(ram.read_data)) == [words[3] for words in contents]
        ctx.set(ram.advance, 1)
        await ctx.tick()
        assert list(ctx.get(ram.read_data)) == [words[4] for words in contents]

    simulate(ram, main)


def test_writing_fixed_columns_is_a_fault():
    ram = ColumnMemory(columns=2, rows=2, bits=8, contents=[[1, 2], [3, 4]])

    async def main(ctx):
        ctx.set(ram.write, 2)
        await ctx.tick()
        await ctx.tick()

    with pytest.raises(AssertionError, match="a memory with fixed contents is written"):
        simulate(ram, main)


def test_too_wide_a_word_of_a_fixed_column_is_refused():
    ram = ColumnMemory(columns=1, rows=2, bits=2, contents=[[3, 4]])
    with pytest.raises(ValueError, match=re.escape("a ROM needs words in 0..3")):
        rtlil.convert(ram)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BlockMemory(rows=0, bits=8), "a memory needs >= 1 rows and bits, not 0 rows"),
        (lambda: BlockMemory(rows=8, bits=0), "not 8 rows of 0 bits"),
        (
            lambda: ColumnMemory(columns=1, rows=8, bits=8, kind="flash"),
            "kind must be 'block', 'spram', 'distributed' or 'any', not 'flash'",
        ),
        (
            lambda: ColumnMemory(columns=1, rows=2, bits=8, kind="spram", contents=[[1, 2]]),
            "SPRAM powers up random and holds no contents: use kind 'block' or 'distributed'",
        ),
        (
            lambda: ColumnMemory(columns=2, rows=2, bits=8, contents=[[1, 2], [3]]),
            "contents must be 2 columns of 2 words, not columns of [2, 1]",
        ),
        (
            lambda: ColumnMemory(columns=2, rows=1, bits=8, contents=[[1]]),
            "contents must be 2 columns of 1 words, not columns of [1]",
        ),
    ],
)
def test_wrong_parameters(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_too_deep_for_spram():
    ram = ColumnMemory(columns=1, rows=(1 << 14) + 1, bits=8, kind="spram")
    with pytest.raises(ValueError, match="1 to 16384 rows, not 16385"):
        rtlil.convert(ram)


def mixed_memories():
    """A wrapped memory, a plain one, and one with a transparent port, as RTLIL."""
    m = Module()
    m.submodules.wrapped = wrapped = BlockMemory(rows=16, bits=8)
    ports = []
    for name in ("read_row", "read", "write_row", "write", "write_data"):
        port = Signal(getattr(wrapped, name).shape(), name=name)
        m.d.comb += getattr(wrapped, name).eq(port)
        ports.append(port)
    total = wrapped.read_data
    for name, attrs, transparent in (("plain", {}, False), ("clear", {"no_rw_check": 1}, True)):
        ram = memory.Memory(shape=unsigned(8), depth=16, init=[], attrs=attrs)
        m.submodules[name] = ram
        write = ram.write_port()
        read = ram.read_port(transparent_for=(write,) if transparent else ())
        row, word, enable = Signal(4), Signal(8), Signal()
        m.d.comb += [
            read.addr.eq(row),
            read.en.eq(1),
            write.addr.eq(row),
            write.data.eq(word),
            write.en.eq(enable),
        ]
        ports += [row, word, enable]
        total = total ^ read.data
    out = Signal(8)
    m.d.comb += out.eq(total)
    return rtlil.convert(m, ports=[*ports, out], emit_src=False)


def test_relax_collisions_changes_only_what_it_should():
    text = mixed_memories()
    assert text.count("cell $check") == 1
    assert text.count("cell $meminit_v2") == 3
    relaxed = relax_collisions(text)

    def masks(rtlil_text):
        return re.findall(
            r"TRANSPARENCY_MASK 1'(.)\s+parameter \\COLLISION_X_MASK 1'(.)", rtlil_text
        )

    assert sorted(masks(text)) == [("0", "0"), ("0", "0"), ("1", "0")]
    assert sorted(masks(relaxed)) == [("0", "0"), ("0", "1"), ("1", "0")]
    assert "cell $check" not in relaxed
    assert relaxed.count("cell $meminit_v2") == 1
    assert relax_collisions(relaxed) == relaxed


@pytest.mark.parametrize(("init", "kept"), [([0, 5], 2), ([0, 0], 1)])
def test_relax_collisions_keeps_contents(init, kept):
    """What a writable memory holds at power-up stays, unless it is but zeros; so do ROMs."""
    m = Module()
    ram = memory.Memory(shape=unsigned(8), depth=16, init=init, attrs={"no_rw_check": 1})
    m.submodules.ram = ram
    m.submodules.fixed = fixed = ColumnMemory(columns=1, rows=4, bits=8, contents=[[0, 0, 0, 0]])
    write, read = ram.write_port(), ram.read_port()
    ports = [write.addr, write.data, write.en, read.addr, read.data, fixed.read_row]
    text = rtlil.convert(m, ports=ports, emit_src=False)
    assert text.count("cell $meminit_v2") == 2
    assert relax_collisions(text).count("cell $meminit_v2") == kept


def test_relax_collisions_renames_elements_of_arrays():
    """``\\x[0]`` beside ``\\x`` makes Yosys fail."""
    text = rtlil.convert(ColumnMemory(columns=2, rows=4, bits=8), emit_src=False)
    assert "\\read_data[0]" in text
    relaxed = relax_collisions(text)
    assert "\\read_data[0]" not in relaxed
    assert "\\read_data.0" in relaxed


def yosys(folder, script):
    command = [*find_tool("yosys").command, "-q", "-p", script]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def cells_after_synthesis(tmp_path, text, family, language="rtlil"):
    """Cells by type."""
    source = tmp_path / f"top.{language}"
    source.write_text(text)
    read = "read_rtlil" if language == "rtlil" else "read_verilog -sv"
    script = (
        f"{read} {source.name}; chformal -remove; synth_{family} -top top; flatten;"
        " tee -q -o stat.json stat -json"
    )
    yosys(tmp_path, script)
    stat = json.loads((tmp_path / "stat.json").read_text())
    (cells,) = (module["num_cells_by_type"] for module in stat["modules"].values())
    return {k.rsplit("\\", 1)[-1]: n for k, n in cells.items() if k != "$scopeinfo"}


EXPECTED = {
    "ecp5": {"DP16KD": 2, "TRELLIS_FF": 64},
    "ice40": {"SB_RAM40_4K": 8, "SB_DFFE": 64},
}


@pytest.mark.parametrize("family", EXPECTED)
@pytest.mark.parametrize("language", ["rtlil", "verilog"])
def test_no_cells_around_a_weight_memory(tmp_path, family, language):
    """Two columns of 512 x 32: the blocks, one bare register a bit, and nothing else."""
    ram = ColumnMemory(columns=2, rows=512, bits=32)
    text = relax_collisions(rtlil.convert(ram, emit_src=False))
    if language == "verilog":
        text = _convert_rtlil_text(text)
    assert cells_after_synthesis(tmp_path, text, family, language) == EXPECTED[family]


@pytest.mark.parametrize(("family", "language"), [("ecp5", "verilog"), ("ice40", "rtlil")])
def test_fixed_columns_take_the_same_blocks(tmp_path, family, language):
    """The blocks of a memory that is loaded, with contents, and no cell more."""
    contents = random_columns(2, 512, 32)
    ram = ColumnMemory(columns=2, rows=512, bits=32, kind="block", contents=contents)
    text = relax_collisions(rtlil.convert(ram, emit_src=False))
    if language == "verilog":
        text = _convert_rtlil_text(text)
    assert cells_after_synthesis(tmp_path, text, family, language) == EXPECTED[family]


@pytest.mark.parametrize("family", EXPECTED)
def test_small_fixed_columns_go_where_they_are_told(tmp_path, family):
    """64 words of 9 bits: block RAM only where it must be."""
    m = Module()
    row, outputs = Signal(6), []
    for kind in ("block", "distributed", "any"):
        contents = random_columns(1, 64, 9, seed=len(outputs))
        ram = ColumnMemory(columns=1, rows=64, bits=9, kind=kind, contents=contents)
        m.submodules[kind] = ram
        m.d.comb += [ram.read_row.eq(row), ram.read.eq(1)]
        outputs.append(ram.read_data.as_value())
    text = relax_collisions(rtlil.convert(m, ports=[row, *outputs], emit_src=False))
    cells = cells_after_synthesis(tmp_path, text, family)
    assert cells[{"ecp5": "DP16KD", "ice40": "SB_RAM40_4K"}[family]] == 1


@pytest.mark.parametrize("family", EXPECTED)
def test_without_the_wrapper_there_are_cells(tmp_path, family):
    """What the test above would see if collisions were not declared harmless."""
    text = relax_collisions(
        rtlil.convert(ColumnMemory(columns=2, rows=512, bits=32), emit_src=False)
    )
    text = text.replace("COLLISION_X_MASK 1'1", "COLLISION_X_MASK 1'0")
    text = text.replace("attribute \\no_rw_check 1", "")
    assert sum(cells_after_synthesis(tmp_path, text, family).values()) > 200


def test_no_cells_around_the_memories_of_a_layer(tmp_path):
    """Every output of a weight RAM of a whole layer goes into a flip-flop, and nowhere else."""
    layer = DenseParameters(
        200, 32, 4, 4, 8, 18, folding=Folding(lanes=16, slices=2, scan=8, fire_lanes=2)
    )
    (tmp_path / "top.rtlil").write_text(
        relax_collisions(rtlil.convert(Dense(layer), emit_src=False))
    )
    script = "read_rtlil top.rtlil; synth_ecp5 -nodsp -top top; write_json top.json"
    yosys(tmp_path, script)
    module = json.loads((tmp_path / "top.json").read_text())["modules"]["top"]
    readers = {}
    for name, cell in module["cells"].items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    readers.setdefault(bit, []).append((name, cell["type"]))
    kinds = {name: cell["type"] for name, cell in module["cells"].items()}
    weights = [name for name in kinds if "weights_" in name and kinds[name] == "DP16KD"]
    assert len(weights) >= 2 * layer.columns_per_slice
    for name in weights:
        cell = module["cells"][name]
        for port, bits in cell["connections"].items():
            if port.startswith("DO"):
                for bit in bits:
                    assert {kind for _, kind in readers.get(bit, [])} <= {"TRELLIS_FF"}, name


def test_rom_keeps_its_output():
    rom = Rom([7, 0, 31, 5, 2], bits=5)

    async def main(ctx):
        for row, word in enumerate([7, 0, 31, 5, 2]):
            ctx.set(rom.row, row)
            ctx.set(rom.read, 1)
            await ctx.tick()
            ctx.set(rom.read, 0)
            ctx.set(rom.row, 0)
            await ctx.tick()
            assert ctx.get(rom.data) == word

    simulate(rom, main)


@pytest.mark.parametrize("words", [[], [3, 4], [-1]])
def test_rom_refuses_words_that_do_not_fit(words):
    with pytest.raises(ValueError, match=re.escape("a ROM needs words in 0..3")):
        Rom(words, bits=2)
