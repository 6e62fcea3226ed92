"""NetworkCore in Amaranth's simulator against plain integers, bit for bit."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.sim import Simulator
from spikeloom.hardware.memory_image import memory_image
from spikeloom.hardware.parameters import DenseParameters, Folding, NetworkParameters
from spikeloom_hdl.network import NetworkCore


def oracle(network, words):
    """The four lines of the contract: v0, p_out of every layer, for one sample."""
    trace = []
    p = [int(x) for x in words]
    for op in network.layers:
        v0 = [
            sum(int(w) * x for w, x in zip(row, p, strict=True)) + int(b)
            for row, b in zip(op.weight, op.bias, strict=True)
        ]
        trace.append(v0)
        if op.threshold is not None:
            top = 2**op.output_bits - 1
            p = [
                min(max(v // int(th), 0), top) for v, th in zip(v0, op.threshold, strict=True)
            ]
    return trace


def random_network(rng, sizes, bits, weight_bits, foldings):
    """Random integers and parameters that hold them. sizes: neurons; bits: T of every word stream."""
    ops, layers = [], []
    for k, folding in enumerate(foldings):
        n_in, n_out = sizes[k], sizes[k + 1]
        last = k == len(foldings) - 1
        limit = 2 ** (weight_bits - 1) - 1
        weight = rng.integers(-limit, limit + 1, (n_out, n_in))
        bias = rng.integers(-50, 50, n_out)
        reach = np.abs(weight).sum(1) * (2 ** bits[k] - 1) + np.abs(bias)
        accumulator_bits = int(reach.max()).bit_length() + 1
        threshold = None
        if not last:
            threshold = rng.integers(1, max(2, reach.max() // 2 ** bits[k + 1]), n_out)
            threshold = np.minimum(threshold, 65535)
        ops.append(
            SimpleNamespace(
                name=f"layer{k}", weight=weight, bias=bias, threshold=threshold,
                output_bits=0 if last else bits[k + 1],
            )
        )
        layers.append(
            DenseParameters(
                n_in, n_out, bits[k], 0 if last else bits[k + 1], weight_bits, accumulator_bits,
                folding=folding,
            )
        )
    return SimpleNamespace(layers=tuple(ops)), NetworkParameters(tuple(layers))


async def load(ctx, core, image):
    for column, words in image:
        for row, word in enumerate(words):
            ctx.set(core.load.address, column.address + row)
            ctx.set(core.load.data, int(word))
            ctx.set(core.load.write, 1)
            await ctx.tick()
    ctx.set(core.load.write, 0)


async def wait_idle(ctx, core):
    while ctx.get(core.busy):
        await ctx.tick()


async def send(ctx, stream, samples, scan, rng=None):
    """Send beats; ``rng`` adds random gaps."""
    for words in samples:
        words = [int(w) for w in words]
        words += [0] * (-len(words) % scan)
        beats = len(words) // scan
        for beat in range(beats):
            while rng is not None and rng.random() < 0.4:
                ctx.set(stream.valid, 0)
                await ctx.tick()
            ctx.set(
                stream.payload,
                {
                    "words": words[beat * scan : (beat + 1) * scan],
                    "first": beat == 0,
                    "last": beat == beats - 1,
                },
            )
            ctx.set(stream.valid, 1)
            await ctx.tick().until(stream.ready)
            ctx.set(stream.valid, 0)


async def receive(ctx, stream, transfers, rng=None):
    """Take transfers; ``rng`` makes ready random. Checks that a stalled payload stays."""
    rows, held = [], None
    while len(rows) < transfers:
        ready = rng is None or rng.random() < 0.5
        ctx.set(stream.ready, ready)
        _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
        if held is not None:
            assert valid
            assert payload == held
        held = payload if valid and not ready else None
        if valid and ready:
            rows.append(payload)
    ctx.set(stream.ready, 0)
    return rows


def run(network, parameters, samples, *, seed=None):
    """Return potentials of every layer and of the output for each sample, and the counters."""
    core = NetworkCore(parameters, probe=True)
    image = memory_image(network, parameters)
    first, last = parameters.layers[0], parameters.layers[-1]
    probes = [[] for _ in parameters.layers]
    result = SimpleNamespace()

    async def producer(ctx):
        await wait_idle(ctx, core)
        await load(ctx, core, image)
        rng = None if seed is None else random.Random(seed)
        await send(ctx, core.i, samples, first.folding.scan, rng)

    async def consumer(ctx):
        rng = None if seed is None else random.Random(seed + 1)
        rows = await receive(ctx, core.o, last.drain_rows * len(samples), rng)
        result.rows = rows
        for _ in range(4):
            await ctx.tick()
        assert not ctx.get(core.busy)
        names = parameters.counter_names
        result.counters = {n: ctx.get(core.counters[k]) for k, n in enumerate(names)}

    async def monitor(ctx):
        while True:
            for k in range(len(probes)):
                valid = getattr(core, f"probe_{k}_valid")
                values = getattr(core, f"probe_{k}")
                if ctx.get(valid):
                    probes[k] += [ctx.get(v) for v in values]
            await ctx.tick()

    async def timeout(ctx):
        for _ in range(200_000):
            await ctx.tick()
        raise AssertionError("simulation timed out")

    sim = Simulator(core)
    sim.add_clock(1e-6)
    sim.add_testbench(producer)
    sim.add_testbench(consumer)
    sim.add_testbench(monitor, background=True)
    sim.add_testbench(timeout, background=True)
    sim.run()
    flat = [x for row in result.rows for x in row.potentials]
    result.logits = _per_sample(flat, last, len(samples))
    result.probes = [
        _per_sample(values, layer, len(samples))
        for values, layer in zip(probes, parameters.layers, strict=True)
    ]
    for k, row in enumerate(result.rows):
        assert row.first == (k % last.drain_rows == 0)
        assert row.last == (k % last.drain_rows == last.drain_rows - 1)
    return result


def _per_sample(flat, layer, samples):
    step = layer.drain_rows * layer.folding.fire_lanes
    assert len(flat) == step * samples
    return [flat[k * step : k * step + layer.outputs] for k in range(samples)]


def random_samples(rng, inputs, bits, count, density=0.4):
    words = rng.integers(0, 2**bits, (count, inputs))
    return words * (rng.random((count, inputs)) < density)


SHAPES = {
    "one pass": dict(lanes=6, scan=4, fire_lanes=2),
    "passes": dict(lanes=2, scan=4, fire_lanes=1),
    "slices": dict(lanes=4, scan=4, slices=2, fire_lanes=4),
    "serial": dict(lanes=3, scan=8, slices=1, fire_lanes=1, form="serial"),
    "serial slices": dict(lanes=3, scan=6, slices=3, fire_lanes=1, form="serial"),
    "groups": dict(lanes=40, scan=4, slices=2, fire_lanes=2),
}


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_bit_for_bit(shape, seed):
    rng = np.random.default_rng(5)
    outputs = 45 if shape == "groups" else 6
    foldings = [Folding(**SHAPES[shape]), Folding(lanes=5, scan=4, fire_lanes=1)]
    network, parameters = random_network(rng, (21, outputs, 5), (4, 3), 8, foldings)
    samples = random_samples(rng, 21, 4, 6)
    samples[2] = 0
    samples[4] = samples[3]
    result = run(network, parameters, samples, seed=seed)
    expected = [oracle(network, words) for words in samples]
    for k in range(len(parameters.layers)):
        assert result.probes[k] == [trace[k] for trace in expected]
    assert result.logits == [trace[-1] for trace in expected]
