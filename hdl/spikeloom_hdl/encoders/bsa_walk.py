"""The datapath of serial BSA: taps and residuals in RAM, one word of a window a cycle."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.encoders import BSAParameters, channel_bits

from spikeloom_hdl.encoders.bsa_arithmetic import TapTerms
from spikeloom_hdl.memory import BlockMemory, row_bits

__all__ = ["TapMemory", "Walk"]


class TapMemory(wiring.Component):
    """Taps in RAM; ``tap`` comes the cycle after ``read``. ``busy``: being filled after reset."""

    def __init__(self, init: Sequence[int], bits: int):
        self._init = tuple(init)
        index = row_bits(len(self._init))
        super().__init__(
            {
                "read": In(1),
                "read_index": In(index),
                "tap": Out(signed(bits)),
                "write": In(1),
                "write_index": In(index),
                "write_tap": In(signed(bits)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        index = len(self.read_index)
        sweep = Signal(index + 1)
        default = Signal(self.tap.shape())
        with m.Switch(sweep[:-1]):
            for k, value in enumerate(self._init):
                with m.Case(k):
                    m.d.comb += default.eq(value)
        m.submodules.ram = ram = BlockMemory(rows=1 << index, bits=len(self.tap))
        m.d.comb += [
            self.busy.eq(~sweep[-1]),
            ram.read.eq(self.read),
            ram.read_row.eq(self.read_index),
            self.tap.eq(ram.read_data),
            ram.write.eq(self.write | self.busy),
            ram.write_row.eq(Mux(self.busy, sweep, self.write_index)),
            ram.write_data.eq(Mux(self.busy, default, self.write_tap)),
        ]
        with m.If(self.busy):
            m.d.sync += sweep.eq(sweep + 1)
        return m


class Walk(wiring.Component):
    """Sums the terms of the words of a window, newest first, and brings the words up to date.

    ``start`` begins, with ``threshold`` and the tap before that of the first word being read. Then,
    a word a cycle with ``valid``: ``channel`` and ``place`` of the word, ``newest`` for one that is
    not in the ring yet but in ``sample``; ``tap`` belongs to the word of the cycle before.
    ``pending``: each word first loses the tap of the word after it. ``done`` when no word is under
    way; ``fires`` then tells whether the sum of the terms reaches the threshold.

    Stages: read; load; subtract what is pending; term, write; accumulate.
    """

    def __init__(self, p: BSAParameters, terms: type[TapTerms] = TapTerms):
        self.parameters, self._terms = p, terms
        super().__init__(
            {
                "start": In(1),
                "threshold": In(signed(p.fields[0].bits)),
                "valid": In(1),
                "channel": In(channel_bits(p.channels)),
                "place": In((p.taps - 1).bit_length()),
                "newest": In(1),
                "sample": In(signed(p.format.width)),
                "tap": In(signed(p.tap_bits)),
                "pending": In(1),
                "done": Out(1),
                "fires": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        width = p.format.width
        row = Cat(self.place, self.channel) if p.channels > 1 else self.place
        rows = (1 << channel_bits(p.channels) if p.channels > 1 else 1) << len(self.place)
        m.submodules.ring = ring = BlockMemory(rows=rows, bits=width + 2)
        m.d.comb += [ring.read.eq(self.valid & ~self.newest), ring.read_row.eq(row)]

        valid = [Signal(name=f"valid_{k}") for k in range(1, 5)]
        where = [Signal(len(row), name=f"row_{k}", reset_less=True) for k in range(1, 4)]
        m.d.sync += [
            now.eq(before) for now, before in zip(valid, (self.valid, *valid), strict=False)
        ]
        m.d.sync += [now.eq(before) for now, before in zip(where, (row, *where), strict=False)]
        newest = Signal(reset_less=True)

        def register(bits, name):
            return Signal(signed(bits), name=name, reset_less=True)

        word, residual = register(width + 2, "word"), register(width + 2, "residual")
        tap, tap_after = register(p.tap_bits, "tap"), register(p.tap_bits, "tap_after")
        lost = register(p.tap_bits, "lost")
        m.d.sync += [
            newest.eq(self.newest),
            word.eq(Mux(newest, self.sample, ring.read_data.as_signed())),
            tap.eq(self.tap),
            lost.eq(tap),
            residual.eq(word - lost),
            tap_after.eq(tap),
        ]
        # a synchronous reset, where a gate would cost a table a bit
        with m.If(newest | ~self.pending):
            m.d.sync += lost.eq(0)

        terms = self._terms(m, p, [residual], [tap_after], [Const(1, 1)])
        bits = terms.bits(p)
        term, carry = register(bits, "term"), Signal(reset_less=True)
        total = Signal(signed(bits), reset_less=True)
        m.d.comb += [
            ring.write.eq(valid[2]),
            ring.write_row.eq(where[2]),
            ring.write_data.eq(residual),
            self.done.eq(~Cat(valid).any()),
            self.fires.eq(terms.reached(total)),
        ]
        m.d.sync += [term.eq(terms.terms[0]), carry.eq(Cat(terms.carries))]
        with m.If(self.start):
            m.d.sync += total.eq(terms.start(self.threshold))
        with m.Elif(valid[3]):
            m.d.sync += total.eq((Cat(1, total) + Cat(carry, term))[1:])
        return m
