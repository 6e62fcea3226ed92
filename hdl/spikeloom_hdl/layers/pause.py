"""Holds a stream up when told to: for simulations."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Pause"]


class Pause(wiring.Component):
    """Offers no new transfer while ``pause`` is set; one that is offered already stays.

    Latency: none. Rate: a transfer in every cycle without a pause.
    """

    def __init__(self, shape):
        signature = stream.Signature(shape)
        super().__init__({"i": In(signature), "o": Out(signature), "pause": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        offered, opened = Signal(), Signal()
        m.d.comb += [
            opened.eq(offered | ~self.pause),
            self.o.payload.eq(self.i.payload),
            self.o.valid.eq(self.i.valid & opened),
            self.i.ready.eq(self.o.ready & opened),
        ]
        m.d.sync += offered.eq(self.o.valid & ~self.o.ready)
        return m
