"""What folding makes of layers that look at positions: convolutions, pools, pads, flattening."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from spikeloom.conversion.build import Builder
from spikeloom.conversion.graph import Frame, Padded, Shape
from spikeloom.conversion.operations import (
    AvgPoolOp,
    Convolution,
    FlattenOp,
    MaxPoolOp,
    PadOp,
    Pair,
    ReduceOp,
    SqueezeOp,
)
from spikeloom.conversion.sums import Problem, Sum, Term, flattened, over, rows, windows
from spikeloom.conversion.zeros import plain

__all__ = ["Positions"]


class Positions(Builder):
    """Sums of layers on images. Methods raise Problem where a layer has no spiking form."""

    def convolution(self, op: Convolution, e: Sum) -> Sum:
        """Weights on one node's words, with dilation and groups written out."""
        e, source = self.stream(e)
        inputs = op.groups * op.weight.shape[1]
        if len(e.shape) == 3 and inputs != e.shape[0]:
            raise Problem(f"it takes {inputs} channels, samples are {e.shape}")
        op, zeros = plain(op)
        kernel: Pair = tuple(op.weight.shape[2:])  # type: ignore[assignment]
        shape = windows(e.shape, kernel, op.stride, op.padding)
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
            down, across = padding
            frame = (down, down, across, across)
            name = self.frame(f"{op.path}.pad", name, e.shape, scale, shift, frame)
            padding = (0, 0)
        else:
            name, padding = self.unframed(name, kernel, padding)
        term = Term(name, None, weight, op.path, op.stride, padding, op.groups, zeros)
        return Sum((term,), bias, (len(weight), *shape[1:]), op.path)

    def unframed(self, name: str, kernel: Pair, padding: Pair) -> tuple[str, Pair]:
        """Take a frame of zeros as padding of the convolution that reads it, where that can be."""
        node = next((n for n in self.nodes if n.name == name), None)
        if isinstance(node, Padded) and not bool(node.value.any()):
            top, bottom, left, right = node.padding
            wide = (padding[0] + top, padding[1] + left)
            if top == bottom and left == right and wide[0] < kernel[0] and wide[1] < kernel[1]:
                return node.sources[0], wide
        return name, padding

    def pad(self, op: PadOp, e: Sum) -> Sum:
        """Zeros around samples: words that stand for zero."""
        axes = 1 if self.lengthwise else 2
        if len(e.shape) != 3 or len(op.sides) > 2 * axes:
            raise Problem(f"it pads {len(op.sides) // 2} axes of samples {e.shape}; pad positions")
        e, term = self.stream(e)
        sides = [*op.sides, 0, 0, 0, 0]
        # torch names the last axis first; a length is a height
        left, right, top, bottom = (0, 0, *sides[:2]) if self.lengthwise else sides[:4]
        frame = (top, bottom, left, right)
        if not any(frame):
            return e
        assert term.scale is not None
        name = self.frame(op.path, term.source, e.shape, term.scale, e.bias, frame)
        shape = self.shapes[name]
        return replace(e, terms=(replace(term, source=name),), inner=shape, name=name)

    def frame(
        self, path: str, source: str, shape: Shape, scale: Tensor, shift: Tensor, frame: Frame
    ) -> str:
        """Pad the words of a source with what becomes zero: -shift / scale."""
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
        top, bottom, left, right = frame
        padded = (shape[0], shape[1] + top + bottom, shape[2] + left + right)
        return self.add(Padded(self.name(path), (source,), padded, value.clamp(min=0), frame))

    def flatten(self, op: FlattenOp, e: Sum) -> Sum:
        """Samples as rows."""
        shape = e.shape
        if op.size not in (None, math.prod(shape)):
            raise Problem(f"it makes rows of {op.size} of samples {shape}; use torch.flatten(x, 1)")
        if e.stream is None and e.positive:
            e = self.close(e, op.path)
        return flattened(e)

    def max_pool(self, op: MaxPoolOp, e: Sum) -> Sum:
        """On words; on what is not activated yet, behind the activation."""
        kernel, stride, padding = _sized(op, e.shape)
        windows(e.shape, kernel, stride, padding, op.ceil)
        if e.stream is None and e.positive:
            e = self.close(e, op.path)
        term = e.stream
        if term is None:
            sized = replace(op, kernel=kernel, stride=stride)
            return replace(e, pools=(*e.pools, sized))
        assert term.scale is not None
        if not bool((term.scale >= 0).all()):
            raise Problem(
                "it follows a normalisation with a negative weight; put the pooling before it"
            )
        return self.pool(op, e, term, False, kernel, stride, padding, op.ceil)

    def avg_pool(self, op: AvgPoolOp, e: Sum) -> Sum:
        """On words; in front of 1x1 convolutions that are not activated yet."""
        kernel, stride, padding = _sized(op, e.shape)
        if kernel == (1, 1) and stride == (1, 1):
            return e
        if op.ceil and any(over(e.shape, kernel, stride, padding)):
            raise Problem(
                "ceil_mode divides the last windows by less; use ceil_mode=False, or a size that"
                " the stride divides"
            )
        swaps = e.stream is None and not e.positive and padding == (0, 0) and not e.pools
        if swaps and not e.flat and all(t.pointwise for t in e.terms):
            # a mean of what 1x1 convolutions give is that of what they take
            terms = [self.averaged(op, t, kernel, stride) for t in e.terms]
            return replace(e, terms=tuple(terms), inner=windows(e.shape, kernel, stride, padding))
        e, term = self.stream(e)
        if padding != (0, 0) and bool((e.bias != 0).any()):
            raise Problem(
                "it pads with zeros behind a normalisation; put the normalisation behind it, or"
                " use padding=0"
            )
        return self.pool(op, e, term, True, kernel, stride, padding)

    def averaged(self, op: AvgPoolOp, term: Term, kernel: Pair, stride: Pair) -> Term:
        """Put an average pool in front of a 1x1 convolution."""
        e = self.stream_of(term.source)
        pooled = self.pool(op, e, e.terms[0], True, kernel, stride, (0, 0))
        return replace(term, source=pooled.terms[0].source)

    def axes(self, op: ReduceOp | SqueezeOp, e: Sum) -> set[int]:
        """Axes of the batch, as torch sees it, that an operation names."""
        rank = 3 if self.lengthwise else 4
        if len(e.shape) != 3 or not all(-rank <= n < rank for n in op.axes):
            raise Problem(
                f"it is over axes {op.axes} of samples {e.shape}; use torch.flatten(x, 1)"
            )
        return {n % rank for n in op.axes}

    def reduce(self, op: ReduceOp, e: Sum) -> Sum:
        """A global pooling."""
        if self.axes(op, e) != set(range(2, 3 if self.lengthwise else 4)):
            raise Problem(f"it is over axes {op.axes}; use all positions, x.mean((2, 3))")
        if op.average:
            e = self.avg_pool(AvgPoolOp(op.path, None), e)
        else:
            e = self.max_pool(MaxPoolOp(op.path, None), e)
        return e if op.keep else self.flatten(FlattenOp(op.path), e)

    def squeeze(self, op: SqueezeOp, e: Sum) -> Sum:
        """Positions that are one pixel go."""
        wanted = set(range(2, 3 if self.lengthwise else 4))
        if self.axes(op, e) != wanted or math.prod(e.shape[1:]) != 1:
            raise Problem(f"it drops axes {op.axes} of samples {e.shape}; use torch.flatten(x, 1)")
        return self.flatten(FlattenOp(op.path), e)


def _sized(op: MaxPoolOp | AvgPoolOp, shape: Shape) -> tuple[Pair, Pair, Pair]:
    """Kernel, stride and padding of a pooling, also if the model gives the size of the result."""
    if op.kernel is not None:
        return op.kernel, op.stride, op.padding
    sizes = tuple(m or n for n, m in zip(shape[1:], op.size, strict=False))
    if len(shape) != 3 or any(n % m for n, m in zip(shape[1:], sizes, strict=True)):
        raise Problem(f"it cuts samples {shape} to {op.size}; use sizes that divide evenly, or 1")
    down, across = (n // m for n, m in zip(shape[1:], sizes, strict=True))
    return (down, across), (down, across), (0, 0)
