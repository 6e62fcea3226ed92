"""When transfers go through one layer in gates: offered at once, taken at once (or with pauses)."""

import random

import numpy as np
from amaranth.hdl import Module
from amaranth.sim import Simulator
from spikeloom.hardware.port import Port
from spikeloom_boards.dataflow_links import Link, known, run

SET_BITS = np.array([value.bit_count() for value in range(256)], dtype=np.uint8)


def stream_of(port: Port, words: np.ndarray) -> list[tuple[list[int], bool, bool]]:
    """Lay words (samples, pixels, channels) out as transfers: (lanes, first, last)."""
    wide = np.zeros((*words.shape[:2], port.transfers_per_pixel * port.lanes), dtype=np.int64)
    wide[..., : port.channels] = words
    transfers = []
    for sample in wide.reshape(len(words), port.transfers, port.lanes).tolist():
        last = len(sample) - 1
        transfers += [(lanes, k == 0, k == last) for k, lanes in enumerate(sample)]
    return transfers


def in_gates(component, streams, outputs, *, pause=0.0, seed=1):
    """Simulate; return the cycles in which transfers were taken, by input, and at the output.

    Cycle 0 is that of the first transfer in. pause: probability that the output is not taken.
    """
    m = Module()
    m.submodules.dut = component
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    taken = {name: [] for name in streams}
    out = []
    generator = random.Random(seed)

    def offer(ctx, name):
        port, at = getattr(component, name), len(taken[name])
        ctx.set(port.valid, at < len(streams[name]))
        if at < len(streams[name]):
            lanes, first, last = streams[name][at]
            items = port.p.potentials if "potentials" in dict(port.p.shape()) else port.p.words
            for item, value in zip(items, lanes, strict=True):
                ctx.set(item, value)
            ctx.set(port.p.first, first)
            ctx.set(port.p.last, last)

    async def bench(ctx):
        while ctx.get(component.resetting):
            await ctx.tick()
        await ctx.tick().repeat(8)  # what is read ahead (thresholds, biases) is there
        cycle = 0
        while len(out) < outputs:
            assert cycle < 20_000, "the layer stands still"
            ctx.set(component.o.ready, generator.random() >= pause)
            for name in streams:
                offer(ctx, name)
            moves = {
                name: ctx.get(getattr(component, name).valid & getattr(component, name).ready)
                for name in streams
            }
            leaves = ctx.get(component.o.valid & component.o.ready)
            await ctx.tick()
            for name, moved in moves.items():
                if moved:
                    taken[name].append(cycle)
            if leaves:
                out.append(cycle)
            cycle += 1

    simulator.add_testbench(bench)
    simulator.run()
    start = min(cycles[0] for cycles in taken.values())
    return {n: [c - start for c in cycles] for n, cycles in taken.items()}, [c - start for c in out]


def in_model(make, streams, outputs, *, pause=0.0, seed=1):
    """Run processes ``make(inputs, output)``; return what :func:`in_gates` returns."""
    inputs = {name: Link(put=[0] * len(stream)) for name, stream in streams.items()}
    output = Link()
    generator, free = random.Random(seed), []

    def take():
        cycle = 0
        while True:
            index = len(output.taken)
            yield from known(output.put, index)
            cycle = max(cycle, output.put[index])
            while True:  # the pauses of in_gates, cycle for cycle
                while len(free) <= cycle:
                    free.append(generator.random() >= pause)
                if free[cycle]:
                    break
                cycle += 1
            output.taken.append(cycle)
            cycle += 1

    assert run([*make(inputs, output), take()], output.taken, outputs), "the model stands still"
    return {name: link.taken for name, link in inputs.items()}, output.taken[:outputs]
