"""Run the nodes of a captured graph one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn
from torch.fx.node import map_arg

__all__ = ["Value", "bind", "run_node"]


@dataclass(frozen=True)
class Value:
    """What a node gave for a few samples. kind: tensor, other (sizes, tuples), or constant."""

    kind: str
    shape: tuple[int, ...] = ()
    low: float = 0.0
    floating: bool = True

    @classmethod
    def of(cls, value: Any) -> Value:
        """Describe a value."""
        if not isinstance(value, Tensor):
            return cls("other")
        low = float(value.min()) if value.numel() and not value.is_complex() else 0.0
        return cls("tensor", tuple(value.shape), low, value.is_floating_point())


def bind(graph: fx.Graph, inputs: tuple[Any, ...]) -> dict[fx.Node, Any]:
    """Inputs by the placeholder that they go to."""
    holders = [node for node in graph.nodes if node.op == "placeholder"]
    return dict(zip(holders, inputs, strict=True))


def run_node(root: nn.Module, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    """Return what a node gives, from the values of those before it."""
    if node.op == "placeholder":
        return values[node]
    if node.op == "get_attr":
        found: Any = root
        for name in str(node.target).split("."):
            found = getattr(found, name)
        return found

    def value(n: fx.Node) -> Any:
        return values[n]

    args = map_arg(node.args, value)
    kwargs = map_arg(node.kwargs, value)
    if node.op == "call_module":
        return root.get_submodule(str(node.target))(*args, **kwargs)  # type: ignore[misc]
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)  # type: ignore[index]
    if node.op == "output":
        return args[0]  # type: ignore[index]
    assert callable(node.target)
    return node.target(*args, **kwargs)  # type: ignore[misc]
