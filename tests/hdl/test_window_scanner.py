"""WindowScanner in Amaranth's simulator against plain integers: events, tokens and cycles."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from amaranth.hdl import Cat, Elaboratable, Module, ResetInserter, Signal
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.hardware.folding import Folding
from spikeloom.hardware.synapses import ConvParameters
from spikeloom.hardware.window import Window
from spikeloom_hdl.layers.window_scanner import WindowScanner


def layer(geometry, channels=3, bits=2, outputs=1, **folding):
    """Parameters of a convolution. geometry: of its window; folding: with one pass if not told."""
    fold = {"lanes": 1, "scan": 2, "fire_lanes": 1, **folding}
    return ConvParameters(
        channels, outputs, Window(*geometry), bits, 1, 2, 16, folding=Folding(**fold)
    )


def place(p, channel):
    """Slice of a channel, and its number there."""
    beat, word = divmod(channel, p.folding.scan)
    slices = p.folding.slices
    return word % slices, beat * (p.folding.scan // slices) + word // slices


def windows(p, unit, sample):
    """Events of every window, in order: one list of (row, word) a slice."""
    w = p.window
    for y in range(w.out_height):
        for x in range(unit, w.out_width, p.folding.units):
            found = [[] for _ in range(p.folding.slices)]
            for tap in range(w.taps):
                row = y * w.stride_y - w.pad_y + tap // w.kernel_width
                column = x * w.stride_x - w.pad_x + tap % w.kernel_width
                if not (0 <= row < w.height and 0 <= column < w.width):
                    continue
                for channel in np.flatnonzero(sample[row, column]):
                    s, number = place(p, channel)
                    word = int(sample[row, column, channel])
                    words = [word]
                    if p.folding.form == "serial":
                        words = [1 << b for b in range(p.input_bits) if word >> b & 1]
                    found[s] += [(tap * p.slice_channels + number, one) for one in words]
            yield found


def transfers(p, sample):
    """The words of every transfer."""
    scan = p.folding.scan
    pixels = sample.reshape(p.window.pixels, p.channels)
    padded = np.pad(pixels, ((0, 0), (0, -p.channels % scan)))
    return padded.reshape(-1, scan)


class Joined(Elaboratable):
    """The slices meet at their tokens, as in the layer; ``allow`` delays that."""

    def __init__(self, scanner):
        self.scanner = scanner
        self.allow, self.meet = Signal(), Signal()

    def elaborate(self, platform):
        m = Module()
        m.submodules.scanner = self.scanner
        m.d.comb += self.meet.eq(Cat(one.token for one in self.scanner.lists).all() & self.allow)
        m.d.comb += [one.proceed.eq(self.meet) for one in self.scanner.lists]
        return m


class Run:
    """Samples through a scanner: what came, and when.

    passes: per token one list of (row, word, fetch) a slice. lasts, firsts: token_last; the values
    of first_pass. times: cycle of every token.
    """

    def __init__(self, p, samples, unit=0, seed=None, stall=0.0, late=0.0, reset_after=None):
        self.p, self.samples = p, samples
        self.passes, self.lasts, self.firsts, self.times = [], [], [], []
        self.events = self.spikes = self.cycle = 0
        self.accepted, self.sent = [], False
        self.rng = random.Random(seed)
        self.stall, self.late, self.reset_after = stall, late, reset_after
        self.scanner = WindowScanner(p, unit)
        self.joined = Joined(self.scanner)
        self.reset = Signal()
        own = len(range(unit, p.window.out_width, p.folding.units)) * p.window.out_height
        self.expected = own * p.passes * len(samples)
        sim = Simulator(ResetInserter(self.reset)(self.joined))
        sim.add_clock(1e-6)
        sim.add_testbench(self._send)
        sim.add_testbench(self._watch)
        sim.run()

    async def _send(self, ctx):
        stream = self.scanner.i
        if self.reset_after is not None:
            await self._disturb(ctx)
        for sample in self.samples:
            words = transfers(self.p, sample)
            for k, one in enumerate(words):
                while self.rng.random() < self.stall:
                    await ctx.tick()
                last = k == len(words) - 1
                payload = {"words": [int(v) for v in one], "first": k == 0, "last": last}
                ctx.set(stream.payload, payload)
                ctx.set(stream.valid, 1)
                await ctx.tick().until(stream.ready)
                self.accepted.append(self.cycle)
                ctx.set(stream.valid, 0)
        self.sent = True

    async def _disturb(self, ctx):
        """Part of a sample, then reset."""
        stream = self.scanner.i
        words = transfers(self.p, np.full_like(self.samples[0], 1))
        ctx.set(stream.valid, 1)
        at = 0
        for _ in range(self.reset_after):
            first, last = at == 0, at == len(words) - 1
            payload = {"words": [int(v) for v in words[at]], "first": first, "last": last}
            ctx.set(stream.payload, payload)
            _, _, ready = await ctx.tick().sample(stream.ready)
            at = (at + ready) % len(words)
        ctx.set(stream.valid, 0)
        ctx.set(self.reset, 1)
        await ctx.tick()
        ctx.set(self.reset, 0)

    async def _watch(self, ctx):
        scanner, p = self.scanner, self.p
        reads = [
            Cat(one.event, one.fetch, one.token, one.token_last, one.first_pass, one.word, one.row)
            for one in scanner.lists
        ]
        found = [[] for _ in reads]
        firsts = set()
        ctx.set(self.joined.allow, self.reset_after is None)
        if self.reset_after is not None:
            ctx.set(self.joined.allow, 1)
            await ctx.tick().repeat(self.reset_after + 1)
        idle = 0
        while idle < 20:
            values = await ctx.tick().sample(
                self.joined.meet, scanner.entered_events, scanner.entered_spikes, *reads
            )
            meet, events, spikes = values[2:5]
            self.events += events
            self.spikes += spikes
            for s, value in enumerate(values[5:]):
                event, fetch, token, last, first = (value >> k & 1 for k in range(5))
                word = value >> 5 & (1 << p.input_bits) - 1
                assert not (event and token)
                assert event or not (word or fetch)
                if event:
                    found[s].append((value >> 5 + p.input_bits, word, fetch))
                    firsts.add(first)
                if meet and s == 0:
                    self.lasts.append(last)
            if meet:
                self.passes.append(found)
                self.firsts.append(firsts)
                self.times.append(self.cycle)
                found, firsts = [[] for _ in reads], set()
            ctx.set(self.joined.allow, self.rng.random() >= self.late)
            self.cycle += 1
            idle += len(self.passes) >= self.expected and self.sent
            assert self.cycle < 100_000, f"{len(self.passes)} of {self.expected} tokens"
        assert len(self.passes) == self.expected
        assert found == [[] for _ in reads]


def check(p, samples, unit=0, **how):
    """Run samples; every pass of every window must have exactly the events of the oracle."""
    run = Run(p, samples, unit, **how)
    at = 0
    for sample in samples:
        for slices in windows(p, unit, sample):
            for k in range(p.passes):
                got = run.passes[at]
                for s, wanted in enumerate(slices):
                    events = Counter((row, word) for row, word, _ in got[s])
                    assert events == Counter(wanted), (at, s)
                    rows = [row for row, _, fetch in got[s] if fetch]
                    assert sorted(rows) == sorted({row for row, _ in wanted})
                    kept = None  # the words of a row follow its fetch
                    for row, _, fetch in got[s]:
                        assert fetch or row == kept
                        kept = row
                assert run.lasts[at] == (k == p.passes - 1)
                assert run.firsts[at] <= {int(k == 0)}
                at += 1
    assert at == len(run.passes)
    if how.get("reset_after") is None:
        assert run.events == sum(int((sample > 0).sum()) for sample in samples)
        assert run.spikes == sum(int(v).bit_count() for sample in samples for v in sample.flat)
    return run


def draw(p, rng, count, density=0.4):
    """Random samples; the second is empty, the third full."""
    shape = (count, p.window.height, p.window.width, p.channels)
    samples = rng.integers(1, 2**p.input_bits, shape) * (rng.random(shape) < density)
    if count > 2:
        samples[1] = 0
        samples[2] = 2**p.input_bits - 1
    return samples


#: cycles that a row of windows may take beyond those of its events, tokens and columns
ROW_CYCLES = 10

#: height, width, kernel, stride, padding; channels and folding
SHAPES = {
    "3x3": (layer((5, 6, 3, 3, 1, 1, 1, 1)), 0),
    "3x3 valid": (layer((5, 6, 3, 3)), 0),
    "3x3 stride 2": (layer((6, 7, 3, 3, 2, 2, 1, 1)), 0),
    "3x3 padding and a rest": (layer((6, 6, 3, 3, 2, 2, 1, 1)), 0),
    "3x3 rest": (layer((6, 8, 3, 3, 2, 2)), 0),
    "3x3 passes": (layer((5, 5, 3, 3, 1, 1, 1, 1), outputs=3), 0),
    "3x3 slices": (layer((5, 5, 3, 3, 1, 1, 1, 1), channels=4, scan=4, slices=2), 0),
    "3x3 serial": (layer((5, 5, 3, 3, 1, 1, 1, 1), bits=4, form="serial"), 0),
    "serial slices": (
        layer((4, 5, 3, 3), channels=5, bits=3, outputs=2, scan=4, slices=2, form="serial"),
        0,
    ),
    "one transfer": (layer((5, 6, 3, 3, 1, 1, 1, 1), channels=3, scan=8), 0),
    "one channel": (layer((6, 6, 3, 3, 1, 1, 1, 1), channels=1, scan=1), 0),
    "many channels": (layer((4, 4, 3, 3, 1, 1, 1, 1), channels=16, scan=4, bits=4), 0),
    "odd channels": (layer((4, 6, 3, 3, 1, 1, 1, 1), channels=5, scan=3), 0),
    "a channel a slice": (layer((4, 4, 2, 2), channels=3, scan=3, slices=3), 0),
    "1x1": (layer((4, 5, 1, 1)), 0),
    "1x1 stride 2": (layer((5, 6, 1, 1, 2, 2)), 0),
    "1x1 one pixel": (layer((1, 1, 1, 1)), 0),
    "stride > kernel": (layer((9, 11, 2, 2, 4, 3)), 0),
    "5x1": (layer((7, 4, 5, 1, 1, 1, 2, 0)), 0),
    "1x5": (layer((4, 7, 1, 5, 1, 1, 0, 2)), 0),
    "wider than the row": (layer((5, 2, 3, 3, 1, 1, 1, 1)), 0),
    "one column": (layer((5, 1, 3, 3, 1, 1, 1, 1)), 0),
    "one row": (layer((1, 6, 3, 3, 1, 1, 1, 1)), 0),
    "one window": (layer((3, 4, 3, 4)), 0),
    "full padding": (layer((3, 3, 3, 3, 1, 1, 2, 2)), 0),
    "5x5": (layer((6, 7, 5, 5, 1, 1, 2, 2), channels=2), 0),
    "wide transfer": (layer((3, 4, 2, 2), channels=20, scan=20, bits=1), 0),
    "unit 0 of 2": (layer((5, 7, 3, 3, 1, 1, 1, 1), units=2), 0),
    "unit 1 of 2": (layer((5, 7, 3, 3, 1, 1, 1, 1), units=2), 1),
    "unit 2 of 3": (layer((5, 8, 3, 3, 2, 2, 1, 1), units=3, outputs=2), 2),
    "unit alone": (layer((4, 4, 3, 3, 1, 1, 1, 1), units=4), 3),
}


def walks(p, unit, sample):
    """Cycles of every window, all its passes: a cycle an event, and one a token."""
    for slices in windows(p, unit, sample):
        yield p.passes * (max(len(events) for events in slices) + 1)


def enters(p, sample):
    """Cycles that every input row takes: a transfer those of its fullest slice, one at least."""
    slices = p.folding.slices
    cycles = [
        max(1, *(np.count_nonzero(words[s::slices]) for s in range(slices)))
        for words in transfers(p, sample)
    ]
    return np.array(cycles).reshape(p.window.height, -1).sum(1)


def bound(p, unit, samples):
    """Cycles of samples if rows of windows began when their input rows are whole, none sooner."""
    w, ring = p.window, p.window.kernel_height + p.window.stride_y
    enter = np.concatenate([enters(p, sample) for sample in samples])
    entered, freed, now, top = [], {}, 0, -w.pad_y
    for k, sample in enumerate(samples):
        walk = np.array(list(walks(p, unit, sample))).reshape(w.out_height, -1).sum(1)
        for y in range(w.out_height):
            rows = k * w.height + min(y * w.stride_y - w.pad_y + w.kernel_height, w.height)
            while len(entered) < rows:
                row = len(entered)
                begin = max(entered[-1] if entered else 0, freed.get(row - ring, 0))
                entered.append(begin + enter[row])
            now = max(now, entered[rows - 1]) + max(walk[y], w.width + w.pad_x)
            below = (y + 1) * w.stride_y if y < w.out_height - 1 else w.height
            below += k * w.height - w.pad_y
            freed |= {row: now for row in range(top, below)}
            top = below
    return now


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_events(shape, seed):
    p, unit = SHAPES[shape]
    samples = draw(p, np.random.default_rng(5), 3 if seed is None else 4)
    if seed is not None:
        check(p, samples, unit, seed=seed, stall=0.3, late=0.5)
        return
    run = check(p, samples, unit)
    cycles = run.times[-1] - run.accepted[0]
    assert cycles <= bound(p, unit, samples) + ROW_CYCLES * len(samples) * p.window.out_height


@st.composite
def structures(draw):
    """Geometry, folding, a unit and a seed."""
    kernel = [draw(st.sampled_from([1, 2, 3, 3, 4])) for _ in range(2)]
    stride = [draw(st.integers(1, 3)) for _ in range(2)]
    pad = [draw(st.integers(0, k - 1)) for k in kernel]
    size = [draw(st.integers(max(1, k - 2 * q), 6)) for k, q in zip(kernel, pad, strict=True)]
    window = Window(*size, *kernel, *stride, *pad)
    channels = draw(st.integers(1, 6))
    slices = draw(st.sampled_from([s for s in (1, 1, 2, 3) if s <= channels]))
    folding = Folding(
        lanes=1,
        slices=slices,
        scan=slices * draw(st.integers(1, 4)),
        fire_lanes=1,
        form=draw(st.sampled_from(["packed", "packed", "serial"])),
        units=draw(st.integers(1, min(3, window.out_width))),
    )
    bits, passes = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    p = ConvParameters(channels, passes, window, bits, 1, 2, 16, folding=folding)
    return p, draw(st.integers(0, folding.units - 1)), draw(st.integers(0, 2**31))


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(structures())
def test_random_structures(structure):
    p, unit, seed = structure
    rng = np.random.default_rng(seed)
    samples = draw(p, rng, int(rng.integers(1, 4)), rng.random())
    how = dict(seed=seed, stall=rng.random() * 0.6, late=rng.random() * 0.95) if seed % 2 else {}
    check(p, samples, unit, **how)


@pytest.mark.parametrize(
    ("name", "p", "density"),
    [
        ("full", layer((5, 6, 3, 3, 1, 1, 1, 1)), 1.0),
        ("an event a tap", layer((5, 6, 3, 3, 1, 1, 1, 1), channels=1, scan=1), 1.0),
        ("some", layer((6, 6, 3, 3, 1, 1, 1, 1), channels=4, scan=4), 0.5),
        ("passes", layer((4, 5, 3, 3, 1, 1, 1, 1), outputs=3, slices=2), 0.3),
        ("empty passes", layer((5, 5, 3, 3, 1, 1, 1, 1), outputs=8, scan=4), 0.0),
        ("serial", layer((4, 5, 3, 3, 1, 1, 1, 1), bits=4, form="serial"), 0.6),
        ("stride 2", layer((6, 8, 3, 3, 2, 2, 1, 1), channels=6, outputs=4, scan=6), 0.5),
        ("1x1", layer((4, 5, 1, 1), outputs=3, channels=4, scan=4), 0.7),
    ],
)
def test_no_bubbles(name, p, density):
    """Where the input does not limit, a sample takes a cycle an event and one a token, exactly."""
    sample = draw(p, np.random.default_rng(7), 1, density)[0]
    run = check(p, [sample] * 4)
    each = p.window.out_pixels * p.passes
    ends = run.times[each - 1 :: each]
    assert ends[3] - ends[2] == sum(walks(p, 0, sample)), name


@pytest.mark.parametrize("form", ["packed", "serial"])
@pytest.mark.parametrize("density", [0, 1])
@pytest.mark.parametrize("slices", [1, 2])
def test_latency(form, density, slices):
    """From the last transfer of a lone window to its token, as documented."""
    p = layer((3, 4, 3, 4), channels=4, bits=1, scan=4, slices=slices, form=form)
    sample = np.full((3, 4, 4), density)
    run = check(p, [sample])
    (walk,) = walks(p, 0, sample)
    last = max(1, 4 * density // slices)
    assert run.times[0] - run.accepted[-1] == last + 13 + (form == "serial") + walk - 1


def test_slow_layer():
    """The ring is full most of the time: the next row to write is one that is still looked at."""
    p = layer((6, 8, 3, 3, 1, 1, 1, 1), channels=4, scan=4)
    rng = np.random.default_rng(3)
    samples = [draw(p, rng, 1, 0.2)[0] for _ in range(2)]
    check(p, samples, seed=3, late=0.9)


@pytest.mark.parametrize("delay", [1, 3, 8, 19, 33, 58, 90])
def test_reset(delay):
    """Reset at any time: nothing of the sample before is left."""
    p = layer((5, 5, 3, 3, 1, 1, 1, 1), channels=4, outputs=2, scan=4, slices=2)
    check(p, draw(p, np.random.default_rng(delay), 2), reset_after=delay)


def test_a_broken_stream_is_told():
    scanner = WindowScanner(layer((4, 4, 3, 3)))
    sim = Simulator(scanner)
    sim.add_clock(1e-6)

    async def send(ctx):
        ctx.set(scanner.i.p.first, 1)
        ctx.set(scanner.i.valid, 1)
        for _ in range(4):
            await ctx.tick()

    sim.add_testbench(send)
    with pytest.raises(AssertionError, match="transfer 1 of 32 has first = 1, last = 0"):
        sim.run()


def test_unit_must_exist():
    with pytest.raises(ValueError, match="unit must be in 0"):
        WindowScanner(layer((4, 4, 3, 3)), 1)
