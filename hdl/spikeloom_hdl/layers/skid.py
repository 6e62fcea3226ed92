"""A stream buffer that cuts the combinational path of ``ready``."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Skid"]


class Skid(wiring.Component):
    """Two places: ``i.ready`` is a register, and a transfer a cycle still goes through.

    Latency: none while ``o`` is taken; a payload that has to wait is kept.
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        kept = Signal(self.i.payload.shape(), reset_less=True)
        full = Signal()
        m.d.comb += [self.i.ready.eq(~full), self.o.valid.eq(self.i.valid | full)]
        with m.If(full):
            m.d.comb += self.o.payload.eq(kept)
        with m.Else():
            m.d.comb += self.o.payload.eq(self.i.payload)
            m.d.sync += kept.eq(self.i.payload)
        m.d.sync += full.eq(self.o.valid & ~self.o.ready)
        return m
