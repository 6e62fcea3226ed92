"""A group of lanes: each multiplies the words of an event by its weights and adds them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.parameters import Form, Multiplier

from spikeloom_hdl.neuron.multiply import MAC16_LATENCY, MULT18_LATENCY, mac16, mult18

__all__ = ["Accumulate", "balanced_sum"]


def balanced_sum(terms: Sequence[Any]) -> Any:
    """Add in a balanced tree, without registers."""
    terms = list(terms)
    while len(terms) > 1:
        pairs = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[len(pairs) * 2 :]
    return terms[0]


class Accumulate(wiring.Component):
    """``lanes`` membrane potentials without bias: v += w * p, for one event of each slice a cycle.

    A cycle's events are ``words`` (unsigned, one a slice, zero where a slice has no event) and
    ``weights`` (two's complement, one a lane of each slice). They are added to ``potentials``,
    which wrap modulo 2^accumulator_bits, after ``latency`` + 1 cycles. ``clear`` is early by none
    of them: it acts in the cycle after it, and drops what would be added then. ``potentials`` hold
    the sum in the cycle of ``clear``.

    form: in ``serial`` a word has at most one bit set, and the weight is shifted, not multiplied.
    multiplier: what multiplies in the packed form.
    """

    def __init__(
        self,
        *,
        lanes: int,
        slices: int,
        input_bits: int,
        weight_bits: int,
        accumulator_bits: int,
        form: Form = "packed",
        multiplier: Multiplier = "lut",
    ):
        self.lanes, self.slices = lanes, slices
        self.input_bits, self.weight_bits = input_bits, weight_bits
        self.accumulator_bits = accumulator_bits
        self.kind = "shift" if form == "serial" else multiplier
        if self.kind == "sb_mac16" and weight_bits + input_bits + 1 > 32:
            raise ValueError("an SB_MAC16 multiplies 16 by 16 bits")
        row = data.ArrayLayout(signed(weight_bits), lanes)
        super().__init__(
            {
                "words": In(data.ArrayLayout(unsigned(input_bits), slices)),
                "weights": In(data.ArrayLayout(row, slices)),
                "clear": In(1),
                "potentials": Out(data.ArrayLayout(signed(accumulator_bits), lanes)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from an event to the cycle whose ``clear`` would drop it."""
        if self.kind == "sb_mac16":
            return MAC16_LATENCY
        product = MULT18_LATENCY if self.kind == "mult18x18d" else 1 + self._splits
        return product + (self.slices - 1).bit_length()

    @property
    def _splits(self) -> bool:
        """Whether a product in LUTs is the sum of two halves: a wide one takes too long."""
        return self.kind == "lut" and self.input_bits > 4

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for lane in range(self.lanes):
            if self.kind == "sb_mac16":
                totals = [self._mac(m, lane, s) for s in range(self.slices)]
                m.d.comb += self.potentials[lane].eq(balanced_sum(totals))
                continue
            terms = [self._product(m, lane, s) for s in range(self.slices)]
            level = 0
            while len(terms) > 1:  # one register a level
                level += 1
                sums = []
                for k in range(0, len(terms), 2):
                    value = sum(terms[k + 1 : k + 2], start=terms[k])
                    one = Signal(value.shape(), name=f"sum_{lane}_{level}_{k}", reset_less=True)
                    m.d.sync += one.eq(value)
                    sums.append(one)
                terms = sums
            total = Signal(signed(self.accumulator_bits), name=f"v_{lane}", reset_less=True)
            m.d.sync += total.eq(total + terms[0])
            with m.If(self.clear):
                m.d.sync += total.eq(0)
            m.d.comb += self.potentials[lane].eq(total)
        return m

    def _product(self, m: Module, lane: int, s: int) -> Signal:
        weight, word = self.weights[s][lane], self.words[s]
        product = Signal(
            signed(self.weight_bits + self.input_bits), name=f"product_{lane}_{s}", reset_less=True
        )
        if self.kind == "mult18x18d":
            m.submodules[f"multiplier_{lane}_{s}"] = mult18(weight, word, product)
        elif self.kind == "shift":
            for t in range(self.input_bits):
                with m.If(word[t]):
                    m.d.sync += product.eq(weight << t)
            with m.If(word == 0):
                m.d.sync += product.eq(0)
        elif self._splits:
            parts = [
                Signal(signed(self.weight_bits + 4), name=f"part_{lane}_{s}_{k}", reset_less=True)
                for k in range(2)
            ]
            m.d.sync += [part.eq(weight * word[4 * k :][:4]) for k, part in enumerate(parts)]
            m.d.sync += product.eq(parts[0] + (parts[1] << 4))
        else:
            m.d.sync += product.eq(weight * word)
        return product

    def _mac(self, m: Module, lane: int, s: int) -> Value:
        total = Signal(32, name=f"total_{lane}_{s}")
        m.submodules[f"mac_{lane}_{s}"] = mac16(
            self.weights[s][lane], self.words[s], self.clear, total
        )
        return total[: self.accumulator_bits].as_signed()
