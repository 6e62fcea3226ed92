"""The pause of a stream: nothing is lost or withdrawn, nothing new is offered meanwhile."""

import random

import pytest
from amaranth.sim import Simulator
from spikeloom_hdl.layers.pause import Pause


@pytest.mark.parametrize("seed", range(3))
def test_transfers_wait_and_stay(seed):
    rng = random.Random(seed)
    dut = Pause(8)
    sent, taken = [rng.randrange(256) for _ in range(200)], []
    held = 0  # cycles in which a transfer was there, and the pause kept it back

    async def drive(ctx):
        nonlocal held
        waiting, index = False, 0
        while len(taken) < len(sent):
            offered = index < len(sent) and (ctx.get(dut.i.valid) or rng.random() < 0.7)
            ctx.set(dut.i.valid, offered)
            ctx.set(dut.i.payload, sent[min(index, len(sent) - 1)])
            ctx.set(dut.o.ready, rng.random() < 0.6)
            ctx.set(dut.pause, rng.random() < 0.5)
            valid, ready, pause = ctx.get(dut.o.valid), ctx.get(dut.o.ready), ctx.get(dut.pause)
            assert valid == (offered and (waiting or not pause))
            assert ctx.get(dut.i.ready) == (ready and (waiting or not pause))
            held += offered and not valid
            if valid and ready:
                taken.append(ctx.get(dut.o.payload))
                index += 1
            waiting = valid and not ready
            await ctx.tick()
            if valid and ready:
                ctx.set(dut.i.valid, 0)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.run()
    assert taken == sent
    assert held > 20
