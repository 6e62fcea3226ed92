"""Several transfers out of one, on channels of their own."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.encoders import channel_bits

from spikeloom_hdl.encoders.pipeline import MARKS, Pipeline

__all__ = ["InTurn", "Repeat"]


class Repeat(wiring.Component):
    """Each transfer in comes out ``count`` times, with ``index`` = 0 .. count - 1.

    Transfers of channel c have channels c * count + index; ``first`` and ``last`` are those of the
    transfer in. Latency: one cycle, none if count is 1. Rate: a transfer out a cycle.

    channels: of the transfers in. shape: of their ``data``.
    """

    def __init__(self, *, count: int, channels: int, shape):
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count}")
        self.count = count
        self.latency = int(count > 1)
        marks = {"first": 1, "last": 1, "data": shape}
        out = {"channel": channel_bits(channels * count), "index": channel_bits(count), **marks}
        self.o_layout = data.StructLayout(out)
        self.i_layout = data.StructLayout({"channel": channel_bits(channels), **marks})
        super().__init__(
            {"i": In(stream.Signature(self.i_layout)), "o": Out(stream.Signature(self.o_layout))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i, o = self.i.p, self.o.p
        if self.count == 1:
            m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
            m.d.comb += [o[name].eq(i[name]) for name in ("channel", "first", "last", "data")]
            return m
        held = Signal(self.i_layout, reset_less=True)
        base = Signal(len(o.channel), reset_less=True)
        final = Signal(reset_less=True)
        m.d.comb += [
            self.i.ready.eq(~self.o.valid | (final & self.o.ready)),
            *(o[name].eq(held[name]) for name in ("first", "last", "data")),
        ]
        if self.count & (self.count - 1):
            m.d.comb += o.channel.eq(base + o.index)
        else:
            m.d.comb += o.channel.eq(Cat(o.index, held.channel))
        with m.If(self.i.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid),
                held.eq(i),
                base.eq(
                    sum(
                        i.channel << k
                        for k in range(self.count.bit_length())
                        if self.count >> k & 1
                    )
                ),
                o.index.eq(0),
                final.eq(0),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += [o.index.eq(o.index + 1), final.eq(o.index == self.count - 2)]
        return m


class InTurn(wiring.Component):
    """The items of a transfer one after another: those of channel c on channel c * count + n.

    Payload in: ``items``, ``channel``, ``first``, ``last``; out: ``item`` and the same marks, which
    go with every item. Latency: two cycles, none if count is 1. Rate: an item a cycle.

    count: items a transfer. channels: of the transfers in. bits: width of an item.
    """

    def __init__(self, *, count: int, channels: int, bits: int):
        self.items = data.ArrayLayout(unsigned(bits), count)
        self.repeat = Repeat(count=count, channels=channels, shape=self.items)
        self.latency = 2 * self.repeat.latency
        marks = {name: self.repeat.o_layout[name].shape for name in MARKS}
        i_marks = {name: self.repeat.i_layout[name].shape for name in MARKS}
        i_layout = data.StructLayout({"items": self.items, **i_marks})
        o_layout = data.StructLayout({"item": unsigned(bits), **marks})
        super().__init__(
            {"i": In(stream.Signature(i_layout)), "o": Out(stream.Signature(o_layout))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.repeat = repeat = self.repeat
        m.d.comb += [
            repeat.i.valid.eq(self.i.valid),
            self.i.ready.eq(repeat.i.ready),
            repeat.i.p.data.eq(self.i.p["items"]),
            *(repeat.i.p[name].eq(self.i.p[name]) for name in MARKS),
        ]
        valid: Any = repeat.o.valid
        item, marks = repeat.o.p.data[0], {name: repeat.o.p[name] for name in MARKS}
        if repeat.count == 1:
            m.d.comb += repeat.o.ready.eq(self.o.ready)
        else:
            m.d.comb += repeat.o.ready.eq(~self.o.valid | self.o.ready)
            line = Pipeline(m, repeat.o.ready, valid=valid, marks=marks)
            (item,) = line.stage(item=repeat.o.p.data[repeat.o.p.index])
            valid, marks = line.valid, line.marks
        m.d.comb += [
            self.o.valid.eq(valid),
            self.o.p.item.eq(item),
            *(self.o.p[name].eq(mark) for name, mark in marks.items()),
        ]
        return m
