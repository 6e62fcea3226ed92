"""What the forms of BSA and HSA share: ports, the term of a tap, a tree of adders, the taps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.encoders import BSAParameters

from spikeloom_hdl.encoders.ports import (
    samples_layout,
    settings_layout,
    spikes_layout,
    taps_layout,
)

__all__ = ["Operands", "ShortfallTerms", "TapRegisters", "TapTerms", "bsa_ports", "tree_levels"]


def bsa_ports(p: BSAParameters) -> dict[str, Any]:
    """Members of every form: samples, spikes, thresholds, taps."""
    return {
        "i": In(stream.Signature(samples_layout(p.format.width, p.channels))),
        "o": Out(stream.Signature(spikes_layout(p))),
        "p": In(stream.Signature(settings_layout(p))),
        "taps": In(stream.Signature(taps_layout(p.taps, p.tap_bits))),
    }


class TapRegisters:
    """The taps in registers, all readable at once; ``write`` the index and value of a transfer."""

    def __init__(self, m: Module, init: Sequence[int], bits: int, write: Value, payload: Any):
        self.values = []
        for k, value in enumerate(init):
            tap = Signal(signed(bits), name=f"tap_{k}", init=value)
            with m.If(write & (payload.index == k)):
                m.d.sync += tap.eq(payload.tap)
            self.values.append(tap)


class TapTerms:
    """e_k = |r| - |r - h| of each tap, 0 where it is not valid, from two subtractions and no more.

    With d = r - h: where r and d have one sign, e_k = sign(r) h, else e_k = sign(r) (2r - h).
    Where r is negative, the term is what has to be inverted, and 1 (``carries``) to be added.

    terms: width + 3 bits. differences: d, width + 2 bits: a residual has not lost this tap yet, so
    that with it |d| <= 2^(width-1) + sum |h| still holds.

    The sum of the terms fires if it is not below -``negative``. In serial form it begins with
    ``start`` and is ``reached`` if it fires.
    """

    cut = True  #: whether a window that the end of the frame cuts may spike

    @staticmethod
    def bits(p: BSAParameters) -> int:
        """Width of a term, and of the sum with ``negative``."""
        return p.format.width + 3

    @staticmethod
    def negative(threshold: Any) -> Any:
        """Minus the least sum that fires."""
        return -threshold

    @staticmethod
    def start(threshold: Any) -> Any:
        """-threshold - 1, which costs no adder."""
        return ~threshold

    @staticmethod
    def reached(total: Any) -> Any:
        """Whether a sum from ``start`` on is -1 or above."""
        return ~total[-1] | total.all()

    def __init__(
        self,
        m: Module,
        p: BSAParameters,
        residuals: Sequence[Value],
        taps: Sequence[Value],
        valid: Sequence[Value],
    ):
        self.terms, self.carries, self.differences = [], [], []
        width = p.format.width
        for k, (r, h, use) in enumerate(zip(residuals, taps, valid, strict=True)):
            d = Signal(signed(width + 2), name=f"d_{k}")
            middle = Signal(signed(width + 2), name=f"middle_{k}")
            chosen = Signal(signed(width + 3), name=f"chosen_{k}")
            term = Signal(signed(width + 3), name=f"term_{k}")
            carry = Signal(name=f"carry_{k}")
            m.d.comb += [
                d.eq(r - h),
                # only read where |2r - h| <= |h|: the rest may wrap
                middle.eq((r << 1) - h),
                chosen.eq(Mux(r[-1] == d[-1], h, middle)),
                carry.eq(r[-1] & use),
                term.eq(Mux(use, chosen ^ r[-1].replicate(width + 3), 0)),
            ]
            self.terms.append(term)
            self.carries.append(carry)
            self.differences.append(d)


class ShortfallTerms(TapTerms):
    """min(0, r - h) of each tap: a subtraction and a gate, nothing to invert and no carries.

    Validity does not matter here, as a window with words that are not valid has no spike. Terms add
    up to as many times 2^(width+1) as there are taps.
    """

    cut = False

    @staticmethod
    def bits(p: BSAParameters) -> int:
        """Width of a term, and of the sum with ``negative``."""
        return p.format.width + 2 + (p.taps - 1).bit_length()

    @staticmethod
    def negative(threshold: Any) -> Any:
        """Minus the least sum that fires: as much may be missing."""
        return threshold

    @staticmethod
    def start(threshold: Any) -> Any:
        """The threshold itself."""
        return threshold

    @staticmethod
    def reached(total: Any) -> Any:
        """Whether a sum from ``start`` on is 0 or above."""
        return ~total[-1]

    def __init__(
        self,
        m: Module,
        p: BSAParameters,
        residuals: Sequence[Value],
        taps: Sequence[Value],
        valid: Sequence[Value],
    ):
        self.terms, self.carries, self.differences = [], [], []
        for k, (r, h) in enumerate(zip(residuals, taps, strict=True)):
            d = Signal(signed(p.format.width + 2), name=f"d_{k}")
            term = Signal(signed(self.bits(p)), name=f"term_{k}")
            m.d.comb += [d.eq(r - h), term.eq(Mux(d[-1], d, 0))]
            self.terms.append(term)
            self.differences.append(d)


def tree_levels(operands: int) -> int:
    """Levels of a balanced tree of two-input adders."""
    return (operands - 1).bit_length()


@dataclass(frozen=True)
class Operands:
    """What is still to be added: values of ``bits`` bits, modulo 2^bits, and single bits.

    There are fewer single bits than values, so that each goes into the carry of an adder.
    """

    bits: int
    values: list[Value]
    carries: list[Value]

    def level(self, m: Module, name: str) -> Operands:
        """Add pairs of neighbours."""
        values, carries = [], list(self.carries)
        for k in range(0, len(self.values) - 1, 2):
            a, b = self.values[k : k + 2]
            # an adder one bit longer has a carry input that every synthesis understands
            total = Signal(self.bits + 1, name=f"{name}_{k // 2}")
            carry = carries.pop() if carries else Const(0, 1)
            m.d.comb += total.eq(Cat(1, a) + Cat(carry, b))
            values.append(total[1:])
        if len(self.values) % 2:
            values.append(self.values[-1])
        return Operands(self.bits, values, carries)
