"""Fully connected operations: Flatten, Dense, Readout."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeloom.errors import AccumulatorOverflowError
from spikeloom.ops.checks import check_int, check_name, check_scale, integers, require
from spikeloom.ops.edge import Edge

__all__ = ["Dense", "Flatten", "Readout", "Synapses", "accumulator_width"]


@dataclass(frozen=True, eq=False)
class Flatten:
    """Lay a sample of any shape out as one row, C order."""

    name: str
    source: str = ""
    kind: ClassVar[str] = "flatten"

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the ops that feed this one; "" is the op before."""
        return (self.source,)

    def infer(self, edge: Edge) -> Edge:
        """Return what leaves, given what enters."""
        return Edge((edge.size,), edge.bits, edge.signed)


class Synapses:
    """What every op with a membrane potential shares: its name, its width and its bounds."""

    name: str
    accumulator_bits: int

    def potential_bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Least and greatest v0 of every output channel over all possible inputs."""
        raise NotImplementedError

    def check_accumulator(self) -> None:
        """Raise AccumulatorOverflowError, naming a neuron, if v0 could leave its width."""
        low, high = self.potential_bounds()
        limit = 1 << (self.accumulator_bits - 1)
        bad = np.flatnonzero((low < -limit) | (high >= limit))
        if bad.size:
            n = int(bad[0])
            raise AccumulatorOverflowError(
                f"layer {self.name!r}, neuron {n} (one of {bad.size}): v0 can reach"
                f" {low[n]}..{high[n]}, an accumulator of {self.accumulator_bits} bits holds"
                f" {-limit}..{limit - 1}: use {accumulator_width(low, high)} bits or more"
            )


@dataclass(frozen=True, eq=False)
class _Linear(Synapses):
    """What Dense and Readout share: v0 = weight @ p + bias, all integers."""

    name: str
    weight: NDArray[np.int8] = field(repr=False)
    bias: NDArray[np.int64] = field(repr=False)
    input_bits: int
    weight_bits: int
    accumulator_bits: int
    source: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        check_name(self.name)
        where = f"op {self.name!r}"
        for name, low, high in (
            ("input_bits", 1, 8),
            ("weight_bits", 2, 8),
            ("accumulator_bits", 2, 32),
        ):
            check_int(where, name, getattr(self, name), low, high)
        top = (1 << (self.weight_bits - 1)) - 1
        shape = np.shape(self.weight)
        require(
            len(shape) == 2 and min(shape) >= 1,
            f"{where}: weight has shape {shape}, expected (outputs, inputs)",
        )
        weight = integers(where, "weight", self.weight, shape, -top, top, np.int8)
        a = 1 << (self.accumulator_bits - 1)
        bias = integers(where, "bias", self.bias, shape[:1], -a, a - 1, np.int64)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)

    @property
    def outputs(self) -> int:
        """Number of neurons."""
        return self.weight.shape[0]

    @property
    def inputs(self) -> int:
        """Number of input words of a sample."""
        return self.weight.shape[1]

    def potential_bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Least and greatest v0 of every neuron, (outputs,), over all possible input words."""
        w, top = self.weight.astype(np.int64), (1 << self.input_bits) - 1
        return (
            self.bias + np.minimum(w, 0).sum(1) * top,
            self.bias + np.maximum(w, 0).sum(1) * top,
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the ops that feed this one; "" is the op before."""
        return (self.source,)

    def infer(self, edge: Edge) -> Edge:
        """Return what leaves, given what enters; ValueError when it does not fit."""
        require(
            len(edge.shape) == 1,
            f"op {self.name!r} needs flat input, samples are {edge.shape}: add a Flatten",
        )
        require(
            not edge.signed and (self.inputs, self.input_bits) == (edge.size, edge.bits),
            f"op {self.name!r} takes {self.inputs} words of {self.input_bits} bits,"
            f" it is given {edge.size} of {edge.bits}",
        )
        return self._output()

    def _output(self) -> Edge:
        """What leaves: potentials, unless the layer fires."""
        return Edge((self.outputs,), self.accumulator_bits, signed=True)


def accumulator_width(low: ArrayLike, high: ArrayLike) -> int:
    """Bits of the narrowest two's complement integer that holds every value of low..high."""
    least, most = int(np.min(low)), int(np.max(high))
    return max((-least - 1).bit_length() if least < 0 else 0, max(most, 0).bit_length()) + 1


@dataclass(frozen=True, eq=False)
class Dense(_Linear):
    """A fully connected layer that fires: p_out = clip(floor(v0 / threshold), 0, 2^T - 1).

    weight: int8 (outputs, inputs), within +-(2^(weight_bits-1) - 1).
    bias: int64 (outputs,), half threshold included; added once, at the fire input.
    threshold: int64 (outputs,), 1 .. 2^threshold_bits - 1.
    input_bits, output_bits: T of the words in and out, 1..8.
    output_scale: float64 (outputs,), the real value of one LSB of an output word.
    Raises ValueError when a field is out of its range.
    """

    threshold: NDArray[np.int64] = field(repr=False)
    output_bits: int
    output_scale: NDArray[np.float64] = field(repr=False)
    threshold_bits: int = 16
    kind: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        super().__post_init__()
        where, shape = f"op {self.name!r}", (self.outputs,)
        check_int(where, "output_bits", self.output_bits, 1, 8)
        check_int(where, "threshold_bits", self.threshold_bits, 1, 16)
        top = (1 << self.threshold_bits) - 1
        threshold = integers(where, "threshold", self.threshold, shape, 1, top, np.int64)
        scale = check_scale(where, self.output_scale, shape)
        object.__setattr__(self, "threshold", threshold)
        object.__setattr__(self, "output_scale", scale)

    def _output(self) -> Edge:
        return Edge((self.outputs,), self.output_bits)


@dataclass(frozen=True, eq=False)
class Readout(_Linear):
    """The last layer: its potentials v0 are the logits, one scale for all classes.

    logit_scale: real value of one LSB of v0. Ties of the argmax go to the lowest class.
    """

    logit_scale: float
    kind: ClassVar[str] = "readout"
    threshold: ClassVar[None] = None
    output_bits: ClassVar[int] = 0
    threshold_bits: ClassVar[int] = 16  # no meaning; the same in every description of a readout

    def __post_init__(self) -> None:
        super().__post_init__()
        good = isinstance(self.logit_scale, (int, float)) and math.isfinite(self.logit_scale)
        require(
            good and self.logit_scale > 0,
            f"op {self.name!r}: logit_scale must be finite and above 0, not {self.logit_scale!r}",
        )
        object.__setattr__(self, "logit_scale", float(self.logit_scale))
