"""BSA, parallel: a decision a cycle, all taps at once."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from spikeloom.hardware.encoders import BSAParameters

from spikeloom_hdl.encoders.bsa_arithmetic import Operands, TapRegisters, TapTerms, bsa_ports
from spikeloom_hdl.encoders.bsa_window import (
    Window,
    closing_step,
    next_row,
    row_layout,
    sample_step,
    step_layout,
)
from spikeloom_hdl.encoders.channel_table import ChannelSettings, ChannelState
from spikeloom_hdl.encoders.pipeline import Pipeline

__all__ = ["BSAParallel"]


class BSAParallel(wiring.Component):
    """A sample a cycle, channels in any order; after the last of a frame, taps - 1 cycles without.

    Stages: read the row of the channel; load it; decide, all in one cycle; output register. The
    decision (terms, tree, subtraction) is the loop that sets the clock.
    """

    def __init__(
        self, parameters: BSAParameters, taps: Sequence[int], terms: type[TapTerms] = TapTerms
    ):
        self.parameters, self._taps, self._terms = parameters, tuple(taps), terms
        self.latency, self.interval, self.spacing = ChannelState.depth + 1, 1, 1
        super().__init__(bsa_ports(parameters))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        bits = self._terms.bits(p)
        fields = dict(row_layout(p).members)
        m.submodules.rows = rows = ChannelState(channels=p.channels, state=fields)
        m.submodules.settings = settings = ChannelSettings(p)
        advance, deciding = Signal(), Signal()
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready), rows.advance.eq(advance)]

        # a step a cycle: a sample, or what closes the frame of the last one
        step = stream.Signature(step_layout(p)).create(path=("step",))
        next_step = Signal(step_layout(p), reset_less=True)
        closing = Signal()
        free = Signal()
        m.d.comb += [
            free.eq(~(closing | rows.busy | settings.busy | self.p.valid | self.taps.valid)),
            self.i.ready.eq(free & advance),
            step.valid.eq(closing | (free & self.i.valid)),
            self.p.ready.eq(~closing & ~rows.busy & settings.p.ready),
            settings.p.valid.eq(~closing & ~rows.busy & self.p.valid),
            settings.p.payload.eq(self.p.payload),
            # a decision under way is made with the taps that its sample found
            self.taps.ready.eq(~(closing | rows.busy | deciding)),
        ]
        with m.If(closing):
            m.d.comb += step.payload.eq(next_step)
        with m.Else():
            m.d.comb += sample_step(p, step.p, self.i.p)
        with m.If(advance):
            m.d.sync += [
                closing.eq(step.valid & (step.p.left != 0)),
                *closing_step(next_step, channel=step.p.channel, left=step.p.left),
            ]
        m.d.comb += [
            rows.i_valid.eq(step.valid),
            *(rows.i[name].eq(step.p[name]) for name in ("channel", "first", "last")),
            settings.read.eq(step.valid & advance),
            settings.channel.eq(step.p.channel),
        ]

        write_tap = self.taps.valid & self.taps.ready
        h = TapRegisters(m, self._taps, p.tap_bits, write_tap, self.taps.p).values
        pipe = Pipeline(m, advance, valid=step.valid, marks={})
        line = {"sample": step.p.sample, "closing": step.p.closing}
        inside = []
        for k in range(ChannelState.depth):
            if k == 1:
                negative = Signal(signed(bits))
                m.d.comb += negative.eq(self._terms.negative(settings.settings.threshold))
                line["negative"] = negative
            line = dict(zip(line, pipe.stage(**line), strict=True))
            inside.append(pipe.valid)
        m.d.comb += deciding.eq(Cat(inside).any())

        window = Window(
            m, p, rows.state, sample=line["sample"], closing=line["closing"], first=Const(0, 1)
        )
        tap = self._terms(m, p, window.residuals, h, window.valid)
        sums = Operands(bits, [*tap.terms, line["negative"]], tap.carries)
        level = 0
        while len(sums.values) > 1:
            sums, level = sums.level(m, f"sum_{level}"), level + 1
        spike = Signal()
        decides = window.valid[0] if self._terms.cut else window.valid[0] & window.valid[-1]
        m.d.comb += spike.eq(~sums.values[0][-1] & decides)
        residuals = [
            Mux(spike, after, before)
            for after, before in zip(tap.differences, window.residuals, strict=True)
        ]
        m.d.comb += rows.next.eq(next_row(window.opened, window.valid, residuals, rows.o.last))
        with m.If(advance):
            m.d.sync += [
                self.o.valid.eq(rows.o_valid & window.valid[0]),
                self.o.p.spike.eq(spike),
                self.o.p.channel.eq(rows.o.channel),
                self.o.p.first.eq(~window.opened),
                self.o.p.last.eq(rows.o.last),
            ]
        return m
