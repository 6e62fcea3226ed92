"""Lanes, and the small functions of the event list, alone."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import Const, Module, Signal
from amaranth.sim import Simulator
from spikeloom_hdl.layers.event_list import is_count, lowest_bit
from spikeloom_hdl.neuron.accumulate import Accumulate, balanced_sum


def multiplier_model(a, b, product):
    """What a MULT18X18D does, for the simulator: three registers after each other."""
    assert len(a) <= 18
    assert len(b) + (not b.shape().signed) <= 18
    m = Module()
    value = a * b
    for k in range(3):
        stage = Signal(product.shape(), name=f"stage_{k}")
        m.d.sync += stage.eq(value)
        value = stage
    m.d.comb += product.eq(value)
    return m


@pytest.mark.parametrize("slices", [1, 2, 3])
@pytest.mark.parametrize(("form", "bits"), [("packed", 4), ("packed", 7), ("serial", 4)])
def test_clear_parts_the_events(form, bits, slices):
    """Sums between clears; the event whose product meets the clear is lost, as documented."""
    check_clears(slices, bits, 8, form=form)


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize(
    ("bits", "weight_bits", "pairs"),
    [(4, 4, True), (4, 7, True), (8, 5, True), (2, 8, True), (6, 6, True), (4, 8, False)],
)
def test_cells(monkeypatch, bits, weight_bits, pairs, slices):
    """Multiplier cells, shared by two lanes or not; the last lane of three has its own."""
    made = []

    def model(a, b, product):
        made.append(a)
        return multiplier_model(a, b, product)

    monkeypatch.setattr("spikeloom_hdl.neuron.accumulate.mult18", model)
    core = check_clears(slices, bits, weight_bits, multiplier="mult18x18d")
    assert core.pairs == pairs
    assert len(made) == slices * (2 if pairs else 3)


def check_clears(slices, bits, weight_bits, form="packed", multiplier="lut"):
    rng = np.random.default_rng(2)
    lanes, width = 3, 12  # narrow: the sums wrap
    core = Accumulate(
        lanes=lanes,
        slices=slices,
        input_bits=bits,
        weight_bits=weight_bits,
        accumulator_bits=width,
        form=form,
        multiplier=multiplier,
    )
    cycles = 60
    limit = 2 ** (weight_bits - 1)
    weights = rng.integers(-limit, limit, (cycles, slices, lanes))
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
    return core


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
