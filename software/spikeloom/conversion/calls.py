"""Operations of functional calls and of methods of tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from spikeloom.conversion.modules import adaptive, avg_pool, clamp, max_pool, zero_pad
from spikeloom.conversion.operations import (
    AddOp,
    Affine,
    AvgPoolOp,
    FlattenOp,
    MaxPoolOp,
    Nothing,
    Operation,
    Rectify,
    ReduceOp,
    Size,
    SqueezeOp,
)
from spikeloom.conversion.unsupported import DEFAULT_ADVICE, UnsupportedError

__all__ = ["IN_PLACE", "call"]

_Build = Callable[[fx.Node], Operation]


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


def _call_clamp(*names: str, default: tuple[Any, Any] = (None, None)) -> _Build:
    """A clamp whose arguments have these names: the least value, then the greatest."""

    def build(node: fx.Node) -> Operation:
        given = _named(node, *names, "inplace")
        both = zip((*names, "", "")[:2], default, strict=True)
        return clamp(node.name, *(given.get(name, value) for name, value in both))

    return build


def _call_max_pool(dims: int) -> _Build:
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    return lambda node: max_pool(node.name, **_named(node, *names), dims=dims)


def _call_avg_pool(dims: int) -> _Build:
    names = (
        "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"
    )  # fmt: skip
    return lambda node: avg_pool(
        node.name, **_named(node, *names[: 6 if dims == 2 else 5]), dims=dims
    )


def _call_adaptive(kind: type[AvgPoolOp] | type[MaxPoolOp], dims: int) -> _Build:
    names = ("output_size", "return_indices")
    return lambda node: adaptive(node.name, **_named(node, *names), kind=kind, dims=dims)


def _axes(node: fx.Node, given: dict[str, Any]) -> tuple[int, ...]:
    axes = given.get("dim")
    axes = (axes,) if isinstance(axes, int) else axes
    if not isinstance(axes, (tuple, list)) or not all(isinstance(n, int) for n in axes):
        raise UnsupportedError(f"it is over axes {axes}", "name them, for instance x.mean((2, 3))")
    return tuple(axes)


def _call_reduce(average: bool) -> _Build:
    def build(node: fx.Node) -> Operation:
        given = _named(node, "dim", "keepdim")
        return ReduceOp(node.name, _axes(node, given), bool(given.get("keepdim")), average)

    return build


def _call_squeeze(node: fx.Node) -> Operation:
    return SqueezeOp(node.name, _axes(node, _named(node, "dim")))


def _call_pad(node: fx.Node) -> Operation:
    return zero_pad(node.name, **_named(node, "sides", "mode", "value"))


def _call_arithmetic(name: str) -> _Build:
    """A sum of two tensors; or a tensor with a number, or with one value a channel."""

    def build(node: fx.Node) -> Operation:
        if node.kwargs.get("alpha", 1) != 1 or len(node.args) > 2:
            raise UnsupportedError("alpha is not 1", "scale the weights of a branch instead")
        given = [*node.args, *(v for k, v in node.kwargs.items() if k != "alpha")]
        constants = [_constant_of(a) for a in given]
        if len(given) != 2 or sum(c is None for c in constants) != 1:
            if name == "add" and constants == [None, None]:
                return AddOp(node.name)
            raise UnsupportedError(f"it takes two tensors for {name}", "sums alone do that")
        first = constants[1] is None  # the constant comes first
        value = constants[0] if first else constants[1]
        assert value is not None
        if name == "div" and first:
            raise UnsupportedError(
                "it divides by a tensor", "divide by a number, or by one a channel"
            )
        one = torch.ones_like(value)
        minus = name == "sub"
        scale = {"mul": value, "div": 1 / value}.get(name, -one if minus and first else one)
        shift = {"add": value, "sub": value if first else -value}.get(name, 0 * one)
        return Affine(node.name, scale.reshape(-1), shift.reshape(-1), tuple(value.shape))

    return build


def _constant_of(argument: Any) -> Tensor | None:
    """A number, or a tensor that the model keeps, as float64; None for what it computes."""
    if isinstance(argument, (int, float)):
        return torch.tensor(float(argument), dtype=torch.float64)
    return argument.meta.get("constant") if isinstance(argument, fx.Node) else None


_CALLS: dict[Any, _Build] = {
    torch.relu: _call_relu,
    torch.relu_: _call_relu,
    functional.relu: _call_relu,
    functional.relu_: _call_relu,
    "relu": _call_relu,
    "relu_": _call_relu,
    functional.dropout: _call_dropout,
    functional.dropout1d: _call_dropout,
    functional.dropout2d: _call_dropout,
    torch.flatten: _call_flatten,
    "flatten": _call_flatten,
    "view": _call_view,
    "reshape": _call_view,
    torch.reshape: _call_view,
    functional.max_pool1d: _call_max_pool(1),
    torch.max_pool1d: _call_max_pool(1),
    functional.max_pool2d: _call_max_pool(2),
    torch.max_pool2d: _call_max_pool(2),
    functional.avg_pool1d: _call_avg_pool(1),
    functional.avg_pool2d: _call_avg_pool(2),
    functional.adaptive_avg_pool1d: _call_adaptive(AvgPoolOp, 1),
    functional.adaptive_avg_pool2d: _call_adaptive(AvgPoolOp, 2),
    functional.adaptive_max_pool1d: _call_adaptive(MaxPoolOp, 1),
    functional.adaptive_max_pool2d: _call_adaptive(MaxPoolOp, 2),
    torch.mean: _call_reduce(True),
    "mean": _call_reduce(True),
    torch.amax: _call_reduce(False),
    "amax": _call_reduce(False),
    torch.squeeze: _call_squeeze,
    "squeeze": _call_squeeze,
    functional.pad: _call_pad,
    functional.relu6: _call_clamp(default=(0, 6)),
    functional.hardtanh: _call_clamp("min_val", "max_val", default=(-1, 1)),
    functional.hardtanh_: _call_clamp("min_val", "max_val", default=(-1, 1)),
    torch.clamp: _call_clamp("min", "max"),
    "clamp": _call_clamp("min", "max"),
    "clamp_": _call_clamp("min", "max"),
    torch.clip: _call_clamp("min", "max"),
    "clip": _call_clamp("min", "max"),
    "clip_": _call_clamp("min", "max"),
    torch.clamp_min: _call_clamp("min"),
    "clamp_min": _call_clamp("min"),
    "clamp_min_": _call_clamp("min"),
    operator.add: _call_arithmetic("add"),
    operator.iadd: _call_arithmetic("add"),
    torch.add: _call_arithmetic("add"),
    "add": _call_arithmetic("add"),
    "add_": _call_arithmetic("add"),
    operator.sub: _call_arithmetic("sub"),
    operator.isub: _call_arithmetic("sub"),
    torch.sub: _call_arithmetic("sub"),
    "sub": _call_arithmetic("sub"),
    operator.mul: _call_arithmetic("mul"),
    operator.imul: _call_arithmetic("mul"),
    torch.mul: _call_arithmetic("mul"),
    "mul": _call_arithmetic("mul"),
    operator.truediv: _call_arithmetic("div"),
    operator.itruediv: _call_arithmetic("div"),
    torch.div: _call_arithmetic("div"),
    "div": _call_arithmetic("div"),
    "size": lambda node: Size(node.name),
}

#: Calls that overwrite the tensor they are given; later readers of it see the result.
IN_PLACE = (
    torch.relu_, functional.relu_, "relu_", operator.iadd, operator.isub, operator.imul,
    operator.itruediv, "add_", functional.hardtanh_, "clamp_",
    "clip_", "clamp_min_",
)  # fmt: skip


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
    return [build(node)]
