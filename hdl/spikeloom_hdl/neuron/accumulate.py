"""A group of lanes: each multiplies the words of an event by its weights and adds them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.parameters import Form, Multiplier

from spikeloom_hdl.neuron.multiply import (
    MAC16_LATENCY,
    MULT18_BITS,
    MULT18_LATENCY,
    mac16,
    mult18,
    multiply,
    multiply_latency,
)

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
    multiplier: what multiplies in the packed form. Two lanes share a MULT18X18D where their weights
    fit side by side (``pairs``).
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
        if self.kind == "mult18x18d":
            product = MULT18_LATENCY
        else:
            product = 1 if self.kind == "shift" else multiply_latency(self.input_bits)
        return product + (self.slices - 1).bit_length()

    @property
    def pairs(self) -> bool:
        """Whether a cell multiplies the weights of two lanes at once."""
        return self.kind == "mult18x18d" and 2 * self.weight_bits + self.input_bits <= MULT18_BITS

    def elaborate(self, platform: object) -> Module:
        m = Module()
        products = self._products(m) if self.kind != "sb_mac16" else []
        for lane in range(self.lanes):
            if self.kind == "sb_mac16":
                totals = [self._mac(m, lane, s) for s in range(self.slices)]
                m.d.comb += self.potentials[lane].eq(balanced_sum(totals))
                continue
            terms = products[lane]
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

    def _products(self, m: Module) -> list[list[Value]]:
        """Products of every lane, one a slice."""
        paired = self.lanes // 2 * 2 if self.pairs else 0
        products = [[] for _ in range(self.lanes)]
        for s in range(self.slices):
            late_word = self.words[s]
            if paired:
                for k in range(MULT18_LATENCY):
                    late = Signal(self.input_bits, name=f"word_{s}_{k}", reset_less=True)
                    m.d.sync += late.eq(late_word)
                    late_word = late
            for lane in range(0, paired, 2):
                for k, value in enumerate(self._pair(m, lane, s, late_word)):
                    products[lane + k].append(value)
            for lane in range(paired, self.lanes):
                products[lane].append(self._product(m, lane, s))
        return products

    def _pair(self, m: Module, lane: int, s: int, late_word: Value) -> tuple[Value, Value]:
        """Products of two lanes from one cell, (w1 << gap | w0) * p.

        w0 is taken as unsigned: that keeps the product with w1 exact, and that with w0 too great by
        p << weight_bits where w0 is negative.
        """
        word, weights = self.words[s], self.weights[s]
        gap = self.weight_bits + self.input_bits
        both = Cat(weights[lane].as_unsigned(), Const(0, self.input_bits), weights[lane + 1])
        product = Signal(signed(2 * gap), name=f"product_{lane}_{s}")
        m.submodules[f"multiplier_{lane}_{s}"] = mult18(both.as_signed(), word, product)
        negative = weights[lane][-1]
        for k in range(MULT18_LATENCY):
            late = Signal(name=f"negative_{lane}_{s}_{k}", reset_less=True)
            m.d.sync += late.eq(negative)
            negative = late
        top = Signal(self.input_bits, name=f"top_{lane}_{s}")
        excess = late_word & negative.replicate(self.input_bits)
        m.d.comb += top.eq(product[self.weight_bits : gap] - excess)
        return Cat(product[: self.weight_bits], top).as_signed(), product[gap:].as_signed()

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
        else:
            always = Const(1, 1)
            return multiply(m, weight, word, advance=always, name=f"product_{lane}_{s}")[0]
        return product

    def _mac(self, m: Module, lane: int, s: int) -> Value:
        total = Signal(32, name=f"total_{lane}_{s}")
        m.submodules[f"mac_{lane}_{s}"] = mac16(
            self.weights[s][lane], self.words[s], self.clear, total
        )
        return total[: self.accumulator_bits].as_signed()
