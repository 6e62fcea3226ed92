"""The leak of a state in gates: one product with one rounding, split for 18 x 18 multipliers."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed, unsigned

__all__ = ["Leaked", "leaked"]

#: Unsigned bits that a signed 18 x 18 multiplier takes.
LOW_BITS = 17


@dataclass(frozen=True)
class Leaked:
    """v * leak / 2^leak_bits, neither added up nor rounded: whole terms, and a fraction.

    The last term decides whether the whole number is even.
    """

    terms: tuple[Value, ...]
    fraction: Value

    def plus(self, m: Module, name: str, addend: Value, bits: int) -> Signal:
        """Return round_half_even(self) + addend, modulo 2^bits, signed.

        A fraction rounds up where it and one half, less one unit, plus one unit if the whole
        number is odd, overflow: all that is one carry chain through fraction and whole bits.
        """
        a, b, c = (Signal(signed(bits), name=f"{name}_{k}") for k in range(3))
        terms = [*self.terms, Const(0, 1)][:2]
        m.d.comb += [a.eq(terms[0]), b.eq(terms[1]), c.eq(addend)]
        carries = Cat(Const(0, 1), ((a & b) | (a & c) | (b & c))[:-1])
        # one more bit at the low end is the carry in: a third operand would cost a level of gates
        size = len(self.fraction) + 1
        half, odd = Const(-1, size - 2), self.terms[-1][0]
        total = Signal(bits + size, name=f"{name}_total")
        m.d.comb += total.eq(
            Cat(odd, self.fraction, a ^ b ^ c) + Cat(odd, half, Const(0, 1), carries)
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
        return Leaked((product[leak_bits:].as_signed(),), product[:leak_bits])
    low = Signal(unsigned(LOW_BITS + leak_bits + 1), name="low_product")
    high = Signal(signed(high_bits + leak_bits + 1), name="high_product")
    m.d.comb += [low.eq(v[:LOW_BITS] * leak), high.eq(v[LOW_BITS:].as_signed() * leak)]
    return Leaked((high << (LOW_BITS - leak_bits), low[leak_bits:]), low[:leak_bits])
