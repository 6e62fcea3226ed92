"""The accelerator in Amaranth's simulator, driven by the driver that users have."""

from __future__ import annotations

import random
import warnings
from collections import deque
from collections.abc import Callable

import numpy as np
import pytest
from amaranth.hdl import Fragment
from amaranth.sim import Simulator
from spikeloom.device.device import Device
from spikeloom.device.link import Link
from spikeloom.errors import DeviceError
from spikeloom.hardware import protocol, registers
from spikeloom.hardware.parameters import Folding
from spikeloom.hardware.protocol import Command, HostFrame
from spikeloom.network import Network
from spikeloom_hdl.accelerator import Accelerator
from spikeloom_sim.random_network import random_network

CLOCK_HZ = 20_000  # a millisecond is 20 cycles
FOLDINGS = (Folding(lanes=4, scan=4, fire_lanes=2), Folding(lanes=2, scan=2))


class PysimTransport:
    """A transport into Amaranth's simulator: deterministic, one bit a cycle, and slow.

    ``to_board`` and ``from_board`` change what goes over the line, for faults.
    """

    max_baud = CLOCK_HZ

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.baud = CLOCK_HZ
        self.to_board: Callable[[bytes], bytes] = lambda data: data
        self.from_board: Callable[[bytes], bytes] = lambda data: data
        self.cycle = 0
        self._period = 1
        self._queue: deque[int | tuple[int]] = deque()
        self._received = bytearray()
        with warnings.catch_warnings():
            self._sim = Simulator(Fragment.get(accelerator, None))
        self._sim.add_clock(1e-6)
        self._sim.add_process(self._wire)

    async def _wire(self, ctx) -> None:
        dut = self.accelerator
        sending: deque[int] = deque()
        byte, bit, wait = 0, 0, 0
        async for _, _, tx in ctx.tick().sample(dut.tx):
            self.cycle += 1
            while not sending and self._queue:
                item = self._queue.popleft()
                if isinstance(item, tuple):
                    self._period = item[0]
                    continue
                levels = [0, *(item >> k & 1 for k in range(8)), 1]
                sending.extend(level for level in levels for _ in range(self._period))
            ctx.set(dut.rx, sending.popleft() if sending else 1)
            if bit == 0:
                if tx == 0:
                    byte, bit, wait = 0, 1, self._period + (self._period - 1) // 2
            else:
                wait -= 1
                if wait == 0:
                    wait = self._period
                    if bit == 9:
                        self._received.append(byte)
                        bit = 0
                    else:
                        byte |= tx << (bit - 1)
                        bit += 1

    def write(self, data: bytes) -> None:
        self._queue.extend(self.to_board(data))

    def read(self, deadline: float) -> bytes:
        end = round(deadline * CLOCK_HZ)
        while not self._received and self.cycle < end:
            self._sim.run_until((self.cycle + min(20, end - self.cycle) + 0.75) * 1e-6)
        data = bytes(self._received)
        self._received.clear()
        return self.from_board(data)

    def now(self) -> float:
        return self.cycle / CLOCK_HZ

    def set_baud(self, baud: int) -> None:
        self.baud = baud
        self._queue.append((round(CLOCK_HZ / baud),))

    def close(self) -> None:
        pass


def tiny(seed: int = 1) -> Network:
    return random_network((16, 8, 4), seed=seed, bits=(4, 4), weight_bits=6, spare_bits=1)


def images(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    data = generator.integers(0, 256, (count, 16), dtype=np.uint8)
    data[generator.random((count, 16)) < 0.5] = 0
    return data


def board(network: Network, **options) -> PysimTransport:
    parameters = network.parameters(FOLDINGS)
    accelerator = Accelerator(
        parameters, clock_hz=CLOCK_HZ, default_baud=CLOCK_HZ, board_id=7, **options
    )
    return PysimTransport(accelerator)


def test_runs_samples_as_the_golden_model():
    network = tiny()
    transport = board(network)
    with Device(transport) as device:
        assert device.info.build_id == network.parameters(FOLDINGS).build_id
        assert device.parameters == network.parameters(FOLDINGS)
        assert device.info.board_id == 7
        assert device.info.clock_hz == CLOCK_HZ
        device.load(network)
        data = images(20)
        device.clear_counters()
        logits = device.run(data)
        assert logits.tolist() == network.run(data).tolist()
        counters = device.counters()
        assert counters["samples"] == 20
        assert counters["events_0"] == int((network.encode(data) != 0).sum())
        assert not any(device.link_faults().values())
        assert device.link_statistics["frames_repeated"] == 0
