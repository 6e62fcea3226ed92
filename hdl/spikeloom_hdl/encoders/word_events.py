"""Packed words to address events: a transfer for every spike, with its time stamp."""

from __future__ import annotations

from dataclasses import replace

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.encoders import ValueParameters

from spikeloom_hdl.encoders.channel_table import ChannelState
from spikeloom_hdl.encoders.pipeline import Pipeline
from spikeloom_hdl.encoders.ports import words_layout

__all__ = ["WordEvents"]


class WordEvents(wiring.Component):
    """One transfer for each set bit of a word, in the order of the steps; its rate is one a cycle.

    A word without spikes gives none, unless it is the first or the last one of a frame: then one
    with ``spike`` = 0 and the time of the word's step 0. ``first`` is on the first event of the
    first word of a frame, and ``last`` on the last event of the last word.

    Members: ``i``, the words (dense layout); ``o``, the events; ``busy``, after reset, while the
    time of every channel is cleared and ``i`` takes nothing. Each word keeps the core for as many
    cycles as it has spikes, at least one. latency: cycles from a word to its first event.
    """

    latency = 6

    def __init__(self, parameters: ValueParameters):
        self.parameters = replace(parameters, output="events")
        super().__init__(
            {
                "i": In(stream.Signature(words_layout(replace(parameters, output="dense")))),
                "o": Out(stream.Signature(words_layout(self.parameters))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        advance, move = Signal(), Signal()
        m.d.comb += move.eq(~self.o.valid | self.o.ready)
        m.submodules.times = times = ChannelState(
            channels=self.parameters.channels, state={"time": self.parameters.time_bits}
        )
        m.d.comb += [
            times.advance.eq(advance),
            times.i_valid.eq(self.i.valid & ~times.busy),
            times.i.channel.eq(self.i.p.channel),
            times.i.first.eq(self.i.p.first),
            times.i.last.eq(self.i.p.last),
            times.next.time.eq(times.state.time + self.parameters.steps),
            self.busy.eq(times.busy),
            self.i.ready.eq(advance & ~times.busy),
        ]
        word, spikes = self._counted(m, advance)

        # the word that is being sent, its first step lowest; its spikes after the next one
        active, rest = Signal(), Signal(self.parameters.steps, reset_less=True)
        left = Signal(range(self.parameters.steps), reset_less=True)
        final, head = Signal(reset_less=True), Signal(reset_less=True)
        tail, base = Signal(reset_less=True), Signal(self.parameters.time_bits, reset_less=True)
        channel = Signal.like(times.o.channel, reset_less=True)
        m.d.comb += advance.eq(~active | (final & move))
        with m.If(advance):
            marker = times.o.first | times.o.last
            m.d.sync += [
                active.eq(times.o_valid & (marker | (spikes != 0))),
                rest.eq(word),
                left.eq(spikes - 1),
                final.eq(spikes <= 1),
                head.eq(times.o.first),
                tail.eq(times.o.last),
                base.eq(times.state.time),
                channel.eq(times.o.channel),
            ]
        with m.Elif(move):
            m.d.sync += [
                rest.eq(rest & (rest - 1)),
                left.eq(left - 1),
                final.eq(left == 1),
                head.eq(0),
            ]
        marks = {"channel": channel, "first": head, "last": tail & final, "time": base}
        line = Pipeline(m, move, valid=active, marks=marks)
        (lowest,) = line.stage(lowest=rest & ~(rest - 1))
        step, spike = line.stage(step=_number(lowest), spike=lowest.any())
        time, spike = line.stage(time=(line.marks.pop("time") + step)[: len(base)], spike=spike)
        m.d.comb += [self.o.valid.eq(line.valid), self.o.p.time.eq(time), self.o.p.spike.eq(spike)]
        m.d.comb += [self.o.p[name].eq(mark) for name, mark in line.marks.items()]
        return m

    def _counted(self, m: Module, advance: Signal) -> tuple[Signal, Signal]:
        """Word, its first step lowest, and the number of its spikes, two cycles after it came."""
        line = Pipeline(m, advance, valid=Const(0, 1), marks={})
        bits = list(reversed(self.i.p.word))
        parts = [sum(bits[k : k + 8], Const(0, 1)) for k in range(0, len(bits), 8)]
        word, parts = line.stage(word=Cat(*bits), part=parts)
        return line.stage(word=word, spikes=sum(parts[1:], parts[0]))


def _number(one_hot: Value) -> Value:
    """Place of the only bit that is set."""
    size = max(1, (len(one_hot) - 1).bit_length())
    return Cat(Cat(o for n, o in enumerate(one_hot) if n >> k & 1).any() for k in range(size))
