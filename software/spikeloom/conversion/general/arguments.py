"""Arguments of a call by name, however they were given."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.nn import functional

__all__ = ["FUNCTIONS", "arguments", "operation"]

_POOL = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad",
         "divisor_override")  # fmt: skip
_MAX = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = (
    "input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"
)  # fmt: skip
_REDUCE = ("input", "dim", "keepdim")

#: Positional arguments of operations without a signature to look at.
_NAMES: dict[str, tuple[str, ...]] = {
    "linear": ("input", "weight", "bias"),
    "conv1d": _CONV,
    "conv2d": _CONV,
    "conv_transpose1d": _TRANSPOSED,
    "conv_transpose2d": _TRANSPOSED,
    "avg_pool1d": _POOL[:-1],
    "avg_pool2d": _POOL,
    "max_pool1d": _MAX,
    "max_pool2d": _MAX,
    "adaptive_max_pool1d": ("input", "output_size", "return_indices"),
    "adaptive_max_pool2d": ("input", "output_size", "return_indices"),
    "adaptive_avg_pool1d": ("input", "output_size"),
    "mean": _REDUCE,
    "sum": _REDUCE,
    "amax": _REDUCE,
    "max": _REDUCE,
    "amin": _REDUCE,
    "min": _REDUCE,
    "clamp": ("input", "min", "max"),
    "clip": ("input", "min", "max"),
    "add": ("input", "other"),
    "sub": ("input", "other"),
    "matmul": ("input", "other"),
    "permute": ("input", "dims"),
    "transpose": ("input", "dim0", "dim1"),
}


def _known(names: str, *spaces: Any) -> dict[Any, str]:
    return {
        getattr(space, name): name
        for name in names.split()
        for space in spaces
        if hasattr(space, name)
    }


#: Functions that a graph may call -> the name that rules know them by.
FUNCTIONS: dict[Callable[..., Any], str] = {
    **_known(
        "relu relu_ relu6 hardtanh leaky_relu prelu silu gelu sigmoid hardsigmoid hardswish tanh"
        " elu selu celu softplus mish softmax log_softmax layer_norm group_norm instance_norm"
        " batch_norm normalize dropout dropout1d dropout2d alpha_dropout feature_dropout linear"
        " conv1d conv2d conv_transpose1d conv_transpose2d max_pool1d max_pool2d avg_pool1d"
        " avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d"
        " adaptive_max_pool2d interpolate upsample pad pixel_shuffle pixel_unshuffle embedding"
        " scaled_dot_product_attention leaky_relu_ hardtanh_ elu_ unfold fold channel_shuffle",
        functional, torch,
    ),
    **_known(
        "sigmoid_ tanh_ clamp clamp_ clip flatten unflatten reshape permute transpose swapaxes"
        " movedim squeeze unsqueeze clone chunk split unbind stack cat concat concatenate narrow"
        " select flip roll repeat_interleave tile mean sum amax max amin min add sub subtract mul"
        " multiply div divide true_divide neg abs square pow sqrt rsqrt exp log matmul bmm maximum"
        " minimum masked_fill where eq ne lt le gt ge logical_not logical_and logical_or ones zeros"
        " ones_like zeros_like arange",
        torch,
    ),
    operator.add: "add", operator.iadd: "iadd", operator.sub: "sub", operator.isub: "isub",
    operator.mul: "mul", operator.imul: "imul", operator.truediv: "div", operator.itruediv: "idiv",
    operator.neg: "neg", operator.pow: "pow", operator.matmul: "matmul",
    operator.getitem: "getitem", getattr: "getattr",
    operator.floordiv: "floordiv", operator.mod: "mod", operator.eq: "eq", operator.ne: "ne",
    operator.lt: "lt", operator.le: "le", operator.gt: "gt", operator.ge: "ge",
    operator.invert: "logical_not", operator.and_: "logical_and", operator.or_: "logical_or",
    int: "int", torch._assert: "_assert",
}  # fmt: skip


def operation(node: fx.Node) -> str | None:
    """Name of what a node calls, None for a function that is not known."""
    if node.op == "call_method":
        return str(node.target)
    assert callable(node.target)
    return FUNCTIONS.get(node.target)


def arguments(node: fx.Node) -> dict[str, Any]:
    """Arguments by name; the tensor that a method belongs to is ``input``.

    Those that no name is known for are left out.
    """
    name = operation(node) or ""
    names = _NAMES.get(name.rstrip("_"))
    if names is None and node.op == "call_function" and callable(node.target):
        try:
            bound = inspect.signature(node.target).bind(*node.args, **node.kwargs)
        except (TypeError, ValueError):
            names = ("input",)
        else:
            bound.apply_defaults()
            return dict(bound.arguments)
    given = dict(zip(names or ("input",), node.args, strict=False))
    renamed = {"self": "input", "axis": "dim"}
    return given | {renamed.get(key, key): value for key, value in node.kwargs.items()}
