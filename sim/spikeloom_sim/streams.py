"""Stream drivers, sinks, monitors and a protocol checker for cocotb.

All agents of a bench share two wake-ups a cycle: right after the rising edge every agent drives its
inputs, and once everything has settled every agent looks. One Python crossing for all of them keeps
10^5 words quick. Random choices come from one seeded generator, so a seed reproduces a run.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import cocotb
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import Event, ReadOnly, RisingEdge

from spikeloom_sim.runner import SETTINGS

__all__ = [
    "Bench",
    "FieldPacker",
    "ProtocolError",
    "StreamDriver",
    "StreamMonitor",
    "StreamSink",
    "settings",
]


class ProtocolError(AssertionError):
    """A stream broke its contract: valid withdrawn, or the payload changed while it waited."""


def settings() -> dict[str, Any]:
    """What the runner told this bench about its design."""
    return json.loads(os.environ.get(SETTINGS, "{}"))


def _fields(layout: data.Layout) -> Iterable[tuple[Any, data.Field]]:
    return layout  # pyright: ignore[reportReturnType]  # its __iter__ has no annotation


class FieldPacker:
    """Packs fields of an Amaranth layout into the flat vector of a Verilog port, and back.

    Amaranth places fields from the least significant bit up; arrays become lists, signed fields
    Python's negative integers.
    """

    def __init__(self, layout: data.Layout):
        self.size = layout.size
        self._fields = [(str(key), field.offset, field.shape) for key, field in _fields(layout)]

    def pack(self, **values: Any) -> int:
        """Return the vector; missing fields are zero. KeyError on an unknown field."""
        unknown = set(values) - {name for name, _, _ in self._fields}
        if unknown:
            raise KeyError(f"no field {', '.join(sorted(unknown))} in this layout")
        total = 0
        for name, offset, shape in self._fields:
            if name in values:
                total |= _pack(values[name], shape) << offset
        return total

    def unpack(self, vector: int) -> dict[str, Any]:
        """Return every field by name."""
        return {name: _unpack(vector >> offset, shape) for name, offset, shape in self._fields}


def _pack(value: Any, shape: Any) -> int:
    if isinstance(shape, data.ArrayLayout):
        size = _size(shape.elem_shape)
        items = enumerate(value)
        return sum(_pack(item, shape.elem_shape) << (index * size) for index, item in items)
    if isinstance(shape, data.Layout):
        return FieldPacker(shape).pack(**value)
    return int(value) & ((1 << _size(shape)) - 1)


def _unpack(vector: int, shape: Any) -> Any:
    if isinstance(shape, data.ArrayLayout):
        size = _size(shape.elem_shape)
        return [_unpack(vector >> (k * size), shape.elem_shape) for k in range(shape.length)]
    if isinstance(shape, data.Layout):
        return FieldPacker(shape).unpack(vector)
    size = _size(shape)
    value = vector & ((1 << size) - 1)
    signed = getattr(shape, "signed", False)
    return value - (1 << size) if signed and size and value >> (size - 1) else value


def _size(shape: Any) -> int:
    if isinstance(shape, data.Layout):
        return int(shape.size or 0)
    return shape if isinstance(shape, int) else shape.width


class Agent(Protocol):
    """Something that acts once a cycle: drives after the edge, looks when all has settled."""

    def drive(self) -> None: ...

    def look(self, cycle: int) -> None: ...

    def reset(self) -> None: ...


class Bench:
    """The clock, the reset, the random generator and the agents of one cocotb test."""

    def __init__(self, dut: Any, *, seed: int | None = None):
        self.dut = dut
        self.random = random.Random(cocotb.RANDOM_SEED if seed is None else seed)
        self.cycle = 0
        self.agents: list[Agent] = []
        self._waiting: list[tuple[Callable[[], bool], Event]] = []

    async def start(self, reset_cycles: int = 3) -> None:
        """Start the clock and the agents, and hold reset for some cycles."""
        Clock(self.dut.clk, 2, unit="ns").start()
        cocotb.start_soon(self._run())
        await self.reset(reset_cycles)

    async def reset(self, cycles: int = 1) -> None:
        """Reset the design; streams may change at will meanwhile."""
        await RisingEdge(self.dut.clk)
        self.dut.rst.value = 1
        for _ in range(cycles):
            await RisingEdge(self.dut.clk)
            for agent in self.agents:
                agent.reset()
        self.dut.rst.value = 0

    async def _run(self) -> None:
        edge, settled = RisingEdge(self.dut.clk), ReadOnly()
        while True:
            await edge
            for agent in self.agents:
                agent.drive()
            await settled
            self.cycle += 1
            for agent in self.agents:
                agent.look(self.cycle)
            if self._waiting:
                for item in [w for w in self._waiting if w[0]()]:
                    self._waiting.remove(item)
                    item[1].set()

    async def until(self, condition: Callable[[], bool], *, cycles: int, what: str) -> None:
        """Wait until a condition holds at the end of a cycle; fail after so many cycles."""
        deadline = self.cycle + cycles
        event = Event()
        self._waiting.append((lambda: condition() or self.cycle >= deadline, event))
        await event.wait()
        assert condition(), f"cycle {self.cycle}: gave up waiting for {what} after {cycles} cycles"
        await RisingEdge(self.dut.clk)

    async def ticks(self, cycles: int) -> None:
        """Let some cycles pass."""
        end = self.cycle + cycles
        await self.until(lambda: self.cycle >= end, cycles=cycles + 1, what="time to pass")

    def report(self, text: str) -> None:
        """Note a line for the summary table; call it from the test function itself."""
        path = os.environ.get("SPIKELOOM_REPORTS")
        if path:
            with open(path, "a") as out:
                out.write(json.dumps([sys._getframe(1).f_code.co_name, text]) + "\n")


class StreamDriver:
    """Sends payloads into a stream, with random gaps; once valid, it holds (the contract).

    stall: probability of a gap before each payload.
    """

    def __init__(self, bench: Bench, prefix: str, *, stall: float = 0.0):
        self.bench, self.prefix, self.stall = bench, prefix, stall
        self.queue: deque[int] = deque()
        self.sent = 0
        self._payload = getattr(bench.dut, f"{prefix}__payload")
        self._valid = getattr(bench.dut, f"{prefix}__valid")
        self._ready = getattr(bench.dut, f"{prefix}__ready")
        self._holding = False
        self._shown = False
        self._valid.value = 0
        bench.agents.append(self)

    def send(self, payloads: Iterable[int]) -> None:
        """Queue payloads (flat vectors)."""
        self.queue.extend(payloads)

    @property
    def idle(self) -> bool:
        """Whether everything queued has been taken."""
        return not self.queue and not self._holding

    def clear(self) -> None:
        """Forget what is queued, also a payload that waits (only legal during a reset)."""
        self.queue.clear()
        self.reset()

    def reset(self) -> None:
        self._holding = False
        if self._shown:
            self._valid.value, self._shown = 0, False

    def drive(self) -> None:
        if self._holding:
            return
        show = bool(self.queue) and not (self.stall and self.bench.random.random() < self.stall)
        if show:
            self._payload.value = self.queue.popleft()
            self._holding = True
        if show != self._shown:
            self._valid.value, self._shown = int(show), show

    def look(self, cycle: int) -> None:
        if self._holding and int(self._ready.value):
            self._holding = False
            self.sent += 1


class StreamMonitor:
    """Watches a stream: records every transfer and checks the protocol.

    Once valid, a stream stays valid with the same payload until it is taken. Raises ProtocolError,
    with the cycle, in the cycle that breaks this.
    """

    def __init__(self, bench: Bench, prefix: str):
        self.prefix = prefix
        self.received: list[int] = []
        self.cycles: list[int] = []
        self._payload = getattr(bench.dut, f"{prefix}__payload")
        self._valid = getattr(bench.dut, f"{prefix}__valid")
        self._ready = getattr(bench.dut, f"{prefix}__ready")
        self._waiting: int | None = None
        self._in_reset = bench.dut.rst
        bench.agents.append(self)

    def reset(self) -> None:
        self._waiting = None

    def drive(self) -> None:
        pass

    def look(self, cycle: int) -> None:
        if int(self._in_reset.value):
            self._waiting = None
            return
        if not int(self._valid.value):
            if self._waiting is not None:
                raise ProtocolError(f"cycle {cycle}: {self.prefix} withdrew valid before ready")
            return
        payload = int(self._payload.value)
        if self._waiting is not None and payload != self._waiting:
            raise ProtocolError(
                f"cycle {cycle}: {self.prefix} changed its payload while it waited:"
                f" {self._waiting:#x} to {payload:#x}"
            )
        if int(self._ready.value):
            self._waiting = None
            self.received.append(payload)
            self.cycles.append(cycle)
        else:
            self._waiting = payload


class StreamSink(StreamMonitor):
    """Takes a stream with random pauses, records it and checks the protocol.

    stall: probability of a cycle without ready. shy: ready only once valid is seen, which catches a
    producer whose valid waits for ready.
    """

    def __init__(self, bench: Bench, prefix: str, *, stall: float = 0.0, shy: bool = False):
        super().__init__(bench, prefix)
        self.bench, self.stall, self.shy = bench, stall, shy
        self._shown = False
        self._ready.value = 0

    def drive(self) -> None:
        ready = not (self.stall and self.bench.random.random() < self.stall)
        if self.shy and self._waiting is None:
            ready = False
        if ready != self._shown:
            self._ready.value, self._shown = int(ready), ready


def differing(received: Sequence[int], expected: Sequence[int]) -> int:
    """Number of differing entries, missing and surplus ones included."""
    pairs = zip(received, expected, strict=False)
    return abs(len(received) - len(expected)) + sum(a != b for a, b in pairs)
