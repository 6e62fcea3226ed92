"""Fold a traced model: every affine map between two activations becomes one node.

Normalisations, convolutions, linear layers and residual sums that follow each other without an
activation are collected as a sum of terms, and closed into a node by the ReLU after them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from spikeloom.conversion.build import Builder
from spikeloom.conversion.graph import Graph, Node, Padded, Shape
from spikeloom.conversion.operations import (
    AddOp,
    Affine,
    AvgPoolOp,
    Convolution,
    FlattenOp,
    Linear,
    MaxPoolOp,
    Operation,
    Pair,
    Rectify,
    Traced,
    Unknown,
)
from spikeloom.conversion.sums import Problem, Sum, Term, elements, flattened, rows, windows
from spikeloom.errors import UnsupportedModelError

__all__ = ["fold"]


class _Folder(Builder):
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
        assert isinstance(op, AddOp)
        return self.sum(op, e, given[1])

    def affine(self, op: Affine, e: Sum) -> Sum:
        if e.flat:
            raise Problem("it follows a Flatten without activation; put it before nn.Flatten")
        shape = e.shape
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

    def linear(self, op: Linear, e: Sum) -> Sum:
        shape = e.shape
        if len(shape) != 1:
            raise Problem(f"Linear is given samples of shape {shape}: put nn.Flatten() before")
        if op.weight.shape[1] != shape[0]:
            raise Problem(f"Linear takes {op.weight.shape[1]} inputs, it is given {shape[0]}")
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

    def convolution(self, op: Convolution, e: Sum) -> Sum:
        e, source = self.stream(e)
        kernel: Pair = tuple(op.weight.shape[2:])  # type: ignore[assignment]
        shape = windows(e.shape, kernel, op.stride, op.padding)
        inputs = op.groups * op.weight.shape[1]
        if inputs != shape[0]:
            raise Problem(f"it takes {inputs} channels, samples are {e.shape}")
        assert source.scale is not None
        scale, shift = source.scale, e.bias
        if op.groups > 1:
            weight = op.weight * rows(scale, op.weight)
            bias = op.bias + op.weight.sum((1, 2, 3)) * shift
        else:
            weight = op.weight * scale.view(1, -1, 1, 1)
            bias = op.bias + op.weight.sum((2, 3)) @ shift
        name, padding = source.source, op.padding
        if padding != (0, 0) and bool((shift != 0).any()):
            name, padding = self.frame(op, name, e.shape, scale, shift), (0, 0)
        term = Term(name, None, weight, op.path, op.stride, padding, op.groups)
        return Sum((term,), bias, (len(weight), *shape[1:]), op.path)

    def frame(
        self, op: Convolution, source: str, shape: Shape, scale: Tensor, shift: Tensor
    ) -> str:
        """Pad in front of a convolution with what becomes zero: -shift / scale."""
        if bool(((scale == 0) & (shift != 0)).any()):
            raise Problem(
                "what is in front of it makes a channel constant, and it pads with zeros;"
                " put the normalisation behind it, or use padding=0"
            )
        value = torch.where(shift == 0, 0.0, -shift / torch.where(scale == 0, 1.0, scale))
        low, high = float(value.min()), float(value.max())
        if low < -0.5 / 255 or (source == "input" and high > 1 + 0.5 / 255):
            raise Problem(
                f"zeros that it pads with would be {low:.3g}..{high:.3g} before the normalisation"
                " in front of it, outside of what words hold; put the normalisation behind the"
                " convolution (Conv, BatchNorm, ReLU), or use padding=0"
            )
        down, across = op.padding
        padded = (shape[0], shape[1] + 2 * down, shape[2] + 2 * across)
        return self.add(
            Padded(self.name(f"{op.path}.pad"), (source,), padded, value.clamp(min=0), op.padding)
        )

    def rectify(self, op: Rectify, e: Sum) -> Sum:
        if op.neuron is not None:
            if e.stream:
                raise Problem("it fires on words without weights; put a layer between")
            channels = op.neuron.threshold.numel()
            if op.neuron.threshold.ndim and channels != e.inner[0]:
                raise Problem(f"it has {channels} thresholds, it is given {e.inner[0]} channels")
            return self.close(e, op.path, op.neuron)
        if e.stream and e.positive:
            return e  # inputs and spikes are never negative
        return self.close(e, op.path)

    def flatten(self, op: FlattenOp, e: Sum) -> Sum:
        shape = e.shape
        if op.size not in (None, math.prod(shape)):
            raise Problem(f"it makes rows of {op.size} of samples {shape}; use torch.flatten(x, 1)")
        if e.stream is None and e.positive:
            e = self.close(e, op.path)
        return flattened(e)

    def max_pool(self, op: MaxPoolOp, e: Sum) -> Sum:
        windows(e.shape, op.kernel, op.stride, op.padding)
        if e.stream is None and e.positive:
            e = self.close(e, op.path)
        term = e.stream
        if term is None:
            return replace(e, pools=(*e.pools, op))
        assert term.scale is not None
        if not bool((term.scale >= 0).all()):
            raise Problem(
                "it follows a normalisation with a negative weight; put the pooling before it"
            )
        return self.pool(op, e, term, False, op.kernel, op.stride, op.padding)

    def avg_pool(self, op: AvgPoolOp, e: Sum) -> Sum:
        e, term = self.stream(e)
        kernel, stride = op.kernel, op.stride
        if kernel is None:
            if len(e.shape) != 3 or any(n % m for n, m in zip(e.shape[1:], op.size, strict=True)):
                raise Problem(
                    f"it cuts samples {e.shape} to {op.size}; use sizes that divide evenly, or 1"
                )
            down, across = (n // m for n, m in zip(e.shape[1:], op.size, strict=True))
            kernel = stride = (down, across)
        if op.padding != (0, 0) and bool((e.bias != 0).any()):
            raise Problem(
                "it pads with zeros behind a normalisation; put the normalisation behind it, or"
                " use padding=0"
            )
        if kernel == (1, 1) and stride == (1, 1):
            return e
        return self.pool(op, e, term, True, kernel, stride, op.padding)

    def sum(self, op: Operation, a: Sum, b: Sum) -> Sum:
        if a.shape != b.shape:
            raise Problem(f"it adds samples {a.shape} and {b.shape}; both must have the same shape")
        a, b = (self.close(e, op.path) if len(e.terms) > 1 and e.positive else e for e in (a, b))
        for e in (a, b):
            if e.pools or e.flat:
                raise Problem(
                    "one summand is a pooling or Flatten without activation; put nn.ReLU before it"
                )
            if len(e.terms) > 1:
                raise Problem(
                    "one summand is a residual sum that is not activated; put nn.ReLU after"
                    " every sum"
                )
        s, t = a.terms[0], b.terms[0]
        bias, terms = a.bias + b.bias, (s, t)
        if s.source == t.source and s.weight is None and t.weight is None:
            assert s.scale is not None
            assert t.scale is not None
            terms = (replace(s, scale=s.scale + t.scale),)
        elif (
            s.source == t.source
            and s.weight is not None
            and t.weight is not None
            and s.weight.ndim == t.weight.ndim == 2
        ):
            terms = (replace(s, weight=s.weight + t.weight),)
        return Sum(terms, bias, a.inner, op.path)

    def stream(self, e: Sum) -> tuple[Sum, Term]:
        """Return the sum as one node's output, for a layer that takes words."""
        if e.stream is None and e.positive:
            e = self.close(e, e.name)
        if e.stream is not None:
            return e, e.stream
        if len(e.terms) > 1:
            raise Problem(
                f"it is given the sum {e.name!r}, which is not activated; put nn.ReLU after the sum"
            )
        raise Problem(
            f"it is given the potentials of {e.name!r}, which is not activated; put nn.ReLU between"
        )


def fold(traced: Traced, sample_shape: Sequence[int]) -> Graph:
    """Fold a traced model for samples of ``sample_shape``.

    Raises UnsupportedModelError that lists every problem, those of the trace included, one a line:
    path, reason; what to do. What follows something unsupported is not judged.
    """
    folder = _Folder(tuple(sample_shape))
    problems = list(traced.problems)
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
