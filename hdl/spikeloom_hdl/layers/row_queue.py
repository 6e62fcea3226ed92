"""Finished rows of accumulators, kept until the layer's output takes them."""

from __future__ import annotations

from amaranth.hdl import Assert, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.parameters import SynapseParameters

from spikeloom_hdl.memory import ColumnMemory, row_bits
from spikeloom_hdl.stream import potentials_layout

__all__ = ["RowQueue"]


class RowQueue(wiring.Component):
    """A queue in small RAM whose writer never waits: it knows how much place there is.

    Members: ``write`` with ``potentials``; ``o``, three cycles later at the earliest (``first`` and
    ``last`` are zero); ``left``: in the next cycle one place more is free. The register at ``o``
    and the one before hold what is no longer counted.
    """

    def __init__(self, parameters: SynapseParameters, *, depth: int):
        lanes, bits = parameters.folding.fire_lanes, parameters.accumulator_bits
        self.lanes, self.bits, self.depth = lanes, bits, depth
        super().__init__(
            {
                "write": In(1),
                "potentials": In(data.ArrayLayout(signed(bits), lanes)),
                "o": Out(stream.Signature(potentials_layout(lanes, bits))),
                "left": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ram = ram = ColumnMemory(
            columns=1, rows=self.depth, bits=self.lanes * self.bits, kind="block"
        )
        write_row = Signal(row_bits(self.depth))
        read_row = Signal.like(write_row)
        stored = Signal(range(self.depth + 1))
        b_valid, b_ready, c_ready = Signal(), Signal(), Signal()

        def after(row):
            return Mux(row == self.depth - 1, 0, row + 1)

        m.d.comb += [
            c_ready.eq(~self.o.valid | self.o.ready),
            b_ready.eq(~b_valid | c_ready),
            self.left.eq(stored.any() & b_ready),
            ram.read.eq(self.left),
            ram.read_row.eq(read_row),
            ram.advance.eq(c_ready),
            ram.write.eq(self.write),
            ram.write_row.eq(write_row),
            ram.write_data.eq(self.potentials),
            self.o.p.potentials.eq(ram.read_data[0]),
        ]
        m.d.sync += stored.eq(stored + self.write - self.left)
        m.d.sync += Assert(~(self.write & (stored == self.depth)), "the queue of rows is full")
        with m.If(self.write):
            m.d.sync += write_row.eq(after(write_row))
        with m.If(self.left):
            m.d.sync += read_row.eq(after(read_row))
        with m.If(b_ready):
            m.d.sync += b_valid.eq(self.left)
        with m.If(c_ready):
            m.d.sync += self.o.valid.eq(b_valid)
        return m
