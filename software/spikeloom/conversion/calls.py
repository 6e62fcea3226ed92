"""Operations of functional calls and of methods of tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.nn import functional

from spikeloom.conversion.modules import adaptive, avg_pool, max_pool
from spikeloom.conversion.operations import (
    AddOp,
    AvgPoolOp,
    FlattenOp,
    Nothing,
    Operation,
    Rectify,
    Size,
)
from spikeloom.conversion.unsupported import DEFAULT_ADVICE, UnsupportedError

__all__ = ["IN_PLACE", "call"]


def _named(node: fx.Node, *names: str) -> dict[str, Any]:
    """Arguments of a call after the tensor, by name; only those given."""
    if len(node.args) - 1 > len(names):
        raise UnsupportedError("it has arguments that are not known here", DEFAULT_ADVICE)
    return dict(zip(names, node.args[1:], strict=False)) | {
        k: v for k, v in node.kwargs.items() if k not in ("input", "self")
    }


def _call_relu(node: fx.Node) -> Operation:
    return Rectify(node.name)


def _call_dropout(node: fx.Node) -> Operation:
    if _named(node, "p", "training", "inplace").get("training", True):
        raise UnsupportedError(
            "this dropout is on at inference too", "pass training=self.training, or use nn.Dropout"
        )
    return Nothing(node.name)


def _call_flatten(node: fx.Node) -> Operation:
    given = _named(node, "start_dim", "end_dim")
    if (given.get("start_dim", 0), given.get("end_dim", -1)) != (1, -1):
        raise UnsupportedError("it does not keep the batch axis alone", "use torch.flatten(x, 1)")
    return FlattenOp(node.name)


def _call_view(node: fx.Node) -> Operation:
    shape: Any = node.args[1:]
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    if len(shape) == 2 and isinstance(shape[1], int):
        batch, size = shape  # the batch is a number of x.shape or left open
        if isinstance(batch, fx.Node) or (batch == -1 and size > 0):
            return FlattenOp(node.name, size if size > 0 else None)
    raise UnsupportedError("it does not keep the batch axis alone", "use torch.flatten(x, 1)")


def _call_max_pool(node: fx.Node) -> Operation:
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    return max_pool(node.name, **_named(node, *names))


def _call_avg_pool(node: fx.Node) -> Operation:
    names = (
        "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"
    )  # fmt: skip
    return avg_pool(node.name, **_named(node, *names))


def _call_mean(node: fx.Node) -> Operation:
    given = _named(node, "dim", "keepdim")
    dims = given.get("dim")
    if not isinstance(dims, (tuple, list)) or sorted(d % 4 for d in dims) != [2, 3]:
        raise UnsupportedError(f"a mean over axes {dims}", "use x.mean((2, 3))")
    path = node.name
    return AvgPoolOp(path, None) if given.get("keepdim") else _MeanOp(path, None)


class _MeanOp(AvgPoolOp):
    """A global average that drops its two axes."""


def _call_add(node: fx.Node) -> Operation:
    operands = [a for a in (*node.args, *node.kwargs.values()) if isinstance(a, fx.Node)]
    if len(operands) != 2:
        raise UnsupportedError("it adds a constant", "put the constant into a bias")
    if node.kwargs.get("alpha", 1) != 1 or len(node.args) > 2:
        raise UnsupportedError("alpha is not 1", "scale the weights of a branch instead")
    return AddOp(node.name)


_CALLS: dict[Any, Callable[[fx.Node], Operation]] = {
    torch.relu: _call_relu,
    torch.relu_: _call_relu,
    functional.relu: _call_relu,
    functional.relu_: _call_relu,
    "relu": _call_relu,
    "relu_": _call_relu,
    functional.dropout: _call_dropout,
    functional.dropout2d: _call_dropout,
    torch.flatten: _call_flatten,
    "flatten": _call_flatten,
    "view": _call_view,
    "reshape": _call_view,
    torch.reshape: _call_view,
    functional.max_pool2d: _call_max_pool,
    torch.max_pool2d: _call_max_pool,
    functional.avg_pool2d: _call_avg_pool,
    functional.adaptive_avg_pool2d: lambda node: adaptive(node.name, **_named(node, "output_size")),
    torch.mean: _call_mean,
    "mean": _call_mean,
    operator.add: _call_add,
    operator.iadd: _call_add,
    torch.add: _call_add,
    "add": _call_add,
    "add_": _call_add,
    "size": lambda node: Size(node.name),
}

#: Calls that overwrite the tensor they are given; later readers of it see the result.
IN_PLACE = (torch.relu_, functional.relu_, "relu_", operator.iadd, "add_")


def call(node: fx.Node) -> list[Operation]:
    """Operations of a call, in a row; UnsupportedError where it has none."""
    target = node.target
    if target in (getattr, operator.getitem):
        source = node.args[0]
        is_shape = target is getattr and node.args[1] == "shape"
        if is_shape or (isinstance(source, fx.Node) and source.meta.get("size")):
            return [Size(node.name)]
    build = _CALLS.get(target)
    if build is None:
        shown = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        raise UnsupportedError(f"the call {shown!r} has no spiking form yet", DEFAULT_ADVICE)
    found = build(node)
    if isinstance(found, _MeanOp):
        return [AvgPoolOp(found.path, None), FlattenOp(found.path)]
    return [found]
