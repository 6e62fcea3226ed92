"""Block RAM as a stream: row numbers in, contents out, one a cycle, under back-pressure."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from spikeloom_hdl.memory import BlockMemory, row_bits

__all__ = ["StreamedMemory"]


class StreamedMemory(wiring.Component):
    """RAM whose read port is a pair of streams, with a bare register after the RAM.

    Each row number on ``i`` gives the row's content on ``o`` two cycles later, with its ``flags``
    passed along. ``clear`` drops what is inside. The user keeps writes away from a row that is
    being read (see :class:`~spikeloom_hdl.memory.BlockMemory`).
    """

    def __init__(self, *, rows: int, bits: int, flags: int = 0):
        self.rows, self.bits, self.flags = rows, bits, flags
        row = row_bits(rows)
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"row": row, "flags": flags}))),
                "o": Out(stream.Signature(data.StructLayout({"data": bits, "flags": flags}))),
                "clear": In(1),
                "write_row": In(row),
                "write": In(1),
                "write_data": In(bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ram = ram = BlockMemory(rows=self.rows, bits=self.bits)
        fetched, fetched_flags = Signal(), Signal(self.flags)
        valid, content, flags = Signal(), Signal(self.bits), Signal(self.flags)
        advance = Signal()  # the register is free, or is being emptied
        m.d.comb += [
            advance.eq(~valid | self.o.ready),
            self.i.ready.eq(~fetched | advance),
            ram.read_row.eq(self.i.payload.row),
            ram.read.eq(self.i.valid & self.i.ready),
            ram.write_row.eq(self.write_row),
            ram.write.eq(self.write),
            ram.write_data.eq(self.write_data),
            self.o.payload.data.eq(content),
            self.o.payload.flags.eq(flags),
            self.o.valid.eq(valid),
        ]
        with m.If(self.i.ready):
            m.d.sync += [fetched.eq(self.i.valid), fetched_flags.eq(self.i.payload.flags)]
        with m.If(advance):
            m.d.sync += [valid.eq(fetched), content.eq(ram.read_data), flags.eq(fetched_flags)]
        with m.If(self.clear):
            m.d.sync += [fetched.eq(0), valid.eq(0)]
        return m
