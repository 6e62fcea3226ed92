"""NetworkCore in Amaranth's simulator against plain integers, bit for bit."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.hardware.memory_image import memory_image
from spikeloom.hardware.parameters import DenseParameters, Folding, NetworkParameters
from spikeloom.network import Dense, Network, Readout
from spikeloom_hdl.network import NetworkCore

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from network_bench import Bench


def oracle(network, words):
    """The four lines of the contract, in plain integers: v0 of every layer for one sample."""
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
            p = [min(max(v // int(th), 0), top) for v, th in zip(v0, op.threshold, strict=True)]
    return trace


def words_into(network, layer, words):
    """Words at the input of a layer."""
    if layer == 0:
        return [int(x) for x in words]
    op = network.layers[layer - 1]
    top = 2**op.output_bits - 1
    v0 = oracle(network, words)[layer - 1]
    return [min(max(v // int(th), 0), top) for v, th in zip(v0, op.threshold, strict=True)]


def linear(name, weight, bias, threshold, input_bits, output_bits=0, weight_bits=8, width=24):
    """A Dense op, or a Readout without threshold."""
    common = {
        "name": name,
        "weight": weight.astype(np.int8),
        "bias": bias,
        "input_bits": input_bits,
        "weight_bits": weight_bits,
        "accumulator_bits": width,
    }
    if threshold is None:
        return Readout(**common, logit_scale=1.0)
    ones = np.ones(len(weight))
    return Dense(**common, threshold=threshold, output_bits=output_bits, output_scale=ones)


def random_network(rng, sizes, bits, weight_bits, foldings):
    """Random integers, and parameters that hold them. bits: T of every word stream."""
    ops, layers = [], []
    for k, folding in enumerate(foldings):
        n_in, n_out = sizes[k], sizes[k + 1]
        last = k == len(foldings) - 1
        limit = 2 ** (weight_bits - 1) - 1
        weight = rng.integers(-limit, limit + 1, (n_out, n_in))
        bias = rng.integers(-50, 50, n_out)
        reach = np.abs(weight).sum(1) * (2 ** bits[k] - 1) + np.abs(bias)
        threshold = None
        if not last:
            threshold = rng.integers(1, max(2, reach.max() // 2 ** bits[k + 1]), n_out)
            threshold = np.minimum(threshold, 65535)
        width = int(reach.max()).bit_length() + 1
        output_bits = 0 if last else bits[k + 1]
        given = (weight, bias, threshold, bits[k], output_bits, weight_bits, width)
        ops.append(linear(f"layer{k}", *given))
        layers.append(
            DenseParameters(
                n_in,
                n_out,
                bits[k],
                output_bits,
                weight_bits,
                width,
                folding=folding,
            )
        )
    return Network(ops, sizes[:1], bits[0]), NetworkParameters(tuple(layers))


def random_samples(rng, inputs, bits, count, density=0.4):
    words = rng.integers(0, 2**bits, (count, inputs))
    return words * (rng.random((count, inputs)) < density)


def check(network, parameters, samples, seed=None, fixed=False):
    """Run samples; every potential of every layer must be the oracle's. Returns the bench."""
    bench = Bench(network, parameters, fixed=fixed)
    logits = []

    async def produce(ctx):
        await bench.load(ctx)
        await bench.send(ctx, samples, seed)

    async def consume(ctx):
        logits.extend(await bench.receive(ctx, len(samples), None if seed is None else seed + 1))
        await ctx.tick().repeat(4)
        assert not ctx.get(bench.core.busy)
        bench.counted = bench.counters(ctx)

    bench.run(produce, consume)
    expected = [oracle(network, words) for words in samples]
    for k in range(len(parameters.layers)):
        assert bench.potentials(k, len(samples)) == [trace[k] for trace in expected]
    assert logits == [trace[-1] for trace in expected]
    return bench


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
    check(network, parameters, samples, seed)


