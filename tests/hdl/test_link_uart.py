"""The serial line: every divisor, both ways, against bits made in Python."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator
from spikeloom_hdl.link.uart import UartReceiver, UartTransmitter, divisor


def levels(data: bytes, period: float, rest: int = 0) -> list[int]:
    """Sample a line at the receiver's clock: ``period`` cycles a bit, ``rest`` bits of pause."""
    bits = [1, 1]
    for byte in data:
        bits += [0, *(byte >> k & 1 for k in range(8)), 1, *[1] * rest]
    bits += [1, 1]
    return [bits[int(cycle / period)] for cycle in range(int(len(bits) * period))]


def receive(line: list[int], cycles_a_bit: int) -> list[tuple[int, int]]:
    dut = UartReceiver()
    heard = []

    async def bench(ctx) -> None:
        ctx.set(dut.period, cycles_a_bit - 1)
        for level in [*line, *[1] * 4 * cycles_a_bit]:
            ctx.set(dut.rx, level)
            _, _, valid, byte = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                heard.append((byte.data, byte.broken))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return heard


DATA = bytes([0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, *np.random.default_rng(1).bytes(10)])


@pytest.mark.parametrize("cycles", [1, 2, 3, 4, 5, 8, 13])
@pytest.mark.parametrize("rest", [0, 1])
def test_receives_at_every_divisor(cycles: int, rest: int):
    assert receive(levels(DATA, cycles, rest), cycles) == [(byte, 0) for byte in DATA]


@pytest.mark.parametrize("drift", [0.97, 0.98, 1.02, 1.03])
def test_receives_from_a_clock_that_is_off(drift: float):
    assert receive(levels(DATA, 8 * drift), 8) == [(byte, 0) for byte in DATA]


def test_a_low_stop_bit_is_a_broken_byte():
    line = [1, 0, *[1] * 8, 0, *[1] * 12]  # 0xFF without its stop bit, then rest
    heard = receive([level for level in line for _ in range(4)], 4)
    assert heard[0] == (0xFF, 1)


def test_a_glitch_is_no_start():
    line = [1] * 10 + [0] * 3 + [1] * 40
    assert receive(line + levels(b"\x5a", 8), 8) == [(0x5A, 0)]


@pytest.mark.parametrize("cycles", [1, 2, 3, 7])
def test_loops_back_to_back(cycles: int):
    m = Module()
    m.submodules.transmitter = transmitter = UartTransmitter()
    m.submodules.receiver = receiver = UartReceiver()
    m.d.comb += [
        receiver.rx.eq(transmitter.tx),
        receiver.period.eq(cycles - 1),
        transmitter.period.eq(cycles - 1),
    ]
    heard, times = [], []

    async def send(ctx) -> None:
        await ctx.tick().repeat(3)
        assert ctx.get(transmitter.idle)
        for byte in DATA:
            ctx.set(transmitter.i.payload, byte)
            ctx.set(transmitter.i.valid, 1)
            await ctx.tick().until(transmitter.i.ready)
        ctx.set(transmitter.i.valid, 0)

    async def listen(ctx) -> None:
        cycle = 0
        while len(heard) < len(DATA):
            _, _, valid, byte = await ctx.tick().sample(receiver.o.valid, receiver.o.payload)
            cycle += 1
            if valid:
                heard.append(byte.data)
                times.append(cycle)

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(listen)
    simulator.run()
    assert bytes(heard) == DATA
    assert set(np.diff(times)) == {10 * cycles}  # no cycle lost between bytes


def test_divisors():
    assert divisor(24e6, 115_200) == 208
    assert divisor(24e6, 24e6) == 1
    for clock, baud in ((24e6, 7e6), (1e6, 3e6), (100e6, 1_000)):
        with pytest.raises(ValueError, match="makes no"):
            divisor(clock, baud)
