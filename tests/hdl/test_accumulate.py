"""Lanes, and the small functions of the event list, alone."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import Const, Module, Signal
from amaranth.sim import Simulator
from spikeloom_hdl.layers.event_list import is_count, lowest_bit
from spikeloom_hdl.neuron.accumulate import Accumulate, balanced_sum


@pytest.mark.parametrize("slices", [1, 2, 3])
@pytest.mark.parametrize(("form", "bits"), [("packed", 4), ("packed", 7), ("serial", 4)])
def test_clear_parts_the_events(form, bits, slices):
    """Sums between clears; the event whose product meets the clear is lost, as documented."""
    rng = np.random.default_rng(2)
    lanes, width = 3, 12  # narrow: the sums wrap
    core = Accumulate(
        lanes=lanes,
        slices=slices,
        input_bits=bits,
        weight_bits=8,
        accumulator_bits=width,
        form=form,
    )
    cycles = 60
    weights = rng.integers(-127, 128, (cycles, slices, lanes))
    words = rng.integers(0, 2**bits, (cycles, slices))
    if form == "serial":
        words = (1 << rng.integers(0, bits, (cycles, slices))) * (words > 3)
    clears = rng.random(cycles + 10) < 0.15
    found = []

    async def main(ctx):
        for k in range(cycles + 10):
            for s in range(slices):
                ctx.set(core.words[s], int(words[k, s]) if k < cycles else 0)
                for lane in range(lanes):
                    ctx.set(core.weights[s][lane], int(weights[k, s, lane]) if k < cycles else 0)
            ctx.set(core.clear, bool(clears[k]))
            found.append([ctx.get(v) for v in core.potentials])
            await ctx.tick()

    sim = Simulator(core)
    sim.add_clock(1e-6)
    sim.add_testbench(main)
    sim.run()

    total = np.zeros(lanes, dtype=int)
    expected = []
    for k in range(cycles + 10):
        expected.append([int(v) for v in (total + 2 ** (width - 1)) % 2**width - 2 ** (width - 1)])
        event = k - core.latency
        if clears[k]:
            total = np.zeros(lanes, dtype=int)
        elif 0 <= event < cycles:
            total = total + (weights[event] * words[event][:, None]).sum(0)
    assert found == expected


def test_bits_of_a_mask():
    """lowest_bit and is_count, for every mask of 9 bits."""
    m = Module()
    mask, low, one, two = Signal(9), Signal(9), Signal(), Signal()
    m.d.comb += [low.eq(lowest_bit(mask)), one.eq(is_count(mask, 1)), two.eq(is_count(mask, 2))]

    async def main(ctx):
        for value in range(512):
            ctx.set(mask, value)
            await ctx.delay(1e-9)
            count = value.bit_count()
            found = (ctx.get(low), ctx.get(one), ctx.get(two))
            assert found == (value & -value, count == 1, count == 2)

    sim = Simulator(m)
    sim.add_testbench(main)
    sim.run()


@pytest.mark.parametrize("terms", [1, 2, 3, 7, 300])
def test_balanced_sum(terms):
    m = Module()
    total = Signal(32)
    m.d.comb += total.eq(balanced_sum([Const(k, 9) for k in range(terms)]))

    async def main(ctx):
        await ctx.delay(1e-9)
        assert ctx.get(total) == sum(range(terms))

    sim = Simulator(m)
    sim.add_testbench(main)
    sim.run()
