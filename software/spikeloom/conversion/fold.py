"""Fold a traced model: every affine map between two activations becomes one node.

Normalisations, convolutions, linear layers and residual sums that follow each other without an
activation are collected as a sum of terms, and closed into a node by the ReLU after them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from spikeloom.conversion.graph import Graph, Node, Shape
from spikeloom.conversion.operations import (
    AddOp,
    Affine,
    AvgPoolOp,
    Convolution,
    FlattenOp,
    Linear,
    MaxPoolOp,
    Operation,
    PadOp,
    Rectify,
    ReduceOp,
    SqueezeOp,
    Traced,
    Unknown,
)
from spikeloom.conversion.positions import Positions
from spikeloom.conversion.sums import (
    Problem,
    Sum,
    Term,
    elements,
    merged,
)
from spikeloom.errors import UnsupportedModelError

__all__ = ["fold"]

#: Terms of one sum: each convolution of it is a layer, computed again for every such sum.
MOST_SUMMANDS = 8


class _Folder(Positions):
    """What each operation makes of the sums that it is given."""

    def step(self, op: Operation, given: list[Sum]) -> Sum:
        """Return what an operation makes of sums; Problem where it has no form."""
        e = given[0]
        if isinstance(op, Affine):
            return self.affine(op, e)
        if isinstance(op, Linear):
            return self.linear(op, e)
        if isinstance(op, Convolution):
            return self.convolution(op, e)
        if isinstance(op, Rectify):
            return self.rectify(op, e)
        if isinstance(op, FlattenOp):
            return self.flatten(op, e)
        if isinstance(op, MaxPoolOp):
            return self.max_pool(op, e)
        if isinstance(op, AvgPoolOp):
            return self.avg_pool(op, e)
        if isinstance(op, ReduceOp):
            return self.reduce(op, e)
        if isinstance(op, PadOp):
            return self.pad(op, e)
        if isinstance(op, SqueezeOp):
            return self.squeeze(op, e)
        assert isinstance(op, AddOp)
        return self.sum(op, e, given[1])

    def affine(self, op: Affine, e: Sum) -> Sum:
        if e.flat:
            raise Problem("it follows a Flatten without activation; put it before nn.Flatten")
        shape = e.shape
        op = self.spread(op, shape)
        if e.stream and len(shape) != 3 and op.scale.ndim and len(op.scale) == shape[0]:
            scale, shift = op.scale, op.shift
        else:
            scale, shift = elements(op.scale, shape), elements(op.shift, shape)
        if e.pools and not bool((scale >= 0).all()):
            raise Problem(
                "it follows a max pooling without activation, with a negative weight;"
                " put it before the pooling"
            )
        return replace(e, terms=tuple(t.times(scale) for t in e.terms), bias=scale * e.bias + shift)

    def spread(self, op: Affine, shape: Shape) -> Affine:
        """Broadcast a constant as torch does; Problem unless it has one value a channel."""
        if op.like is None:
            return op
        if len(op.scale) == 1:
            return replace(op, scale=op.scale[0], shift=op.shift[0])
        rank = 1 + len(shape) - (self.lengthwise and len(shape) == 3)
        like = (1,) * (rank - len(op.like)) + op.like
        if like != (1, shape[0], *(1,) * (rank - 2)):
            raise Problem(
                f"it combines samples {shape} with a constant of shape {op.like}; use a number, or"
                " one value a channel, (1, channels, 1, 1)"
            )
        return op

    def linear(self, op: Linear, e: Sum) -> Sum:
        shape = e.shape
        if len(shape) != 1:
            raise Problem(f"Linear is given samples of shape {shape}: put nn.Flatten() before")
        if op.weight.shape[1] != shape[0]:
            raise Problem(f"Linear takes {op.weight.shape[1]} inputs, it is given {shape[0]}")
        e = self.whole(e) if e.flat else e
        before = e.linear
        if before is not None and before.weight is not None:  # Linears in a row are one
            weight, bias = op.weight @ before.weight, op.weight @ e.bias + op.bias
            term = replace(before, weight=weight, name=op.path)
        else:
            e, source = self.stream(e)
            assert source.scale is not None
            weight, bias = op.weight * source.scale, op.weight @ e.bias + op.bias
            term = Term(source.source, None, weight, op.path)
        return Sum((term,), bias, (len(weight),), op.path)

    def rectify(self, op: Rectify, e: Sum) -> Sum:
        if op.neuron is not None:
            if e.stream:
                raise Problem("it fires on words without weights; put a layer between")
            channels = op.neuron.threshold.numel()
            if op.neuron.threshold.ndim and channels != e.inner[0]:
                raise Problem(f"it has {channels} thresholds, it is given {e.inner[0]} channels")
            return self.close(e, op.path, op.neuron)
        if e.stream and e.positive and (op.bound == math.inf or self.reach(e) <= op.bound):
            return e  # inputs and spikes are never negative
        return self.close(e, op.path, bound=op.bound)

    def reach(self, e: Sum) -> float:
        """Greatest value that the words of one node can stand for."""
        term, most = e.terms[0], self.bounds[e.terms[0].source]
        assert term.scale is not None
        grows = term.scale > 0
        return float((torch.where(grows, term.scale, 0.0) + e.bias / most).max()) * most

    def sum(self, op: Operation, a: Sum, b: Sum) -> Sum:
        if a.shape != b.shape:
            raise Problem(f"it adds samples {a.shape} and {b.shape}; both must have the same shape")
        a, b = (self.close(e, op.path) if len(e.terms) > 1 and e.positive else e for e in (a, b))
        for e in (a, b):
            if e.pools or e.flat:
                raise Problem(
                    "one summand is a pooling or Flatten without activation; put nn.ReLU before it"
                )
        terms = merged((*a.terms, *b.terms))
        if len(terms) > MOST_SUMMANDS:
            raise Problem(
                f"it is a sum of {len(terms)} that are not activated, {MOST_SUMMANDS} at most; put"
                " nn.ReLU after a sum before"
            )
        return Sum(terms, a.bias + b.bias, a.inner, op.path)


def fold(traced: Traced, sample_shape: Sequence[int]) -> Graph:
    """Fold a traced model for samples of ``sample_shape``, as :meth:`Traced.sample` gives it.

    Raises UnsupportedModelError that lists every problem, those of the trace included, one a line:
    path, reason; what to do. What follows something unsupported is not judged.
    """
    lengthwise = traced.dims == {1}
    folder = _Folder(tuple(sample_shape), lengthwise)
    problems = list(traced.problems)
    if len(traced.dims) > 1:
        problems.append(f"{traced.model}: it mixes layers of 1-D and 2-D; use one kind")
    elif lengthwise and len(sample_shape) == 3 and sample_shape[2] != 1:
        problems.append(
            f"{traced.model}: its 1-D layers are given samples {tuple(sample_shape)}; they take"
            " (channels, length)"
        )
    values: dict[int, Sum | None] = {-1: folder.stream_of("input")}
    for index, (op, sources) in enumerate(traced.steps):
        given = [values[s] for s in sources]
        values[index] = None
        if isinstance(op, Unknown) or any(e is None for e in given):
            continue
        try:
            values[index] = folder.step(op, [e for e in given if e is not None])
        except Problem as problem:
            problems.append(f"{op.path}: {problem}")
    last = values[traced.output]
    if last is not None and not problems:
        try:
            folder.readout(last)
        except Problem as problem:
            problems.append(f"{last.name}: {problem}")
    if problems:
        head = f"{traced.model} cannot be converted, {len(problems)} problem(s):"
        raise UnsupportedModelError("\n  ".join([head, *problems]), problems=tuple(problems))
    return Graph(_needed(folder.nodes), tuple(sample_shape), folder.neurons)


def _needed(nodes: list[Node]) -> tuple[Node, ...]:
    """Leave out what the last node does not depend on."""
    wanted = {nodes[-1].name}
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.sources)
    return tuple(node for node in nodes if node.name in wanted)
