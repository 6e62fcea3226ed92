"""Block RAM: one write port, one synchronous read port, and no logic around it.

Every block RAM of the gateware goes through :class:`BlockMemory`. Reading and writing one row in
one cycle is a fault (asserted), which lets synthesis use the bare block: Amaranth's plain memory
promises old data in that case, and Yosys then builds about 50 LUTs and 75 flip-flops around every
block to keep it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

from amaranth.hdl import (
    Assert,
    Cat,
    ClockSignal,
    Const,
    Elaboratable,
    Format,
    Instance,
    Module,
    Signal,
    unsigned,
)
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.folding import WeightMemory

__all__ = ["BlockMemory", "ColumnKind", "ColumnMemory", "Rom", "relax_collisions", "row_bits"]

SPRAM_ROWS = 1 << 14
SPRAM_BITS = 16

#: Where a column lies; ``any`` leaves it to synthesis.
ColumnKind = WeightMemory | Literal["any"]
_KINDS = (*get_args(WeightMemory), "any")

RomStyle = Literal["block", "logic"]


def row_bits(rows: int) -> int:
    """Width of a row number, at least one bit."""
    return max(1, (rows - 1).bit_length())


def _one_word_ports(rows: int, bits: int) -> dict[str, wiring.Member]:
    """Members of a memory that reads and writes one word a cycle."""
    return {
        "read_row": In(row_bits(rows)),
        "read": In(1),
        "read_data": Out(bits),
        "write_row": In(row_bits(rows)),
        "write": In(1),
        "write_data": In(bits),
    }


class BlockMemory(wiring.Component):
    """RAM of ``rows`` words; data come one cycle after ``read`` and stay until the next ``read``.

    Members: ``read_row``, ``read`` and ``read_data``; ``write_row``, ``write`` and ``write_data``.
    Content at power-up is undefined. Reading a row in the cycle that writes it is a fault.

    distributed: make it of LUTs, on FPGAs whose LUTs can be RAM.
    Raises ValueError if there are no rows or no bits.
    """

    def __init__(self, *, rows: int, bits: int, distributed: bool = False):
        if rows < 1 or bits < 1:
            raise ValueError(f"a memory needs >= 1 rows and bits, not {rows} rows of {bits} bits")
        self.rows, self.bits, self.distributed = rows, bits, distributed
        super().__init__(_one_word_ports(rows, bits))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Two rows at least: a row number of no bits is no port that every tool can read.
        m.submodules.ram = ram = memory.Memory(
            shape=unsigned(self.bits),
            depth=max(2, self.rows),
            init=[],
            attrs={"no_rw_check": 1} | ({"ram_style": "distributed"} if self.distributed else {}),
        )
        write, read = ram.write_port(), ram.read_port()
        m.d.comb += [
            write.addr.eq(self.write_row),
            write.data.eq(self.write_data),
            write.en.eq(self.write),
            read.addr.eq(self.read_row),
            read.en.eq(self.read),
            self.read_data.eq(read.data),
        ]
        m.d.sync += Assert(
            ~(self.read & self.write & (self.read_row == self.write_row)),
            Format("row {} is read and written in one cycle", self.read_row),
        )
        return m


class Rom(wiring.Component):
    """Constant words; ``data`` come one cycle after ``read`` and stay until the next ``read``.

    Members: ``row``, ``read``, ``data``. A ROM of some size becomes block RAM. Beyond its last row
    there is nothing in particular.

    words: 0 .. 2^bits - 1 each. style: ``block`` RAM or ``logic``, whatever its size.
    Raises ValueError if there are none, or one does not fit.
    """

    def __init__(self, words: Sequence[int], *, bits: int, style: RomStyle | None = None):
        if not words or not all(0 <= word < 1 << bits for word in words):
            raise ValueError(f"a ROM needs words in 0..{(1 << bits) - 1}, at least one")
        self.words, self.bits, self.style = tuple(words), bits, style
        super().__init__({"row": In(row_bits(len(words))), "read": In(1), "data": Out(bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.rom = rom = memory.Memory(
            shape=unsigned(self.bits),
            depth=max(2, len(self.words)),
            init=self.words,
            attrs={} if self.style is None else {"rom_style": self.style},
        )
        port = rom.read_port()
        m.d.comb += [port.addr.eq(self.row), port.en.eq(self.read), self.data.eq(port.data)]
        return m


class SinglePortMemory(wiring.Component):
    """Column of up to 32 bits in the single-port RAM of an iCE40 UP5K (SB_SPRAM256KA).

    The members of :class:`BlockMemory`; a write wins over a read. Powers up random.
    """

    def __init__(self, *, rows: int, bits: int):
        if not 1 <= rows <= SPRAM_ROWS:
            raise ValueError(f"an SPRAM column has 1 to {SPRAM_ROWS} rows, not {rows}")
        self.rows, self.bits = rows, bits
        super().__init__(_one_word_ports(rows, bits))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        address = Signal(14)
        m.d.comb += address.eq(self.read_row)
        with m.If(self.write):
            m.d.comb += address.eq(self.write_row)
        m.d.sync += Assert(~(self.read & self.write), "SPRAM is read and written in one cycle")
        outputs = []
        for index, low in enumerate(range(0, self.bits, SPRAM_BITS)):
            part = self.write_data[low : low + SPRAM_BITS]
            output = Signal(SPRAM_BITS, name=f"data_out_{index}")
            m.submodules[f"ram_{index}"] = Instance(
                "SB_SPRAM256KA",
                i_ADDRESS=address,
                i_DATAIN=Cat(part, Const(0, SPRAM_BITS - len(part))),
                i_MASKWREN=Const(0b1111, 4),
                i_WREN=self.write,
                i_CHIPSELECT=self.read | self.write,
                i_CLOCK=ClockSignal(),
                i_STANDBY=Const(0, 1),
                i_SLEEP=Const(0, 1),
                i_POWEROFF=Const(1, 1),  # active low
                o_DATAOUT=output,
            )
            outputs.append(output)
        m.d.comb += self.read_data.eq(Cat(*outputs))
        return m


class ColumnMemory(wiring.Component):
    """Several columns side by side: one read gives a row of all, a write goes to one.

    A bare register follows every read port: ``read_data`` (one word a column) is valid two cycles
    after ``read``. ``advance`` at 0 freezes that register. ``write`` has one bit a column;
    ``write_row`` and ``write_data`` are common.

    columns, rows, bits: shape; bits is the width of one column, at most 32.
    kind: ``block``, ``spram``, ``distributed`` (LUTs), or ``any``, what synthesis takes.
    contents: the words of every column, fixed for ever: there is no write port in hardware then,
    and a ``write`` is a fault. Without, synthesis may put a small ``block`` into LUTs too.

    Raises ValueError for an unknown kind, and contents of another shape, too wide, or for SPRAM.
    """

    def __init__(
        self,
        *,
        columns: int,
        rows: int,
        bits: int,
        kind: ColumnKind = "any",
        contents: Sequence[Sequence[int]] | None = None,
    ):
        if kind not in _KINDS:
            raise ValueError(f"kind must be 'block', 'spram', 'distributed' or 'any', not {kind!r}")
        if contents is not None:
            if kind == "spram":
                raise ValueError(
                    "SPRAM powers up random and holds no contents: use kind 'block' or"
                    " 'distributed'"
                )
            if [len(words) for words in contents] != [rows] * columns:
                raise ValueError(
                    f"contents must be {columns} columns of {rows} words, not columns of"
                    f" {[len(words) for words in contents]}"
                )
        self.columns, self.rows, self.bits, self.kind = columns, rows, bits, kind
        self.contents = contents
        super().__init__(
            {
                "read_row": In(row_bits(rows)),
                "read": In(1),
                "advance": In(1, init=1),
                "read_data": Out(data.ArrayLayout(unsigned(bits), columns)),
                "write_row": In(row_bits(rows)),
                "write": In(columns),
                "write_data": In(bits),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        if self.contents is not None:
            m.d.sync += Assert(~self.write.any(), "a memory with fixed contents is written")
        for c in range(self.columns):
            column = self._column(c)
            m.submodules[f"column_{c}"] = column
            register = Signal(self.bits, name=f"read_data_{c}", reset_less=True)
            with m.If(self.advance):
                m.d.sync += register.eq(
                    column.data if isinstance(column, Rom) else column.read_data
                )
            if isinstance(column, Rom):
                m.d.comb += [column.row.eq(self.read_row), column.read.eq(self.read)]
            else:
                m.d.comb += [
                    column.read_row.eq(self.read_row),
                    column.read.eq(self.read),
                    column.write_row.eq(self.write_row),
                    column.write.eq(self.write[c]),
                    column.write_data.eq(self.write_data),
                ]
            m.d.comb += self.read_data[c].eq(register)
        return m

    def _column(self, c: int) -> Rom | SinglePortMemory | BlockMemory:
        """Make the memory of a column."""
        if self.contents is not None:
            return Rom(self.contents[c], bits=self.bits, style=_ROM_STYLES[self.kind])
        if self.kind == "spram":
            return SinglePortMemory(rows=self.rows, bits=self.bits)
        distributed = self.kind == "distributed"
        return BlockMemory(rows=self.rows, bits=self.bits, distributed=distributed)


#: How the ROM of a column is told where to lie. LUT RAM holds nothing from the start: LUTs alone.
_ROM_STYLES: dict[ColumnKind, RomStyle | None] = {
    "block": "block",
    "distributed": "logic",
    "any": None,
}


_BRACKETS = re.compile(r"(?<=\\)\S*\[\d+\]\S*")
_CELL = re.compile(r"^  cell (\$memrd_v2|\$meminit_v2|\$check) .*?^  end\n", re.M | re.S)
_MEMORY = re.compile(r"((?:^  attribute .*\n)*)^  memory .*? (\\\S+)$", re.M)
_MODULE = re.compile(r"^module .*?^end$", re.M | re.S)
_MASK = re.compile(r"parameter \\(TRANSPARENCY|COLLISION_X)_MASK \d+'([01]+)")
_DATA = re.compile(r"connect \\DATA \d+'([01]+)")
_MEMID = re.compile(r'parameter \\MEMID "(.*?)"')


def relax_collisions(rtlil: str) -> str:
    r"""Tell Yosys that the memories of :class:`BlockMemory` may be used bare.

    In RTLIL text written by Amaranth, sets ``COLLISION_X_MASK`` of the read ports of every memory
    with the attribute ``no_rw_check`` (transparent ports excepted), and drops its initial zeros,
    which only slow synthesis down; contents that are more than zeros stay. Drops assertions too,
    which synthesis cannot map. Renames ``\words[0]`` to ``\words.0``: beside a ``\words`` that
    name makes Yosys' abc9 fail (YosysHQ/yosys#4349). In Verilog text Yosys reads the attribute
    itself.
    """

    def cell(match: re.Match[str], relaxed: set[str]) -> str:
        text = match[0]
        if match[1] == "$check":
            return ""
        name = _MEMID.search(text)
        if name is None or name[1].replace("\\\\", "\\") not in relaxed:
            return text
        if match[1] == "$meminit_v2":
            initial = _DATA.search(text)
            return text if initial is not None and "1" in initial[1] else ""
        masks = {key: bits for key, bits in _MASK.findall(text)}
        free = "".join("1" if bit == "0" else "0" for bit in masks["TRANSPARENCY"])
        return re.sub(
            r"(parameter \\COLLISION_X_MASK \d+')[01]+", lambda found: found[1] + free, text
        )

    def module(match: re.Match[str]) -> str:
        relaxed = {name for attrs, name in _MEMORY.findall(match[0]) if "no_rw_check" in attrs}
        return _CELL.sub(lambda found: cell(found, relaxed), match[0])

    rtlil = _BRACKETS.sub(lambda found: re.sub(r"\[(\d+)\]", r".\1", found[0]), rtlil)
    return _MODULE.sub(module, rtlil)
