"""A network between two forms: its layers as plain arrays, whatever they came from.

Spiking twins (torch, real units) and integer networks both become a :class:`Sketch`, which NIR is
written from and read into.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Firing", "Pair", "Piece", "Sketch", "spread"]

Array = NDArray[Any]
Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Firing:
    """How a layer's neurons fire.

    threshold: of the least significant spike, one number or (channels,). steps: T. tau: ratio of
    neighbouring steps' weights. rounding: half a threshold is added to the potential; where False,
    the bias has it already, or nothing is rounded. lsb: what an LSB of a word is worth to the
    layers behind: the threshold itself in real units, 1 among integers.
    """

    threshold: Array
    steps: int
    rounding: bool
    lsb: Array
    tau: float = 2.0

    @property
    def top(self) -> float:
        """The greatest word."""
        return sum(self.tau**k for k in range(self.steps))


@dataclass(frozen=True, eq=False)
class Piece:
    """One layer.

    kind: linear, conv, average, sum (average without the division), add, fire or flatten.
    sources: names of what feeds it, "input" for the input. shape: of a sample that leaves.
    weight: (outputs, inputs), (outputs, inputs / groups, h, w), or (channels,) of the first source
    of an add. skip: factors (channels,) of the second source. firing: None where potentials leave.
    extra: further arrays, and fields: further plain values, that only its own form understands.
    """

    name: str
    kind: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    weight: Array | None = None
    bias: Array | None = None
    skip: Array | None = None
    firing: Firing | None = None
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    groups: int = 1
    extra: Mapping[str, Array] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Sketch:
    """A whole network. form: "spiking" or "integers". about: plain values of its own form."""

    form: str
    pieces: tuple[Piece, ...]
    input_shape: tuple[int, ...]
    input_bits: int
    about: Mapping[str, Any]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a sample that leaves a piece, or the input."""
        if name == "input":
            return self.input_shape
        return next(p.shape for p in self.pieces if p.name == name)


def spread(value: Array, shape: tuple[int, ...]) -> Array:
    """One number, or one a channel, for every element of a sample."""
    value = np.asarray(value)
    if value.ndim:
        value = value.reshape(-1, *[1] * (len(shape) - 1))
    return np.broadcast_to(value, shape).copy()
