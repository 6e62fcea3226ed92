"""A sum of products for each lane, of words and weights of its own."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.folding import Multiplier

from spikeloom_hdl.neuron.multiply import (
    MAC16_LATENCY,
    MULT18_LATENCY,
    mac16,
    mult18,
    multiply,
    multiply_latency,
)

__all__ = ["LaneSums"]


class LaneSums(wiring.Component):
    """v_l += weight_l * word_l in every lane l, every cycle.

    Members: ``words`` (unsigned, zero in a cycle that adds nothing) with ``weights`` (two's
    complement); ``first`` comes with the first words of a sum. ``potentials`` (modulo
    2^accumulator_bits) hold the sum ``latency`` cycles after its last words came; that cycle has
    ``last``. If ``needs_gap``, the words after the last ones of a sum must be zero. ``clear``: for
    ``clear_cycles``, with zero words, before the first sum.
    """

    def __init__(
        self,
        *,
        lanes: int,
        input_bits: int,
        weight_bits: int,
        accumulator_bits: int,
        multiplier: Multiplier = "lut",
    ):
        self.lanes, self.input_bits, self.weight_bits = lanes, input_bits, weight_bits
        self.accumulator_bits, self.multiplier = accumulator_bits, multiplier
        super().__init__(
            {
                "words": In(data.ArrayLayout(unsigned(input_bits), lanes)),
                "weights": In(data.ArrayLayout(signed(weight_bits), lanes)),
                "first": In(1),
                "last": In(1),
                "clear": In(1),
                "potentials": Out(data.ArrayLayout(signed(accumulator_bits), lanes)),
            }
        )

    @property
    def needs_gap(self) -> bool:
        """Whether a cycle without words has to follow a sum: the cell cannot load a product."""
        return self.multiplier == "sb_mac16"

    @property
    def clear_cycles(self) -> int:
        """Cycles of ``clear`` that leave nothing behind."""
        return self.latency + 1 if self.needs_gap else 0

    @property
    def latency(self) -> int:
        """Cycles from words to the sum with them."""
        return 1 + self._product_latency

    @property
    def _product_latency(self) -> int:
        if self.multiplier == "lut":
            return multiply_latency(self.input_bits)
        return MAC16_LATENCY if self.needs_gap else MULT18_LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        first = self.first
        for stage in range(self._product_latency):
            late = Signal(name=f"first_{stage}", reset_less=True)
            m.d.sync += late.eq(first)
            first = late
        for lane in range(self.lanes):
            weight, word = self.weights[lane], self.words[lane]
            if self.needs_gap:
                total = Signal(32, name=f"total_{lane}")
                cell = mac16(weight, word, self.last | self.clear, total)
                m.submodules[f"mac_{lane}"] = cell
                m.d.comb += self.potentials[lane].eq(total[: self.accumulator_bits].as_signed())
                continue
            if self.multiplier == "mult18x18d":
                bits = self.weight_bits + self.input_bits
                product = Signal(signed(bits), name=f"product_{lane}")
                m.submodules[f"multiplier_{lane}"] = mult18(weight, word, product)
            else:
                name = f"product_{lane}"
                product, latency = multiply(m, weight, word, advance=Const(1), name=name)
                assert latency == self._product_latency
            total = Signal(signed(self.accumulator_bits), name=f"v_{lane}", reset_less=True)
            m.d.sync += total.eq(Mux(first, 0, total) + product)
            m.d.comb += self.potentials[lane].eq(total)
        return m
