"""What goes into a run of the data-set harness beside samples, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["BufferUse", "FlowUse", "HarnessResult", "Stalls"]


@dataclass(frozen=True)
class Stalls:
    """Random pauses of the producer and of the consumer: probabilities of a cycle without.

    burst: cycles for which each decides at a time. inside: probability, in sixteenths, that a
    stream inside the network offers nothing new in a cycle; each stream for itself.
    """

    seed: int
    producer: float = 0.3
    consumer: float = 0.3
    burst: int = 1
    inside: float = 0.0


@dataclass(frozen=True)
class BufferUse:
    """What a buffer behind a fork did: its depth, the most that was in it, in transfers.

    stalled: cycles in which it was offered a transfer and had no room.
    """

    depth: int
    most: int
    stalled: int


@dataclass(frozen=True)
class FlowUse:
    """What a layer did, in cycles.

    taken: took a transfer. busy: refused one that was offered, and waited neither for what follows
    nor for what joins it. held: offered one that was not taken. starved: could have taken one, none
    was offered.
    """

    taken: int
    busy: int
    held: int
    starved: int


@dataclass(frozen=True, eq=False)
class HarnessResult:
    """What came out of a run.

    logits: int64 (samples, classes). potentials: for each layer int64 (samples, outputs), or
    (samples, channels, height, width) where it has pixels, v0 as it enters fire or leaves the layer
    without; None for pools and paddings. outputs: for each layer what leaves it, of the same shape;
    None where that is its potentials. counters: by name. buffers: by ``fifo_<layer>_<slot>``.
    flows: of each layer.
    cycles: from the first offered transfer to the end. starts, ends: int64 (samples,), cycles of a
    sample's first transfer in and last out. seconds: wall clock of the simulation, loading
    included; total_cycles: likewise in cycles.
    """

    logits: np.ndarray
    potentials: list[np.ndarray | None]
    outputs: list[np.ndarray | None]
    counters: dict[str, int]
    cycles: int
    starts: np.ndarray
    ends: np.ndarray
    seconds: float
    total_cycles: int
    buffers: dict[str, BufferUse]
    flows: list[FlowUse]

    @property
    def latency(self) -> float:
        """Mean cycles from a sample's first transfer in to its last transfer out."""
        return float((self.ends - self.starts + 1).mean())

    @property
    def interval(self) -> float:
        """Mean cycles between the results of successive samples."""
        ends = self.ends
        return float(ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else self.latency
