"""A buffer that holds exactly so many transfers: the depth behind a fork is computed."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from spikeloom_hdl.memory import BlockMemory, row_bits

__all__ = ["Fifo"]

#: deeper ones lie in block RAM
SMALL = 8


class Fifo(wiring.Component):
    """``depth`` transfers, counted with all registers; a transfer a cycle in and out.

    Latency, when empty: one cycle up to ``SMALL`` transfers, three in block RAM, whose output has
    a bare register.

    Members: ``i``, ``o``; ``level``, the transfers inside; ``full``.
    Raises ValueError for a depth below 1.
    """

    def __init__(self, shape, depth: int):
        if depth < 1:
            raise ValueError(f"a buffer holds one transfer or more, not {depth}")
        self.depth = depth
        signature = stream.Signature(shape)
        super().__init__(
            {
                "i": In(signature),
                "o": Out(signature),
                "level": Out(range(depth + 1)),
                "full": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        put, take = Signal(), Signal()
        level = Signal.like(self.level)
        m.d.comb += [put.eq(self.i.valid & self.i.ready), take.eq(self.o.valid & self.o.ready)]
        m.d.comb += level.eq(self.level + put - take)
        m.d.sync += [self.level.eq(level), self.full.eq(level == self.depth)]
        # a full one would go at half the rate if it held one only
        one = self.depth == 1
        m.d.comb += self.i.ready.eq(~self.full | self.o.ready if one else ~self.full)
        if one:
            payload = Signal(self.i.payload.shape(), reset_less=True)
            with m.If(put):
                m.d.sync += payload.eq(self.i.payload)
            m.d.comb += [self.o.payload.eq(payload), self.o.valid.eq(self.full)]
        elif self.depth <= SMALL:
            self._small(m, put, take)
        else:
            self._block(m, put)
        return m

    def _next(self, row: Signal):
        return Mux(row == self.depth - 1, 0, row + 1)

    def _small(self, m: Module, put: Signal, take: Signal) -> None:
        """LUT RAM with an output of its own."""
        words, words_out = Value.cast(self.i.payload), Value.cast(self.o.payload)
        m.submodules.ram = ram = memory.Memory(
            shape=unsigned(len(words)), depth=self.depth, init=[]
        )
        write, read = ram.write_port(), ram.read_port(domain="comb")
        head, tail = Signal(range(self.depth)), Signal(range(self.depth))
        m.d.comb += [
            write.addr.eq(tail),
            write.data.eq(words),
            write.en.eq(put),
            read.addr.eq(head),
            words_out.eq(read.data),
            self.o.valid.eq(self.level.any()),
        ]
        with m.If(put):
            m.d.sync += tail.eq(self._next(tail))
        with m.If(take):
            m.d.sync += head.eq(self._next(head))

    def _block(self, m: Module, put: Signal) -> None:
        """Block RAM, read ahead into the register behind it."""
        words = Value.cast(self.i.payload)
        m.submodules.ram = ram = BlockMemory(rows=self.depth, bits=len(words))
        head, tail = Signal(row_bits(self.depth)), Signal(row_bits(self.depth))
        stored = Signal(range(self.depth + 1))  # in the RAM, and not read yet
        fetched, valid = Signal(), Signal()  # at the output of the RAM, in the register
        payload = Signal(len(words), reset_less=True)
        fetch, advance = Signal(), Signal()
        m.d.comb += [
            advance.eq(~valid | self.o.ready),
            # a row is read a cycle after it was written at the earliest: never both at once
            fetch.eq(stored.any() & (~fetched | advance)),
            ram.write.eq(put),
            ram.write_row.eq(tail),
            ram.write_data.eq(words),
            ram.read.eq(fetch),
            ram.read_row.eq(head),
            self.o.valid.eq(valid),
            Value.cast(self.o.payload).eq(payload),
        ]
        m.d.sync += stored.eq(stored + put - fetch)
        with m.If(put):
            m.d.sync += tail.eq(self._next(tail))
        with m.If(fetch):
            m.d.sync += head.eq(self._next(head))
        with m.If(~fetched | advance):
            m.d.sync += fetched.eq(fetch)
        with m.If(advance):
            m.d.sync += [valid.eq(fetched), payload.eq(ram.read_data)]
