"""The serial port, bit by bit: rates down to one cycle a bit, ends that differ, broken bytes."""

# Amaranth is untyped: the ports of a component mean nothing to pyright
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import cocotb

from spikeloom_sim.runner import Design, component_verilog
from spikeloom_sim.streams import Bench, StreamDriver

VARIANTS = {"uart/pair": {}}

#: The wider end of what the link allows is 2 % for both ends together; 8N1 itself bears more.
RATE_ERRORS = (-0.03, 0.0, 0.03)


def designs(names: Iterable[str] = VARIANTS) -> Iterator[Design]:
    """Yield a receiver and a transmitter side by side."""
    from amaranth.hdl import Module
    from amaranth.lib import stream, wiring
    from amaranth.lib.wiring import In, Out
    from spikeloom_hdl.link.uart import PERIOD_BITS, UartReceiver, UartTransmitter

    class Pair(wiring.Component):
        """``i`` goes to ``tx``; what ``rx`` brings is at ``data`` with ``valid`` and ``broken``."""

        def __init__(self):
            super().__init__(
                {
                    "i": In(stream.Signature(8)),
                    "tx": Out(1),
                    "rx": In(1),
                    "period": In(PERIOD_BITS),
                    "data": Out(8),
                    "valid": Out(1),
                    "broken": Out(1),
                }
            )

        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.submodules.receiver = receiver = UartReceiver()
            m.submodules.transmitter = transmitter = UartTransmitter()
            wiring.connect(m, wiring.flipped(self.i), transmitter.i)
            m.d.comb += [
                self.tx.eq(transmitter.tx),
                receiver.rx.eq(self.rx),
                receiver.period.eq(self.period),
                transmitter.period.eq(self.period),
                self.data.eq(receiver.o.payload.data),
                self.broken.eq(receiver.o.payload.broken),
                self.valid.eq(receiver.o.valid),
            ]
            return m

    for name in names:
        yield Design(name, __name__, component_verilog(Pair()), {})


class Line:
    """Agent of the far end: bits out to ``rx`` with its own bit time, bytes and levels seen."""

    def __init__(self, bench: Bench):
        self.dut = bench.dut
        self.levels: list[int] = []
        self.received: list[tuple[int, int]] = []
        self.seen: list[int] = []
        bench.dut.rx.value = 1
        bench.agents.append(self)

    def send(self, data: Iterable[int], period: float, *, stop: int = 1, idle: int = 0) -> None:
        """Queue bytes, a bit lasting ``period`` cycles, with idle cycles after each."""
        bits: list[int] = []
        for byte in data:
            frame = [0, *(byte >> k & 1 for k in range(8)), stop]
            start = len(bits)
            for k, bit in enumerate(frame):
                bits += [bit] * (start + round((k + 1) * period) - len(bits))
            bits += [1] * (idle if stop else max(idle, round(2 * period)))
        self.levels[:0] = reversed(bits)

    def reset(self) -> None:
        self.levels.clear()

    def drive(self) -> None:
        level = self.levels.pop() if self.levels else 1
        self.dut.rx.value = level

    def look(self, cycle: int) -> None:
        self.seen.append(int(self.dut.tx.value))
        if int(self.dut.valid.value):
            self.received.append((int(self.dut.data.value), int(self.dut.broken.value)))


def decode(levels: list[int], period: int) -> list[int]:
    """Bytes in the levels of a line whose every bit lasts exactly ``period`` cycles."""
    found, k = [], 0
    while k < len(levels):
        if levels[k]:
            k += 1
            continue
        bits = [levels[k + n * period : k + (n + 1) * period] for n in range(10)]
        assert all(len(set(bit)) <= 1 for bit in bits), f"a bit changes midway near cycle {k}"
        if len(bits[9]) < period:
            break
        assert bits[9][0] == 1, f"no stop bit near cycle {k}"
        found.append(sum(bit[0] << n for n, bit in enumerate(bits[1:9])))
        k += 10 * period
    return found


async def _start(dut: Any, period: int) -> tuple[Bench, Line]:
    bench = Bench(dut)
    line = Line(bench)
    dut.period.value = period - 1
    dut.i__valid.value = 0
    await bench.start()
    await bench.ticks(4)
    return bench, line


@cocotb.test()
async def receives_at_every_rate(dut):
    """Bytes back to back, with rates of both ends that differ where a bit is long enough for it."""
    bench, line = await _start(dut, 1)
    total = 0
    for period in (1, 2, 3, 4, 5, 8, 17, 25):
        dut.period.value = period - 1
        for error in RATE_ERRORS if period >= 8 else (0.0,):
            data = [bench.random.getrandbits(8) for _ in range(60)]
            line.received.clear()
            line.send(data, period * (1 + error))
            await bench.until(lambda: not line.levels, cycles=100_000, what="the line to be idle")
            await bench.ticks(20 * period)
            assert line.received == [(byte, 0) for byte in data], f"{period} cycles, {error:+.0%}"
            total += len(data)
    bench.report(f"{total} bytes")


@cocotb.test()
async def a_missing_stop_bit_is_told(dut):
    """A byte without a stop bit is marked broken, and the next one is right."""
    bench, line = await _start(dut, 8)
    for byte in (0x00, 0x5A):
        line.received.clear()
        line.send([byte], 8, stop=0)
        await bench.until(lambda: not line.levels, cycles=1000, what="the broken byte")
        await bench.ticks(100)
        assert (byte, 1) in line.received
        line.received.clear()
        line.send([0xC3], 8)
        await bench.until(lambda: not line.levels, cycles=1000, what="a good byte")
        await bench.ticks(100)
        assert line.received == [(0xC3, 0)]


@cocotb.test()
async def sends_at_every_rate(dut):
    """Every bit lasts exactly as long as it should, also when bytes come with gaps."""
    bench, line = await _start(dut, 1)
    source = StreamDriver(bench, "i", stall=0.1)
    for period in (1, 2, 3, 7, 16):
        dut.period.value = period - 1
        data = [bench.random.getrandbits(8) for _ in range(50)]
        line.seen.clear()
        source.send(data)
        await bench.until(lambda: source.idle, cycles=100_000, what="all bytes taken")
        await bench.ticks(12 * period)
        assert decode(line.seen, period) == data