@pytest.mark.parametrize("shape", SHAPES)
def test_fixed_weights_bit_for_bit(shape):
    """The same without a write: the memories hold the network from the start."""
    rng = np.random.default_rng(5)
    outputs = 45 if shape == "groups" else 6
    foldings = [
        Folding(**SHAPES[shape], weight_memory="distributed"),
        Folding(lanes=5, scan=4, fire_lanes=1),
    ]
    network, parameters = random_network(rng, (21, outputs, 5), (4, 3), 8, foldings)
    check(network, parameters, random_samples(rng, 21, 4, 4), seed=3, fixed=True)


def small_image():
    """Parameters of two small layers, and an image of them."""
    foldings = [Folding(lanes=2, scan=3), Folding(lanes=2, scan=2)]
    rng = np.random.default_rng(1)
    network, parameters = random_network(rng, (6, 4, 2), (4, 3), 5, foldings)
    return parameters, memory_image(network, parameters)


def test_an_image_in_any_order_is_one():
    parameters, image = small_image()
    assert NetworkCore(parameters, image=image[::-1]).fixed
    assert not NetworkCore(parameters).fixed


@pytest.mark.parametrize("column", [0, 1])
def test_an_image_of_other_memories_is_refused(column):
    parameters, image = small_image()
    with pytest.raises(ValueError, match=r"the image has no layer \d, \w+ column \d: make it with"):
        NetworkCore(parameters, image=image[:column] + image[column + 1 :])
    short = [(c, words[: -(k == column) or None]) for k, (c, words) in enumerate(image)]
    with pytest.raises(ValueError, match=r"the image has \d+ rows of .*, the memory \d+$"):
        NetworkCore(parameters, image=short)


def test_writing_a_fixed_core_is_a_fault():
    parameters, image = small_image()
    core = NetworkCore(parameters, image=image)

    async def main(ctx):
        await ctx.tick().until(~core.busy)
        ctx.set(core.load.write, 1)
        for _ in range(20):
            await ctx.tick()

    sim = Simulator(core)
    sim.add_clock(1e-6)
    sim.add_testbench(main)
    with pytest.raises(AssertionError, match="a memory with fixed contents is written"):
        sim.run()


@st.composite
def structures(draw):
    """Sizes, widths and foldings of two layers."""
    sizes = [draw(st.integers(1, 20)), draw(st.integers(1, 14)), draw(st.integers(1, 5))]
    bits = [draw(st.integers(1, 8)), draw(st.integers(1, 5))]
    foldings = []
    fire_lanes = draw(st.sampled_from([1, 1, 2, 3]))
    for layer in range(2):
        slices = draw(st.sampled_from([1, 1, 2, 3]))
        step = slices if layer == 0 else slices * fire_lanes
        fire = fire_lanes if layer == 0 else draw(st.sampled_from([1, 2]))
        foldings.append(
            Folding(
                lanes=fire * draw(st.integers(1, 4)),
                slices=slices,
                scan=step * draw(st.integers(1, 3)),
                fire_lanes=fire,
                form=draw(st.sampled_from(["packed", "packed", "serial"])),
            )
        )
    return sizes, bits, draw(st.integers(2, 8)), foldings, draw(st.integers(0, 2**31))


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(structures())
def test_random_structures(structure):
    sizes, bits, weight_bits, foldings, seed = structure
    rng = np.random.default_rng(seed)
    network, parameters = random_network(rng, sizes, bits, weight_bits, foldings)
    samples = random_samples(rng, sizes[0], bits[0], 4, rng.random())
    check(network, parameters, samples, seed if seed % 2 else None)


