"""Fork: everything to everyone, once, in order; nobody is more than a transfer ahead."""

import pytest
from amaranth.sim import Simulator
from spikeloom_hdl.layers.fork import Fork
from spikeloom_sim.random_traffic import receive, send

COUNT = 300


@pytest.mark.parametrize("consumers", [2, 3])
@pytest.mark.parametrize("pause", [(0.0, 0.0, 0.0), (0.4, 0.4, 0.4), (0.0, 0.8, 0.1), (0.8, 0, 0)])
def test_everyone_gets_everything(consumers, pause):
    core = Fork(8, consumers)
    got = [[] for _ in range(consumers)]
    ends = [0] * consumers
    taken = [0] * consumers
    ahead, cycles = [0], [0]

    async def produce(ctx):
        await send(ctx, core.i, [k & 255 for k in range(COUNT)], seed=1, pause=pause[0])

    def consumer(k):
        async def consume(ctx):
            got[k] = await receive(ctx, core.o[k], COUNT, seed=k + 2, pause=pause[1 + k % 2])
            ends[k] = cycles[0]

        return consume

    async def watch(ctx):
        flags = [o.valid & o.ready for o in core.o]
        async for _, _, *went in ctx.tick().sample(*flags):
            cycles[0] += 1
            for k, gone in enumerate(went):
                taken[k] += gone
            ahead[0] = max(ahead[0], max(taken) - min(taken))

    sim = Simulator(core)
    sim.add_clock(1e-6)
    sim.add_testbench(produce)
    for k in range(consumers):
        sim.add_testbench(consumer(k))
    sim.add_testbench(watch, background=True)
    sim.run()
    assert got == [[k & 255 for k in range(COUNT)]] * consumers
    assert ahead[0] == (1 if pause[1] else 0)
    if not any(pause):
        assert max(ends) <= COUNT + 2


def test_one_consumer_is_no_fork():
    with pytest.raises(ValueError, match="two consumers or more, not 1"):
        Fork(8, 1)
