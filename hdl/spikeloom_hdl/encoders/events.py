"""Address events out of dense spikes: channel, polarity, and the number of the sample."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from spikeloom.hardware.encoders import CoreParameters, SignalParameters

from spikeloom_hdl.encoders.channel_core import ChannelCore, Values
from spikeloom_hdl.encoders.ports import spikes_layout

__all__ = ["Events", "SpikeCore"]


class _Counter(CoreParameters):
    """Structure of the event maker: the channels of the encoder before it, no settings."""

    NAME = "events"


class Events(ChannelCore):
    """Drop samples without a spike, except the ``first`` and the ``last`` of a frame; add ``time``.

    ``time`` is the number of the sample in its frame, 0 the first, modulo 2^time_bits. Takes a
    sample a cycle.

    result: layout of an event: the fields of a dense spike, ``time`` among them.
    """

    def __init__(self, result: data.StructLayout, *, channels: int):
        fields = {name: field.shape for name, field in result}
        self.time_bits = fields.pop("time")
        super().__init__(
            _Counter(channels=channels),
            sample=data.StructLayout(fields),
            result=result,
            state={"time": self.time_bits},
        )

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        keep = values["spike"].any() | marks.first | marks.last
        following = {"time": (state.time + 1)[: len(state.time)]}
        return following, {**values, "time": state.time, "keep": keep}


class SpikeCore(ChannelCore):
    """A core whose spikes go out dense, or as events where ``parameters.output`` says so.

    start_bits: width of the side-band where it is not that of a sample. pieces: as ChannelCore;
    ``after`` (or ``step``) ends with the fields of a dense spike.
    """

    def __init__(
        self, parameters: SignalParameters, *, start_bits: int | None = None, **pieces: Any
    ):
        result = spikes_layout(parameters, start_bits=start_bits)
        super().__init__(parameters, result=result, **pieces)
        self._events = None
        if parameters.output == "events":
            self._events = Events(self.o.p.shape(), channels=parameters.channels)
            self.latency += self._events.latency

    def elaborate(self, platform: object) -> Module:
        if self._events is None:
            return super().elaborate(platform)
        m = Module()
        m.submodules.events = self._events
        wiring.connect(m, self._events.o, wiring.flipped(self.o))
        self.build(m, self._events.i)
        return m
