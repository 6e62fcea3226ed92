"""Fold a traced model into layers: one affine map and one activation each.

Normalisations before or after a Linear, and Linears in a row, are one affine map at inference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spikeloom.conversion.trace import Affine, FlattenOp, Linear, Operation, Rectify
from spikeloom.errors import UnsupportedModelError

__all__ = ["Layer", "fold"]


@dataclass(frozen=True, eq=False)
class Layer:
    """y = relu(weight @ x + bias), or without relu for the last one; float64."""

    name: str
    weight: Tensor
    bias: Tensor
    fires: bool


class _Pending:
    """The affine map collected since the last activation: Linear seen or not, and a prefix."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        self.scale: Tensor | None = None  # of the input elements, before the first Linear
        self.shift: Tensor | None = None

    @property
    def empty(self) -> bool:
        return self.weight is None and self.scale is None

    def affine(self, scale: Tensor, shift: Tensor) -> None:
        if self.weight is not None and self.bias is not None:
            self.weight = scale.unsqueeze(-1) * self.weight
            self.bias = scale * self.bias + shift
        elif self.scale is not None and self.shift is not None:
            self.scale, self.shift = scale * self.scale, scale * self.shift + shift
        else:
            self.scale, self.shift = scale, shift

    def linear(self, op: Linear) -> None:
        weight, bias = op.weight, op.bias
        if self.weight is not None and self.bias is not None:
            weight, bias = weight @ self.weight, weight @ self.bias + bias
        elif self.scale is not None and self.shift is not None:
            weight, bias = weight * self.scale, weight @ self.shift + bias
        self.name, self.weight, self.bias = op.path, weight, bias


def _elements(value: Tensor, shape: tuple[int, ...], path: str) -> Tensor:
    """Spread a per-channel value over the elements of a flattened sample."""
    if value.ndim == 0:
        return value.expand(math.prod(shape))
    if len(value) != shape[0]:
        raise UnsupportedModelError(
            f"{path}: normalises {len(value)} channels, samples are {shape}: channels come first"
        )
    return value.view(-1, *[1] * (len(shape) - 1)).expand(shape).reshape(-1)


def fold(operations: Sequence[Operation], sample_shape: Sequence[int]) -> list[Layer]:
    """Fold operations into layers for samples of ``sample_shape``.

    Raises UnsupportedModelError when a shape does not fit or the model does not end with a Linear.
    """
    shape = tuple(sample_shape)
    layers: list[Layer] = []
    pending = _Pending()
    for op in operations:
        if isinstance(op, FlattenOp):
            shape = (math.prod(shape),)
        elif isinstance(op, Affine):
            pending.affine(_elements(op.scale, shape, op.path), _elements(op.shift, shape, op.path))
        elif isinstance(op, Linear):
            if len(shape) != 1:
                raise UnsupportedModelError(
                    f"{op.path}: Linear is given samples of shape {shape}: put nn.Flatten() before"
                )
            if op.weight.shape[1] != shape[0]:
                raise UnsupportedModelError(
                    f"{op.path}: Linear takes {op.weight.shape[1]} inputs, it is given {shape[0]}"
                )
            pending.linear(op)
            shape = (op.weight.shape[0],)
        elif isinstance(op, Rectify):
            if pending.empty:
                continue  # inputs and spikes are never negative
            layers.append(_close(pending, op.path, fires=True))
            pending = _Pending()
    if pending.weight is None:
        raise UnsupportedModelError(
            "the model must end with a Linear layer (its outputs are the logits), not with an"
            " activation"
        )
    layers.append(_close(pending, "", fires=False))
    for layer in layers:
        if not bool(torch.isfinite(layer.weight).all() and torch.isfinite(layer.bias).all()):
            raise UnsupportedModelError(f"{layer.name}: weights are NaN or infinite")
    return layers


def _close(pending: _Pending, path: str, *, fires: bool) -> Layer:
    if pending.name is None or pending.weight is None or pending.bias is None:
        raise UnsupportedModelError(f"{path}: a ReLU needs a Linear layer before it")
    return Layer(pending.name, pending.weight, pending.bias, fires)
