"""Gathers the words of several transfers into one beat of the next layer."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from spikeloom_hdl.stream import words_signature

__all__ = ["Regroup"]


class Regroup(wiring.Component):
    """From ``lanes_in`` words a transfer to ``lanes_out``, a multiple; zero padded at the last.

    Latency: one cycle after the last word of a beat (none if the widths are equal). Rate: a
    transfer in a cycle.
    """

    def __init__(self, *, lanes_in: int, lanes_out: int, bits: int):
        if lanes_in < 1 or lanes_out % lanes_in:
            raise ValueError(f"lanes_out {lanes_out} must be a multiple of lanes_in {lanes_in}")
        self.lanes_in, self.lanes_out, self.bits = lanes_in, lanes_out, bits
        super().__init__(
            {
                "i": In(words_signature(lanes_in, bits)),
                "o": Out(words_signature(lanes_out, bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n = self.lanes_out // self.lanes_in
        if n == 1:
            wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
            return m
        place = Signal(n, init=1)  # one-hot: where the next words go
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            ends = self.i.p.last | place[-1]
            m.d.sync += [
                self.o.valid.eq(ends),
                self.o.p.last.eq(self.i.p.last),
                place.eq(place.rotate_left(1)),
            ]
            with m.If(ends):
                m.d.sync += place.eq(1)
            with m.If(place[0]):  # the words of a new beat: the others are zero until they come
                m.d.sync += [self.o.p.words.as_value().eq(0), self.o.p.first.eq(self.i.p.first)]
            for k in range(n):
                with m.If(place[k]):
                    for lane in range(self.lanes_in):
                        m.d.sync += self.o.p.words[k * self.lanes_in + lane].eq(
                            self.i.p.words[lane]
                        )
        return m
