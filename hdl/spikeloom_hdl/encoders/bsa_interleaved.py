"""BSA, pipelined: a decision takes several cycles, and interleaved channels fill them."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from spikeloom.hardware.encoders import BSAParameters

from spikeloom_hdl.encoders.bsa_arithmetic import (
    Operands,
    TapRegisters,
    TapTerms,
    bsa_ports,
    tree_levels,
)
from spikeloom_hdl.encoders.bsa_window import (
    StateRows,
    Window,
    closing_step,
    next_row,
    row_layout,
    sample_step,
    step_layout,
)
from spikeloom_hdl.encoders.channel_table import ChannelSettings
from spikeloom_hdl.encoders.pipeline import Pipeline

__all__ = ["BSAInterleaved"]

LEVELS_PER_STAGE = 2


class BSAInterleaved(wiring.Component):
    """One decision starts a cycle, and is made ``spacing`` cycles later.

    A sample waits while a step of its channel is under way: ``spacing`` channels or more, one
    after another, give a sample a cycle. After the last sample of a frame its taps - 1 closing
    steps go round the pipeline in the place of that sample, and other channels' samples go on.

    Stages: accept; read the row of the channel; register; terms; tree, two levels each; update.
    """

    def __init__(
        self, parameters: BSAParameters, taps: Sequence[int], terms: type[TapTerms] = TapTerms
    ):
        self.parameters, self._taps, self._terms = parameters, tuple(taps), terms
        self.tree_stages = -(-tree_levels(parameters.taps + 1) // LEVELS_PER_STAGE)
        self.spacing = 4 + self.tree_stages
        self.latency, self.interval = self.spacing, 1
        super().__init__(bsa_ports(parameters))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        bits = self._terms.bits(p)
        advance, idle = Signal(), Signal()
        m.d.comb += advance.eq(~self.o.valid | self.o.ready)

        m.submodules.rows = rows = StateRows(p.channels, row_layout(p), clear=p.taps)
        m.submodules.settings = settings = ChannelSettings(p)
        m.d.comb += [
            self.taps.ready.eq(idle & ~rows.busy),
            self.p.ready.eq(idle & ~rows.busy & settings.p.ready),
            settings.p.valid.eq(idle & ~rows.busy & self.p.valid),
            settings.p.payload.eq(self.p.payload),
        ]
        write_tap = self.taps.valid & self.taps.ready
        h = TapRegisters(m, self._taps, p.tap_bits, write_tap, self.taps.p).values

        # what waits to be issued: a sample, or the next closing step of a frame
        layout = step_layout(p)
        waiting, again = Signal(), Signal()
        sample = Signal(layout, reset_less=True)
        closing = Signal(layout, reset_less=True)
        blocked, issue_sample = Signal(), Signal()
        step = stream.Signature(layout).create(path=("step",))
        m.d.comb += [
            self.i.ready.eq(
                ~(rows.busy | settings.busy | self.p.valid | self.taps.valid)
                & (~waiting | issue_sample)
            ),
            issue_sample.eq(waiting & ~again & ~blocked & advance),
            step.valid.eq(again | (waiting & ~blocked)),
            step.payload.eq(Mux(again, closing.as_value(), sample.as_value())),
            rows.read.eq(step.valid & advance),
            rows.read_channel.eq(step.p.channel),
            settings.read.eq(rows.read),
            settings.channel.eq(step.p.channel),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [waiting.eq(1), *sample_step(p, sample, self.i.p)]
        with m.Elif(issue_sample):
            m.d.sync += waiting.eq(0)

        marks = {name: step.p[name] for name in ("channel", "first", "last")}
        pipe = Pipeline(m, advance, valid=step.valid, marks=marks)
        inside = []

        def stage(**values):
            registers = pipe.stage(**values)
            inside.append((pipe.valid, pipe.marks["channel"]))
            return dict(zip(values, registers, strict=True))

        now = {name: step.p[name] for name in ("sample", "closing", "left")}
        now = stage(**now)
        now = stage(**now, row=rows.row, threshold=settings.settings.threshold)
        row = data.View(row_layout(p), now["row"])
        window = Window(
            m, p, row, sample=now["sample"], closing=now["closing"], first=pipe.marks["first"]
        )
        tap = self._terms(m, p, window.residuals, h, window.valid)
        negative = Signal(signed(bits))
        m.d.comb += negative.eq(self._terms.negative(now["threshold"]))
        now = {
            "left": now["left"],
            "residuals": window.residuals,
            "after_spike": tap.differences,
            "words": window.valid,
            "opened": window.opened,
        }
        sums = Operands(bits, [*tap.terms, negative], tap.carries)
        for _ in range(self.tree_stages):
            now = stage(**now, values=sums.values, carries=sums.carries)
            sums = Operands(bits, now.pop("values"), now.pop("carries"))
            for level in range(LEVELS_PER_STAGE):
                sums = sums.level(m, f"sum_{pipe.stages}_{level}")
        now = stage(**now, fires=~sums.values[0][-1])

        spike = now["fires"] & now["words"][0]
        if not self._terms.cut:
            spike &= now["words"][-1]
        channel, last = pipe.marks["channel"], pipe.marks["last"]
        m.d.comb += [
            self.o.valid.eq(pipe.valid & now["words"][0]),
            self.o.p.spike.eq(spike),
            self.o.p.channel.eq(channel),
            self.o.p.first.eq(~now["opened"]),
            self.o.p.last.eq(last),
        ]
        # both carried along: a subtraction here would be the slowest path
        residuals = [
            Mux(spike, after, before)
            for after, before in zip(now["after_spike"], now["residuals"], strict=True)
        ]
        m.d.comb += [
            rows.write.eq(pipe.valid & advance),
            rows.write_channel.eq(channel),
            rows.new_row.eq(next_row(now["opened"], now["words"], residuals, last)),
            blocked.eq(Cat(v & (c == sample.channel) for v, c in inside).any()),
            idle.eq(~(waiting | again | Cat(v for v, _ in inside).any())),
        ]
        with m.If(advance):
            m.d.sync += [
                again.eq(pipe.valid & (now["left"] != 0)),
                *closing_step(closing, channel=channel, left=now["left"]),
            ]
        return m