@pytest.mark.parametrize("form", ["packed", "serial"])
@pytest.mark.parametrize("slices", [1, 2])
@pytest.mark.parametrize("bits", [4, 8])
def test_accumulator_bound(form, slices, bits):
    """The declared width holds exactly its bound: one more would wrap, and does."""
    inputs, weight_bits = 9, 8
    limit = 2 ** (weight_bits - 1) - 1
    full = inputs * limit * (2**bits - 1)
    width = full.bit_length() + 1
    high, low = 2 ** (width - 1) - 1, -(2 ** (width - 1))
    weight = np.array([[limit] * inputs, [-limit] * inputs, [limit] * inputs])
    bias = np.array([high - full, low + full, high - full + 1])
    readout = linear("readout", weight, bias, None, bits, width=width)
    network = Network([readout], [inputs], bits)
    folding = Folding(lanes=3, scan=2 * slices, slices=slices, form=form)
    layer = DenseParameters(inputs, 3, bits, 0, weight_bits, width, folding=folding)
    parameters = NetworkParameters((layer,))
    bench = Bench(network, parameters)
    logits = []

    async def produce(ctx):
        await bench.load(ctx)
        await bench.send(ctx, [[2**bits - 1] * inputs] * 2)

    async def consume(ctx):
        logits.extend(await bench.receive(ctx, 2))

    bench.run(produce, consume)
    assert logits == [[high, low, low]] * 2


