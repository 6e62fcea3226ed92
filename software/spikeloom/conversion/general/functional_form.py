"""A graph without in-place operations and without shared modules: every node has its own value."""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from spikeloom.conversion.general.arguments import arguments, operation
from spikeloom.conversion.general.constants import free_name

__all__ = ["drop_nothings", "out_of_place", "separate_call_sites"]

#: Operations whose result may share memory with their input.
_VIEWS = {
    "flatten", "unflatten", "reshape", "view", "permute", "transpose", "swapaxes", "movedim",
    "squeeze", "unsqueeze", "expand", "expand_as", "contiguous", "detach", "chunk", "split",
    "unbind", "getitem", "narrow", "select", "t", "view_as", "reshape_as", "getattr", "float", "to",
    "type_as",
}  # fmt: skip
_VIEW_MODULES = (nn.Flatten, nn.Unflatten)
_SAME = ("dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_dropout")
_SAME_MODULES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)

_OPERATORS: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}  # fmt: skip


def separate_call_sites(root: nn.Module, graph: fx.Graph) -> None:
    """Give every call of a module a copy of its own, and every node the path it reports by."""
    calls: dict[str, int] = {}
    for node in graph.nodes:
        node.meta["path"] = node.name
        if node.op != "call_module":
            continue
        target = str(node.target)
        calls[target] = count = calls.get(target, 0) + 1
        node.meta["path"] = target if count == 1 else f"{target} (call {count})"
        if count > 1:
            parent, _, name = target.rpartition(".")
            name = free_name(root.get_submodule(parent), f"{name}_call{count}")
            twin = f"{parent}.{name}" if parent else name
            module = copy.deepcopy(root.get_submodule(target))
            root.get_submodule(parent).add_module(name, module)
            node.target = twin


def _in_place(root: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(root.get_submodule(str(node.target)), "inplace", False))
    if node.op == "call_method":
        name = str(node.target)
        return name.endswith("_") and not name.endswith("__")
    if node.op != "call_function":
        return False
    if node.target in _OPERATORS:
        return node.meta["value"].kind == "tensor"  # sizes are numbers, which += leaves alone
    name = operation(node) or ""
    return name.endswith("_") or bool(arguments(node).get("inplace", False))


def _plain(root: nn.Module, node: fx.Node) -> bool:
    """Make a node give a new tensor instead; whether there is such a form."""
    if node.op == "call_module":
        root.get_submodule(str(node.target)).inplace = False  # type: ignore[assignment]
        return True
    if node.op == "call_method":
        plain = str(node.target)[:-1]
        if not hasattr(torch.Tensor, plain):
            return False
        node.target = plain
        return True
    if node.target in _OPERATORS:
        node.target = _OPERATORS[node.target]
        return True
    name = operation(node) or ""
    if name.endswith("_"):
        target = getattr(torch, name[:-1], None) or getattr(functional, name[:-1], None)
        if target is None:
            return False
        node.target = target
        return True
    assert callable(node.target)
    bound = inspect.signature(node.target).bind(*node.args, **node.kwargs)
    bound.arguments["inplace"] = False
    node.args, node.kwargs = bound.args, bound.kwargs
    return True


def out_of_place(root: nn.Module, graph: fx.Graph) -> list[str]:
    """Rewrite in-place operations; problems, 'path: reason; advice'.

    Whoever reads an overwritten tensor later gets the result, as in torch. One that is seen through
    a view of it as well has no such form.
    """
    problems: list[str] = []
    storage: dict[fx.Node, fx.Node] = {}  # node whose memory a node may share
    same: dict[fx.Node, fx.Node] = {}  # first node with the same tensor
    order = {node: index for index, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        storage[node] = same[node] = node
        source = next(iter(node.all_input_nodes), None)
        if node.op == "output" or source is None:
            continue
        if _in_place(root, node):
            source = node.args[0] if node.args else source
            assert isinstance(source, fx.Node)
            later = {
                n: [u for u in n.users if order[u] > order[node]]
                for n in order
                if n in storage and n is not node and storage[n] is storage[source]
            }
            if any(users and same[n] is not same[source] for n, users in later.items()):
                problems.append(
                    f"{node.meta['path']}: it overwrites a tensor that is read later through a"
                    " view; use inplace=False"
                )
            elif not _plain(root, node):
                problems.append(
                    f"{node.meta['path']}: it overwrites its input in place; use the form that"
                    " returns a new tensor"
                )
            else:
                for n, users in later.items():
                    for user in users:
                        user.replace_input_with(n, node)
            storage[node], same[node] = storage[source], same[source]
        elif _shares(root, node, _SAME, _SAME_MODULES):
            storage[node], same[node] = storage[source], same[source]
        elif _shares(root, node, _VIEWS, _VIEW_MODULES):
            storage[node] = storage[source]
    return problems


def drop_nothings(root: nn.Module, graph: fx.Graph) -> None:
    """Take out what does nothing at inference, so that no later mode can wake it."""
    for node in list(graph.nodes):
        idle = _shares(root, node, _SAME, _SAME_MODULES)
        if idle and (node.op == "call_module" or not arguments(node).get("training", True)):
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.erase_node(node)


def _shares(root: nn.Module, node: fx.Node, names: Any, modules: tuple[type, ...]) -> bool:
    if node.op == "call_module":
        return type(root.get_submodule(str(node.target))) in modules
    return node.op in ("call_method", "call_function") and operation(node) in names
