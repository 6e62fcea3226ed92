"""Block RAM with two ports: two readers of one copy, one of which also writes."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Assert, Format, Module, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from spikeloom_hdl.memory import row_bits

__all__ = ["DualColumnMemory", "DualMemory"]


class DualMemory(wiring.Component):
    """RAM of ``rows`` words: port a reads or writes the row at its address, port b reads.

    Members: ``row_a``, ``read_a``, ``data_a``, ``write`` and ``write_data``; ``row_b``, ``read_b``
    and ``data_b``. Data come one cycle after a read and stay until the port's next one. Content at
    power-up is undefined. Reading through port a while it writes is a fault, and so is reading
    through port b the row that is being written.

    contents: a word a row, fixed for ever: there is no write port then, and a write is a fault.

    On an ECP5 it becomes true-dual-port block RAM, at most 18 bits a port, and a LUT.
    Raises ValueError if there are no rows or no bits, or contents of another length.
    """

    def __init__(self, *, rows: int, bits: int, contents: Sequence[int] | None = None):
        if rows < 1 or bits < 1:
            raise ValueError(f"a memory needs >= 1 rows and bits, not {rows} rows of {bits} bits")
        if contents is not None and len(contents) != rows:
            raise ValueError(f"contents must be {rows} words, not {len(contents)}")
        self.rows, self.bits, self.contents = rows, bits, contents
        super().__init__(
            {
                "row_a": In(row_bits(rows)),
                "read_a": In(1),
                "data_a": Out(bits),
                "write": In(1),
                "write_data": In(bits),
                "row_b": In(row_bits(rows)),
                "read_b": In(1),
                "data_b": Out(bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fixed = self.contents is not None
        m.submodules.ram = ram = memory.Memory(
            shape=unsigned(self.bits),
            depth=max(2, self.rows),
            init=self.contents or [],
            attrs={"rom_style": "block"} if fixed else {"no_rw_check": 1},
        )
        if fixed:
            m.d.sync += Assert(~self.write, "a memory with fixed contents is written")
        else:
            write = ram.write_port()
            m.d.comb += [
                # one signal is the address of both: only so does Yosys make them one port
                write.addr.eq(self.row_a),
                write.data.eq(self.write_data),
                write.en.eq(self.write),
            ]
        a, b = ram.read_port(), ram.read_port()
        m.d.comb += [
            a.addr.eq(self.row_a),
            # read and write exclude each other: the block's plain mode, with no logic to keep words
            a.en.eq(self.read_a & ~self.write),
            b.addr.eq(self.row_b),
            b.en.eq(self.read_b),
            self.data_a.eq(a.data),
            self.data_b.eq(b.data),
        ]
        m.d.sync += [
            Assert(
                ~(self.read_a & self.write),
                Format("row {} is read and written through one port", self.row_a),
            ),
            Assert(
                ~(self.read_b & self.write & (self.row_a == self.row_b)),
                Format("row {} is read and written in one cycle", self.row_b),
            ),
        ]
        return m


class DualColumnMemory(wiring.Component):
    """Several columns side by side, each with two ports: a read gives a row of all.

    A bare register follows both ports, as in a :class:`~spikeloom_hdl.memory.ColumnMemory`:
    ``data_a`` and ``data_b`` (one word a column) are valid two cycles after ``read_a`` and
    ``read_b``. ``write`` has one bit a column; what is written goes to ``row_a``. See
    :class:`DualMemory` for reads and writes that must not meet; nothing is read through port a
    while any column is written.

    columns, rows, bits: shape; bits is the width of one column, at most 32.
    contents: the words of every column, fixed for ever. ValueError if there are not so many.
    """

    def __init__(
        self,
        *,
        columns: int,
        rows: int,
        bits: int,
        contents: Sequence[Sequence[int]] | None = None,
    ):
        if contents is not None and len(contents) != columns:
            raise ValueError(f"contents must be of {columns} columns, not of {len(contents)}")
        self.columns, self.rows, self.bits = columns, rows, bits
        self.contents = contents
        words = data.ArrayLayout(unsigned(bits), columns)
        super().__init__(
            {
                "row_a": In(row_bits(rows)),
                "read_a": In(1),
                "data_a": Out(words),
                "write": In(columns),
                "write_data": In(bits),
                "row_b": In(row_bits(rows)),
                "read_b": In(1),
                "data_b": Out(words),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += Assert(
            ~(self.read_a & self.write.any()),
            Format("row {} is read while a column is written through that port", self.row_a),
        )
        for c in range(self.columns):
            contents = None if self.contents is None else self.contents[c]
            column = DualMemory(rows=self.rows, bits=self.bits, contents=contents)
            m.submodules[f"column_{c}"] = column
            m.d.comb += [column.write.eq(self.write[c]), column.write_data.eq(self.write_data)]
            ports = (
                ("a", column.row_a, column.read_a, column.data_a),
                ("b", column.row_b, column.read_b, column.data_b),
            )
            for port, row, read, word in ports:
                register = Signal(self.bits, name=f"data_{port}_{c}", reset_less=True)
                m.d.sync += register.eq(word)
                m.d.comb += [
                    row.eq(getattr(self, f"row_{port}")),
                    read.eq(getattr(self, f"read_{port}")),
                    getattr(self, f"data_{port}")[c].eq(register),
                ]
        return m
