"""Completes samples that break off, so that the layers behind only meet whole ones."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.port import Port

from spikeloom_hdl.layers.lanes import port_signature

__all__ = ["Mend"]


class Mend(wiring.Component):
    """Where ``first`` comes early, zero words complete the sample before; ``spoilt`` marks it.

    A layer with a window gives pixels before a sample is complete, and cannot take them back: the
    sample goes on to its end, and its result is thrown away there. One such sample at most is
    inside; a second one waits.

    port: the network's input. most: samples inside, at most.
    Members: ``i``, ``o``; ``inside``, samples that have entered and not left, the one that is
    coming included; ``leaves``: the last transfer of a result goes; ``spoilt``: the next result is
    that of a sample that broke off.
    """

    def __init__(self, port: Port, most: int):
        self.port = port
        signature = port_signature(port)
        super().__init__(
            {
                "i": In(signature),
                "o": Out(signature),
                "inside": In(range(most + 1)),
                "leaves": In(1),
                "spoilt": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        transfers = self.port.transfers
        beat = Signal(range(transfers))
        early, mending = Signal(), Signal()
        marked = Signal()  # a spoilt sample is inside, behind so many others
        ahead = Signal.like(self.inside)
        left = Signal.like(self.inside)
        m.d.comb += [
            early.eq(self.i.valid & self.i.p.first & beat.any()),
            self.o.valid.eq(self.i.valid & (~early | mending)),
            self.i.ready.eq(self.o.ready & ~early),
            self.o.p.first.eq(self.i.p.first & ~early),
            self.o.p.last.eq(beat == transfers - 1),
            left.eq(self.inside - self.leaves),
            self.spoilt.eq(marked & ~ahead.any()),
        ]
        with m.If(~early):
            m.d.comb += self.o.p.words.eq(self.i.p.words)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += beat.eq(beat + 1)
            with m.If(self.o.p.last):
                m.d.sync += [beat.eq(0), mending.eq(0)]
        with m.If(marked & self.leaves):
            m.d.sync += [ahead.eq(ahead - 1), marked.eq(ahead.any())]
        with m.If(early & ~mending & ~marked):
            # nothing is inside if its result did not need what is missing, and has left
            m.d.sync += [mending.eq(1), marked.eq(left.any()), ahead.eq(left - 1)]
        return m
