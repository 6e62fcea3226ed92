"""Fifo: order, exact capacity, a transfer a cycle, at every depth that is built differently."""

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
from spikeloom_hdl.layers.fifo import SMALL, Fifo
from spikeloom_hdl.stream import potentials_layout, words_layout
from spikeloom_sim.random_traffic import receive, send

DEPTHS = [1, 2, 3, 7, SMALL, SMALL + 1, 16, 37]


def simulate(core, *testbenches, background=()):
    sim = Simulator(core)
    sim.add_clock(1e-6)
    for testbench in testbenches:
        sim.add_testbench(testbench)
    for testbench in background:
        sim.add_testbench(testbench, background=True)
    sim.run()


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("pause", [(0.0, 0.0), (0.4, 0.4), (0.05, 0.7), (0.7, 0.05), (0.5, 0.0)])
def test_random_traffic(depth, pause):
    """Order is kept, nothing is lost, payloads wait unchanged, the level is what is inside."""
    core = Fifo(16, depth)
    count = 400 + depth
    inside, got, cycles = [0], [], [0]

    async def produce(ctx):
        await send(ctx, core.i, list(range(1000, 1000 + count)), seed=1, pause=pause[0])

    async def consume(ctx):
        got.extend(await receive(ctx, core.o, count, seed=2, pause=pause[1]))
        cycles.append(cycles[0])

    async def watch(ctx):
        signals = (core.level, core.full, core.i.valid & core.i.ready, core.o.valid & core.o.ready)
        async for _, _, level, full, put, take in ctx.tick().sample(*signals):
            assert level == inside[0] <= depth
            assert full == (level == depth)
            inside[0] += put - take
            cycles[0] += 1

    simulate(core, produce, consume, background=[watch])
    assert got == list(range(1000, 1000 + count))
    if pause == (0.0, 0.0):
        assert cycles[1] <= count + 5


@pytest.mark.parametrize("depth", DEPTHS)
def test_holds_exactly_its_depth(depth):
    """While nobody reads, it takes ``depth`` transfers and not one more; again after a reset."""
    reset = Signal()
    core = Fifo(words_layout(2, 4), depth)
    payloads = [{"words": [k & 15, k >> 4], "first": k & 1, "last": 0} for k in range(depth)]

    async def main(ctx):
        for _ in range(2):
            for payload in payloads:
                ctx.set(core.i.payload, payload)
                ctx.set(core.i.valid, 1)
                assert ctx.get(core.i.ready)
                await ctx.tick()
            for _ in range(6):
                assert not ctx.get(core.i.ready)
                assert ctx.get(core.level) == depth
                await ctx.tick()
            ctx.set(core.i.valid, 0)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            assert not ctx.get(core.o.valid)
            assert ctx.get(core.level) == 0
        for payload in payloads:
            ctx.set(core.i.payload, payload)
            ctx.set(core.i.valid, 1)
            await ctx.tick()
        ctx.set(core.i.valid, 0)
        found = await receive(ctx, core.o, depth, seed=3)
        assert [(list(p.words), p.first) for p in found] == [
            (p["words"], p["first"]) for p in payloads
        ]

    simulate(ResetInserter(reset)(core), main)


def test_potentials_keep_their_sign():
    core = Fifo(potentials_layout(2, 5), 3)

    async def main(ctx):
        await send(ctx, core.i, [{"potentials": [-16, 15], "first": 1, "last": 1}], seed=1)
        (found,) = await receive(ctx, core.o, 1, seed=2)
        assert list(found.potentials) == [-16, 15]
        assert (found.first, found.last) == (1, 1)

    simulate(core, main)


def test_a_buffer_of_nothing_is_refused():
    with pytest.raises(ValueError, match="one transfer or more, not 0"):
        Fifo(8, 0)
