"""Gives one stream to several consumers."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Fork"]


class Fork(wiring.Component):
    """Every transfer goes to each of ``o[0]`` ... once; taken from ``i`` when all have it.

    A consumer may so be one transfer ahead of another, and no more. Latency: none; rate: a transfer
    a cycle. ``ready`` of one consumer reaches ``valid`` of no other.
    Raises ValueError for fewer than two consumers.
    """

    def __init__(self, shape, consumers: int):
        if consumers < 2:
            raise ValueError(f"a fork has two consumers or more, not {consumers}")
        self.consumers = consumers
        signature = stream.Signature(shape)
        super().__init__({"i": In(signature), "o": Out(signature).array(consumers)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        done = Signal(self.consumers)  # have the transfer that waits
        has = Signal(self.consumers)
        m.d.comb += [
            has.eq(done | Cat(o.ready for o in self.o)),
            self.i.ready.eq(has.all()),
        ]
        for k, o in enumerate(self.o):
            m.d.comb += [o.payload.eq(self.i.payload), o.valid.eq(self.i.valid & ~done[k])]
        with m.If(self.i.valid):
            m.d.sync += done.eq(has)
            with m.If(self.i.ready):
                m.d.sync += done.eq(0)
        return m