def test_corner_values_fire():
    """Potentials at both ends, thresholds 1 and 65535, exact multiples and one below."""
    inputs, width, bits = 4, 20, 4
    weight = np.zeros((8, inputs), dtype=int)
    high, low = 2 ** (width - 1) - 1, -(2 ** (width - 1))
    bias = np.array([high, low, high, low, 15 * 1000, 15 * 1000 - 1, -1, 0])
    threshold = np.array([1, 1, 65535, 65535, 1000, 1000, 1, 1])
    dense = linear("dense", weight, bias, threshold, 4, bits, width=width)
    readout = linear("readout", np.eye(8, dtype=int), np.zeros(8, dtype=int), None, bits, width=9)
    network = Network([dense, readout], [inputs], 4)
    parameters = NetworkParameters(
        (
            DenseParameters(inputs, 8, 4, bits, 8, width, folding=Folding(4, 1, 4, 2)),
            DenseParameters(8, 8, bits, 0, 8, 9, folding=Folding(8, 1, 4, 1)),
        )
    )
    check(network, parameters, [[1] * inputs])
    assert oracle(network, [1] * inputs)[-1] == [15, 0, 8, 0, 15, 14, 0, 0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_rate(shape, density):
    """Samples of one kind follow each other in the cycles that the documentation states."""
    rng = np.random.default_rng(7)
    outputs = 45 if shape == "groups" else 6
    folding = Folding(**SHAPES[shape])
    foldings = [folding, Folding(lanes=5, scan=4, fire_lanes=5)]
    network, parameters = random_network(rng, (24, outputs, 5), (4, 1), 8, foldings)
    sample = random_samples(rng, 24, 4, 1, density)[0]
    bench = check(network, parameters, [sample] * 8)

    def bound(layer):
        """Cycles that a layer needs for the sample: its exact rate, and the bound of the design."""
        p, potentials = parameters.layers[layer], bench.core.layers[layer].potentials
        words = words_into(network, layer, sample)
        events = [w.bit_count() if p.folding.form == "serial" else int(w > 0) for w in words]
        slices = p.folding.slices
        e = max(sum(events[s::slices]) for s in range(slices))
        rows = p.folding.lanes // p.folding.fire_lanes
        passes = [min(rows, p.drain_rows - k * rows) for k in range(p.passes)]
        exact = max(p.beats, sum(max(e + 1, r + potentials.skew) for r in passes))
        simple = max(p.passes * e, p.beats, p.drain_rows) + potentials.overhead
        assert exact <= simple
        return exact

    assert bench.ends[-1] - bench.ends[-2] == max(bound(0), bound(1))


@pytest.mark.parametrize("form", ["packed", "serial"])
@pytest.mark.parametrize("density", [0.0, 0.5])
def test_latency(form, density):
    """From the first beat of a lone sample to its potentials, as documented."""
    rng = np.random.default_rng(7)
    foldings = [Folding(lanes=20, scan=4, fire_lanes=20, form=form)]
    network, parameters = random_network(rng, (24, 20), (4,), 8, foldings)
    (sample,) = random_samples(rng, 24, 4, 1, density)
    bench = check(network, parameters, [sample])
    serial = form == "serial"
    events = sum(int(w).bit_count() if serial else int(w > 0) for w in sample)
    skew = bench.core.layers[0].potentials.skew
    assert bench.ends[0] - bench.starts[0] == 6 + events + skew + 4 + serial


def test_counters():
    """Cycles, samples, stalls, starved, occupancy, words and spikes: each against the monitor."""
    rng = np.random.default_rng(3)
    foldings = [Folding(lanes=3, scan=4, slices=2), Folding(lanes=5, scan=4, form="serial")]
    network, parameters = random_network(rng, (21, 6, 5), (4, 3), 8, foldings)
    samples = random_samples(rng, 21, 4, 5)
    bench = check(network, parameters, samples, seed=11)
    counted = bench.counted
    assert counted["samples"] == 5
    latencies = [end - start for start, end in zip(bench.starts, bench.ends, strict=True)]
    assert counted["occupancy"] == sum(latencies)
    inside = set()
    for start, end in zip(bench.starts, bench.ends, strict=True):
        inside |= set(range(start + 1, end + 1))
    assert counted["cycles"] == len(inside)
    assert 0 < counted["stalls"] < counted["cycles"]
    assert 0 < counted["starved"] < counted["cycles"]
    for layer in range(2):
        words = [w for sample in samples for w in words_into(network, layer, sample)]
        assert counted[f"events_{layer}"] == sum(w > 0 for w in words)
        assert counted[f"spikes_{layer}"] == sum(w.bit_count() for w in words)


def test_counters_never_starved_nor_stalled():
    rng = np.random.default_rng(3)
    foldings = [Folding(lanes=3, scan=4), Folding(lanes=5, scan=4)]
    network, parameters = random_network(rng, (21, 6, 5), (4, 3), 8, foldings)
    bench = Bench(network, parameters)
    samples = random_samples(rng, 21, 4, 4)

    async def produce(ctx):
        await bench.load(ctx)
        await bench.send(ctx, samples)

    async def consume(ctx):
        core = bench.core
        await bench.receive(ctx, 3)
        counted = bench.counters(ctx)
        assert counted["stalls"] == 0
        ctx.set(core.clear_counters, 1)
        await ctx.tick()
        ctx.set(core.clear_counters, 0)
        assert set(bench.counters(ctx).values()) == {0}
        await bench.receive(ctx, 1)
        assert bench.counters(ctx)["cycles"] > 0

    bench.run(produce, consume)


@pytest.mark.parametrize("delay", [0, 1, 3, 9, 20, 33, 47, 60, 71, 90, 130, 200])
@pytest.mark.parametrize(("how", "form"), [("abort", "packed"), ("reset", "serial")])
def test_abort(delay, how, form):
    """Abort or reset at any time: the core comes back empty, with its weights, computes right."""
    check_abort(delay, how, form)


@pytest.mark.parametrize("how", ["abort", "reset"])
def test_fixed_weights_outlive_abort_and_reset(how):
    check_abort(33, how, "packed", fixed=True)


def check_abort(delay, how, form, fixed=False):
    """Stop a core with samples inside after some cycles; it must run samples after that."""
    rng = np.random.default_rng(9)
    foldings = [Folding(3, 2, 4, form=form), Folding(lanes=5, scan=4)]
    network, parameters = random_network(rng, (21, 6, 5), (4, 3), 8, foldings)
    samples = random_samples(rng, 21, 4, 3)
    bench = Bench(network, parameters, fixed=fixed)
    core = bench.core

    async def main(ctx):
        await bench.load(ctx)
        ctx.set(core.o.ready, delay % 2)
        for _ in range(delay):  # samples one after another, as fast as they go in
            scan = parameters.layers[0].folding.scan
            ctx.set(
                core.i.payload,
                {
                    "words": [int(w) for w in samples[0][:scan]],
                    "first": main.beat == 0,
                    "last": main.beat == parameters.layers[0].beats - 1,
                },
            )
            ctx.set(core.i.valid, 1)
            _, _, ready = await ctx.tick().sample(core.i.ready)
            if ready:
                main.beat = (main.beat + 1) % parameters.layers[0].beats
        ctx.set(core.i.valid, 0)
        stop = core.abort if how == "abort" else bench.reset
        ctx.set(stop, 1)
        await ctx.tick()
        ctx.set(stop, 0)
        ctx.set(core.o.ready, 1)
        await ctx.tick().until(~core.busy)
        assert not ctx.get(core.o.valid)
        for found in bench.probes.values():
            found.clear()

    async def consume(ctx):
        await ctx.tick().until(core.abort | bench.reset)
        await ctx.tick().until(~core.busy)
        await ctx.tick()
        consume.logits = await bench.receive(ctx, len(samples))

    async def resume(ctx):
        await main(ctx)
        await bench.send(ctx, samples)

    main.beat = 0
    bench.run(resume, consume)
    expected = [oracle(network, words) for words in samples]
    assert consume.logits == [trace[-1] for trace in expected]
    assert bench.potentials(0, 3) == [trace[0] for trace in expected]


def test_first_drops_a_partial_sample():
    rng = np.random.default_rng(13)
    foldings = [Folding(lanes=3, scan=4, slices=2), Folding(lanes=5, scan=4)]
    network, parameters = random_network(rng, (21, 6, 5), (4, 3), 8, foldings)
    samples = random_samples(rng, 21, 4, 4, density=0.9)
    bench = Bench(network, parameters)

    async def produce(ctx):
        await bench.load(ctx)
        await bench.send(ctx, samples[:1])
        await bench.send(ctx, samples[1:2], beats=3)
        await bench.send(ctx, samples[2:3], beats=1)
        await bench.send(ctx, samples[3:])

    async def consume(ctx):
        consume.logits = await bench.receive(ctx, 2)
        await ctx.tick().repeat(2)
        assert not ctx.get(bench.core.busy)
        assert bench.counters(ctx)["samples"] == 2

    bench.run(produce, consume)
    assert consume.logits == [oracle(network, samples[k])[-1] for k in (0, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_memories_read_back(shape):
    check_read_back(shape)


@pytest.mark.parametrize("shape", ["passes", "slices"])
def test_fixed_memories_read_back(shape):
    check_read_back(shape, fixed=True)


def check_read_back(shape, fixed=False):
    """Every word comes back, in order, with a read a cycle, and again after samples have run."""
    rng = np.random.default_rng(5)
    outputs = 45 if shape == "groups" else 6
    foldings = [Folding(**SHAPES[shape]), Folding(lanes=5, scan=4, fire_lanes=1)]
    network, parameters = random_network(rng, (21, outputs, 5), (4, 3), 8, foldings)
    bench = Bench(network, parameters, fixed=fixed)
    core = bench.core
    cells = [(c.address + row, int(w)) for c, words in bench.image for row, w in enumerate(words)]
    found = []

    async def read_all(ctx):
        for address, _ in cells:
            ctx.set(core.load.address, address)
            ctx.set(core.load.read, 1)
            await ctx.tick()
        ctx.set(core.load.read, 0)
        await ctx.tick().repeat(20)

    async def main(ctx):
        await bench.load(ctx)
        await read_all(ctx)
        assert found == [word for _, word in cells]
        found.clear()
        for _ in range(2):
            await bench.send(ctx, [[15] * 21])
            assert await bench.receive(ctx, 1) == [oracle(network, [15] * 21)[-1]]
            await ctx.tick().until(~core.busy)
        await read_all(ctx)
        assert found == [word for _, word in cells]

    async def listen(ctx):
        while True:
            _, _, valid, word = await ctx.tick().sample(core.load.read_valid, core.load.read_data)
            if valid:
                found.append(word)

    bench.sim.add_testbench(listen, background=True)
    bench.run(main)
