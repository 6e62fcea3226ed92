"""The inverse of BSA in gates: a binary FIR filter, adders only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.encoders import BSADecoderParameters
from spikeloom.hardware.encoders.filters import checked_taps

from spikeloom_hdl.encoders.bsa_arithmetic import TapRegisters, tree_levels
from spikeloom_hdl.encoders.channel_core import MARKS, ChannelCore, Values
from spikeloom_hdl.encoders.pipeline import Pipeline
from spikeloom_hdl.encoders.ports import samples_layout, spikes_layout, taps_layout

__all__ = ["BSADecoder"]


class SpikeWindow(ChannelCore):
    """The spikes of the last ``taps`` samples of a channel, newest in bit 0; 0 before the frame."""

    def __init__(self, parameters: BSADecoderParameters):
        window = spikes_layout(parameters)
        fields = {name: field.shape for name, field in window if name != "spike"}
        super().__init__(
            parameters,
            sample=window,
            result=data.StructLayout({"spikes": parameters.taps, **fields}),
            state={"spikes": parameters.taps - 1},
        )

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        spikes = Cat(values["spike"][0], state.spikes)
        return {"spikes": spikes[:-1]}, {"spikes": spikes}


class BSADecoder(wiring.Component):
    """Spikes (0 or 1) in, samples out, one a cycle: the rule is in BSADecoderParameters.

    Ports: ``i``, ``o``; ``taps``, one tap of the filter that all channels share: it holds for
    spikes accepted after it. Stages: the window of a channel; masked taps and a tree of adders, a
    level each; saturation. The sum has room for any taps.

    parameters: structure. taps: after reset; None for the default of the encoder. Raises ValueError
    for taps that do not fit in width + 1 bits.
    """

    interval = 1

    def __init__(self, parameters: BSADecoderParameters, taps: Sequence[int] | None = None):
        p = self.parameters = parameters
        if p.output != "dense":
            raise ValueError(f"a decoder gives samples: output must be 'dense', not {p.output!r}")
        self.default_taps = checked_taps(taps, taps=p.taps, format=p.format, bounded=False)
        self._window = SpikeWindow(p)
        self.latency = self._window.latency + max(1, tree_levels(p.taps)) + 1
        super().__init__(
            {
                "i": In(stream.Signature(spikes_layout(p))),
                "o": Out(stream.Signature(samples_layout(p.format.width, p.channels))),
                "taps": In(stream.Signature(taps_layout(p.taps, p.tap_bits))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        m.submodules.window = window = self._window
        advance = Signal()
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            window.i.payload.eq(self.i.payload),
            window.i.valid.eq(self.i.valid & ~self.taps.valid),
            self.i.ready.eq(window.i.ready & ~self.taps.valid),
            window.o.ready.eq(advance),
        ]
        # spikes in the window, which the present taps are for
        inside = Signal(range(window.latency + 1))
        enters = window.i.valid & window.i.ready
        leaves = window.o.valid & window.o.ready
        m.d.sync += inside.eq(inside + enters - leaves)
        m.d.comb += self.taps.ready.eq(inside == 0)
        write_tap = self.taps.valid & self.taps.ready
        h = TapRegisters(m, self.default_taps, p.tap_bits, write_tap, self.taps.p).values

        marks = {name: window.o.p[name] for name in MARKS}
        pipe = Pipeline(m, advance, valid=window.o.valid, marks=marks)
        spikes = window.o.p.spikes
        sums = [Mux(spike, tap, 0) for spike, tap in zip(spikes, h, strict=True)]
        while len(sums) > 1 or not pipe.stages:
            added = [sum(sums[k + 1 : k + 2], sums[k]) for k in range(0, len(sums), 2)]
            (sums,) = pipe.stage(sum=added)
        low, high = p.format.low, p.format.high
        total = sums[0]
        saturated = Mux(total < low, low, Mux(total > high, high, total))[: p.format.width]
        (sample,) = pipe.stage(sample=saturated)
        m.d.comb += [self.o.valid.eq(pipe.valid), self.o.p.sample.eq(sample)]
        m.d.comb += [self.o.p[name].eq(mark) for name, mark in pipe.marks.items()]
        return m
