"""What a model computes, as a list of plain operations in topological order.

``torch.fx`` records the calls, so that a Sequential, nested ones, and a module with its own
straight-line ``forward`` all look the same. Whatever has no operation here is collected, and
reported together in one error.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from spikeloom.errors import UnsupportedModelError

__all__ = ["Affine", "FlattenOp", "Linear", "Normalise", "Operation", "Rectify", "trace"]


class Normalise(nn.Module):
    """Normalise at the front of a model: (x - mean) / std. Conversion folds it into layer 1.

    mean, std: one number each, or one a channel for samples (channels, height, width).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float | Tensor, std: float | Tensor) -> None:
        super().__init__()
        for name, value in (("mean", mean), ("std", std)):
            tensor = torch.as_tensor(value, dtype=torch.get_default_dtype()).detach().clone()
            if tensor.ndim > 1:
                raise ValueError(f"{name} must be one number or (channels,), not {tensor.shape}")
            self.register_buffer(name, tensor)
        if bool((self.std <= 0).any()):
            raise ValueError("std must be above 0")

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, ...) -> the same shape."""
        return (x - _per_channel(self.mean, x.ndim)) / _per_channel(self.std, x.ndim)


def _per_channel(value: Tensor, ndim: int) -> Tensor:
    return value if value.ndim == 0 else value.view(1, -1, *[1] * (ndim - 2))


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation; ``path`` is where the model keeps it."""

    path: str


@dataclass(frozen=True, eq=False)
class Linear(Operation):
    """y = weight @ x + bias; float64 (outputs, inputs) and (outputs,)."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, eq=False)
class Affine(Operation):
    """y = scale * x + shift, one of each a channel (axis 1) or one for all; float64."""

    scale: Tensor
    shift: Tensor


@dataclass(frozen=True, eq=False)
class Rectify(Operation):
    """y = max(x, 0): becomes spikes."""


@dataclass(frozen=True, eq=False)
class FlattenOp(Operation):
    """Every sample becomes one row."""


class _Skip(Operation):
    """Nothing happens at inference (Dropout, Identity)."""


#: What to do about layers people are likely to have. Matched by class name.
_ADVICE = {
    "Softmax": "drop it: the largest logit is the same without it",
    "LogSoftmax": "drop it: the largest logit is the same without it",
    "Sigmoid": "drop it after the last layer; between layers train with nn.ReLU",
    "ReLU6": "train with nn.ReLU",
    "Conv2d": "convolutions do not convert yet: use nn.Flatten and nn.Linear",
    "MaxPool2d": "pooling does not convert yet: use nn.Flatten and nn.Linear",
    "AvgPool2d": "pooling does not convert yet: use nn.Flatten and nn.Linear",
    "GELU": "train with nn.ReLU",
    "SiLU": "train with nn.ReLU",
    "Tanh": "train with nn.ReLU",
    "LeakyReLU": "train with nn.ReLU",
    "ELU": "train with nn.ReLU",
    "LayerNorm": "use nn.BatchNorm1d, which folds into the weights",
}
_DEFAULT_ADVICE = (
    "supported are Linear, ReLU, BatchNorm1d, Flatten, Dropout, Identity, Sequential and"
    " spikeloom.conversion.Normalise in front"
)


class _UnsupportedError(Exception):
    """A reason, and what to do."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}; {advice}")


def _linear(path: str, m: nn.Linear) -> Operation:
    weight = m.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if m.bias is None else m.bias.detach().double()
    return Linear(path, weight, bias)


def _batch_norm(path: str, m: nn.BatchNorm1d) -> Operation:
    if m.running_mean is None or m.running_var is None:
        raise _UnsupportedError(
            "it normalises by each batch, not by running statistics", "use track_running_stats=True"
        )
    scale = (m.running_var.double() + m.eps).rsqrt()
    if m.weight is not None:
        scale = scale * m.weight.detach().double()
    shift = -m.running_mean.double() * scale
    if m.bias is not None:
        shift = shift + m.bias.detach().double()
    return Affine(path, scale, shift)


