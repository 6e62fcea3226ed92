"""Networks that fork and join, in Amaranth's simulator against plain integers."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
from spikeloom.hardware.folding import Folding
from spikeloom_hdl.network import NetworkCore
from spikeloom_sim.random_network import (
    random_conv_network,
    random_foldings,
    random_words,
    reference,
)

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from network_bench import Bench


def small(blocks, seed=1, shape=(2, 4, 5), fold=None):
    """A network of few pixels and channels, and its parameters."""
    network = random_conv_network(
        seed, blocks=blocks, shape=shape, channels=3, bits=3, weight_bits=4
    )
    foldings = random_foldings(network, seed, units=2)
    if fold is not None:
        foldings = [fold] * len(network.layers)
    return network, network.parameters(foldings)


def check(network, parameters, samples, *, seed=None, depths=None, limit=60_000):
    """Run samples: every potential of every layer must be that of the reference."""
    words = random_words(network, samples, seed=4)
    bench = Bench(network, parameters, depths=depths, limit=limit)
    logits = []

    async def produce(ctx):
        await bench.load(ctx)
        await bench.send(ctx, words, seed)

    async def consume(ctx):
        logits.extend(await bench.receive(ctx, samples, None if seed is None else seed + 1))
        await ctx.tick().repeat(200)
        assert not ctx.get(bench.core.busy)
        bench.counted = bench.counters(ctx)

    bench.run(produce, consume)
    potentials, wanted = reference(network, words)
    for k in parameters.potential_layers:
        expected = potentials[k].reshape(samples, -1).tolist()
        assert bench.potentials(k, samples) == expected, f"layer {k}"
    assert logits == wanted.tolist()
    return bench


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("block", ["same", "project", "add", "nested"])
def test_joins_bit_for_bit(block, seed):
    network, parameters = small([block])
    assert bool(parameters.buffers) == (block != "add")
    bench = check(network, parameters, 4, seed=seed)
    assert bench.counted["samples"] == 4
    assert bench.core.depths == parameters.depths
    check(network, parameters, 4, seed=seed, depths=parameters.least_depths)


def test_every_kind_of_layer_counts_what_enters():
    network, parameters = small(["conv", "depthwise", "maxfire", "avgpool"], shape=(2, 6, 6))
    words = random_words(network, 3, seed=4)
    bench = check(network, parameters, 3, seed=3)
    assert bench.counted["events_0"] == int((words != 0).sum())
    assert bench.counted["spikes_0"] == int(np.unpackbits(words).sum())
    assert len(bench.counted) == 5 + 2 * len(parameters.synapse_layers)


PLAIN = Folding(lanes=2, scan=2, fire_lanes=2)  # no change of lanes anywhere, no slack


def test_one_transfer_less_stops_for_ever():
    """The computed depth is the least: with one less nothing moves, and the buffer shows it."""
    network, parameters = small(["skip"], fold=PLAIN)
    (buffer,) = parameters.buffers
    edge = buffer.layer, buffer.slot
    check(network, parameters, 2, depths=parameters.least_depths)
    with pytest.raises(AssertionError, match="timed out"):
        check(network, parameters, 2, depths={edge: buffer.depth - 1}, limit=6_000)
    deeper = {edge: buffer.depth + 5}
    bench = check(network, parameters, 2, depths=deeper)
    assert bench.core.depths == deeper


def test_buffers_can_stand_anywhere_and_nowhere_else():
    network, parameters = small(["conv", "conv"], fold=PLAIN)
    assert not parameters.buffers
    check(network, parameters, 2, seed=2, depths={(0, 0): 3, (1, 0): 20})
    with pytest.raises(ValueError, match=r"no buffer of depth 3 can stand before .* \(0, 1\)"):
        NetworkCore(parameters, depths={(0, 1): 3})


@pytest.mark.parametrize("delay", [3, 40, 101, 260])
@pytest.mark.parametrize("how", ["abort", "reset"])
def test_abort(how, delay):
    """Abort or reset at any time: the core comes back empty, with its weights, computes right."""
    network, parameters = small(["project"])
    words = random_words(network, 6, seed=4)
    bench = Bench(network, parameters)
    core, logits = bench.core, []

    async def main(ctx):
        await bench.load(ctx)
        ctx.set(core.o.ready, delay % 2)
        stream, sent = core.i, 0
        rows = parameters.stream_words(words).reshape(-1, parameters.input_port.lanes).tolist()
        for _ in range(delay):
            beat = sent % parameters.input_port.transfers
            last = beat == parameters.input_port.transfers - 1
            payload = {"words": rows[sent % len(rows)], "first": beat == 0, "last": last}
            ctx.set(stream.payload, payload)
            ctx.set(stream.valid, 1)
            _, _, ready = await ctx.tick().sample(stream.ready)
            sent += ready
        ctx.set(stream.valid, 0)
        stop = core.abort if how == "abort" else bench.reset
        ctx.set(stop, 1)
        await ctx.tick()
        ctx.set(stop, 0)
        await ctx.tick().until(~core.busy)
        assert not ctx.get(core.o.valid)
        for found in bench.probes.values():
            found.clear()
        await bench.send(ctx, words)

    async def consume(ctx):
        await ctx.tick().until(core.abort | bench.reset)
        await ctx.tick().until(~core.busy)
        await ctx.tick()
        logits.extend(await bench.receive(ctx, len(words)))

    bench.run(main, consume)
    assert logits == reference(network, words)[1].tolist()


@pytest.mark.parametrize("block", ["conv", "project", "maxpool"])
def test_first_drops_a_partial_sample(block):
    """What a window has given already is completed, and its result thrown away."""
    network, parameters = small([block], seed=2)
    words = random_words(network, 6, seed=4)
    bench = Bench(network, parameters)
    logits, kept = [], [0, 3, 5]
    transfers = parameters.input_port.transfers

    async def produce(ctx):
        await bench.load(ctx)
        await bench.send(ctx, words[:1])
        await bench.send(ctx, words[1:2], beats=transfers - 1)
        await bench.send(ctx, words[2:3], beats=1)
        await bench.send(ctx, words[3:4])
        await bench.send(ctx, words[4:5], beats=transfers // 2)
        await bench.send(ctx, words[5:])

    async def consume(ctx):
        logits.extend(await bench.receive(ctx, len(kept)))
        await ctx.tick().repeat(100)
        assert not ctx.get(bench.core.busy)
        assert bench.counters(ctx)["samples"] == len(kept)

    bench.run(produce, consume)
    assert logits == reference(network, words[kept])[1].tolist()


def test_memories_read_back():
    """Every word of every layer comes back, in order, with a read a cycle, after a sample too."""
    network, parameters = small(["project", "pad", "maxfire"], shape=(2, 4, 4))
    bench = Bench(network, parameters)
    core, found = bench.core, []
    cells = [(c.address + row, int(w)) for c, words in bench.image for row, w in enumerate(words)]

    async def main(ctx):
        await bench.load(ctx)
        for turn in range(2):
            for address, _ in cells:
                ctx.set(core.load.address, address)
                ctx.set(core.load.read, 1)
                await ctx.tick()
            ctx.set(core.load.read, 0)
            await ctx.tick().repeat(30)
            assert found == [word for _, word in cells]
            found.clear()
            if not turn:
                words = random_words(network, 1, seed=1)
                await bench.send(ctx, words)
                assert await bench.receive(ctx, 1) == reference(network, words)[1].tolist()
                await ctx.tick().until(~core.busy)

    async def listen(ctx):
        while True:
            _, _, valid, word = await ctx.tick().sample(core.load.read_valid, core.load.read_data)
            if valid:
                found.append(word)

    bench.sim.add_testbench(listen, background=True)
    bench.run(main)
