"""Encoder and decoder cores under random back-pressure, against their golden models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import cocotb
import numpy as np

from spikeloom_sim.encoder_traffic import Traffic, compare, make_traffic
from spikeloom_sim.encoder_variants import VARIANTS as CORE_VARIANTS
from spikeloom_sim.encoder_variants import variant_names, variant_parameters
from spikeloom_sim.payloads import PayloadLayout
from spikeloom_sim.runner import Design, component_verilog
from spikeloom_sim.streams import Bench, StreamDriver, StreamSink, settings

SAMPLES = 10_000

#: variants of a core that are run here, by their places; the C++ harness runs all
CHOSEN = {"bsa": (2, 4, 6, 10), "hough-spiker": (2,), "delta": (2, 4), "packer": (1, 4)}

VARIANTS = {
    name: core
    for core in CORE_VARIANTS
    for place, name in enumerate(variant_names(core))
    if place in CHOSEN.get(core, (0, 2))
}


def designs(names: Iterable[str] = VARIANTS) -> Iterator[Design]:
    """Yield variants of the cores that are tested."""
    from spikeloom_hdl.catalogue import CORES

    for name in names:
        core = VARIANTS[name]
        given = dict(zip(variant_names(core), CORE_VARIANTS[core], strict=True))[name]
        yield Design(name, __name__, component_verilog(CORES[core].make(given)), {"name": name})


class EncoderBench:
    """A bench around one variant: traffic in, outputs compared with the golden model."""

    def __init__(self, dut: Any, *, stall_in: float, stall_out: float, shy: bool = False):
        from spikeloom_hdl.catalogue import CORES

        name = settings()["name"]
        core = VARIANTS[name]
        self.parameters = variant_parameters(core)[name]
        given = dict(zip(variant_names(core), CORE_VARIANTS[core], strict=True))[name]
        component: Any = CORES[core].make(given)
        self.interval = component.interval
        self.bench = Bench(dut)
        self.drivers, self.layouts = {}, {}
        for stream in ("i", "p", "taps", "o"):
            if hasattr(component, stream):
                self.layouts[stream] = PayloadLayout(getattr(component, stream).payload.shape())
        for stream in self.layouts:
            if stream != "o":
                self.drivers[stream] = StreamDriver(self.bench, stream, stall=stall_in)
        self.sink = StreamSink(self.bench, "o", stall=stall_out, shy=shy)

    def traffic(self, samples: int) -> Traffic:
        """Random samples, from what the core is after a reset."""
        return make_traffic(self.parameters, samples, seed=self.bench.random.getrandbits(32))

    def _numbers(self, stream: str, fields: Any) -> list[int]:
        rows = self.layouts[stream].pack(fields).astype("<u4")
        return [int.from_bytes(row.tobytes(), "little") for row in rows]

    async def run(self, traffic: Traffic) -> tuple[int, str]:
        """Send traffic, each write before its sample; return how many outputs differ, and how."""
        start = len(self.sink.received)
        inputs = self._numbers("i", traffic.inputs)
        writes = []
        for at, stream, fields in traffic.writes:
            numbers = self._numbers(stream, fields)
            index = np.broadcast_to(np.asarray(at), (len(numbers),)).tolist()
            writes += zip(index, [stream] * len(numbers), numbers, strict=True)
        writes.sort(key=lambda write: write[0])
        sent = 0
        for at, stream, number in writes:
            await self._send("i", inputs[sent:at])
            await self._send(stream, [number])
            sent = at
        await self._send("i", inputs[sent:])
        await self.bench.until(
            lambda: len(self.sink.received) - start >= len(traffic),
            cycles=1000 * self.interval + 10 * len(traffic),
            what=f"{len(traffic)} outputs",
        )
        await self.bench.ticks(100)
        return self._compare(traffic, self.sink.received[start:])

    async def _send(self, stream: str, numbers: list[int]) -> None:
        driver = self.drivers[stream]
        driver.send(numbers)
        if numbers:
            await self.bench.until(
                lambda: driver.idle,
                cycles=2000 + 400 * self.interval * len(numbers),
                what=f"{stream} to take {len(numbers)} transfers",
            )

    def _compare(self, traffic: Traffic, received: list[int]) -> tuple[int, str]:
        layout = self.layouts["o"]
        raw = b"".join(number.to_bytes(4 * layout.words, "little") for number in received)
        found = compare(traffic, layout.unpack(np.frombuffer(raw, dtype="<u4")))
        return found.count, found.text


@cocotb.test()
async def back_pressure(dut):
    """Many samples with random pauses on both sides, parameters changed between frames."""
    encoder = EncoderBench(dut, stall_in=0.2, stall_out=0.3)
    await encoder.bench.start()
    traffic = encoder.traffic(SAMPLES)
    wrong, text = await encoder.run(traffic)
    encoder.bench.report(f"{traffic.samples} samples, {len(traffic)} outputs, {wrong} differ")
    assert wrong == 0, text


@cocotb.test()
async def ready_after_valid(dut):
    """The consumer waits for valid first; valid must not wait for ready."""
    encoder = EncoderBench(dut, stall_in=0.1, stall_out=0.0, shy=True)
    await encoder.bench.start()
    wrong, text = await encoder.run(encoder.traffic(1000))
    assert wrong == 0, text


@cocotb.test()
async def reset_in_a_frame(dut):
    """A reset drops what is inside; then every channel is fresh, its parameters the defaults."""
    encoder = EncoderBench(dut, stall_in=0.0, stall_out=0.2)
    await encoder.bench.start()
    for _ in range(3):
        traffic = encoder.traffic(500)
        encoder.drivers["i"].send(encoder._numbers("i", traffic.inputs))
        await encoder.bench.ticks(encoder.bench.random.randrange(100, 400))
        encoder.drivers["i"].clear()
        await encoder.bench.reset()
        encoder.sink.received.clear()
        wrong, text = await encoder.run(encoder.traffic(500))
        assert wrong == 0, text
