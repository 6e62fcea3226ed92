"""What a model computes, as a graph of plain operations in topological order.

``torch.fx`` records the calls, so that a Sequential, nested ones, residual blocks and a module with
its own straight-line ``forward`` all look the same. Whatever has no operation is collected, and
reported together in one error.
"""

from __future__ import annotations

import functools

from torch import Tensor, fx, nn

from spikeloom.conversion.calls import IN_PLACE, call
from spikeloom.conversion.general.copies import inference_copy
from spikeloom.conversion.modules import MODULES
from spikeloom.conversion.operations import (
    AddOp,
    Affine,
    Normalise,
    Nothing,
    Operation,
    Size,
    Traced,
    Unknown,
)
from spikeloom.conversion.unsupported import UnsupportedError, advice, where_it_stopped
from spikeloom.errors import UnsupportedModelError
from spikeloom.neuron import SpikePack

__all__ = ["Normalise", "trace"]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Keep our own leaf modules whole, besides torch's."""
        return isinstance(m, (Normalise, SpikePack)) or super().is_leaf_module(
            m, module_qualified_name
        )


class _Walk:
    """Turns the nodes of a graph into steps, one after the other."""

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self.modules = modules
        self.steps: list[tuple[Operation, tuple[int, ...]]] = []
        self.problems: list[str] = []
        self.values: dict[fx.Node, int] = {}  # step that gives a node's value; -1: the input
        self.output = -1
        self.has_input = False

    def node(self, node: fx.Node) -> None:
        where = str(node.target) if node.op == "call_module" else node.name
        try:
            if node.op == "placeholder":
                if self.has_input:
                    raise UnsupportedError("a second input", "a model has one input")
                self.has_input = True
                self.values[node] = -1
            elif node.op == "output":
                given = node.args[0]
                if not isinstance(given, fx.Node):
                    raise UnsupportedError("the output is not one tensor", "return one tensor")
                self.output = self.values.get(given, -1)
            elif node.op == "get_attr":
                self._constant(node)
            else:
                self._operation(node)
        except UnsupportedError as problem:
            self.problems.append(f"{where}: {problem}")
            self._append(node, Unknown(where), ())

    def _constant(self, node: fx.Node) -> None:
        value = functools.reduce(getattr, str(node.target).split("."), self.modules[""])
        if isinstance(value, Tensor):
            node.meta["constant"] = value.detach().cpu().double()

    def _operation(self, node: fx.Node) -> None:
        found = self._module(str(node.target)) if node.op == "call_module" else call(node)
        if isinstance(found[0], Size):
            node.meta["size"] = True
            return
        tensors = [n for n in node.args if isinstance(n, fx.Node) and not n.meta.get("size")]
        tensors += [n for k, n in node.kwargs.items() if isinstance(n, fx.Node)]
        if isinstance(found[0], Affine):
            tensors = [n for n in tensors if n.meta.get("constant") is None]
        wanted = 2 if isinstance(found[0], AddOp) else 1
        if len(tensors) != wanted or any(n not in self.values for n in tensors):
            raise UnsupportedError(
                "it takes something else than outputs of layers",
                "keep parameters in layers such as nn.Linear and nn.Conv2d",
            )
        sources = tuple(self.values[n] for n in tensors)
        if isinstance(found[0], Nothing):
            self.values[node] = sources[0]
            return
        for op in found:
            self._append(node, op, sources)
            sources = (self.values[node],)
        if self._in_place(node):
            # whoever reads the overwritten tensor from now on gets the result
            for other in [n for n, v in self.values.items() if v == self.values[tensors[0]]]:
                self.values[other] = self.values[node]

    def _module(self, path: str) -> list[Operation]:
        module = self.modules[path]
        build = MODULES.get(type(module))
        if build is None:
            kind = type(module).__name__
            raise UnsupportedError(f"{kind} has no spiking form yet", advice(kind))
        found = build(path, module)
        return found if isinstance(found, list) else [found]

    def _append(self, node: fx.Node, op: Operation, sources: tuple[int, ...]) -> None:
        self.values[node] = len(self.steps)
        self.steps.append((op, sources))

    def _in_place(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return bool(getattr(self.modules[str(node.target)], "inplace", False))
        return node.target in IN_PLACE or node.kwargs.get("inplace") is True


def trace(model: nn.Module) -> Traced:
    """Record the operations of a model at inference; problems are listed in the result.

    The model is copied and left as it is. Raises UnsupportedModelError for what is no module, or
    cannot be followed at all.
    """
    # a bare layer is a network of one
    root = inference_copy(model)
    root = nn.Sequential(root) if type(root) in MODULES else root
    root.eval()
    try:
        graph = _Tracer().trace(root)
    except Exception as error:  # the model's own forward runs here, and may raise anything
        raise UnsupportedModelError(
            f"{type(model).__name__}.forward cannot be followed ({where_it_stopped(error)}): no"
            " branches on data, one input"
        ) from error
    walk = _Walk(dict(root.named_modules()))
    for node in graph.nodes:
        walk.node(node)
    return Traced(tuple(walk.steps), walk.output, tuple(walk.problems), type(model).__name__)
