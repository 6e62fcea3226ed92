"""Widen and Narrow: words of a pixel in other transfers, padded, under stalls."""

import random

import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.hardware.port import Port
from spikeloom_hdl.layers.lanes import Narrow, Widen, convert
from spikeloom_sim.random_traffic import receive, send


def transfers(port, samples):
    """Payloads of samples, each a list of pixels of words."""
    name = "potentials" if port.signed else "words"
    out = []
    for sample in samples:
        for pixel in sample:
            wide = pixel + [0] * (port.transfers_per_pixel * port.lanes - len(pixel))
            for k in range(port.transfers_per_pixel):
                payload = {name: wide[k * port.lanes : (k + 1) * port.lanes]}
                out.append({**payload, "first": 0, "last": 0})
        out[-port.transfers]["first"] = 1
        out[-1]["last"] = 1
    return out


def run(a, b, samples=4, pause=0.3, seed=1):
    """Send random samples from port a to port b; returns the cycles it took."""
    rng = random.Random(seed)
    low = -(1 << (a.bits - 1)) if a.signed else 0
    high = low + (1 << a.bits) - 1
    data = [
        [[rng.randint(low, high) for _ in range(a.channels)] for _ in range(a.pixels)]
        for _ in range(samples)
    ]
    core = convert(a, b)
    wanted = transfers(b, data)
    name = "potentials" if a.signed else "words"
    cycles = [0]

    async def produce(ctx):
        await send(ctx, core.i, transfers(a, data), seed=seed, pause=pause)

    async def consume(ctx):
        found = await receive(ctx, core.o, len(wanted), seed=seed + 1, pause=pause)
        shown = [{name: list(getattr(p, name)), "first": p.first, "last": p.last} for p in found]
        assert shown == wanted

    async def watch(ctx):
        async for _ in ctx.tick():
            cycles[0] += 1

    sim = Simulator(core)
    sim.add_clock(1e-6)
    sim.add_testbench(produce)
    sim.add_testbench(consume)
    sim.add_testbench(watch, background=True)
    sim.run()
    return core, cycles[0]


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    st.integers(1, 4),
    st.integers(1, 13),
    st.integers(1, 3),
    st.integers(2, 4),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
def test_random_shapes(pixels, channels, lanes, ratio, signed, widen, seed):
    narrow = Port(pixels, channels, 5, signed, lanes)
    wide = Port(pixels, channels, 5, signed, lanes * ratio)
    core, _ = run(narrow, wide, seed=seed) if widen else run(wide, narrow, seed=seed)
    assert isinstance(core, Widen if widen else Narrow)


@pytest.mark.parametrize("channels", [8, 7, 5, 4, 1])
def test_the_narrow_side_never_waits(channels):
    """The side with more transfers runs at one a cycle."""
    narrow, wide = Port(6, channels, 4, lanes=2), Port(6, channels, 4, lanes=4)
    for a, b in ((narrow, wide), (wide, narrow)):
        _, cycles = run(a, b, samples=10, pause=0.0)
        assert cycles <= 10 * narrow.transfers + 3


def test_equal_lanes_need_nothing():
    assert convert(Port(3, 5, 4, lanes=2), Port(3, 5, 4, lanes=2)) is None


def test_lanes_must_divide():
    with pytest.raises(ValueError, match="lanes_out 5 must be a multiple of lanes_in 2"):
        Widen(lanes_in=2, lanes_out=5, bits=4)
    with pytest.raises(ValueError, match="lanes_in 4 must be a multiple of lanes_out 3"):
        Narrow(lanes_in=4, lanes_out=3, bits=4, transfers_per_pixel=2)
