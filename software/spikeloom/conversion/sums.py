"""Sums that have not been activated yet: what folding collects between two activations."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spikeloom.conversion.graph import Shape
from spikeloom.conversion.operations import MaxPoolOp, Pair

__all__ = [
    "Problem",
    "Sum",
    "Term",
    "elements",
    "flattened",
    "merged",
    "over",
    "rows",
    "stream",
    "windows",
]


@dataclass(frozen=True, eq=False)
class Term:
    """Part of a sum: a node's output times ``scale`` (channels,), or weights on it.

    source: name of the node. weight: of a Linear or a convolution, or None. zeros: weights that
    are there only because gates hold no dilation and no groups.
    """

    source: str
    scale: Tensor | None = None
    weight: Tensor | None = None
    name: str = ""
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    groups: int = 1
    zeros: int = 0

    @property
    def convolves(self) -> bool:
        """Whether its weights are those of a convolution."""
        return self.weight is not None and self.weight.ndim == 4

    @property
    def pointwise(self) -> bool:
        """Whether it looks at one pixel at a time, and at all of them."""
        if self.weight is None:
            return True
        plain = self.convolves and self.weight.shape[2:] == (1, 1)
        return plain and self.stride == (1, 1) and self.padding == (0, 0)

    def times(self, scale: Tensor) -> Term:
        """Multiply by one factor a channel."""
        if self.weight is not None:
            return replace(self, weight=self.weight * rows(scale, self.weight))
        assert self.scale is not None
        return replace(self, scale=self.scale * scale)


@dataclass(frozen=True, eq=False)
class Sum:
    """Terms plus bias (channels,), not activated yet; shape: of one sample of it.

    pools: max pools after it, to be done behind the activation, with which they commute.
    flat: whether samples are flattened at the end. bound: where its activation ends.
    """

    terms: tuple[Term, ...]
    bias: Tensor
    inner: Shape
    name: str
    pools: tuple[MaxPoolOp, ...] = ()
    flat: bool = False
    bound: float = math.inf

    @property
    def shape(self) -> Shape:
        """What the next operation is given."""
        shape = self.inner
        for pool in self.pools:
            assert pool.kernel is not None
            shape = windows(shape, pool.kernel, pool.stride, pool.padding, pool.ceil)
        return (math.prod(shape),) if self.flat else shape

    @property
    def stream(self) -> Term | None:
        """The term, if it is one node's output and nothing else."""
        term = self.terms[0]
        alone = len(self.terms) == 1 and term.weight is None and not (self.pools or self.flat)
        return term if alone else None

    @property
    def linear(self) -> Term | None:
        """The term, if it is one Linear."""
        term = self.terms[0]
        alone = len(self.terms) == 1 and term.weight is not None and term.weight.ndim == 2
        return term if alone else None

    @property
    def positive(self) -> bool:
        """Whether it is a sum of outputs that cannot be negative, so that ReLU changes nothing."""
        scales = [t.scale for t in self.terms]
        return bool((self.bias >= 0).all()) and all(
            s is not None and bool((s >= 0).all()) for s in scales
        )


class Problem(Exception):  # noqa: N818 - it never leaves this file
    """A reason, and what to do."""


def rows(scale: Tensor, weight: Tensor) -> Tensor:
    """Shape one value an output to broadcast against weights."""
    return scale.view(-1, *[1] * (weight.ndim - 1))


def windows(shape: Shape, kernel: Pair, stride: Pair, padding: Pair, ceil: bool = False) -> Shape:
    """Shape of (channels, height, width) after a window slides over it."""
    if len(shape) != 3:
        raise Problem(
            f"it is given samples of shape {shape}; it takes images (channels, height, width), or"
            " (channels, length) if it is a 1-D layer"
        )
    extra = over(shape, kernel, stride, padding) if ceil else (0, 0)
    sizes = []
    for size, k, s, p, e in zip(shape[1:], kernel, stride, padding, extra, strict=True):
        if k > size + 2 * p:
            raise Problem(
                f"its kernel {kernel} does not fit samples {shape}; use a smaller one or padding"
            )
        sizes.append((size + 2 * p + e - k) // s + 1)
    return (shape[0], *sizes)


def over(shape: Shape, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """Rows and columns by which the last windows of torch's ``ceil_mode`` reach over the end."""
    reach = []
    for size, k, s, p in zip(shape[1:], kernel, stride, padding, strict=True):
        last = -(-(size + 2 * p - k) // s)
        last -= (
            last * s >= size + p
        )  # a window must begin on the sample, or on its padding in front
        reach.append(max(0, last * s + k - size - 2 * p))
    return (reach[0], reach[1])


def elements(value: Tensor, shape: Shape) -> Tensor:
    """One value a channel of samples: spread a single one, check the number."""
    if value.ndim == 0:
        return value.expand(shape[0])
    if len(value) != shape[0]:
        raise Problem(
            f"it normalises {len(value)} channels, samples are {shape}; channels come first"
        )
    return value


def merged(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """Make one term of those that take the same words, or are Linear layers on them."""
    found: dict[object, Term] = {}
    for index, term in enumerate(terms):
        # convolutions may differ in their geometry: they stay apart
        key = index if term.convolves else (term.source, term.weight is None)
        before = found.get(key)
        if before is None:
            found[key] = term
        elif term.weight is not None and before.weight is not None:
            found[key] = replace(before, weight=before.weight + term.weight)
        elif term.scale is not None and before.scale is not None:
            found[key] = replace(before, scale=before.scale + term.scale)
    return tuple(found.values())


def stream(name: str, shape: Shape) -> Sum:
    """Return a node's output, as a sum."""
    one = torch.ones(shape[0], dtype=torch.float64)
    return Sum((Term(name, one),), torch.zeros_like(one), shape, name)


def flattened(e: Sum) -> Sum:
    """Lay samples out as one row: now, if it is one node's output, else behind the activation."""
    shape = e.shape
    if len(shape) == 1:
        return e
    if e.stream is None:
        return replace(e, flat=True)
    pixels = math.prod(shape[1:])
    assert e.stream.scale is not None
    term = replace(e.stream, scale=e.stream.scale.repeat_interleave(pixels))
    return Sum((term,), e.bias.repeat_interleave(pixels), (math.prod(shape),), e.name)
