"""Moving window in gates: a ring of samples for every channel, and the sum of each."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.encoders import Field, channel_bits
from spikeloom.hardware.encoders.more import MovingWindowParameters

from spikeloom_hdl.encoders.channel_core import ChannelCore, Values
from spikeloom_hdl.encoders.events import SpikeCore
from spikeloom_hdl.encoders.ports import samples_layout, settings_layout, spikes_layout
from spikeloom_hdl.encoders.threshold_based import outside_band
from spikeloom_hdl.memory import BlockMemory

__all__ = ["MovingWindow"]


class _Settled(MovingWindowParameters):
    """Structure of the part behind the ring, to which the threshold comes with the sample."""

    @property
    def fields(self) -> tuple[Field, ...]:
        return ()


def _aged_layout(parameters: MovingWindowParameters) -> data.StructLayout:
    """A sample, the one 2^window before it, and the threshold that held when it came."""
    width = parameters.format.width
    values = {"sample": signed(width), "oldest": signed(width), "threshold": unsigned(width)}
    marks = {"channel": channel_bits(parameters.channels), "first": 1, "last": 1}
    return data.StructLayout({**values, **marks})


class _Ring(ChannelCore):
    """Adds to each sample the one 2^window before it: the first of its frame if there is none."""

    def __init__(self, parameters: MovingWindowParameters):
        self._width, self._window = parameters.format.width, parameters.window
        # counts the samples of the frame: its low bits are the place in the ring
        count = {"place": self._window, "filled": 1} if self._window else {}
        super().__init__(
            parameters,
            sample=samples_layout(self._width, parameters.channels),
            result=_aged_layout(parameters),
            state={**count, "held": signed(self._width)},
            after=(self._read, self._replace) if self._window else (),
        )

    def build(self, m: Module, o: Any) -> None:
        if self._window:
            rows = 1 << (self._window + len(self.i.p.channel))
            m.submodules.ring = self._ram = BlockMemory(rows=rows, bits=self._width)
            self._advance = ~o.valid | o.ready
        super().build(m, o)

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        x = values["sample"]
        held = Signal(signed(self._width), name="held_now")
        m.d.comb += held.eq(Mux(marks.first, x, state.held))
        onward = {"sample": x, "threshold": values["threshold"], "oldest": held}
        if not self._window:  # the ring is one sample, the last one
            return {"held": x}, onward
        following = Signal(self._window + 1)
        m.d.comb += following.eq(state.place + 1)
        after = {
            "place": following[:-1],
            "filled": state.filled | following[-1],
            "held": held,
        }
        onward["row"] = Cat(state.place, marks.channel)
        # of the frame itself: no other sample writes the row that is read
        onward["filled"] = state.filled
        onward["live"] = m.submodules.state.o_valid
        return after, onward

    def _read(self, m: Module, values: Values) -> Values:
        reads = self._advance & values["live"] & values["filled"]
        m.d.comb += [self._ram.read_row.eq(values["row"]), self._ram.read.eq(reads)]
        return values

    def _replace(self, m: Module, values: Values) -> Values:
        oldest = Signal(signed(self._width))
        stored = self._ram.read_data.as_signed()
        m.d.comb += [
            self._ram.write_row.eq(values["row"]),
            self._ram.write_data.eq(values["sample"]),
            self._ram.write.eq(self._advance & values["live"]),
            oldest.eq(Mux(values["filled"], stored, values["oldest"])),
        ]
        kept = {name: values[name] for name in ("sample", "threshold")}
        return {**kept, "oldest": oldest}


class _Sums(SpikeCore):
    """Holds the sum of the window, and compares."""

    def __init__(self, parameters: _Settled):
        self._width, self._window = parameters.format.width, parameters.window
        super().__init__(
            parameters,
            sample=_aged_layout(parameters),
            state={"sum": signed(self._width + self._window)},
            before=(self._change,),
            after=(self._difference, outside_band),
        )

    def _change(self, m: Module, values: Values) -> Values:
        change = Signal(signed(self._width + 1))
        m.d.comb += change.eq(values["sample"] - values["oldest"])
        kept = {name: values[name] for name in ("sample", "threshold")}
        return {**kept, "change": change}

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        now, following = (
            Signal(signed(self._width + self._window), name=name) for name in ("now", "following")
        )
        scaled = values["sample"] << self._window
        m.d.comb += [
            now.eq(Mux(marks.first, scaled, state.sum)),
            following.eq(now + values["change"]),
        ]
        kept = {name: values[name] for name in ("sample", "threshold")}
        return {"sum": following}, {**kept, "sum": now, "quiet": marks.first}

    def _difference(self, m: Module, values: Values) -> Values:
        d = Signal(signed(self._width + self._window + 1), name="difference")
        m.d.comb += d.eq((values["sample"] << self._window) - values["sum"])
        return {
            "difference": d,
            "threshold": values["threshold"] << self._window,
            "quiet": values["quiet"],
            "start": values["sample"],
        }


class MovingWindow(wiring.Component):
    """Samples in, spikes out: the rule is in MovingWindowParameters.

    Ports: ``i``, ``o``, and ``p`` (threshold). latency: cycles from the transfer in to the transfer
    out. interval: cycles a sample.
    """

    interval = 1

    def __init__(self, parameters: MovingWindowParameters):
        self.parameters = parameters
        settled = _Settled(**{f.name: getattr(parameters, f.name) for f in fields(parameters)})
        self._ring, self._sums = _Ring(parameters), _Sums(settled)
        self.latency = self._ring.latency + self._sums.latency
        super().__init__(
            {
                "i": In(
                    stream.Signature(samples_layout(parameters.format.width, parameters.channels))
                ),
                "o": Out(stream.Signature(spikes_layout(parameters))),
                "p": In(stream.Signature(settings_layout(parameters))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ring, m.submodules.sums = ring, sums = self._ring, self._sums
        wiring.connect(m, wiring.flipped(self.i), ring.i)
        wiring.connect(m, wiring.flipped(self.p), ring.p)
        wiring.connect(m, ring.o, sums.i)
        wiring.connect(m, sums.o, wiring.flipped(self.o))
        return m
