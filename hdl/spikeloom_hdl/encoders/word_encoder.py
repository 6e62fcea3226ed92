"""What the value encoders share: their ports, a pipeline, and events at its end where wanted."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.encoders import ValueParameters

from spikeloom_hdl.encoders.pipeline import MARKS, Pipeline
from spikeloom_hdl.encoders.ports import settings_layout, values_layout, words_layout
from spikeloom_hdl.encoders.word_events import WordEvents

__all__ = ["WordEncoder"]


class WordEncoder(wiring.Component):
    """Values in, packed words out, one a cycle.

    Members: ``i``, ``o``, and ``p`` where channels have run-time parameters. A subclass makes the
    word of a value in stages (:meth:`_word`), and says how many (``depth``); one with state says
    when a value may enter (:meth:`_enter`). latency: cycles from a value to its word, or to the
    first of its events. interval: cycles a value, if its word is no more than one event.
    """

    depth: int
    interval = 1

    def __init__(self, parameters: ValueParameters):
        self.parameters = parameters
        members: dict[str, Any] = {
            "i": In(stream.Signature(values_layout(parameters.bits, parameters.channels))),
            "o": Out(stream.Signature(words_layout(parameters))),
        }
        if parameters.fields:
            members["p"] = In(stream.Signature(settings_layout(parameters)))
        super().__init__(members)

    @property
    def latency(self) -> int:
        """Cycles from the transfer in to the transfer out when nothing waits."""
        return self.depth + (WordEvents.latency if self.parameters.output == "events" else 0)

    def _enter(self, m: Module, advance: Value) -> Value:
        """Return whether a value may enter, if the pipeline advances."""
        return Const(1, 1)

    def _word(self, m: Module, line: Pipeline, value: Value) -> Value:
        raise NotImplementedError

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words, busy = self.o, Const(0, 1)
        if self.parameters.output == "events":
            m.submodules.events = events = WordEvents(self.parameters)
            wiring.connect(m, events.o, wiring.flipped(self.o))
            words, busy = events.i, events.busy
        advance, may_enter = Signal(), Signal()
        m.d.comb += [
            advance.eq(~words.valid | words.ready),
            may_enter.eq(self._enter(m, advance) & ~busy),
            self.i.ready.eq(advance & may_enter),
        ]
        marks = {name: self.i.p[name] for name in MARKS}
        line = Pipeline(m, advance, valid=self.i.valid & may_enter, marks=marks)
        word = self._word(m, line, self.i.p.value)
        assert line.stages == self.depth
        m.d.comb += [words.valid.eq(line.valid), words.p.word.eq(word)]
        m.d.comb += [words.p[name].eq(mark) for name, mark in line.marks.items()]
        return m
