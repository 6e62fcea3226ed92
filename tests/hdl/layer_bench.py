"""One layer in Amaranth's simulator: its memories, samples through it, what leaves and when."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from amaranth.hdl import Signal
from amaranth.sim import Simulator
from spikeloom.hardware.memory_image import _content, columns
from spikeloom.hardware.port import Port

Pixels = Sequence[Sequence[int]]  #: a sample: pixels in raster order, each its channels


def transfers(port: Port, sample: Pixels) -> list[dict[str, Any]]:
    """Cut a sample into the payloads of a stream."""
    field = "potentials" if port.signed else "words"
    rows = []
    for pixel in sample:
        words = [int(w) for w in pixel] + [0] * (-len(pixel) % port.lanes)
        rows += [words[k : k + port.lanes] for k in range(0, len(words), port.lanes)]
    assert len(rows) == port.transfers
    last = len(rows) - 1
    return [{field: row, "first": k == 0, "last": k == last} for k, row in enumerate(rows)]


def image(op: Any, layer: Any) -> list[tuple[int, list[int]]]:
    """Columns of a lone layer in the order of the memory image: address of row 0, words."""
    content = _content(op, layer)
    parameters: Any = SimpleNamespace(layers=(layer,))
    return [
        (c.address, [int(w) for w in content[c.kind][c.column][: c.rows]])
        for c in columns(parameters)
    ]


def random_samples(
    rng: np.random.Generator, port: Port, count: int, density: float = 0.5
) -> list[list[list[int]]]:
    """Random samples; the second one is empty, the third one full (potentials: the least)."""
    low, high = (-(1 << port.bits - 1), 1 << port.bits - 1) if port.signed else (0, 1 << port.bits)
    shape = (count, port.pixels, port.channels)
    values = rng.integers(low, high, shape) * (rng.random(shape) < density)
    values[1:2] = 0
    values[2:3] = low if port.signed else high - 1
    return values.tolist()


class LayerBench:
    """Drives a layer; ``outputs`` holds the payloads that left, with ``cycles``, one each.

    streams: for each stream that enters, its payloads. seed: everything pauses at random; without,
    producers and consumer are always ready. columns: memories, loaded and read back first.
    abort_after: abort once that many cycles after loading, and send everything again.
    """

    def __init__(
        self,
        core: Any,
        streams: Sequence[list[dict[str, Any]]],
        expected: int,
        *,
        seed: int | None = None,
        columns: Iterable[tuple[int, list[int]]] = (),
        abort_after: int | None = None,
        limit: int = 100_000,
    ) -> None:
        self.core, self.streams, self.expected = core, streams, expected
        self.seed, self.columns, self.limit = seed, list(columns), limit
        self.abort_after = abort_after
        self.outputs: list[Any] = []
        self.cycles: list[int] = []
        self.taken: list[list[int]] = [[] for _ in streams]
        self.probes: list[list[int]] = []
        self.events = self.spikes = self.cycle = self._sent = 0
        self._go = Signal()
        sim = Simulator(core)
        sim.add_clock(1e-6)
        sim.add_testbench(self._monitor, background=True)  # first: it counts the cycles
        sim.add_testbench(self._main)
        ports = [core.i, core.skip] if hasattr(core, "skip") else [core.i]
        for k, port in enumerate(ports):

            async def produce(ctx, k=k, port=port):
                await self._produce(ctx, k, port)

            sim.add_testbench(produce)
        sim.run()

    async def _main(self, ctx: Any) -> None:
        core = self.core
        if hasattr(core, "resetting"):
            assert ctx.get(core.resetting)
            await ctx.tick().until(~core.resetting)
        if self.columns:
            await self._load(ctx)
        ctx.set(self._go, 1)
        if self.abort_after is not None:
            ctx.set(core.o.ready, 1)
            await ctx.tick().repeat(self.abort_after)
            ctx.set(self._go, 0)
            ctx.set(core.abort, 1)
            await ctx.tick()
            ctx.set(core.abort, 0)
            assert ctx.get(core.resetting)
            assert not ctx.get(core.i.ready)
            await ctx.tick().until(~core.resetting)
            self.outputs.clear()
            self.probes.clear()
            self.events = self.spikes = 0
            ctx.set(self._go, 1)
        await self._consume(ctx)

    async def _load(self, ctx: Any) -> None:
        """Write every column, then read all of them back, a word a cycle."""
        bus = self.core.load
        words = [(a + row, word) for a, column in self.columns for row, word in enumerate(column)]
        rng = random.Random(len(words))
        for turn in range(2):  # what is loaded second replaces what was loaded first
            ctx.set(bus.write, 1)
            for place, word in rng.sample(words, len(words)):
                ctx.set(bus.address, place)
                ctx.set(bus.data, word if turn else rng.getrandbits(32))
                await ctx.tick()
            ctx.set(bus.write, 0)
            for _ in range(rng.randint(0, 9)):
                await ctx.tick()
        found, latency = [], self.core.load_latency
        for k in range(len(words) + latency):
            ctx.set(bus.read, k < len(words))
            ctx.set(bus.address, words[min(k, len(words) - 1)][0])
            assert ctx.get(bus.read_valid) == (k >= latency)
            if ctx.get(bus.read_valid):
                found.append(ctx.get(bus.read_data))
            await ctx.tick()
        assert found == [word for _, word in words]
        assert not ctx.get(bus.read_valid)

    async def _produce(self, ctx: Any, k: int, port: Any) -> None:
        rng = random.Random(None if self.seed is None else f"{self.seed} {k}")
        while True:
            while not ctx.get(self._go):
                await ctx.tick()
            if await self._send(ctx, k, port, rng):
                self._sent += 1
                return
            ctx.set(port.valid, 0)

    async def _send(self, ctx: Any, k: int, port: Any, rng: random.Random) -> bool:
        self.taken[k].clear()
        for payload in self.streams[k]:
            while self.seed is not None and rng.random() < 0.4:
                await ctx.tick()
                if not ctx.get(self._go):
                    return False
            ctx.set(port.payload, payload)
            ctx.set(port.valid, 1)
            while True:
                _, _, ready, go = await ctx.tick().sample(port.ready, self._go)
                if not go:
                    return False
                if ready:
                    break
            self.taken[k].append(self.cycle)
            ctx.set(port.valid, 0)
        return True

    async def _consume(self, ctx: Any) -> None:
        o, held = self.core.o, None
        rng = random.Random(self.seed)
        while len(self.outputs) < self.expected:
            ready = self.seed is None or rng.random() < 0.5
            ctx.set(o.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(o.valid, o.payload)
            if held is not None:
                assert valid
                assert payload == held
            held = payload if valid and not ready else None
            if valid and ready:
                self.outputs.append(payload)
                self.cycles.append(self.cycle)
            assert self.cycle < self.limit, "simulation timed out"
        ctx.set(o.ready, 1)
        rest = 40
        while rest:
            _, _, valid = await ctx.tick().sample(o.valid)
            assert not valid, "a transfer that nobody sent"
            # rows that no window looks at come after the last output
            rest -= self._sent == len(self.streams)
            assert self.cycle < self.limit, "simulation timed out"

    async def _monitor(self, ctx: Any) -> None:
        core = self.core
        names = ("probe_valid", "probe", "events", "spikes")
        watched = [name for name in names if hasattr(core, name)]
        async for _, _, *values in ctx.tick().sample(*(getattr(core, n) for n in watched)):
            seen = dict(zip(watched, values, strict=True))
            self.cycle += 1
            if seen.get("probe_valid"):
                self.probes.append(list(seen["probe"]))
            self.events += seen.get("events", 0)
            self.spikes += seen.get("spikes", 0)

    def samples(self, port: Port) -> list[list[list[int]]]:
        """Put what left together again; checks marks, and that padding is zero."""
        per_pixel, found = port.transfers_per_pixel, []
        rows = [list(o.potentials if port.signed else o.words) for o in self.outputs]
        for k, o in enumerate(self.outputs):
            assert (o.first, o.last) == (
                k % port.transfers == 0,
                k % port.transfers == port.transfers - 1,
            )
        for start in range(0, len(rows), port.transfers):
            pixels = []
            for at in range(start, start + port.transfers, per_pixel):
                flat = [w for row in rows[at : at + per_pixel] for w in row]
                assert not any(flat[port.channels :]), "padding that is not zero"
                pixels.append(flat[: port.channels])
            found.append(pixels)
        return found


def run(core: Any, ports: Sequence[Port], port_out: Port, *samples: Any, **settings: Any):
    """Send samples (one list a stream) through a layer; return the bench, after it ran."""
    streams = [
        [t for sample in one for t in transfers(port, sample)]
        for port, one in zip(ports, samples, strict=True)
    ]
    return LayerBench(core, streams, len(samples[0]) * port_out.transfers, **settings)
