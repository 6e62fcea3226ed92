"""Packs the spikes of an encoder into the words that a SpikePack network takes."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.encoders import PackerParameters

from spikeloom_hdl.encoders.channel_table import ChannelState
from spikeloom_hdl.encoders.pipeline import MARKS, Pipeline
from spikeloom_hdl.encoders.ports import packed_layout, train_layout
from spikeloom_hdl.encoders.repeat import InTurn
from spikeloom_hdl.memory import row_bits

__all__ = ["Packer"]


class Packer(wiring.Component):
    """Words of :class:`~spikeloom.hardware.encoders.PackerParameters`; a spike in a cycle.

    Members: ``i``, the spikes; ``o``, the words. latency: cycles from the sample that completes a
    window to its first word. interval: cycles a sample, if windows that are completed in succession
    leave time for their words (``outputs`` each).
    """

    interval = 1

    def __init__(self, parameters: PackerParameters):
        self.parameters = parameters
        self.latency = 3 + (2 if parameters.outputs > 1 else 0)
        super().__init__(
            {
                "i": In(stream.Signature(train_layout(parameters))),
                "o": Out(stream.Signature(packed_layout(parameters))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        bits = p.word_bits if p.mode == "count" else p.window
        parts = data.ArrayLayout(bits, p.parts)
        m.submodules.table = table = ChannelState(
            channels=p.channels, state={"step": row_bits(p.window), "later": 1, "parts": parts}
        )
        m.submodules.turn = turn = InTurn(count=p.outputs, channels=p.channels, bits=p.output_bits)
        advance = Signal()
        m.d.comb += [
            advance.eq(~turn.i.valid | turn.i.ready),
            self.i.ready.eq(advance & ~table.busy),
            table.advance.eq(advance),
            table.i_valid.eq(self.i.valid & ~table.busy),
            *(table.i[name].eq(self.i.p[name]) for name in MARKS),
        ]
        before = Pipeline(m, advance, valid=table.i_valid, marks={})
        spike = self.i.p.spike
        up = Mux(spike > 0, spike, 0)[: p.spike_bits - 1]
        down = Mux(spike < 0, -spike, 0)[: p.spike_bits]
        (amounts,) = before.stage(amount=[up, down][: p.parts])
        (amounts,) = before.stage(amount=amounts)

        state, following = table.state, table.next
        complete = Signal()
        grown = [
            self._grown(part, a, state.step) for part, a in zip(state.parts, amounts, strict=True)
        ]
        m.d.comb += [
            complete.eq((state.step == p.window - 1) | table.o.last),
            following.later.eq(state.later | complete),
        ]
        with m.If(~complete):
            m.d.comb += following.step.eq(state.step + 1)
            m.d.comb += [new.eq(part) for new, part in zip(following.parts, grown, strict=True)]

        marks = {name: table.o[name] for name in ("channel", "last")}
        marks["first"] = ~state.later
        line = Pipeline(m, advance, valid=table.o_valid & complete, marks=marks)
        (words,) = line.stage(word=grown)
        m.d.comb += [
            turn.i.valid.eq(line.valid),
            turn.i.p["items"].eq(Cat(self._items(words))),
            *(turn.i.p[name].eq(mark) for name, mark in line.marks.items()),
            self.o.valid.eq(turn.o.valid),
            turn.o.ready.eq(self.o.ready),
            self.o.p.word.eq(turn.o.p.item),
            *(self.o.p[name].eq(turn.o.p[name]) for name in MARKS),
        ]
        return m

    def _grown(self, part: Value, amount: Value, step: Value) -> Value:
        """Add the spike of a step to what its window has so far."""
        p = self.parameters
        if p.mode == "count":
            total = part + amount
            return total[: p.word_bits] | total[p.word_bits :].any().replicate(p.word_bits)
        fires = amount.any()
        places = [(step == k) & fires for k in reversed(range(p.window))]
        return part | Cat(places)

    def _items(self, words: Sequence[Value]) -> list[Value]:
        """Words in the order of their channels."""
        if self.parameters.mode == "bits":
            return [bit for word in words for bit in reversed(word)]
        return list(words)
