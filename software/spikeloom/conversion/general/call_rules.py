"""Rules of functional calls and of methods of tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import fx

from spikeloom.conversion.general.arguments import arguments, operation
from spikeloom.conversion.general.module_rules import clamped, padding, softplus, taps, upsampling
from spikeloom.conversion.general.rules import Kind, Rule, Sign
from spikeloom.conversion.unsupported import UnsupportedError

__all__ = ["call_rule"]

_OTHER = "write it with operations of docs/conversion.md"


def _simple(names: str, kind: Kind, sign: Sign, cap: float | None = None) -> dict[str, Rule]:
    return {name: Rule(kind, name, sign, cap) for name in names.split()}


#: Operations whose rule depends on nothing but their name.
_RULES: dict[str, Rule] = {
    **_simple(
        "flatten unflatten reshape view permute transpose swapaxes movedim squeeze unsqueeze expand"
        " expand_as contiguous clone detach chunk split unbind stack cat concat concatenate getitem"
        " narrow select flip roll repeat repeat_interleave tile t view_as reshape_as float"
        " pixel_shuffle pixel_unshuffle channel_shuffle amax amin unfold",
        "keep",
        "inherit",
    ),
    **_simple("relu", "relu", "unsigned"),
    **_simple("relu6", "activation", "unsigned", 6.0),
    **_simple("sigmoid hardsigmoid", "activation", "unsigned", 1.0),
    **_simple("tanh", "activation", "signed", 1.0),
    **_simple(
        "leaky_relu prelu silu gelu hardswish elu selu celu mish", "activation", "signed"
    ),
    **_simple("softmax exp sqrt rsqrt abs square", "float", "unsigned"),
    **_simple(
        "log_softmax log layer_norm group_norm instance_norm normalize embedding neg pow",
        "float",
        "signed",
    ),
    **_simple("matmul bmm scaled_dot_product_attention maximum minimum", "float", "inherit"),
    **_simple("ones zeros ones_like zeros_like arange", "constant", "unsigned"),
    **_simple("where", "float", "signed"),  # what is put in may be a number
    **dict.fromkeys(
        ("eq", "ne", "lt", "le", "gt", "ge", "logical_not", "logical_and", "logical_or", "bool"),
        Rule("float", "mask", "unsigned"),
    ),
}  # fmt: skip

_SIZES = ("size", "dim", "numel", "floordiv", "mod", "eq", "ne", "lt", "le", "gt", "ge", "int",
          "_assert", "ndimension", "nelement", "stride")  # fmt: skip
_TUPLES = ("chunk", "split", "unbind", "max", "min")
_SUMS = {"add": "add", "iadd": "add", "sub": "sub", "isub": "sub", "subtract": "sub"}
_PRODUCTS = {"mul": "mul", "imul": "mul", "multiply": "mul", "div": "div", "idiv": "div",
             "divide": "div", "true_divide": "div"}  # fmt: skip


def _is_constant(value: Any) -> bool:
    """Whether an operand is known before the first sample: a number, a buffer, a size."""
    if not isinstance(value, fx.Node):
        return True
    return value.op == "get_attr" or value.meta["value"].kind != "tensor"


def _per_channel(value: Any) -> bool:
    """Whether a constant broadcasts as one number, or as one a channel."""
    if not isinstance(value, fx.Node) or value.meta["value"].kind != "tensor":
        return True
    return sum(size != 1 for size in value.meta["value"].shape) <= 1


def _low(value: Any) -> float:
    """Least value of a constant; of sizes, which are never negative, zero."""
    if isinstance(value, fx.Node):
        return value.meta["value"].low
    return float(value) if isinstance(value, (int, float)) else -math.inf


def _arithmetic(node: fx.Node, label: str, kind: Kind) -> Rule:
    a, b = node.args[0], node.args[1] if len(node.args) > 1 else node.kwargs.get("other")
    if label == "add" and not _low(node.kwargs.get("alpha", 1)) >= 0:
        label = "sub"
    if not _is_constant(a) and not _is_constant(b):
        return Rule(kind, label, "inherit" if label != "sub" else "signed")
    constant = a if _is_constant(a) else b
    if label == "div" and constant is a:
        return Rule(
            "float", "division of a constant", "inherit" if _low(constant) >= 0 else "signed"
        )
    shifts = label in ("add", "sub")
    if not _per_channel(constant):
        return Rule("sum" if shifts else "product", f"{label} of a constant")
    positive = label != "sub" and _low(constant) >= 0
    return Rule(
        "affine", f"{label} of a constant", "inherit" if positive else "signed", shifts=shifts
    )


def _clamp(node: fx.Node) -> Rule:
    given = arguments(node)
    return clamped(given.get("min"), given.get("max"), "clamp")


def _softplus(node: fx.Node) -> Rule:
    threshold = node.kwargs.get("threshold", node.args[2] if len(node.args) > 2 else 20)
    return softplus(threshold, "softplus")


def _hardtanh(node: fx.Node) -> Rule:
    given = arguments(node)
    return clamped(given.get("min_val", -1.0), given.get("max_val", 1.0), "hardtanh")


def _max_pool(node: fx.Node) -> Rule:
    if arguments(node).get("return_indices"):
        raise UnsupportedError("it returns indices", "use return_indices=False")
    return Rule("keep", "max pool", "inherit")


def _extreme(node: fx.Node) -> Rule:
    given = arguments(node)
    if isinstance(given.get("dim"), fx.Node) or "other" in given:
        return Rule("float", "maximum", "inherit")
    for user in node.users:
        index = user.args[1] if operation(user) in ("getitem", "getattr") else None
        if index in (1, "indices"):
            raise UnsupportedError("the indices of a maximum are used", "use its values only")
    return Rule("keep", "max", "inherit")


def _avg_pool(dims: int) -> Callable[[fx.Node], Rule]:
    def rule(node: fx.Node) -> Rule:
        given = arguments(node)
        if given.get("divisor_override") is not None:
            raise UnsupportedError("divisor_override is set", "leave it out")
        return Rule("wide", "average pool", "inherit", taps=taps(given["kernel_size"], dims))

    return rule


def _adaptive(node: fx.Node) -> Rule:
    return Rule("wide", "average pool", "inherit", taps=0)


def _reduce(node: fx.Node) -> Rule:
    source = arguments(node).get("input")
    assert isinstance(source, fx.Node)
    before, after = source.meta["value"], node.meta["value"]
    count = math.prod(before.shape) // max(math.prod(after.shape), 1)
    return Rule("wide", operation(node) or "mean", "inherit", taps=count)


def _interpolate(node: fx.Node) -> Rule:
    return upsampling(arguments(node).get("mode", "nearest"), "interpolate")


def _pad(node: fx.Node) -> Rule:
    given = arguments(node)
    return padding(given.get("mode", "constant"), given.get("value"), "pad")


def _dropout(node: fx.Node) -> Rule:
    if arguments(node).get("training", True):
        raise UnsupportedError(
            "this dropout is on at inference too", "pass training=self.training, or use nn.Dropout"
        )
    return Rule("keep", "dropout", "inherit")


def _instance_norm(node: fx.Node) -> Rule:
    if not arguments(node).get("use_input_stats", True):
        raise UnsupportedError("instance_norm with running statistics", "use nn.BatchNorm2d")
    return _RULES["instance_norm"]


def _batch_norm(node: fx.Node) -> Rule:
    raise UnsupportedError(
        "it normalises by each batch, or by tensors that are computed", "use nn.BatchNorm2d"
    )


def _functional_weights(node: fx.Node) -> Rule:
    raise UnsupportedError(
        "its weights are computed from the input", "keep weights in layers or parameters"
    )


def _matmul(node: fx.Node) -> Rule:
    given = arguments(node)
    if any(_is_constant(given.get(key)) for key in ("input", "other")):
        raise UnsupportedError(
            "it multiplies by a constant matrix from the left, or by more than one",
            "use nn.Linear on the transposed tensor",
        )
    return _RULES["matmul"]


def _masked_fill(node: fx.Node) -> Rule:
    value = node.kwargs.get("value", node.args[2] if len(node.args) > 2 else None)
    return Rule("float", "masked_fill", "inherit" if _low(value) >= 0 else "signed")


def _cast(node: fx.Node) -> Rule:
    source = node.all_input_nodes[0].meta["value"]
    if source.kind == "tensor" and source.floating and not node.meta["value"].floating:
        raise UnsupportedError("it makes floats whole numbers", "leave that out")
    return Rule("keep", operation(node) or "", "inherit")


def _attribute(node: fx.Node) -> Rule:
    if node.meta["value"].kind != "tensor" or node.args[1] in ("values", "T", "mT", "data"):
        return Rule("keep", str(node.args[1]), "inherit")
    raise UnsupportedError(f"it reads the attribute {node.args[1]!r}", _OTHER)


_SPECIAL: dict[str, Callable[[fx.Node], Rule]] = {
    **{name: lambda node, k=kind: _arithmetic(node, k, "sum") for name, kind in _SUMS.items()},
    **{
        name: lambda node, k=kind: _arithmetic(node, k, "product")
        for name, kind in _PRODUCTS.items()
    },
    "neg": lambda node: Rule("affine", "neg"),
    "clamp": _clamp,
    "clip": _clamp,
    "hardtanh": _hardtanh,
    "softplus": _softplus,
    **dict.fromkeys(
        ("max_pool1d", "max_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d"), _max_pool
    ),
    "max": _extreme,
    "min": _extreme,
    "avg_pool1d": _avg_pool(1),
    "avg_pool2d": _avg_pool(2),
    "adaptive_avg_pool1d": _adaptive,
    "adaptive_avg_pool2d": _adaptive,
    "mean": _reduce,
    "sum": _reduce,
    "interpolate": _interpolate,
    "upsample": _interpolate,
    "pad": _pad,
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_dropout"),
                    _dropout),
    "instance_norm": _instance_norm,
    "batch_norm": _batch_norm,
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"),
                    _functional_weights),
    "matmul": _matmul,
    "masked_fill": _masked_fill,
    **dict.fromkeys(("to", "type_as"), _cast),
    "getattr": _attribute,
}  # fmt: skip


def call_rule(node: fx.Node) -> Rule:
    """Rule of a call; UnsupportedError where it has none."""
    name = operation(node)
    if node.meta["value"].kind == "other" and name not in _TUPLES:
        if name in (*_SIZES, *_SUMS, *_PRODUCTS, "getattr", "getitem", "neg", "pow"):
            return Rule("size", name or "")
    elif name in _SPECIAL:
        return _SPECIAL[name](node)
    if name in _SPECIAL:
        return _SPECIAL[name](node)
    if name in _RULES:
        return _RULES[name]
    shown = name or getattr(node.target, "__name__", str(node.target))
    raise UnsupportedError(f"the call {shown!r} has no spiking form", _OTHER)
