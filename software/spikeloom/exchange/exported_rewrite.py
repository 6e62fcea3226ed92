"""The graph of an exported program with layers of torch.nn, so that conversion can follow it.

torch.export writes calls with the weights as arguments; here they become layers again, named after
their weights. What has no layer stays a call, and conversion reports it by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from spikeloom.exchange.rewriter import Rewriter, Sizes

__all__ = ["rewrite_exported"]


def rewrite_exported(module: fx.GraphModule) -> fx.GraphModule:
    """Rewrite the graph of an exported program with layers of torch.nn."""
    return _ExportedRewriter(module).run()


class _ExportedRewriter(Rewriter):
    """Forms of calls of ATen, by their names."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__()
        self.old = module
        self.forms: dict[str, Callable[[Any, list[Any]], fx.Node | None]] = {
            "linear.default": self.linear,
            "conv2d.default": self.convolution,
            "conv2d.padding": self.convolution,
            "batch_norm.default": self.batch_norm,
            "max_pool2d.default": lambda n, a: self.pool(nn.MaxPool2d, n, a),
            "avg_pool2d.default": lambda n, a: self.pool(nn.AvgPool2d, n, a),
            "adaptive_avg_pool2d.default": lambda n, a: self.pool(nn.AdaptiveAvgPool2d, n, a),
            "flatten.using_ints": self.flat,
            "view.default": self.view,
            "reshape.default": self.view,
            "mean.dim": self.mean_of,
            "dropout.default": lambda n, a: None if len(a) < 3 or a[2] else self.given(a[0]),
        }
        activations = {
            "relu": nn.ReLU,
            "relu_": nn.ReLU,
            "relu6": nn.ReLU6,
            "sigmoid": nn.Sigmoid,
            "silu": nn.SiLU,
            "tanh": nn.Tanh,
            "gelu": nn.GELU,
        }
        for name, kind in activations.items():
            self.forms[f"{name}.default"] = self.activation(kind)
        for name in ("alias", "clone", "contiguous", "detach"):
            self.forms[f"{name}.default"] = lambda n, a: self.given(a[0])
        for name in ("add", "sub", "mul", "div"):
            for suffix in ("Tensor", "Scalar"):
                self.forms[f"{name}.{suffix}"] = self.calculation(name)
            self.forms[f"{name}_.Tensor"] = self.calculation(name)

    def run(self) -> fx.GraphModule:
        """Return the new module."""
        tensors = dict(self.old.named_parameters()) | dict(self.old.named_buffers())
        for node in self.old.graph.nodes:
            target = str(node.target)
            if node.op == "get_attr" and target in tensors:
                self.constants[node] = tensors[target].detach()
            elif node.op == "call_module":
                continue  # checks of what comes in
            elif node.op == "output":
                results = node.args[0]
                single = isinstance(results, (tuple, list)) and len(results) == 1
                given = fx.map_arg(results[0] if single else results, self.given)
                self.graph.output(given)
            else:
                self.new[node] = self.node(node)
        return self.finish("ExportedModel")

    def node(self, node: fx.Node) -> fx.Node:
        """Copy a node, or make what it is instead."""
        name = getattr(node.target, "__name__", "")
        ours = node.op == "call_function" and getattr(node.target, "namespace", "") == "aten"
        form = self.forms.get(name) if ours and not node.kwargs else None
        found = form(node, list(node.args)) if form is not None else None
        return self.graph.node_copy(node, self.given) if found is None else found

    def shape(self, node: Any) -> Sizes | None:
        """Shape of what an old node gives; None for an axis left open."""
        value = node.meta.get("val") if isinstance(node, fx.Node) else None
        if not isinstance(value, torch.Tensor):
            return None
        return tuple(n if isinstance(n, int) else None for n in value.shape)

    def weights(self, *nodes: Any) -> list[nn.Parameter | None] | None:
        """Constants as parameters; None where one is no constant."""
        if any(n is not None and n not in self.constants for n in nodes):
            return None
        return [None if n is None else nn.Parameter(self.constants[n].clone()) for n in nodes]

    def owner(self, node: Any) -> str:
        """The layer that a weight belongs to."""
        return str(node.target).rpartition(".")[0] or node.name

    def linear(self, node: Any, a: list[Any]) -> fx.Node | None:
        found = self.weights(a[1], *a[2:3])
        if found is None or found[0] is None:
            return None
        outputs, inputs = found[0].shape
        layer = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=False)
        layer.weight, layer.bias = found[0], (*found, None)[1]  # type: ignore[assignment]
        return self.call(self.owner(a[1]), layer, a[0])

    def convolution(self, node: Any, a: list[Any]) -> fx.Node | None:
        found = self.weights(a[1], *a[2:3])
        if found is None or found[0] is None:
            return None
        stride, padding, dilation, groups = (*a[3:], *((1, 0, 1, 1)[len(a[3:]) :]))
        outputs, inputs, *kernel = found[0].shape
        sizes = (
            tuple(v) if isinstance(v, (list, tuple)) else v for v in (stride, padding, dilation)
        )
        layer = nn.Conv2d(inputs * groups, outputs, tuple(kernel), *sizes, groups, bias=False)  # type: ignore[arg-type]
        layer.weight, layer.bias = found[0], (*found, None)[1]
        return self.call(self.owner(a[1]), layer, a[0])

    def batch_norm(self, node: Any, a: list[Any]) -> fx.Node | None:
        found, shape = self.weights(*a[1:5]), self.shape(a[0])
        if found is None or shape is None or a[5] or found[2] is None or found[3] is None:
            return None
        kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
        layer = kind(found[2].numel(), eps=a[7], affine=False)
        layer.weight, layer.bias = found[0], found[1]  # type: ignore[assignment]
        layer.running_mean, layer.running_var = found[2].data, found[3].data
        return self.call(self.owner(a[3]), layer, a[0])

    def pool(self, kind: type[nn.Module], node: Any, a: list[Any]) -> fx.Node:
        given: list[Any] = [tuple(v) if isinstance(v, (list, tuple)) else v for v in a[1:]]
        if kind is nn.MaxPool2d and len(given) > 4:
            given.insert(4, False)  # return_indices stands before ceil_mode
        arguments: list[Any] = [None if v == () else v for v in given]
        return self.call(node.name, kind(*arguments), a[0])

    def activation(self, kind: type[nn.Module]) -> Callable[[Any, list[Any]], fx.Node | None]:
        return lambda n, a: self.call(n.name, kind(), a[0]) if len(a) == 1 else None

    def calculation(self, kind: str) -> Callable[[Any, list[Any]], fx.Node | None]:
        def form(node: Any, a: list[Any]) -> fx.Node | None:
            return self.arithmetic(
                node.name, kind, (a[0], a[1]), (self.shape(a[0]), self.shape(a[1]))
            )

        return form

    def mean_of(self, node: Any, a: list[Any]) -> fx.Node | None:
        return self.mean(node.name, a[0], a[1], len(a) > 2 and a[2], self.shape(a[0]))

    def flat(self, node: Any, a: list[Any]) -> fx.Node | None:
        whole = a[1:2] == [1] and a[2:3] in ([], [-1])
        return self.flatten(self.given(a[0])) if whole else None

    def view(self, node: Any, a: list[Any]) -> fx.Node | None:
        shape, sizes = self.shape(a[0]), a[1]
        if len(sizes) != 2 or not isinstance(sizes[1], int):
            return None
        batch, size = sizes
        kept = isinstance(batch, fx.Node) or (shape is not None and batch == shape[0])
        return self.rows(self.given(a[0]), size) if kept or (batch == -1 and size > 0) else None
