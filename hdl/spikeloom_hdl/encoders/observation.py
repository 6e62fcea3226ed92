"""Observations of reinforcement learning: samples between bounds become values of a code."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.encoders import ObservationParameters

from spikeloom_hdl.encoders.channel_table import ChannelSettings
from spikeloom_hdl.encoders.pipeline import MARKS, Pipeline
from spikeloom_hdl.encoders.ports import samples_layout, settings_layout, values_layout
from spikeloom_hdl.encoders.repeat import InTurn

__all__ = ["Observation"]

FRACTION = 16  #: bits of a gain below one
LIMB = 16  #: bits of a factor that the multipliers of both ECP5 and UP5K have


class Observation(wiring.Component):
    """Values of :class:`~spikeloom.hardware.encoders.ObservationParameters`, one a cycle.

    Members: ``i``, the samples; ``o``, the values; ``p``, bounds and gains. Takes two 16-bit
    multipliers, four if samples have more than 16 bits. latency: cycles from a sample to its first
    value. interval: cycles a sample, one for each value.
    """

    def __init__(self, parameters: ObservationParameters):
        self.parameters = p = parameters
        self.interval = p.outputs
        # settings 2, difference, products, their sums, rounding, clipping
        self._depth = 6 + (2 if p.format.width > LIMB else 1)
        self.latency = self._depth + (2 if p.outputs > 1 else 0)
        super().__init__(
            {
                "i": In(stream.Signature(samples_layout(p.format.width, p.channels))),
                "o": Out(stream.Signature(values_layout(p.bits, p.channels * p.outputs))),
                "p": In(stream.Signature(settings_layout(p))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        m.submodules.settings = table = ChannelSettings(p)
        wiring.connect(m, wiring.flipped(self.p), table.p)
        m.submodules.turn = turn = InTurn(count=p.outputs, channels=p.channels, bits=p.bits)
        advance, enters = Signal(), Signal()
        m.d.comb += [
            advance.eq(~turn.i.valid | turn.i.ready),
            self.i.ready.eq(advance & ~table.busy),
            enters.eq(self.i.valid & self.i.ready),
            table.channel.eq(self.i.p.channel),
            table.read.eq(enters),
        ]
        line = Pipeline(m, advance, valid=enters, marks={n: self.i.p[n] for n in MARKS})
        (x,) = line.stage(x=self.i.p.sample)
        x, low, gain = line.stage(x=x, low=table.settings.low, gain=table.settings.gain)
        # below the lower bound is at the lower bound
        difference = (x - low)[: p.format.width]
        above, gain = line.stage(above=Mux(x < low, 0, difference), gain=gain)
        product = _product(line, above, gain)
        quotient, rest = product[FRACTION:], product[FRACTION - 1]
        rounded, over = line.stage(rounded=quotient[: p.bits] + rest, over=quotient[p.bits :].any())
        (value,) = line.stage(value=rounded[: p.bits] | (over | rounded[p.bits]).replicate(p.bits))
        assert line.stages == self._depth
        m.d.comb += [
            turn.i.valid.eq(line.valid),
            *(turn.i.p[name].eq(mark) for name, mark in line.marks.items()),
            *(turn.i.p["items"][k].eq(v) for k, v in enumerate(self._values(value))),
            self.o.valid.eq(turn.o.valid),
            turn.o.ready.eq(self.o.ready),
            self.o.p.value.eq(turn.o.p.item),
            *(self.o.p[name].eq(turn.o.p[name]) for name in MARKS),
        ]
        return m

    def _values(self, value: Value) -> list[Value]:
        """All values of a sample, in their order."""
        values = [value]
        if self.parameters.split:
            # 2 p - full is odd; either of the two is zero, by the most significant bit of p
            upper, rest = value[-1], value[:-1]
            values = [
                Cat(Const(1, 1), rest) & upper.replicate(len(value)),
                ~Cat(Const(0, 1), rest) & (~upper).replicate(len(value)),
            ]
        return values + [~v for v in values] if self.parameters.inverted else values


def _product(line: Pipeline, a: Value, b: Value) -> Value:
    """Multiply limb by limb, and add in pairs; a register after each multiplier and adder."""
    limbs = [(k, j) for k in range(0, len(a), LIMB) for j in range(0, len(b), LIMB)]
    limbs.sort(key=sum)
    shifts = [sum(limb) for limb in limbs]
    (terms,) = line.stage(product=[a[k : k + LIMB] * b[j : j + LIMB] for k, j in limbs])
    while len(terms) > 1:
        pairs = [
            low + (high << place - base)
            for low, high, base, place in zip(
                terms[::2], terms[1::2], shifts[::2], shifts[1::2], strict=True
            )
        ]
        (terms,), shifts = line.stage(sum=pairs), shifts[::2]
    return terms[0]