def _flatten(path: str, m: nn.Flatten) -> Operation:
    if (m.start_dim, m.end_dim) != (1, -1):
        raise _UnsupportedError("it keeps some axes", "use nn.Flatten() with its defaults")
    return FlattenOp(path)


def _normalise(path: str, m: Normalise) -> Operation:
    scale = 1 / m.std.double()
    return Affine(path, scale, -m.mean.double() * scale)


_MODULES: dict[type[nn.Module], Callable[[str, Any], Operation]] = {
    nn.Linear: _linear,
    nn.ReLU: lambda path, m: Rectify(path),
    nn.BatchNorm1d: _batch_norm,
    nn.Flatten: _flatten,
    nn.Dropout: lambda path, m: _Skip(path),
    nn.Identity: lambda path, m: _Skip(path),
    Normalise: _normalise,
}


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Keep our own leaf modules whole, besides torch's."""
        return isinstance(m, Normalise) or super().is_leaf_module(m, module_qualified_name)


def _call(node: fx.Node) -> Operation:
    """Turn a functional call or a method into an operation."""
    name, target = node.name, node.target
    if target in (torch.relu, functional.relu, "relu"):
        return Rectify(name)
    if target in (functional.dropout,):
        return _Skip(name)
    if target in (torch.flatten, "flatten"):
        rest = (*node.args[1:], *(node.kwargs.get(k) for k in ("start_dim", "end_dim")))
        if tuple(a for a in rest if a is not None) in ((1,), (1, -1)):
            return FlattenOp(name)
        raise _UnsupportedError("it does not keep the batch axis alone", "use torch.flatten(x, 1)")
    shown = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    raise _UnsupportedError(f"the call {shown!r} has no spiking form yet", _DEFAULT_ADVICE)


def _operation(node: fx.Node, modules: dict[str, nn.Module]) -> Operation:
    if node.op != "call_module":
        return _call(node)
    path = str(node.target)
    module = modules[path]
    build = _MODULES.get(type(module))
    if build is None:
        kind = type(module).__name__
        raise _UnsupportedError(
            f"{kind} has no spiking form yet", _ADVICE.get(kind, _DEFAULT_ADVICE)
        )
    return build(path, module)


def trace(model: nn.Module) -> list[Operation]:
    """List the operations of a model at inference, in order, each fed by the one before.

    The model is copied and left as it is. Raises UnsupportedModelError with every problem found,
    one a line: path, reason, what to do.
    """
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(f"expected a torch.nn.Module, not {type(model).__name__}")
    # a bare layer is a network of one
    root = nn.Sequential(copy.deepcopy(model)) if type(model) in _MODULES else copy.deepcopy(model)
    root.eval()
    try:
        graph = _Tracer().trace(root)
    except Exception as error:  # the model's own forward runs here, and may raise anything
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnsupportedModelError(
            f"{type(model).__name__}.forward cannot be followed ({first}): no branches on data,"
            " one input"
        ) from error
    modules = dict(root.named_modules())
    operations: list[Operation] = []
    problems: list[str] = []
    previous: fx.Node | None = None
    for node in graph.nodes:
        where = str(node.target) if node.op == "call_module" else node.name
        try:
            if node.op == "placeholder":
                if previous is not None:
                    raise _UnsupportedError("a second input", "a model has one input")
            elif node.op == "output":
                if node.args[0] is not previous:
                    raise _UnsupportedError(
                        "the output is not the last layer's", "return one tensor"
                    )
            elif node.op != "get_attr":
                operation = _operation(node, modules)
                if node.all_input_nodes != [previous]:
                    raise _UnsupportedError(
                        "it does not follow the layer before it alone",
                        "skips and branches come later: use a chain of layers",
                    )
                if not isinstance(operation, _Skip):
                    operations.append(operation)
        except _UnsupportedError as problem:
            problems.append(f"{where}: {problem}")
        previous = node
    if problems:
        head = f"{type(model).__name__} cannot be converted, {len(problems)} problem(s):"
        raise UnsupportedModelError("\n  ".join([head, *problems]))
    return operations
