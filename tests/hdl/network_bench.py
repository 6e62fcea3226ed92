"""A network core in Amaranth's simulator: memories, samples through it, every potential."""

from __future__ import annotations

import random

import numpy as np
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
from spikeloom.hardware.memory_image import memory_image
from spikeloom_hdl.network import NetworkCore


class Bench:
    """A core in the simulator: its memories loaded, or fixed, testbenches added, a time limit."""

    def __init__(self, network, parameters, *, depths=None, limit=100_000, fixed=False):
        self.parameters, self.limit, self.fixed = parameters, limit, fixed
        self.image = memory_image(network, parameters)
        image = self.image if fixed else None
        self.core = NetworkCore(parameters, probe=True, depths=depths, image=image)
        self.probes = {k: [] for k in parameters.potential_layers}
        self.cycle = 0
        self.starts, self.ends = [], []
        self.reset = Signal()
        self.sim = Simulator(ResetInserter(self.reset)(self.core))
        self.sim.add_clock(1e-6)
        self.sim.add_testbench(self._monitor, background=True)

    def run(self, *testbenches):
        for testbench in testbenches:
            self.sim.add_testbench(testbench)
        self.sim.run()

    async def _monitor(self, ctx):
        """Collect the potentials of every layer, and when samples come and go."""
        core, partial = self.core, False
        probes = [
            signal
            for k in self.probes
            for signal in (getattr(core, f"probe_{k}_valid"), getattr(core, f"probe_{k}"))
        ]
        enters, leaves = core.i.valid & core.i.ready, core.o.valid & core.o.ready & core.o.p.last
        async for _, _, enter, last, leave, *found in ctx.tick().sample(
            enters, core.i.p.last, leaves, *probes
        ):
            probes = zip(self.probes.values(), found[::2], found[1::2], strict=True)
            for potentials, valid, values in probes:
                if valid:
                    potentials += list(values)
            if enter:
                if not partial:
                    self.starts.append(self.cycle)
                partial = not last
            if leave:
                self.ends.append(self.cycle)
            self.cycle += 1
            assert self.cycle < self.limit, "simulation timed out"

    async def load(self, ctx):
        core = self.core
        await ctx.tick().until(~core.busy)
        if self.fixed:
            return
        ctx.set(core.load.write, 1)
        for column, words in self.image:
            for row, word in enumerate(words):
                ctx.set(core.load.address, column.address + row)
                ctx.set(core.load.data, int(word))
                await ctx.tick()
        ctx.set(core.load.write, 0)

    async def send(self, ctx, samples, seed=None, beats=None):
        """Send samples, with random gaps if there is a seed; only some beats of each if told."""
        stream, total = self.core.i, self.parameters.input_port.transfers
        scan = self.parameters.input_port.lanes
        rng = random.Random(seed)
        for words in self.parameters.stream_words(np.asarray(samples)).tolist():
            for beat in range(total if beats is None else beats):
                while seed is not None and rng.random() < 0.4:
                    await ctx.tick()
                ctx.set(
                    stream.payload,
                    {
                        "words": words[beat * scan : (beat + 1) * scan],
                        "first": beat == 0,
                        "last": beat == total - 1,
                    },
                )
                ctx.set(stream.valid, 1)
                await ctx.tick().until(stream.ready)
                ctx.set(stream.valid, 0)

    async def receive(self, ctx, samples, seed=None):
        """Return logits; checks that a payload stays while stalled, and first and last."""
        stream, layer = self.core.o, self.parameters.layers[-1]
        rng = random.Random(seed)
        logits = []
        for _ in range(samples):
            flat = []
            for row in range(layer.drain_rows):
                held = None
                while True:
                    ready = seed is None or rng.random() < 0.5
                    ctx.set(stream.ready, ready)
                    _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
                    if held is not None:
                        assert valid
                        assert payload == held
                    if valid and ready:
                        break
                    held = payload if valid else None
                assert payload.first == (row == 0)
                assert payload.last == (row == layer.drain_rows - 1)
                flat += list(payload.potentials)
            logits.append(flat[: layer.outputs])
        ctx.set(stream.ready, 0)
        return logits

    def potentials(self, layer, samples):
        """What the probe of a layer saw, one list a sample, in the order of the network."""
        port = self.parameters.layers[layer].port_out
        wide = port.transfers_per_pixel * port.lanes
        found = np.array(self.probes[layer], dtype=np.int64)
        assert found.size == samples * port.pixels * wide
        found = found.reshape(samples, port.pixels, wide)[..., : port.channels]
        return found.swapaxes(1, 2).reshape(samples, -1).tolist()

    def counters(self, ctx):
        names = self.parameters.counter_names
        return {name: ctx.get(self.core.counters[k]) for k, name in enumerate(names)}
