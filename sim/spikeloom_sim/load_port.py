"""Drives a core's load bus in a cocotb bench: stores a memory image and reads it back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
from spikeloom.hardware.memory_image import Column

from spikeloom_sim.streams import Bench

__all__ = ["LoadPort"]


class LoadPort:
    """Agent of the load bus: writes and reads, one request a cycle, answers in order."""

    def __init__(self, bench: Bench, prefix: str = "load"):
        self.bench = bench
        names = ("address", "data", "write", "read", "read_data", "read_valid")
        self._pins = {name: getattr(bench.dut, f"{prefix}__{name}") for name in names}
        self._requests: deque[tuple[int, int | None]] = deque()
        self._waiting = 0
        self._busy = False
        self.answers: list[int] = []
        for name in ("write", "read"):
            self._pins[name].value = 0
        bench.agents.append(self)

    def write(self, address: int, words: Iterable[int]) -> None:
        """Queue words for consecutive addresses."""
        self._requests.extend((address + row, int(word)) for row, word in enumerate(words))

    def read(self, address: int, count: int) -> None:
        """Queue reads of consecutive addresses; the words arrive in ``answers``."""
        self._requests.extend((address + row, None) for row in range(count))

    async def load(self, image: Sequence[tuple[Column, np.ndarray]]) -> None:
        """Store an image, then read every word back and compare."""
        for column, words in image:
            self.write(column.address, words)
        await self._settle("the memories to be written")
        self.answers.clear()
        for column, words in image:
            self.read(column.address, len(words))
        await self._settle("the memories to be read")
        expected = [int(word) for _, words in image for word in words]
        assert self.answers == expected, "the memories read back something else"

    async def _settle(self, what: str) -> None:
        limit = 4 * len(self._requests) + 1000
        await self.bench.until(
            lambda: not self._requests and not self._waiting, cycles=limit, what=what
        )
        await self.bench.ticks(2)

    def reset(self) -> None:
        self._waiting = 0

    def drive(self) -> None:
        if not self._requests:
            if self._busy:
                self._pins["write"].value = self._pins["read"].value = 0
                self._busy = False
            return
        address, word = self._requests.popleft()
        self._busy = True
        self._waiting += word is None
        self._pins["address"].value = address
        self._pins["write"].value = int(word is not None)
        self._pins["read"].value = int(word is None)
        if word is not None:
            self._pins["data"].value = word

    def look(self, cycle: int) -> None:
        if int(self._pins["read_valid"].value):
            self._waiting -= 1
            self.answers.append(int(self._pins["read_data"].value))
