"""The operations of an integer network, as plain data: numpy arrays, checked when built.

A file reads and writes the same fields (see :mod:`spikeloom.network_file`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeloom.errors import AccumulatorOverflowError

__all__ = ["Dense", "Flatten", "Op", "Readout", "accumulator_width"]


def _require(condition: object, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _check_int(where: str, name: str, value: object, low: int, high: int) -> None:
    good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    _require(good, f"{where}: {name} must be an integer in {low}..{high}, not {value!r}")


def _integers(
    where: str, name: str, value: ArrayLike, shape: tuple[int, ...], low: int, high: int, dtype: Any
) -> NDArray[Any]:
    """Return a read-only copy as ``dtype``; ValueError on a wrong kind, shape or range."""
    array = np.asarray(value)
    _require(array.dtype.kind in "iu", f"{where}: {name} must be integers, not {array.dtype}")
    _require(array.shape == shape, f"{where}: {name} has shape {array.shape}, expected {shape}")
    if array.size:
        least, most = int(array.min()), int(array.max())
        _require(
            low <= least and most <= high,
            f"{where}: {name} holds {least}..{most}, allowed are {low}..{high}",
        )
    array = array.astype(dtype)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Flatten:
    """Lay a sample of any shape out as one row, C order."""

    name: str
    kind: ClassVar[str] = "flatten"

    def __post_init__(self) -> None:
        _check_name(self.name)


def _check_name(name: object) -> None:
    _require(isinstance(name, str) and name, f"an op needs a name, not {name!r}")


@dataclass(frozen=True, eq=False)
class _Linear:
    """What Dense and Readout share: v0 = weight @ p + bias, all integers."""

    name: str
    weight: NDArray[np.int8] = field(repr=False)
    bias: NDArray[np.int64] = field(repr=False)
    input_bits: int
    weight_bits: int
    accumulator_bits: int

    def __post_init__(self) -> None:
        _check_name(self.name)
        where = f"op {self.name!r}"
        for name, low, high in (
            ("input_bits", 1, 8),
            ("weight_bits", 2, 8),
            ("accumulator_bits", 2, 32),
        ):
            _check_int(where, name, getattr(self, name), low, high)
        top = (1 << (self.weight_bits - 1)) - 1
        shape = np.shape(self.weight)
        _require(
            len(shape) == 2 and min(shape) >= 1,
            f"{where}: weight has shape {shape}, expected (outputs, inputs)",
        )
        weight = _integers(where, "weight", self.weight, shape, -top, top, np.int8)
        a = 1 << (self.accumulator_bits - 1)
        bias = _integers(where, "bias", self.bias, shape[:1], -a, a - 1, np.int64)
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
        _check_int(where, "output_bits", self.output_bits, 1, 8)
        _check_int(where, "threshold_bits", self.threshold_bits, 1, 16)
        top = (1 << self.threshold_bits) - 1
        threshold = _integers(where, "threshold", self.threshold, shape, 1, top, np.int64)
        scale = np.asarray(self.output_scale)
        _require(
            scale.dtype.kind == "f" and scale.shape == shape,
            f"{where}: output_scale is {scale.dtype} {scale.shape}, expected floats {shape}",
        )
        scale = scale.astype(np.float64)
        _require(
            bool(np.isfinite(scale).all() and (scale > 0).all()),
            f"{where}: output_scale must be finite and above 0",
        )
        scale.setflags(write=False)
        object.__setattr__(self, "threshold", threshold)
        object.__setattr__(self, "output_scale", scale)


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
        _require(
            good and self.logit_scale > 0,
            f"op {self.name!r}: logit_scale must be finite and above 0, not {self.logit_scale!r}",
        )
        object.__setattr__(self, "logit_scale", float(self.logit_scale))


#: Any operation of a network.
Op = Flatten | Dense | Readout
