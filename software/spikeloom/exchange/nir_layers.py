"""Torch layers of the nodes of somebody else's NIR graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from spikeloom.conversion.trace import Normalise
from spikeloom.exchange.pieces import Array

__all__ = [
    "Problem",
    "channels",
    "convolution",
    "factor",
    "flatten",
    "geometry",
    "linear",
    "multiply",
    "some",
    "sum_pool",
]


class Problem(Exception):  # noqa: N818 - it never leaves the reader
    """Why a node cannot be read."""


def some(value: Any) -> str:
    """Return the least of the numbers, for a message."""
    return f"{float(np.min(np.asarray(value))):g}"


def channels(value: Any, what: str) -> Array:
    """One number, or one a channel, float64; Problem where pixels of a channel differ."""
    array = np.asarray(value, np.float64)
    if array.size == 1:
        return array.reshape(())
    rows = array.reshape(len(array), -1)
    if not np.all(rows == rows[:, :1]):
        raise Problem(f"{what} differs within a channel; all pixels of one must share it")
    return rows[:, 0].copy() if array.ndim > 1 else array


def factor(divisor: Array) -> nn.Module | None:
    """A layer that divides by one number, or one a channel; None where that changes nothing."""
    if np.all(divisor == 1):
        return None
    return Normalise(0.0, torch.from_numpy(np.asarray(divisor)))


def multiply(scale: Array, axes: int) -> nn.Module | None:
    """A layer that multiplies by one number, or one a channel; axes: of a sample."""
    if np.all(scale > 0):
        return factor(1 / scale)
    if scale.ndim == 0 or axes not in (1, 3):
        raise Problem(f"Scale: a single factor must be above 0, not {some(scale)}")
    # a normalisation by variance 1 is this product, bit for bit, and may be zero or negative
    kind = nn.BatchNorm1d if axes == 1 else nn.BatchNorm2d
    layer = kind(len(scale), eps=0.0)
    layer.weight = _tensor(scale)
    return layer


def _tensor(value: Any) -> nn.Parameter:
    return nn.Parameter(torch.tensor(np.asarray(value), dtype=torch.get_default_dtype()))


def linear(weight: Any, bias: Any) -> nn.Module:
    """Make a Linear of weights (outputs, inputs) and a bias, or None."""
    if np.ndim(weight) != 2:
        raise Problem(f"weights have shape {np.shape(weight)}, expected (outputs, inputs)")
    outputs, inputs = np.shape(weight)
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, bias is not None)
    layer.weight = _tensor(weight)
    if bias is not None:
        layer.bias = _tensor(np.broadcast_to(bias, (outputs,)))
    return layer


def convolution(kind: type[nn.Conv1d] | type[nn.Conv2d], node: Any) -> nn.Module:
    """Make a convolution of a node, in one or two dimensions."""
    shape, groups = np.shape(node.weight), int(node.groups)
    padding = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
    layer = kind(
        shape[1] * groups,
        shape[0],
        shape[2:],  # type: ignore[arg-type]
        _numbers(node.stride),
        padding if isinstance(padding, str) else _numbers(padding),
        _numbers(node.dilation),
        groups,
    )
    layer.weight, layer.bias = _tensor(node.weight), _tensor(np.broadcast_to(node.bias, shape[:1]))
    return layer


def _numbers(value: Any) -> Any:
    array = np.asarray(value).ravel()
    return int(array[0]) if array.size == 1 else tuple(int(v) for v in array)


def geometry(node: Any) -> Any:
    """Kernel, stride and padding of a pooling node."""
    return (_numbers(v) for v in (node.kernel_size, node.stride, node.padding))


def sum_pool(node: Any) -> nn.Module:
    """Sum windows: their mean, times their pixels."""
    pool = nn.AvgPool2d(*geometry(node))
    sides = np.broadcast_to(np.asarray(node.kernel_size).ravel(), (2,))
    return nn.Sequential(pool, Normalise(0.0, 1 / float(sides[0] * sides[1])))


def flatten(node: Any) -> nn.Module:
    """Lay a whole sample out as one row; Problem where a node keeps axes."""
    shape = (node.input_type or {}).get("input")
    axes = None if shape is None else len(shape)
    last = node.end_dim == -1 or (axes is not None and node.end_dim == axes - 1)
    # axes of a sample; a first one of length 1 may as well stay, or be the batch of the writer
    first = node.start_dim == 0 or (node.start_dim == 1 and (shape is None or shape[0] == 1))
    if not (first and last):
        raise Problem(
            f"Flatten of axes {node.start_dim}..{node.end_dim}: only all axes of a sample"
        )
    return nn.Flatten()
