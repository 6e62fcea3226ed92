"""Gaussian receptive fields: a value becomes the responses of a population of neurons."""

from __future__ import annotations

from itertools import chain

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.encoders import PopulationParameters

from spikeloom_hdl.encoders.pipeline import MARKS, Pipeline
from spikeloom_hdl.encoders.ports import values_layout
from spikeloom_hdl.encoders.repeat import Repeat
from spikeloom_hdl.memory import Rom

__all__ = ["Population"]


class Population(wiring.Component):
    """Responses of :class:`~spikeloom.hardware.encoders.PopulationParameters`, one a cycle.

    The responses of all neurons are in one ROM, a neuron after the other; its number comes before
    the value. Members: ``i``, the values; ``o``, the responses. latency: cycles from a value to its
    first response. interval: cycles a value, one for each neuron.
    """

    latency = 3

    def __init__(self, parameters: PopulationParameters):
        self.parameters = p = parameters
        self.interval = p.neurons
        super().__init__(
            {
                "i": In(stream.Signature(values_layout(p.bits, p.channels))),
                "o": Out(stream.Signature(values_layout(p.response_bits, p.channels * p.neurons))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        m.submodules.repeat = repeat = Repeat(count=p.neurons, channels=p.channels, shape=p.bits)
        m.submodules.rom = rom = Rom(list(chain(*p.table)), bits=p.response_bits)
        advance = Signal()
        m.d.comb += [
            repeat.i.valid.eq(self.i.valid),
            self.i.ready.eq(repeat.i.ready),
            repeat.i.p.data.eq(self.i.p.value),
            *(repeat.i.p[name].eq(self.i.p[name]) for name in MARKS),
            advance.eq(~self.o.valid | self.o.ready),
            repeat.o.ready.eq(advance),
            rom.row.eq(Cat(repeat.o.p.data, repeat.o.p.index)),
            rom.read.eq(advance),
        ]
        line = Pipeline(
            m, advance, valid=repeat.o.valid, marks={name: repeat.o.p[name] for name in MARKS}
        )
        line.stage()
        (response,) = line.stage(response=rom.data)
        m.d.comb += [self.o.valid.eq(line.valid), self.o.p.value.eq(response)]
        m.d.comb += [self.o.p[name].eq(mark) for name, mark in line.marks.items()]
        return m
