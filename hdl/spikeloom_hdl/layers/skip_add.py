"""The words (or potentials) of a skip connection, weighed and added to potentials."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.synapses import ConvParameters

from spikeloom_hdl.layers.bias import membranes_of
from spikeloom_hdl.neuron.multiply import MULT18_LATENCY, mult18, multiply
from spikeloom_hdl.stream import potentials_signature, words_signature

__all__ = ["SkipAdd", "skip_signature"]


def skip_signature(parameters: ConvParameters):
    """Stream of the skip connection."""
    p, make = parameters, potentials_signature if parameters.skip_signed else words_signature
    return make(p.folding.fire_lanes, p.skip_bits)


class SkipAdd(wiring.Component):
    """v0 + k q, modulo 2^accumulator_bits; plain v0 + q if ``skip_weight_bits`` is 0.

    A transfer of ``skip`` is taken in the cycle that takes the potentials it belongs to. Latency:
    one cycle, and those of the multiplier. Rate: a transfer a cycle.

    Members: ``i`` with ``weights`` k beside its payload, ``skip``, ``o``.
    """

    def __init__(self, parameters: ConvParameters):
        p, lanes = parameters, parameters.folding.fire_lanes
        self.parameters = p
        # a cell of 18 bits does not hold every skip of potentials
        self.cell = p.folding.multiplier == "mult18x18d" and p.skip_bits + (not p.skip_signed) <= 18
        super().__init__(
            {
                "i": In(membranes_of(p)),
                "weights": In(data.ArrayLayout(signed(max(1, p.skip_weight_bits)), lanes)),
                "skip": In(skip_signature(p)),
                "o": Out(membranes_of(p)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, lanes = self.parameters, self.parameters.folding.fire_lanes
        advance = Signal()
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(self.skip.valid & advance),
            self.skip.ready.eq(self.i.valid & advance),
        ]
        valid, payload = self.i.valid & self.skip.valid, self.i.payload
        words = self.skip.p.potentials if p.skip_signed else self.skip.p.words
        terms, latency = list(words), 0
        if p.skip_weight_bits:
            terms, latency = self._weigh(m, words, advance)
        for stage in range(latency + 1):
            late_valid = Signal(name=f"valid_{stage}")
            late = Signal(self.o.payload.shape(), name=f"payload_{stage}", reset_less=True)
            with m.If(advance):
                m.d.sync += [late_valid.eq(valid), late.eq(payload)]
                if stage == latency:
                    m.d.sync += [
                        late.potentials[k].eq(payload.potentials[k] + terms[k])
                        for k in range(lanes)
                    ]
            valid, payload = late_valid, late
        m.d.comb += [self.o.valid.eq(valid), self.o.payload.eq(payload)]
        return m

    def _weigh(self, m: Module, words, advance) -> tuple[list, int]:
        """Products of weights and words, and how many cycles later they come."""
        p, products, latency = self.parameters, [], MULT18_LATENCY
        for k, word in enumerate(words):
            weight = self.weights[k]
            if self.cell:
                product = Signal(signed(p.skip_weight_bits + p.skip_bits), name=f"product_{k}")
                m.submodules[f"multiplier_{k}"] = mult18(weight, word, product, advance=advance)
            else:
                product, latency = multiply(m, weight, word, advance=advance, name=f"product_{k}")
            products.append(product)
        return products, latency
