"""Fire under random back-pressure, against the four lines of the definition in plain integers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import cocotb

from spikeloom_sim.runner import Design, component_verilog
from spikeloom_sim.streams import Bench, FieldPacker, StreamDriver, StreamSink, differing, settings

WORDS = 100_000  #: neurons that fire in the long test

VARIANTS = {
    "fire/8x20-T4": {"lanes": 8, "bits": 20, "steps": 4, "threshold_bits": 16},
    "fire/4x24-T8": {"lanes": 4, "bits": 24, "steps": 8, "threshold_bits": 12},
    "fire/3x6-T1": {"lanes": 3, "bits": 6, "steps": 1, "threshold_bits": 8},
}


def designs(names: Iterable[str] = VARIANTS) -> Iterator[Design]:
    """Yield variants of the core that are tested."""
    from spikeloom_hdl.neuron.fire import Fire

    for name in names:
        variant = VARIANTS[name]
        yield Design(name, __name__, component_verilog(Fire(**variant)), variant)


def oracle(v: int, theta: int, steps: int) -> int:
    """The packed word of one neuron, spike by spike."""
    word = 0
    for t in range(1, steps + 1):
        top = theta << (steps - t)
        spike = int(v >= top)
        v -= spike * top
        word = word << 1 | spike
    return word


class FireBench:
    """A bench around one variant, with transfers and what they must become."""

    def __init__(self, dut: Any, *, stall_in: float, stall_out: float, shy: bool = False):
        from spikeloom_hdl.neuron.fire import membranes_signature
        from spikeloom_hdl.stream import words_layout

        given = settings()
        self.lanes, self.bits, self.steps = given["lanes"], given["bits"], given["steps"]
        self.threshold_bits = given["threshold_bits"]
        self.bench = Bench(dut)
        layout = membranes_signature(self.lanes, self.bits, self.threshold_bits)
        self.packer = FieldPacker(layout.members["payload"].shape)
        self.words = FieldPacker(words_layout(self.lanes, self.steps))
        self.source = StreamDriver(self.bench, "i", stall=stall_in)
        self.sink = StreamSink(self.bench, "o", stall=stall_out, shy=shy)

    def transfers(self, count: int) -> tuple[list[int], list[int]]:
        """Return random transfers and the transfers that they must become.

        Half of the neurons are near a multiple of their threshold, where mistakes show.
        """
        chosen, sent, expected = self.bench.random, [], []
        low, high = -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        for index in range(count):
            potentials, thresholds = [], []
            for _ in range(self.lanes):
                theta = chosen.randint(1, (1 << chosen.randint(1, self.threshold_bits)) - 1)
                v = chosen.randint(low, high)
                if chosen.random() < 0.5:
                    v = theta * chosen.randint(-1, 1 << self.steps) + chosen.randint(-1, 1)
                potentials.append(max(low, min(high, v)))
                thresholds.append(theta)
            marks = {"first": int(index % 7 == 0), "last": int(index % 7 == 6)}
            sent.append(self.packer.pack(potentials=potentials, thresholds=thresholds, **marks))
            pairs = zip(potentials, thresholds, strict=True)
            words = [oracle(v, theta, self.steps) for v, theta in pairs]
            expected.append(self.words.pack(words=words, **marks))
        return sent, expected

    async def run(self, count: int) -> int:
        """Send transfers and wait for as many; return the number that differ."""
        sent, expected = self.transfers(count)
        start = len(self.sink.received)
        self.source.send(sent)
        await self.bench.until(
            lambda: len(self.sink.received) - start >= count,
            cycles=100 * count + 1000,
            what="words",
        )
        await self.bench.ticks(4 * self.steps)
        return differing(self.sink.received[start:], expected)


@cocotb.test()
async def back_pressure(dut):
    """Many words with random pauses on both sides."""
    fire = FireBench(dut, stall_in=0.2, stall_out=0.3)
    await fire.bench.start()
    count = -(-WORDS // fire.lanes)
    wrong = await fire.run(count)
    fire.bench.report(f"{count * fire.lanes} words, {wrong} transfers differ")
    assert wrong == 0


@cocotb.test()
async def full_rate(dut):
    """Nobody pauses: a transfer a cycle, each ``steps`` cycles later."""
    fire = FireBench(dut, stall_in=0.0, stall_out=0.0)
    await fire.bench.start()
    assert await fire.run(500) == 0
    cycles = fire.sink.cycles
    assert cycles[-1] - cycles[0] == 499
    fire.bench.report("500 transfers in 500 cycles")


@cocotb.test()
async def ready_after_valid(dut):
    """The consumer waits for valid first; valid must not wait for ready."""
    fire = FireBench(dut, stall_in=0.1, stall_out=0.0, shy=True)
    await fire.bench.start()
    assert await fire.run(300) == 0


@cocotb.test()
async def reset_in_a_frame(dut):
    """A reset with transfers inside drops them, and nothing of them comes out later."""
    fire = FireBench(dut, stall_in=0.0, stall_out=0.9)
    await fire.bench.start()
    fire.source.send(fire.transfers(50)[0])
    await fire.bench.ticks(40)
    fire.source.clear()
    await fire.bench.reset()
    fire.sink.received.clear()
    fire.sink.stall = 0.3
    assert await fire.run(100) == 0
