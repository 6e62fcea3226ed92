"""The leak by itself: rounding is where a spike seldom shows it."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.sim import Simulator
from spikeloom_hdl.encoders.leak import leaked, shifted


@pytest.mark.parametrize(("bits", "leak_bits"), [(8, 2), (13, 4), (18, 16), (25, 16), (33, 16)])
def test_rounds_half_to_even(bits, leak_bits):
    """Halves of even and odd numbers, both sides of them, ends of the range, and any products."""
    rng = random.Random(bits)
    top, one = (1 << (bits - 1)) - 1, 1 << leak_bits
    cases = [(v, leak) for v in (-top, -1, 0, 1, top) for leak in (0, 1, one // 2, one - 1, one)]
    for _ in range(400):
        v = rng.randint(-top, top)
        # an odd multiple of 2^k times one half of 2^-k is a tie
        k = rng.randrange(min(leak_bits, bits - 2))
        tie = (rng.randint(-top, top) >> k | 1) << k
        cases += [(v, rng.randint(0, one)), (max(-top, min(top, tie)), one >> (k + 1))]
        cases += [(max(-top, min(top, tie + rng.choice((-1, 1)))), one >> (k + 1))]
    m = Module()
    v, leak, addend = Signal(signed(bits)), Signal(leak_bits + 1), Signal(signed(bits))
    total = leaked(m, v, leak, leak_bits).plus(m, "total", addend, bits + 2)
    found, expected = [], []

    async def main(ctx):
        for value, factor in cases:
            more = rng.randint(-top, top)
            ctx.set(v, value)
            ctx.set(leak, factor)
            ctx.set(addend, more)
            await ctx.delay(1e-9)
            found.append(ctx.get(total))
            expected.append(round(Fraction(value * factor, one)) + more)

    sim = Simulator(m)
    sim.add_testbench(main)
    sim.run()
    assert found == expected


@pytest.mark.parametrize("bits", [8, 13, 25, 33])
def test_shift_rounds_half_to_even(bits):
    """All shifts, of ties, both sides of them, ends of the range; 0 leaves everything."""
    rng = random.Random(bits)
    top = (1 << (bits - 1)) - 1
    cases = []
    for k in range(16):
        for _ in range(30):
            tie = ((rng.randint(-top, top) >> k) << k) + (1 << k >> 1)
            for value in (tie, tie - 1, tie + 1, rng.randint(-top, top), rng.choice((-top, top))):
                cases.append((max(-top, min(top, value)), k))
    m = Module()
    v, shift, addend = Signal(signed(bits)), Signal(4), Signal(signed(bits))
    total = shifted(m, v, shift).plus(m, "total", addend, bits + 2)
    found, expected = [], []

    async def main(ctx):
        for value, k in cases:
            more = rng.randint(-top, top)
            ctx.set(v, value)
            ctx.set(shift, k)
            ctx.set(addend, more)
            await ctx.delay(1e-9)
            found.append(ctx.get(total))
            left = round(value - Fraction(value, 1 << k)) if k else value
            expected.append(left + more)

    sim = Simulator(m)
    sim.add_testbench(main)
    sim.run()
    assert found == expected
