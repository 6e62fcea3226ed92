"""What rewriting a traced module into plain torch layers needs, whoever traced it."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeloom.conversion.trace import Normalise

__all__ = ["Rewriter"]

Sizes = tuple[int | None, ...]


class Rewriter:
    """A new graph that grows; ``new`` maps old nodes to new ones, ``constants`` to tensors."""

    def __init__(self) -> None:
        self.root, self.graph = nn.Module(), fx.Graph()
        self.new: dict[fx.Node, fx.Node] = {}
        self.constants: dict[fx.Node, Tensor] = {}

    def finish(self, name: str) -> fx.GraphModule:
        """Return the new module without what nothing uses. name: of its class."""
        self.graph.owning_module = self.root  # type: ignore[assignment]
        self.graph.eliminate_dead_code()
        self.graph.lint()
        used = {str(n.target) for n in self.graph.nodes if n.op in ("call_module", "get_attr")}
        for child in [n for n, _ in self.root.named_children() if n not in used]:
            delattr(self.root, child)
        return fx.GraphModule(self.root, self.graph, class_name=name)

    def given(self, node: fx.Node) -> fx.Node:
        """Return the new node of an old one; a constant becomes a buffer."""
        if node not in self.new:
            name = self.free("constant")
            self.root.register_buffer(name, self.constants[node])
            self.new[node] = self.graph.get_attr(name)
        return self.new[node]

    def free(self, wanted: str) -> str:
        """Return a name for a module, without what torch uses for paths."""
        wanted = wanted.strip("/").replace("/", "_").replace(".", "_") or "node"
        name, count = wanted, 1
        while hasattr(self.root, name):
            count += 1
            name = f"{wanted}_{count}"
        return name

    def add(self, wanted: str, module: nn.Module) -> str:
        """Add a module under a free name; the name."""
        name = self.free(wanted)
        self.root.add_module(name, module)
        return name

    def call(self, name: str, module: nn.Module, node: fx.Node) -> fx.Node:
        """Call a new module on the new node of an old one."""
        return self.graph.call_module(self.add(name, module), (self.given(node),))

    def flatten(self, x: fx.Node) -> fx.Node:
        """Lay the samples of a new node out as rows."""
        return self.graph.call_function(torch.flatten, (x, 1))

    def rows(self, x: fx.Node, size: int) -> fx.Node:
        """Lay samples out as rows of a known length; -1: of any."""
        return self.flatten(x) if size == -1 else self.graph.call_method("reshape", (x, -1, size))

    def mean(self, name: str, x: fx.Node, axes: Any, keep: bool, shape: Sizes | None) -> Any:
        """Average all pixels of an image, keeping their axes or not; None for another mean."""
        if shape is None or len(shape) != 4 or sorted(axis % 4 for axis in axes or ()) != [2, 3]:
            return None
        mean = self.call(name, nn.AdaptiveAvgPool2d(1), x)
        return mean if keep else self.flatten(mean)

    def arithmetic(
        self, name: str, kind: str, operands: tuple[Any, Any], shapes: tuple[Any, Any]
    ) -> fx.Node | None:
        """Add two streams; or add, subtract, multiply, divide by a constant a channel.

        kind: add, sub, mul or div. operands: old nodes, constants among them, or numbers. None
        where neither of them says it.
        """
        fixed = [not isinstance(n, fx.Node) or n in self.constants for n in operands]
        if all(fixed):
            return None
        if not any(fixed):
            given = tuple(self.given(n) for n in operands)
            return self.graph.call_function(operator.add, given) if kind == "add" else None
        if fixed[0] and kind not in ("add", "mul"):
            return None
        at = 1 if fixed[0] else 0
        x, constant = operands[at], operands[1 - at]
        value = self.channels(constant, shapes[at])
        if value is None or (kind in ("mul", "div") and not bool((value > 0).all())):
            return None
        if kind == "add" and self.biased(x, value):
            return self.given(x)
        if kind in ("add", "sub"):
            return self.call(name, Normalise(-value if kind == "add" else value, 1.0), x)
        return self.call(name, Normalise(0.0, 1 / value if kind == "mul" else value), x)

    def channels(self, constant: Any, shape: Sizes | None) -> Tensor | None:
        """A constant as one number or (channels,), None where it is more than that."""
        value = self.constants[constant] if isinstance(constant, fx.Node) else constant
        value = torch.as_tensor(value, dtype=torch.get_default_dtype())
        if value.numel() == 1:
            return value.reshape(())
        if shape is None or value.ndim > len(shape) or len(shape) < 2:
            return None
        full = [1] * (len(shape) - value.ndim) + list(value.shape)
        return value.reshape(-1) if full[1] == value.numel() else None

    def biased(self, old: fx.Node, value: Tensor) -> bool:
        """Make a constant the bias of the Linear before it, if nothing else reads that."""
        new = self.given(old)
        layer = self.root.get_submodule(str(new.target)) if new.op == "call_module" else None
        if not (isinstance(layer, nn.Linear) and layer.bias is None and len(old.users) == 1):
            return False
        layer.bias = nn.Parameter(value.expand(layer.out_features).clone())
        return True
