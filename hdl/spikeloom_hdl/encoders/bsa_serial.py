"""BSA, serial: one tap a cycle, residuals of all channels in one RAM."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from spikeloom.hardware.encoders import BSAParameters

from spikeloom_hdl.encoders.bsa_arithmetic import TapTerms, bsa_ports
from spikeloom_hdl.encoders.bsa_walk import TapMemory, Walk
from spikeloom_hdl.encoders.bsa_window import StateRows
from spikeloom_hdl.encoders.channel_table import ChannelSettings

__all__ = ["BSASerial"]


def state_layout(p: BSAParameters) -> data.StructLayout:
    """State of a channel besides its residuals.

    place: where the next sample goes in the ring. filled: samples of the window that are there,
    up to taps - 1. opened: a spike of the frame was decided. pending: it was 1, and its filter is
    not yet subtracted.
    """
    return data.StructLayout(
        {
            "place": (p.taps - 1).bit_length(),
            "filled": (p.taps - 1).bit_length(),
            "opened": 1,
            "pending": 1,
        }
    )


class BSASerial(wiring.Component):
    """A step of a channel walks through its window, newest word first, a word a cycle.

    The residuals of a channel are a ring of 2^n >= taps words. What a spike subtracts is subtracted
    when the next step passes by. A sample takes taps + 7 cycles, 8 if it only fills the window; the
    closing steps of a frame, n + 6 each for a window of n words, n = taps - 1 ... 1.
    """

    def __init__(
        self, parameters: BSAParameters, taps: Sequence[int], terms: type[TapTerms] = TapTerms
    ):
        self.parameters, self._taps, self._terms = parameters, tuple(taps), terms
        self.latency = self.interval = self.spacing = parameters.taps + 7
        super().__init__(bsa_ports(parameters))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        bits = (p.taps - 1).bit_length()
        m.submodules.rows = rows = StateRows(p.channels, state_layout(p))
        m.submodules.settings = settings = ChannelSettings(p)
        m.submodules.taps = taps = TapMemory(self._taps, p.tap_bits)
        m.submodules.walk = walk = Walk(p, self._terms)

        idle, ready, accept = Signal(), Signal(), Signal()
        m.d.comb += [
            ready.eq(idle & ~(rows.busy | taps.busy)),
            self.p.ready.eq(ready & settings.p.ready),
            settings.p.valid.eq(ready & self.p.valid),
            settings.p.payload.eq(self.p.payload),
            self.taps.ready.eq(ready),
            taps.write.eq(self.taps.valid & self.taps.ready),
            taps.write_index.eq(self.taps.p.index),
            taps.write_tap.eq(self.taps.p.tap),
            self.i.ready.eq(ready & ~(settings.busy | self.p.valid | self.taps.valid)),
            accept.eq(self.i.valid & self.i.ready),
            rows.read.eq(accept),
            rows.read_channel.eq(self.i.p.channel),
            settings.read.eq(accept),
            settings.channel.eq(self.i.p.channel),
        ]

        step = Signal(self.i.payload.shape(), reset_less=True)
        closing, ends = Signal(), Signal()
        state = Signal(state_layout(p), reset_less=True)
        decides = Signal(reset_less=True)
        # the walk: word `index` of the window, at `place` of the ring
        index = Signal(range(p.taps + 1), reset_less=True)
        top = Signal(bits, reset_less=True)
        place, newest = Signal(bits, reset_less=True), Signal(bits, reset_less=True)
        m.d.comb += [
            taps.read_index.eq(index),
            walk.channel.eq(step.channel),
            walk.place.eq(place),
            walk.newest.eq(~closing & (index == p.taps - 1)),
            walk.sample.eq(step.sample),
            walk.tap.eq(taps.tap),
            walk.pending.eq(state.pending),
            walk.threshold.eq(settings.settings.threshold),
            ends.eq(Mux(closing, top == 0, step.last if p.taps == 1 else 0)),
        ]
        free = ~self.o.valid | self.o.ready
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM():
            with m.State("idle"):
                m.d.comb += idle.eq(1)
                m.d.sync += [step.eq(self.i.payload), closing.eq(0), index.eq(p.taps)]
                with m.If(accept):
                    m.next = "load"
            with m.State("load"):
                m.d.comb += [taps.read.eq(1), walk.start.eq(1)]
                m.d.sync += index.eq(index - 1)
                with m.If(closing):
                    m.d.sync += [decides.eq(1), place.eq(newest)]
                with m.Else():
                    held = rows.row.as_value() & ~step.first.replicate(state_layout(p).size)
                    m.d.sync += [
                        state.eq(held),
                        decides.eq(Mux(step.first, 0, rows.row.filled) == p.taps - 1),
                        place.eq(rows.row.place & ~step.first.replicate(bits)),
                        newest.eq(rows.row.place & ~step.first.replicate(bits)),
                    ]
                m.next = "walk"
            with m.State("walk"):
                m.d.comb += [taps.read.eq(1), walk.valid.eq(1)]
                m.d.sync += [index.eq(index - 1), place.eq(place - 1)]
                with m.If((index == 0) | ~decides):
                    m.next = "decide"
            with m.State("decide"):
                spike = (decides if self._terms.cut else decides & ~closing) & walk.fires
                with m.If(walk.done & (free | ~decides)):
                    m.d.sync += [state.opened.eq(decides), state.pending.eq(spike)]
                    m.d.sync += closing.eq(step.last)
                    m.d.comb += [
                        rows.write.eq(1),
                        rows.new_row.place.eq(newest + 1),
                        rows.new_row.filled.eq(state.filled + ~decides),
                        rows.new_row.opened.eq(decides),
                        rows.new_row.pending.eq(spike),
                    ]
                    with m.If(decides):
                        m.d.sync += [
                            self.o.valid.eq(1),
                            self.o.p.spike.eq(spike),
                            self.o.p.channel.eq(step.channel),
                            self.o.p.first.eq(~state.opened),
                            self.o.p.last.eq(ends),
                        ]
                    # the next closing step has one word less, the first one all that are there
                    following = Mux(closing, top, state.filled + ~decides)
                    m.d.sync += [top.eq(following - 1), index.eq(following)]
                    with m.If(ends | ~step.last):
                        m.next = "idle"
                    with m.Else():
                        m.next = "load"
                with m.If(ends):
                    m.d.comb += rows.new_row.eq(0)
        m.d.comb += rows.write_channel.eq(step.channel)
        return m
