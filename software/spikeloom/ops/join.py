"""Operations a pixel at a time: fire on potentials, add two streams and fire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spikeloom.ops.checks import check_int, check_name, check_scale, integers, require
from spikeloom.ops.edge import Edge, words
from spikeloom.ops.linear import Synapses

__all__ = ["Add", "Fire"]


class _Fires(Synapses):
    """Checks of the members with which Fire and Add fire."""

    threshold: NDArray[np.int64]
    output_scale: NDArray[np.float64]
    output_bits: int
    threshold_bits: int

    def _check_fire(self, where: str, channels: int) -> None:
        check_int(where, "output_bits", self.output_bits, 1, 8)
        check_int(where, "threshold_bits", self.threshold_bits, 1, 16)
        top = (1 << self.threshold_bits) - 1
        threshold = integers(where, "threshold", self.threshold, (channels,), 1, top, np.int64)
        object.__setattr__(self, "threshold", threshold)
        object.__setattr__(self, "output_scale", check_scale(where, self.output_scale, (channels,)))

    @property
    def outputs(self) -> int:
        """Number of channels."""
        return len(self.threshold)


@dataclass(frozen=True, eq=False)
class Fire(_Fires):
    """Fires on potentials, after a max pool for instance: clip(floor(v / threshold), 0, 2^T - 1).

    threshold: int64 (channels,), 1 .. 2^threshold_bits - 1; the half threshold that rounds is in
    the bias of the layer before. accumulator_bits: width of the potentials in.
    output_bits: T of the words out. output_scale: float64 (channels,), real value of an output LSB.
    """

    name: str
    threshold: NDArray[np.int64] = field(repr=False)
    accumulator_bits: int
    output_bits: int
    output_scale: NDArray[np.float64] = field(repr=False)
    threshold_bits: int = 16
    source: str = ""
    kind: ClassVar[str] = "fire"

    def __post_init__(self) -> None:
        check_name(self.name)
        where = f"op {self.name!r}"
        check_int(where, "accumulator_bits", self.accumulator_bits, 2, 32)
        self._check_fire(where, np.size(self.threshold))

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the ops that feed this one; "" is the op before."""
        return (self.source,)

    def infer(self, edge: Edge) -> Edge:
        """Return what leaves, given what enters; ValueError when it does not fit."""
        require(
            edge.signed and (edge.channels, edge.bits) == (self.outputs, self.accumulator_bits),
            f"op {self.name!r} fires on {self.outputs} channels of potentials of"
            f" {self.accumulator_bits} bits, it is given {edge}",
        )
        return Edge(edge.shape, self.output_bits)

    def potential_bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The potentials come as they are: nothing is added that could overflow."""
        a = 1 << (self.accumulator_bits - 1)
        return np.full(self.outputs, -a), np.full(self.outputs, a - 1)


@dataclass(frozen=True, eq=False)
class Add(_Fires):
    """Adds two streams of words and fires: v0 = weight[0] q + weight[1] r + bias.

    weight: int64 (2, channels), -32768..32767. bias: int64 (channels,), half threshold included.
    input_bits: T of the words of ``source`` and of ``other``. threshold, output_bits, output_scale,
    threshold_bits: as for Conv2d.
    """

    name: str
    weight: NDArray[np.int64] = field(repr=False)
    bias: NDArray[np.int64] = field(repr=False)
    input_bits: tuple[int, int]
    accumulator_bits: int
    threshold: NDArray[np.int64] = field(repr=False)
    output_bits: int
    output_scale: NDArray[np.float64] = field(repr=False)
    threshold_bits: int = 16
    source: str = ""
    other: str = field(kw_only=True)
    kind: ClassVar[str] = "add"

    def __post_init__(self) -> None:
        check_name(self.name)
        where = f"op {self.name!r}"
        good = isinstance(self.input_bits, (tuple, list)) and len(self.input_bits) == 2
        require(good, f"{where}: input_bits must be two integers, not {self.input_bits!r}")
        object.__setattr__(self, "input_bits", tuple(self.input_bits))
        for bits in self.input_bits:
            check_int(where, "input_bits", bits, 1, 8)
        check_int(where, "accumulator_bits", self.accumulator_bits, 2, 32)
        channels, a = np.size(self.threshold), 1 << (self.accumulator_bits - 1)
        shape = (2, channels)
        weight = integers(where, "weight", self.weight, shape, -32768, 32767, np.int64)
        object.__setattr__(self, "weight", weight)
        bias = integers(where, "bias", self.bias, (channels,), -a, a - 1, np.int64)
        object.__setattr__(self, "bias", bias)
        self._check_fire(where, channels)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the ops that feed this one; "" is the op before."""
        return (self.source, self.other)

    def infer(self, edge: Edge, other: Edge) -> Edge:
        """Return what leaves, given what enters; ValueError when it does not fit."""
        where = f"op {self.name!r}"
        words(where, edge, self.input_bits[0])
        words(where, other, self.input_bits[1])
        require(
            edge.shape == other.shape and edge.channels == self.outputs,
            f"{where} adds {self.outputs} channels of equal shapes, it is given {edge.shape} and"
            f" {other.shape}",
        )
        return Edge(edge.shape, self.output_bits)

    def potential_bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Least and greatest v0 of every channel, (channels,), over all inputs."""
        top = np.array([(1 << bits) - 1 for bits in self.input_bits])[:, None]
        low = self.bias + (np.minimum(self.weight, 0) * top).sum(0)
        high = self.bias + (np.maximum(self.weight, 0) * top).sum(0)
        return low, high
