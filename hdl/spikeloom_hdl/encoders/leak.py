"""The leak of a state in gates, with one rounding: a product of 18 x 18 bits, or a shift."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed, unsigned
from spikeloom.hardware.encoders import LIFDecoderParameters, LIFParameters

__all__ = ["Leaked", "Split", "leaked", "leaky", "shifted"]

#: Unsigned bits that a signed 18 x 18 multiplier takes.
LOW_BITS = 17


@dataclass(frozen=True)
class Leaked:
    """A leaked state, neither added up nor rounded.

    terms: one or two whole numbers. fraction: bits below them. odd: lowest bit of the sum of the
    terms. half: what makes the fraction overflow, together with ``odd``, where it rounds up.
    """

    terms: tuple[Value, ...]
    fraction: Value
    odd: Value
    half: Value

    def plus(self, m: Module, name: str, addend: Value, bits: int) -> Signal:
        """Return round_half_even(self) + addend, modulo 2^bits, signed."""
        return self.split(m, name, addend, bits).total(m, name, self.half)

    def split(self, m: Module, name: str, addend: Value, bits: int) -> Split:
        """Return self + addend as two words of ``bits`` that are yet to be added up and rounded."""
        a, b, c = (Signal(signed(bits), name=f"{name}_{k}") for k in range(3))
        terms = [*self.terms, Const(0, 1)][:2]
        m.d.comb += [a.eq(terms[0]), b.eq(terms[1]), c.eq(addend)]
        carries = Cat(Const(0, 1), ((a & b) | (a & c) | (b & c))[:-1])
        return Split(a ^ b ^ c, carries, self.fraction, self.odd)


@dataclass(frozen=True)
class Split:
    """A leaked state plus an addend: ones + carries, with fraction and ``odd`` of the state."""

    ones: Value
    carries: Value
    fraction: Value
    odd: Value

    def total(self, m: Module, name: str, half: Value) -> Signal:
        """Return the sum, rounded, signed.

        Rounding is part of the carry chain, which goes through fraction and whole bits. One more
        bit at the low end is the carry in: a third operand would cost a level of gates.
        """
        bits, size = len(self.ones), len(self.fraction) + 1
        total = Signal(bits + size, name=f"{name}_total")
        m.d.comb += total.eq(
            Cat(self.odd, self.fraction, self.ones) + Cat(self.odd, half, self.carries)
        )
        result = Signal(signed(bits), name=name)
        m.d.comb += result.eq(total[size:])
        return result


def leaked(m: Module, v: Value, leak: Value, leak_bits: int) -> Leaked:
    """Multiply a signed state by its leak, unsigned of leak_bits + 1 bits, at most 2^leak_bits.

    The part of v above its low 17 bits gives an even number: it does not take part in rounding.
    """
    high_bits = len(v) - LOW_BITS
    if high_bits <= 1:
        product = Signal(signed(len(v) + leak_bits + 1), name="product")
        m.d.comb += product.eq(v * leak)
        return _product((product[leak_bits:].as_signed(),), product[:leak_bits])
    low = Signal(unsigned(LOW_BITS + leak_bits + 1), name="low_product")
    high = Signal(signed(high_bits + leak_bits + 1), name="high_product")
    m.d.comb += [low.eq(v[:LOW_BITS] * leak), high.eq(v[LOW_BITS:].as_signed() * leak)]
    return _product((high << (LOW_BITS - leak_bits), low[leak_bits:]), low[:leak_bits])


def leaky(
    m: Module, v: Value, leak: Value, parameters: LIFParameters | LIFDecoderParameters
) -> Leaked:
    """Let a state leak the way that the structure says."""
    if parameters.leak == "shift":
        return shifted(m, v, leak)
    return leaked(m, v, leak, parameters.leak_bits)


def _product(terms: tuple[Value, ...], fraction: Value) -> Leaked:
    # all terms but the last are even; a half, less one unit, overflows beyond a half
    half = Cat(Const(-1, len(fraction) - 1), Const(0, 1))
    return Leaked(terms, fraction, terms[-1][0], half)


def shifted(m: Module, v: Value, shift: Value) -> Leaked:
    """Return v - v / 2^shift, or v where shift = 0, of a signed v.

    -v / 2^shift is the complement of the shifted bits, plus one unit of the fraction: that unit
    makes the half that rounds a whole one.
    """
    fraction_bits = (1 << len(shift)) - 1
    part = Cat(Const(0, fraction_bits), v).as_signed()
    # four to one in each level
    for low in range(0, len(shift), 2):
        by = shift[low : low + 2]
        level = Signal(part.shape(), name=f"shifted_{low}")
        with m.Switch(by):
            for k in range(1 << len(by)):
                with m.Case(k):
                    m.d.comb += level.eq(part >> (k << low))
        part = level
    leaks = shift.any()
    minus = (~part[fraction_bits:] & leaks.replicate(len(v))).as_signed()
    half = Cat(Const(0, fraction_bits - 1), leaks)
    return Leaked((v, minus), ~part[:fraction_bits], (v[0] ^ minus[0]) & leaks, half)
