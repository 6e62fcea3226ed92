"""Fire and Skid in Amaranth's simulator: same transfers out, under any back-pressure."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator
from spikeloom_hdl.layers.skid import Skid
from spikeloom_hdl.neuron.fire import Fire


def through(core, payloads, expected, *, seed=None):
    """Send payloads through a core; return what comes out and the cycle of every transfer out.

    With a seed, both sides pause at random. Checks that valid and payload stay while not taken.
    """
    outputs, cycles = [], []

    async def produce(ctx):
        rng = random.Random(seed)
        for payload in payloads:
            while seed is not None and rng.random() < 0.4:
                await ctx.tick()
            ctx.set(core.i.payload, payload)
            ctx.set(core.i.valid, 1)
            await ctx.tick().until(core.i.ready)
            ctx.set(core.i.valid, 0)

    async def consume(ctx):
        rng = random.Random(seed)
        held, cycle = None, 0
        while len(outputs) < expected:
            ready = seed is None or rng.random() < 0.5
            ctx.set(core.o.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(core.o.valid, core.o.payload)
            if held is not None:
                assert valid
                assert payload == held
            held = payload if valid and not ready else None
            if valid and ready:
                outputs.append(payload)
                cycles.append(cycle)
            cycle += 1
            assert cycle < 40 * len(payloads) + 100, "simulation timed out"
        ctx.set(core.o.ready, 1)
        for _ in range(20):
            _, _, valid = await ctx.tick().sample(core.o.valid)
            assert not valid, "a transfer that nobody sent"

    m = Module()
    m.domains.sync = ClockDomain()  # a core of wires alone has none
    m.submodules.core = core
    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(produce)
    sim.add_testbench(consume)
    sim.run()
    return outputs, cycles


def fire_word(v, theta, steps):
    return min(max(v // theta, 0), 2**steps - 1)


def run_fire(lanes, bits, steps, threshold_bits, pairs, seed=None):
    pairs = pairs + [(0, 1)] * (-len(pairs) % lanes)
    rows = [pairs[k : k + lanes] for k in range(0, len(pairs), lanes)]
    core = Fire(lanes=lanes, bits=bits, steps=steps, threshold_bits=threshold_bits)
    payloads = [
        {
            "potentials": [v for v, _ in row],
            "thresholds": [theta for _, theta in row],
            "first": k % 3 == 0,
            "last": k % 3 == 2,
        }
        for k, row in enumerate(rows)
    ]
    outputs, cycles = through(core, payloads, len(rows), seed=seed)
    found = [word for o in outputs for word in o.words]
    assert found == [fire_word(v, theta, steps) for v, theta in pairs]
    assert [o.first for o in outputs] == [k % 3 == 0 for k in range(len(rows))]
    assert [o.last for o in outputs] == [k % 3 == 2 for k in range(len(rows))]
    return cycles


@pytest.mark.parametrize("steps", [1, 2, 4, 5])
def test_fire_exhaustive(steps):
    """Every potential of 8 bits with thresholds from the least to the greatest."""
    pairs = [(v, theta) for theta in (1, 2, 3, 7, 12, 31) for v in range(-128, 128)]
    run_fire(16, 8, steps, 5, pairs)


@pytest.mark.parametrize(
    ("bits", "steps", "threshold_bits"), [(20, 4, 16), (12, 8, 16), (32, 3, 16), (2, 4, 1)]
)
def test_fire_corners(bits, steps, threshold_bits):
    """Ends of both ranges, and both sides of every threshold that can be reached."""
    high, low, top = 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), 2**threshold_bits - 1
    pairs = []
    for theta in {1, 2, 3, top, top // 2 + 1, max(1, top // 3)}:
        if theta > top:
            continue
        multiples = [m * theta for m in range(2**steps + 1)]
        values = {low, low + 1, -1, 0, 1, high - 1, high}
        values |= {v + d for v in multiples for d in (-1, 0)}
        pairs += [(v, theta) for v in sorted(values) if low <= v <= high]
    run_fire(4, bits, steps, threshold_bits, pairs)


def test_fire_under_back_pressure():
    rng = random.Random(4)
    pairs = [(rng.randint(-(2**19), 2**19 - 1), rng.randint(1, 2**16 - 1)) for _ in range(4000)]
    run_fire(8, 20, 4, 16, pairs, seed=8)


def test_fire_rate_and_latency():
    """A transfer a cycle, `steps` cycles after it went in."""
    cycles = run_fire(2, 20, 4, 16, [(k * 100, 100) for k in range(40)])
    assert cycles[0] == 4
    assert all(b == a + 1 for a, b in pairwise(cycles))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lanes": 0}, "lanes must be an integer in 1..4096, not 0"),
        ({"steps": 17}, "steps must be an integer in 1..16, not 17"),
        ({"bits": 1}, "bits must be an integer in 2..64, not 1"),
        ({"threshold_bits": "16"}, "threshold_bits must be an integer in 1..32, not '16'"),
    ],
)
def test_fire_refuses(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Fire(**{"lanes": 1, "bits": 20, "steps": 4} | settings)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_skid(seed):
    outputs, cycles = through(Skid(8), list(range(200)), 200, seed=seed)
    assert outputs == list(range(200))
    if seed is None:
        assert cycles == list(range(200))


def test_skid_ready_is_a_register():
    """``i.ready`` does not change with ``o.ready`` within a cycle."""
    core = Skid(8)

    async def main(ctx):
        ctx.set(core.i.valid, 1)
        for ready in (0, 1):
            ctx.set(core.o.ready, ready)
            await ctx.delay(1e-9)
            assert ctx.get(core.i.ready)
        ctx.set(core.o.ready, 0)
        await ctx.tick()
        for ready in (0, 1):
            ctx.set(core.o.ready, ready)
            await ctx.delay(1e-9)
            assert not ctx.get(core.i.ready)

    sim = Simulator(core)
    sim.add_clock(1e-6)
    sim.add_testbench(main)
    sim.run()
