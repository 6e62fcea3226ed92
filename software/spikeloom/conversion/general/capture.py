"""What a model computes, as a torch.fx graph in which every operation has a rule.

The graph is the model's own: torch's operations with all their attributes, in-place ones made
plain, shared modules separated by call, batch norms folded. Run as it is, it gives what the model
gives.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikeloom.conversion.general.attention import Attention, Masked, written_out
from spikeloom.conversion.general.call_rules import call_rule
from spikeloom.conversion.general.constants import fold_constants, weights_into_layers
from spikeloom.conversion.general.copies import check_reading, inference_copy
from spikeloom.conversion.general.functional_form import (
    drop_nothings,
    out_of_place,
    separate_call_sites,
)
from spikeloom.conversion.general.module_rules import MODULE_RULES, module_rule
from spikeloom.conversion.general.norms import Affine, fold_norms
from spikeloom.conversion.general.rules import Rule
from spikeloom.conversion.general.running import Value, bind, run_node
from spikeloom.conversion.general.tree import transform
from spikeloom.conversion.operations import Normalise
from spikeloom.conversion.unsupported import UnsupportedError, where_it_stopped
from spikeloom.errors import InputError, UnsupportedModelError

__all__ = ["Captured", "capture"]


@dataclass(frozen=True, eq=False)
class Captured:
    """module: runs the graph. Nodes carry ``path``, ``value`` and ``rule`` in their ``meta``.

    name: of the model's class.
    """

    module: fx.GraphModule
    name: str

    @property
    def graph(self) -> fx.Graph:
        """The graph of the module."""
        return self.module.graph


#: Names that a captured module has for other things than the model's.
_TAKEN = {"spikes", *dir(fx.GraphModule)} - {*dir(nn.Module)}


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, (Normalise, Masked)):
            return True
        return not isinstance(m, Attention) and super().is_leaf_module(m, module_qualified_name)


def capture(model: nn.Module, samples: tuple[Any, ...]) -> Captured:
    """Capture a model at inference, as it runs on ``samples``, one tree of tensors an argument.

    The model is copied and left as it is. Raises UnsupportedModelError that lists every operation
    without a rule, one a line: path, reason; what to do.
    """
    root = inference_copy(model)
    name = type(root).__name__
    if type(root) in MODULE_RULES or type(root).__module__.startswith("torch.nn"):
        root = nn.Sequential(root) if not isinstance(root, nn.Sequential) else root
    root.eval()
    problems = _values(root) + written_out(root)
    module = _trace(root, name, len(samples))
    graph = module.graph
    separate_call_sites(module, graph)
    _try(module, samples, name)
    problems += out_of_place(module, graph)
    drop_nothings(module, graph)
    fold_constants(module, graph)
    weights_into_layers(module, graph)
    graph.eliminate_dead_code()
    _describe(module, samples)
    problems += _rules(module, graph)
    if problems:
        listed = dict.fromkeys(problems)
        head = f"{name} cannot be converted, {len(listed)} problem(s):"
        raise UnsupportedModelError("\n  ".join([head, *listed]), problems=tuple(listed))
    fold_norms(module, graph)
    graph.eliminate_dead_code()
    graph.lint()
    module.recompile()
    module.delete_all_unused_submodules()
    check_reading(model, samples, module(*samples))
    return Captured(module, name)


def _values(root: nn.Module) -> list[str]:
    """Problems of parameters and buffers that are no numbers."""
    broken = [
        path
        for path, t in [*root.named_parameters(), *root.named_buffers()]
        if t.is_floating_point() and not bool(torch.isfinite(t).all())
        if not path.endswith("mask") or bool(t.isnan().any())  # attention masks hold -inf
    ]
    return [f"{path}: its values are NaN or infinite; train the model again" for path in broken]


def _trace(root: nn.Module, name: str, given: int) -> fx.GraphModule:
    own = [*root._modules, *root._parameters, *root._buffers]
    taken = [key for key in own if key in _TAKEN]
    if taken:
        raise UnsupportedModelError(
            f"{name} has attributes {', '.join(taken)}: torch.fx and Spikeloom use these names;"
            " rename them"
        )
    defaults = _left_out(root, name, given)
    try:
        graph = _Tracer().trace(root, concrete_args=defaults)
    except Exception as error:  # the model's own forward runs here, and may raise anything
        raise UnsupportedModelError(
            f"{name}.forward cannot be followed ({where_it_stopped(error)}): no branches or loops"
            " on data or shapes"
        ) from error
    left_out = set([n for n in graph.nodes if n.op == "placeholder"][given:])
    for node in graph.nodes:  # fx checks what arguments with defaults are given
        if not left_out.isdisjoint(node.all_input_nodes):
            left_out.add(node)
    for node in [n for n in reversed(graph.nodes) if n in left_out]:
        graph.erase_node(node)
    module = fx.GraphModule(root, graph, name)
    module.eval()
    return module


def _left_out(root: nn.Module, name: str, given: int) -> dict[str, Any]:
    """Defaults of the arguments that calibration does not hold; InputError if one has none."""
    forward = inspect.signature(root.forward).parameters.values()
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in forward):
        raise UnsupportedModelError(f"{name}.forward takes *args or **kwargs: name its inputs")
    needed = sum(p.default is p.empty for p in forward)
    if not needed <= given <= len(forward):
        raise InputError(
            f"{name}.forward takes {needed} input(s), calibration holds {given}: give a tuple, one"
            " tensor an input"
        )
    return {p.name: p.default for p in list(forward)[given:]}


def _try(module: fx.GraphModule, samples: tuple[Any, ...], name: str) -> None:
    """Run a few samples; InputError with the model's own reason where it does not take them."""
    try:
        _describe(module, transform(samples, torch.clone))  # in-place operations are still in
    except _RunError as error:
        raise InputError(
            f"{name} does not take calibration samples {', '.join(_shapes(samples))}: {error}"
        ) from error


def _shapes(tree: Any) -> list[str]:
    if isinstance(tree, Tensor):
        return [f"{tuple(tree.shape)} of {str(tree.dtype).removeprefix('torch.')}"]
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    return [s for part in tree for s in _shapes(part)] if isinstance(tree, (tuple, list)) else []


class _RunError(Exception):
    """Where a graph stopped, and why."""


@torch.no_grad()
def _describe(module: fx.GraphModule, samples: tuple[Any, ...]) -> None:
    """Store what every node gives for the samples."""
    values = bind(module.graph, samples)
    for node in module.graph.nodes:
        node.meta.setdefault("path", node.name)
        try:
            values[node] = run_node(module, node, values)
        except Exception as error:  # torch's operations raise anything
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise _RunError(f"{node.meta['path']}: {first}") from error
        node.meta["value"] = Value.of(values[node])


def _rules(module: fx.GraphModule, graph: fx.Graph) -> list[str]:
    """Give every node its rule; problems, one a line."""
    problems = []
    for node in graph.nodes:
        try:
            node.meta["rule"] = _rule(module, node)
        except UnsupportedError as problem:
            problems.append(f"{node.meta['path']}: {problem}")
    return problems


def _rule(module: fx.GraphModule, node: fx.Node) -> Rule:
    if node.op == "placeholder":
        return Rule("input", "input")
    if node.op == "get_attr":
        low = node.meta["value"].low
        return Rule("constant", "constant", "unsigned" if low >= 0 else "signed")
    if node.op == "output":
        return Rule("output", "output")
    if node.op == "call_module":
        found = module.get_submodule(str(node.target))
        return (
            Rule("affine", "Affine", shifts=True)
            if isinstance(found, Affine)
            else module_rule(found)
        )
    return call_rule(node)
