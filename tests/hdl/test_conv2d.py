"""Conv2d in Amaranth's simulator against loops over plain integers, bit for bit."""

from __future__ import annotations

import dataclasses
import random
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from spikeloom.hardware.folding import Folding
from spikeloom.hardware.memory_image import Kind, _content, _shapes, address
from spikeloom.hardware.synapses import ConvParameters
from spikeloom.hardware.window import Window
from spikeloom.ops import Conv2d as ConvOp
from spikeloom_hdl.layers.conv2d import Conv2d
from spikeloom_hdl.memory import row_bits
from spikeloom_hdl.neuron.accumulate import Accumulate
from spikeloom_hdl.stream import words_signature


def oracle(p, op, words, skip):
    """Straight from the formula. words: [channel, y, x]; skip: [output, y, x] or None.

    Returns v0 and what leaves, [output, y, x] both.
    """
    w, k = p.window, op.skip_weight
    v0 = np.zeros((p.outputs, w.out_height, w.out_width), dtype=np.int64)
    for n, y, x in np.ndindex(v0.shape):
        v = int(op.bias[n])
        for c, a, b in np.ndindex(p.channels, w.kernel_height, w.kernel_width):
            row, column = y * w.stride_y - w.pad_y + a, x * w.stride_x - w.pad_x + b
            if 0 <= row < w.height and 0 <= column < w.width:
                v += int(op.weight[n, c, a, b]) * int(words[c, row, column])
        if skip is not None:
            v += (1 if k is None else int(k[n])) * int(skip[n, y, x])
        v0[n, y, x] = v
    if not p.fires:
        return v0, v0
    theta = op.threshold.reshape(-1, 1, 1)
    return v0, np.clip(v0 // theta, 0, 2**p.output_bits - 1)


def random_op(rng, p):
    """Random integers whose potentials fit p, which is returned with its accumulator_bits."""
    limit = 2 ** (p.weight_bits - 1) - 1
    w = p.window
    weight = rng.integers(-limit, limit + 1, (p.outputs, p.channels, *_kernel(w)))
    fields = {}
    if p.skip_bits:
        fields |= dict(skip="other", skip_bits=p.skip_bits, skip_signed=p.skip_signed)
        if p.skip_weight_bits:
            k = 2 ** (p.skip_weight_bits - 1)
            fields["skip_weight"] = rng.integers(-k, k, p.outputs)
    bias = rng.integers(-40, 41, p.outputs)
    op = ConvOp(
        "conv", weight, bias, p.input_bits, p.weight_bits, 32,
        stride=(w.stride_y, w.stride_x), padding=(w.pad_y, w.pad_x), **fields,
    )  # fmt: skip
    low, high = op.potential_bounds()
    most = max(int(high.max()), -int(low.min()) - 1, 1)
    if p.fires:
        usual = max(2, most // 2 ** (p.output_bits + 1))
        fields |= dict(
            output_bits=p.output_bits,
            threshold=np.minimum(rng.integers(1, usual + 1, p.outputs), 65535),
            output_scale=np.ones(p.outputs),
        )
    op = dataclasses.replace(op, accumulator_bits=most.bit_length() + 1, **fields)
    return dataclasses.replace(p, accumulator_bits=op.accumulator_bits), op


def _kernel(w):
    return w.kernel_height, w.kernel_width


def random_words(rng, p, count, density=0.5):
    shape = (count, p.channels, p.window.height, p.window.width)
    return rng.integers(0, 2**p.input_bits, shape) * (rng.random(shape) < density)


def random_skips(rng, p, count):
    low, high = 0, 2**p.skip_bits
    if p.skip_signed:
        low, high = -(high // 2), high // 2
    shape = (count, p.outputs, p.window.out_height, p.window.out_width)
    return rng.integers(low, high, shape)


def transfers(port, sample):
    """Lay one sample [channel, y, x] out as it streams: lists of ``lanes`` integers."""
    pixels = sample.reshape(port.channels, -1).T
    padded = np.zeros((port.pixels, port.transfers_per_pixel * port.lanes), dtype=np.int64)
    padded[:, : port.channels] = pixels
    return padded.reshape(-1, port.lanes).tolist()


class PlayedScanner(wiring.Component):
    """The interface of a WindowScanner whose events a testbench plays, one a slice and cycle."""

    def __init__(self, p, unit):
        self.parameters, self.unit = p, unit
        names = ("event", "fetch", "token", "token_last", "first_pass")
        self.lists = [
            SimpleNamespace(
                proceed=Signal(name=f"proceed_{s}"),
                row=Signal(row_bits(p.rows_per_pass), name=f"row_{s}"),
                word=Signal(p.input_bits, name=f"word_{s}"),
                **{name: Signal(name=f"{name}_{s}") for name in names},
            )
            for s in range(p.folding.slices)
        ]
        super().__init__(
            {
                "i": In(words_signature(p.folding.scan, p.input_bits)),
                "entered_events": Out(range(p.folding.slices + 1)),
                "entered_spikes": Out(range(p.folding.slices * p.input_bits + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(1)
        return m

    def windows(self, sample):
        """For each window of this unit the events (row, word, fetch) of each slice."""
        p, w, fold = self.parameters, self.parameters.window, self.parameters.folding
        for y in range(w.out_height):
            for x in range(self.unit, w.out_width, fold.units):
                found = [[] for _ in range(fold.slices)]
                for tap, (a, b) in enumerate(np.ndindex(*_kernel(w))):
                    row, column = y * w.stride_y - w.pad_y + a, x * w.stride_x - w.pad_x + b
                    if not (0 <= row < w.height and 0 <= column < w.width):
                        continue
                    for c in range(p.channels):
                        word = int(sample[c, row, column])
                        bits = [word] if fold.form == "packed" else [
                            1 << t for t in range(8) if word >> t & 1
                        ]  # fmt: skip
                        channel, s = divmod(c, fold.slices)
                        for n, bit in enumerate(bits if word else []):
                            found[s].append((tap * p.slice_channels + channel, bit, n == 0))
                yield found

    async def play(self, ctx, samples, cycles):
        """Play all passes of all windows; cycles[0] is the time, tokens' times are appended."""
        for sample in samples:
            for window in self.windows(sample):
                for index in range(self.parameters.passes):
                    await self._pass(ctx, window, index, cycles)

    async def _pass(self, ctx, window, index, cycles):
        last = index == self.parameters.passes - 1
        step, done = 0, False
        while not done:
            for one, events in zip(self.lists, window, strict=True):
                event = step < len(events)
                row, word, fetch = events[step] if event else (0, 0, 0)
                ctx.set(one.event, event)
                ctx.set(one.row, row)
                ctx.set(one.word, word)
                ctx.set(one.fetch, fetch)
                ctx.set(one.token, not event)
                ctx.set(one.token_last, last)
                ctx.set(one.first_pass, index == 0)
            _, _, done = await ctx.tick().sample(self.lists[0].proceed)
            step += 1
        cycles.append(step)
        for one in self.lists:
            ctx.set(one.token, 0)
            ctx.set(one.event, 0)
            ctx.set(one.word, 0)


class Bench:
    """A layer in the simulator, with its memories loaded and read back."""

    def __init__(self, p, op, *, played=False):
        self.p, self.op, self.played = p, op, played
        self.core = Conv2d(p, scanner=PlayedScanner) if played else Conv2d(p)
        content = _content(op, p)
        self.cells = [
            (address(0, kind, column, row), int(word), int(word) & ((1 << bits) - 1))
            for kind, count, bits, rows in _shapes(p)
            for column, words in enumerate(content[kind][:count])
            for row, word in enumerate(words[:rows])
        ]
        self.probe, self.taken, self.read = [], [], []
        self.events = self.spikes = self.cycle = 0
        self.out_cycles = []
        self.reset = Signal()
        self.loaded, self.again = Signal(), Signal()
        m = Module()
        m.submodules.core = ResetInserter(self.reset)(self.core)
        m.d.sync += [self.loaded.eq(self.loaded), self.again.eq(self.again)]
        self.sim = Simulator(m)
        self.sim.add_clock(1e-6)
        self.sim.add_testbench(self._monitor, background=True)

    async def _monitor(self, ctx):
        c = self.core
        tick = ctx.tick().sample(
            c.probe_valid, c.probe, c.load.read_valid, c.load.read_data, c.events, c.spikes,
            c.o.valid & c.o.ready,
        )  # fmt: skip
        async for _, _, valid, values, answered, word, events, spikes, leaves in tick:
            self.events += events
            self.spikes += spikes
            if valid:
                self.probe.append(list(values))
            if answered:
                self.read.append(word)
            if leaves:
                self.out_cycles.append(self.cycle)
            self.cycle += 1
            assert self.cycle < 60_000, "simulation timed out"

    async def load(self, ctx):
        core = self.core
        await ctx.tick().until(~core.resetting)
        ctx.set(core.load.write, 1)
        for where, word, _ in self.cells:
            ctx.set(core.load.address, where)
            ctx.set(core.load.data, word)
            await ctx.tick()
        ctx.set(core.load.write, 0)
        self.read.clear()
        for where, _, _ in self.cells:
            ctx.set(core.load.address, where)
            ctx.set(core.load.read, 1)
            await ctx.tick()
        ctx.set(core.load.read, 0)
        await ctx.tick().repeat(core.load_latency + 1)
        assert self.read == [word for _, _, word in self.cells]

    async def send(self, ctx, stream, field, port, samples, seed, slow=0.4):
        rng = random.Random(seed)
        for sample in samples:
            beats = transfers(port, sample)
            for k, beat in enumerate(beats):
                while seed is not None and rng.random() < slow:
                    await ctx.tick()
                payload = {field: beat, "first": k == 0, "last": k == len(beats) - 1}
                ctx.set(stream.payload, payload)
                ctx.set(stream.valid, 1)
                await ctx.tick().until(stream.ready)
                ctx.set(stream.valid, 0)

    async def receive(self, ctx, count, seed, slow=0.4):
        """Take ``count`` transfers; a payload must stay while it is not taken."""
        stream, rng = self.core.o, random.Random(seed)
        held = None
        while len(self.taken) < count:
            ready = seed is None or rng.random() >= slow
            ctx.set(stream.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
            if held is not None:
                assert valid
                assert payload == held
            held = payload if valid and not ready else None
            if valid and ready:
                self.taken.append(payload)
        ctx.set(stream.ready, 0)


def check(p, op, words, skips=None, seed=None, played=False, slow=0.4, wait=0):
    """Run samples; every potential and every word must be the oracle's. Returns the bench.

    wait: cycles before the first transfer is taken.
    """
    bench = Bench(p, op, played=played)
    core = bench.core
    seeds = [None] * 3 if seed is None else [seed, seed + 1, seed + 2]
    port = p.port_out
    bench.passes = []

    async def main(ctx):
        await bench.load(ctx)
        ctx.set(bench.loaded, 1)
        await bench.send(ctx, core.i, "words", p.ports_in[0], words, seeds[0], slow)

    async def main_skip(ctx):
        await ctx.tick().until(bench.loaded)
        field = "potentials" if p.skip_signed else "words"
        await bench.send(ctx, core.skip, field, p.ports_in[1], skips, seeds[1], slow)

    async def consume(ctx):
        await ctx.tick().until(bench.loaded)
        if wait:
            await ctx.tick().repeat(wait)
        await bench.receive(ctx, port.transfers * len(words), seeds[2], slow)
        await ctx.tick().repeat(30)
        assert not ctx.get(core.o.valid)

    async def play(ctx, scanner, cycles):
        await ctx.tick().until(bench.loaded)
        await scanner.play(ctx, words, cycles)

    bench.sim.add_testbench(main)
    if p.skip_bits:
        bench.sim.add_testbench(main_skip)
    if played:
        for scanner in core.scanners:
            bench.passes.append([])
            cycles = bench.passes[-1]
            bench.sim.add_testbench(partial(play, scanner=scanner, cycles=cycles))
    bench.sim.add_testbench(consume)
    bench.sim.run()

    expected = [
        oracle(p, op, sample, None if skips is None else skips[k]) for k, sample in enumerate(words)
    ]
    lanes = range(p.outputs)
    pixels = p.window.out_pixels
    probe = np.array(bench.probe).reshape(len(words), pixels, -1)[:, :, lanes]
    out = [list(t.words) if p.fires else list(t.potentials) for t in bench.taken]
    out = np.array(out).reshape(len(words), pixels, -1)[:, :, lanes]
    for k, (v0, leaves) in enumerate(expected):
        assert np.array_equal(probe[k], v0.reshape(p.outputs, -1).T)
        assert np.array_equal(out[k], leaves.reshape(p.outputs, -1).T)
    flags = [(bool(t.first), bool(t.last)) for t in bench.taken]
    one = [(k == 0, k == port.transfers - 1) for k in range(port.transfers)]
    assert flags == one * len(words)
    if not played:
        assert bench.events == sum(int((sample > 0).sum()) for sample in words)
        assert bench.spikes == sum(int(np.bitwise_count(sample).sum()) for sample in words)
    return bench


@st.composite
def structures(draw):
    """Parameters of a convolution (their accumulator_bits are found later), and a seed."""
    integers, pick = st.integers, st.sampled_from
    kernel = draw(integers(1, 3)), draw(pick([1, 2, 3, 3, 5]))
    pad = [draw(integers(0, min(k - 1, 2))) for k in kernel]
    size = [draw(integers(max(1, k - 2 * d), 6)) for k, d in zip(kernel, pad, strict=True)]
    window = Window(*size, *kernel, draw(integers(1, 2)), draw(integers(1, 2)), *pad)
    channels = draw(integers(1, 5))
    slices = draw(integers(1, min(channels, 3)))
    fire_lanes = draw(pick([1, 1, 2, 3]))
    units = draw(integers(1, min(window.out_width, 3)))
    folding = Folding(
        lanes=fire_lanes * draw(integers(1, 4)),
        slices=slices,
        scan=slices * draw(integers(1, 3)),
        fire_lanes=fire_lanes,
        form=draw(pick(["packed", "packed", "serial"])),
        weight_memory=draw(pick(["block", "block", "distributed"])),
        units=units,
    )
    skip = draw(pick(["none", "none", "words", "potentials"]))
    signed = skip == "potentials"
    skip_bits = 0 if skip == "none" else draw(integers(1, 12 if signed else 8))
    parameters = ConvParameters(
        channels=channels,
        outputs=draw(integers(1, 7)),
        window=window,
        input_bits=draw(integers(1, 8)),
        output_bits=draw(pick([0, 1, 2, 3, 4, 8])),
        weight_bits=draw(integers(2, 8)),
        accumulator_bits=32,
        skip_bits=skip_bits,
        skip_signed=signed,
        skip_weight_bits=draw(pick([0, 2, 5, 9])) if skip_bits else 0,
        folding=folding,
    )
    return parameters, draw(integers(0, 2**31))


def run_structure(structure, *, played):
    p, seed = structure
    rng = np.random.default_rng(seed)
    p, op = random_op(rng, p)
    words = random_words(rng, p, 2 + seed % 2, rng.random())
    skips = random_skips(rng, p, len(words)) if p.skip_bits else None
    check(p, op, words, skips, seed if seed % 3 else None, played, slow=0.2 + 0.5 * rng.random())


@settings(max_examples=12, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(structures())
def test_random_structures_of_played_events(structure):
    """Everything but the scanner, whose events are played."""
    run_structure(structure, played=True)


@settings(max_examples=12, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(structures())
def test_random_structures(structure):
    run_structure(structure, played=False)


WINDOW = Window(4, 5, 3, 3, 1, 1, 1, 1)


def example(folding, *, outputs=6, channels=3, output_bits=3, **fields):
    p = ConvParameters(channels, outputs, WINDOW, 4, output_bits, 8, 32, folding=folding, **fields)
    return random_op(np.random.default_rng(3), p)


RATES = {
    "a transfer a pass": dict(lanes=6, scan=3, fire_lanes=6),
    "transfers": dict(lanes=6, scan=3, fire_lanes=2),
    "one a cycle": dict(lanes=6, scan=3, fire_lanes=1),
    "passes": dict(lanes=2, scan=3, fire_lanes=1),
    "short last pass": dict(lanes=4, scan=3, fire_lanes=2),
    "groups": dict(lanes=20, scan=4, fire_lanes=4, slices=2),
    "serial": dict(lanes=6, scan=3, fire_lanes=3, form="serial"),
}


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("shape", RATES)
def test_rate_of_passes(shape, density):
    """Passes take what the documentation says, also where windows have few events."""
    folding = Folding(**RATES[shape])
    p, op = example(folding, outputs=22 if shape == "groups" else 6)
    words = random_words(np.random.default_rng(5), p, 3, density)
    bench = check(p, op, words, played=True)
    unit = bench.core.units[0]
    rows = folding.lanes // folding.fire_lanes
    rows = [min(rows, p.drain_rows - k * rows) for k in range(p.passes)]
    before, expected = 0, []
    for sample in words:
        for window in bench.core.scanners[0].windows(sample):
            for k in range(p.passes):
                expected.append(max(max(map(len, window)) + 1, before))
                before = unit.spacing(rows[k])
    # the first tokens may find an empty pipeline
    assert bench.passes[0] == expected
    assert bench.core.spacing == max(2, folding.lanes // folding.fire_lanes + len(unit.groups) - 1)


@pytest.mark.parametrize(("density", "units"), [(0.05, 1), (0.4, 1), (0.4, 2)])
def test_rate_of_samples(density, units):
    """A sample takes the cycles of its windows' passes, those of the busiest unit."""
    p, op = example(Folding(lanes=4, scan=3, fire_lanes=4, units=units))
    words = random_words(np.random.default_rng(5), p, 3, density)
    bench = check(p, op, words)
    transfers = p.port_out.transfers
    ends = bench.out_cycles[transfers - 1 :: transfers]
    sources = [PlayedScanner(p, unit) for unit in range(units)]
    busiest = max(
        sum(
            p.passes * max(max(map(len, window)) + 1, bench.core.spacing)
            for window in source.windows(words[2])
        )
        for source in sources
    )
    assert ends[2] - ends[1] == max(busiest, transfers)


@pytest.mark.parametrize("shape", [*RATES, "units"])
def test_nobody_takes_the_output(shape):
    """All places of the queues are taken, and not one more."""
    folding = Folding(**RATES.get(shape, dict(lanes=2, scan=3, units=3)))
    p, op = example(folding, outputs=22 if shape == "groups" else 6)
    words = random_words(np.random.default_rng(5), p, 2, 0.05)
    check(p, op, words, played=True, wait=400)


PAIRS = {
    "two": (dict(lanes=4, scan=3, fire_lanes=4, units=2), {}),
    "four, slices": (dict(lanes=6, scan=4, slices=2, fire_lanes=2, units=4), {}),
    "passes": (dict(lanes=2, scan=3, units=4), {}),
    "groups, slices": (dict(lanes=22, scan=4, slices=2, fire_lanes=2, units=4), dict(outputs=22)),
    "serial": (dict(lanes=6, scan=3, fire_lanes=3, units=2, form="serial"), {}),
    "skip": (
        dict(lanes=3, scan=3, fire_lanes=3, units=4),
        dict(skip_bits=9, skip_signed=True, output_bits=0),
    ),
    "weighed skip": (
        dict(lanes=6, scan=2, slices=2, fire_lanes=2, units=2),
        dict(skip_bits=3, skip_weight_bits=5),
    ),
}


@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("shape", PAIRS)
def test_paired_units(shape, seed):
    """On one copy of the weights the same words, and in the same cycles, as on one each."""
    fold, fields = PAIRS[shape]
    p, op = example(Folding(**fold, paired=True), **fields)
    rng = np.random.default_rng(2)
    words = random_words(rng, p, 3, 0.4)
    words[1] = 0
    skips = random_skips(rng, p, 3) if p.skip_bits else None
    pairs = check(p, op, words, skips, seed)
    if seed is not None:
        return
    apart = check(dataclasses.replace(p, folding=Folding(**fold)), op, words, skips)
    weights = [
        sum(where < address(0, Kind.BIAS, 0) for where, _, _ in bench.cells)
        for bench in (pairs, apart)
    ]
    assert weights[1] == 2 * weights[0]
    # a word less to load is two cycles less: written, and read back
    sooner = 2 * weights[0]
    assert [cycle + sooner for cycle in pairs.out_cycles] == apart.out_cycles


@pytest.mark.parametrize("delay", [1, 12, 40, 90, 200])
@pytest.mark.parametrize("how", ["abort", "reset"])
@pytest.mark.parametrize("paired", [False, True])
def test_abort(delay, how, paired):
    """Abort or reset at any time: the layer comes back empty, with its weights, computes right."""
    folding = Folding(lanes=4, scan=4, slices=2, fire_lanes=2, units=2, paired=paired)
    p, op = example(folding, skip_bits=3, skip_weight_bits=4)
    rng = np.random.default_rng(1)
    words, skips = random_words(rng, p, 2), random_skips(rng, p, 2)
    bench = Bench(p, op)
    core = bench.core
    stop = core.abort if how == "abort" else bench.reset

    async def flood(ctx, stream, beats):
        """Offer transfers until the stop."""
        for _ in range(2):
            for k, beat in enumerate(beats):
                payload = {"words": beat, "first": k == 0, "last": k == len(beats) - 1}
                ctx.set(stream.payload, payload)
                ctx.set(stream.valid, 1)
                taken = stopped = 0
                while not taken and not stopped:
                    _, _, taken, stopped = await ctx.tick().sample(stream.ready, stop)
                if stopped:
                    ctx.set(stream.valid, 0)
                    return
        ctx.set(stream.valid, 0)

    async def main(ctx):
        await bench.load(ctx)
        ctx.set(bench.loaded, 1)
        await flood(ctx, core.i, transfers(p.ports_in[0], words[0]))

    async def main_skip(ctx):
        await ctx.tick().until(bench.loaded)
        await flood(ctx, core.skip, transfers(p.ports_in[1], skips[0]))

    async def resume(ctx):
        await ctx.tick().until(bench.loaded)
        ctx.set(core.o.ready, delay % 2)
        await ctx.tick().repeat(delay)
        ctx.set(stop, 1)
        await ctx.tick()
        ctx.set(stop, 0)
        ctx.set(core.o.ready, 0)
        await ctx.tick().until(~core.resetting)
        assert not ctx.get(core.o.valid)
        bench.probe.clear()
        ctx.set(bench.again, 1)
        await bench.receive(ctx, p.port_out.transfers * 2, None)

    async def again(ctx, stream, port, samples):
        await ctx.tick().until(bench.again)
        await bench.send(ctx, stream, "words", port, samples, None)

    for testbench in (
        main,
        main_skip,
        resume,
        partial(again, stream=core.i, port=p.ports_in[0], samples=words),
        partial(again, stream=core.skip, port=p.ports_in[1], samples=skips),
    ):
        bench.sim.add_testbench(testbench)
    bench.sim.run()
    probe = np.array(bench.probe).reshape(2, p.window.out_pixels, -1)
    for k in range(2):
        v0, _ = oracle(p, op, words[k], skips[k])
        assert np.array_equal(probe[k], v0.reshape(p.outputs, -1).T)


def multiplier_model(a, b, product, *, advance):
    """What the cell does, for the simulator: three registers, which ``advance`` moves."""
    m = Module()
    stages = [Signal(product.shape(), name=f"stage_{k}") for k in range(3)]
    with m.If(advance):
        m.d.sync += [
            after.eq(value) for after, value in zip(stages, [a * b, *stages], strict=False)
        ]
    m.d.comb += product.eq(stages[-1])
    return m


@pytest.mark.parametrize(("signed", "bits"), [(False, 3), (True, 9), (True, 20)])
def test_skip_with_cells(monkeypatch, signed, bits):
    """A skip weighed in multiplier cells, or in LUTs where it is too wide for one."""
    monkeypatch.setattr("spikeloom_hdl.layers.skip_add.mult18", multiplier_model)
    p, op = example(
        Folding(lanes=6, scan=3, fire_lanes=2),
        skip_bits=bits,
        skip_signed=signed,
        skip_weight_bits=6,
    )
    cells = dataclasses.replace(p, folding=dataclasses.replace(p.folding, multiplier="mult18x18d"))
    rng = np.random.default_rng(2)
    words, skips = random_words(rng, p, 2), random_skips(rng, p, 2)
    # the lanes themselves multiply in LUTs, which the simulator knows
    monkeypatch.setattr("spikeloom_hdl.layers.accumulators.Accumulate", lut_lanes)
    bench = check(cells, op, words, skips, seed=4)
    assert bench is not None


def lut_lanes(**settings):
    return Accumulate(**settings | {"multiplier": "lut"})
