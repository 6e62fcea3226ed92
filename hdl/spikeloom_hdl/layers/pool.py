"""Pooling: the maximum of every window, or its sum, which fires on a constant threshold."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.plain_layers import PoolParameters

from spikeloom_hdl.layers.lanes import port_signature
from spikeloom_hdl.layers.reset_cycle import connect_input, reset_cycle
from spikeloom_hdl.layers.skid import Skid
from spikeloom_hdl.layers.tiles import Tiles, values_signature
from spikeloom_hdl.layers.window_beats import WindowBeats, lanes_of
from spikeloom_hdl.neuron.fire import Fire
from spikeloom_hdl.stream import words_signature

__all__ = ["Pool", "SumFire", "WindowWalk"]


class WindowWalk(wiring.Component):
    """Reduces windows that may overlap: a tap a cycle.

    Parameters and members as for :class:`~spikeloom_hdl.layers.tiles.Tiles`.
    """

    def __init__(self, window, port, value, reduce):
        self.beats = WindowBeats(window, port)
        self.port, self.value, self.reduce = port, value, reduce
        super().__init__(
            {"i": In(port_signature(port)), "o": Out(values_signature(port.lanes, value))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.beats = beats = self.beats
        wiring.connect(m, wiring.flipped(self.i), beats.i)
        beat, free = beats.o.p, Signal()
        values = Signal(self.o.p.values.shape(), reset_less=True)
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            beats.o.ready.eq(free),
            self.o.p.values.eq(values),
        ]
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(beats.o.valid & beat.last_tap),
                self.o.p.first.eq(beat.first),
                self.o.p.last.eq(beat.last),
            ]
        with m.If(free & beats.o.valid):
            for value, word in zip(values, beat.words, strict=True):
                m.d.sync += value.eq(Mux(beat.first_tap, word, self.reduce(value, word)))
        return m


class SumFire(wiring.Component):
    """clip(floor((sum + bias) / threshold), 0, 2^output_bits - 1), both constant.

    Rate: a transfer a cycle. Latency: 1 + output_bits cycles, 2 if the threshold is a power of two.
    Words of lanes without a channel, in the last transfer of a pixel, are zero.

    Members: ``i``, sums (unsigned); ``o``, words.
    """

    def __init__(self, parameters: PoolParameters, value):
        self.parameters = parameters
        lanes = parameters.folding.lanes
        super().__init__(
            {
                "i": In(values_signature(lanes, value)),
                "o": Out(words_signature(lanes, parameters.output_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, lanes = self.parameters, self.parameters.folding.lanes
        valid, free = Signal(), Signal()
        first, last = Signal(reset_less=True), Signal(reset_less=True)
        membranes = Signal(data.ArrayLayout(signed(p.sum_bits), lanes), reset_less=True)
        m.d.comb += self.i.ready.eq(~valid | free)
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), first.eq(self.i.p.first), last.eq(self.i.p.last)]
            m.d.sync += [membranes[k].eq(self.i.p.values[k] + p.bias) for k in range(lanes)]
            rest = p.channels % lanes
            if rest and p.bias >= p.threshold:  # the bias alone fires: not where nothing is
                self._clear_padding(m, membranes, rest)

        shift = p.threshold.bit_length() - 1
        if p.threshold != 1 << shift:
            fire = Fire(
                lanes=lanes,
                bits=p.sum_bits,
                steps=p.output_bits,
                threshold_bits=p.threshold.bit_length(),
            )
            m.submodules.fire = fire
            wiring.connect(m, fire.o, wiring.flipped(self.o))
            m.d.comb += [
                fire.i.valid.eq(valid),
                free.eq(fire.i.ready),
                fire.i.p.potentials.eq(membranes),
                fire.i.p.first.eq(first),
                fire.i.p.last.eq(last),
                *(fire.i.p.thresholds[k].eq(p.threshold) for k in range(lanes)),
            ]
            return m
        top = (1 << p.output_bits) - 1
        m.d.comb += free.eq(~self.o.valid | self.o.ready)
        with m.If(free):
            m.d.sync += [self.o.valid.eq(valid), self.o.p.first.eq(first), self.o.p.last.eq(last)]
            for v, word in zip(membranes, self.o.p.words, strict=True):
                high = v >> shift
                m.d.sync += word.eq(Mux(high < 0, 0, Mux(high > top, top, high)))
        return m

    def _clear_padding(self, m: Module, membranes, rest: int) -> None:
        groups = self.parameters.ports_in[0].transfers_per_pixel
        group = Signal(range(groups))
        with m.If(self.i.valid):
            m.d.sync += group.eq(Mux(group == groups - 1, 0, group + 1))
        with m.If(group == groups - 1):
            m.d.sync += [membranes[k].eq(0) for k in range(rest, len(membranes))]


class Pool(wiring.Component):
    """The greatest word (or potential) of every window, or its mean; ``lanes`` channels a transfer.

    Rate: where windows do not overlap and nothing is padded (:meth:`Tiles.can`), a transfer in a
    cycle: ``ports_in[0].transfers`` cycles a sample. Elsewhere a tap of ``lanes`` channels a cycle:
    a sample takes max(transfers, taps inside the sample, summed over its windows, times transfers
    a pixel) cycles.

    Members: ``i``, ``o``; ``abort`` drops everything inside, ``resetting`` while that lasts.
    """

    def __init__(self, parameters: PoolParameters):
        p = self.parameters = parameters
        port = p.ports_in[0]
        if p.rule == "max":
            value = signed(p.bits) if p.signed else unsigned(p.bits)
        else:
            value = unsigned((p.window.taps * ((1 << p.bits) - 1)).bit_length())
        make = Tiles if Tiles.can(p.window, port) else WindowWalk
        self.windows = make(p.window, port, value, _greater if p.rule == "max" else _sum)
        self.fire = SumFire(p, value) if p.rule == "average" else None
        super().__init__(
            {
                "i": In(port_signature(port)),
                "o": Out(port_signature(p.port_out)),
                "abort": In(1),
                "resetting": Out(1, init=1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = reset_cycle(m, self)
        m.submodules.windows = held(self.windows)
        connect_input(m, self, self.i, self.windows.i)
        skid = Skid(self.o.payload.shape())
        m.submodules.skid = held(skid)
        wiring.connect(m, skid.o, wiring.flipped(self.o))
        if self.fire is not None:
            m.submodules.fire = held(self.fire)
            wiring.connect(m, self.windows.o, self.fire.i)
            wiring.connect(m, self.fire.o, skid.i)
            return m
        found = self.windows.o
        m.d.comb += [
            skid.i.valid.eq(found.valid),
            found.ready.eq(skid.i.ready),
            lanes_of(skid.i.p).eq(found.p.values),
            skid.i.p.first.eq(found.p.first),
            skid.i.p.last.eq(found.p.last),
        ]
        return m


def _greater(a, b):
    return Mux(a > b, a, b)


def _sum(a, b):
    return a + b
