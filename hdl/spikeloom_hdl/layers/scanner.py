"""Splits the beats of a sample into fan-in slices and fills their event lists."""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Format, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from spikeloom.hardware.parameters import DenseParameters

from spikeloom_hdl.layers.event_list import EventList
from spikeloom_hdl.memory import row_bits
from spikeloom_hdl.stream import words_signature

__all__ = ["Scanner"]


class Scanner(wiring.Component):
    """Takes ``scan`` words a cycle, ready while a bank is free; ``first`` drops a partial sample.

    Members: ``i``; ``lists``, the event lists of the slices (submodules whose reading side belongs
    to the emitter).
    """

    def __init__(self, parameters: DenseParameters):
        fold = parameters.folding
        self.parameters = parameters
        self.lists = [
            EventList(
                beats=parameters.beats,
                words=fold.scan // fold.slices,
                bits=parameters.input_bits,
                passes=parameters.passes,
                serial=fold.form == "serial",
            )
            for _ in range(fold.slices)
        ]
        super().__init__({"i": In(words_signature(fold.scan, parameters.input_bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, slices = self.parameters, self.parameters.folding.slices
        bank = Signal()
        beat = Signal(row_bits(p.beats))
        now = Signal.like(beat)
        full = Signal(2)
        for index, one in enumerate(self.lists):
            m.submodules[f"slice_{index}"] = one
            m.d.comb += [
                one.store.eq(self.i.valid & self.i.ready),
                one.bank.eq(bank),
                one.beat.eq(now),
                one.first.eq(self.i.p.first),
                one.last.eq(self.i.p.last),
            ]
            words = range(index, p.folding.scan, slices)
            m.d.comb += [one.words[k].eq(self.i.p.words[w]) for k, w in enumerate(words)]
        m.d.comb += [
            full.eq(Cat(Cat(one.full[b] for one in self.lists).any() for b in range(2))),
            self.i.ready.eq(~full.bit_select(bank, 1)),
        ]
        with m.If(~self.i.p.first):
            m.d.comb += now.eq(beat)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += beat.eq(now + 1)
            m.d.sync += Assert(
                self.i.p.last == (now == p.beats - 1),
                Format("beat {} of " + str(p.beats) + " has last = {}", now, self.i.p.last),
            )
            with m.If(self.i.p.last):
                m.d.sync += [bank.eq(~bank), beat.eq(0)]
        return m
