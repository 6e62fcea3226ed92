"""Somebody else's NIR graph as an ordinary torch module, where that is sound.

A rate-coded IF neuron that resets by subtraction gives max(0, r I) / v_threshold spikes a step: a
ReLU and a factor. Everything that remembers in another way (leaks, synapses, loops) is no function
of its input's rate that a ReLU network has, and is refused with the name of its node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from spikeloom.errors import UnsupportedModelError
from spikeloom.exchange.nir_layers import (
    Problem,
    channels,
    convolution,
    factor,
    flatten,
    geometry,
    linear,
    multiply,
    some,
    sum_pool,
)
from spikeloom.exchange.pieces import Array

__all__ = ["RateNetwork", "Reset", "read_rate_coded"]

Reset = Literal["subtract", "zero"]

_REASONS = {
    "LIF": "it leaks, so its rate is no ReLU of its input; train with IF neurons or nn.ReLU",
    "CubaLIF": "it leaks and filters its input; train with IF neurons or nn.ReLU",
    "CubaLI": "it leaks and filters its input; end with an Affine or an I node",
    "LI": "it leaks; only right before the output is its mean a factor of its input",
    "I": "it sums for ever; only right before the output is its mean a factor of its input",
    "Threshold": "it compares without memory, so its rate says nothing about how much",
    "Delay": "it delays; rates do not depend on it, so leave it out",
    "NIRGraph": "it is a graph in the graph (how recurrent layers are written); flatten the graph",
}


class RateNetwork(nn.Module):
    """A graph of layers: what each node gives, the sum of its sources fed into its layer.

    order: (node, sources), sources first; the last one gives the output. "" is the input.
    """

    def __init__(
        self, layers: Mapping[str, nn.Module], order: Sequence[tuple[str, tuple[str, ...]]]
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.order = tuple(order)

    def forward(self, x: Tensor) -> Tensor:
        """(n, *input shape) -> (n, outputs)."""
        values = {"": x}
        out = x
        for name, sources in self.order:
            out = values[sources[0]]
            for source in sources[1:]:
                out = out + values[source]
            if name in self.layers:
                out = self.layers[name](out)
            values[name] = out
        return out


def read_rate_coded(graph: Any, reset: Reset) -> nn.Module:
    """Read a graph as the ReLU network that it is the rate code of, in eval mode.

    Raises UnsupportedModelError, one line, naming every node that has no such meaning.
    """
    ends = [_ends(graph, kind) for kind in ("Input", "Output")]
    order = _order(graph, *ends)
    reader = _Reader(graph, reset, {source for source, target in graph.edges if target == ends[1]})
    layers: dict[str, nn.Module] = {}
    keys, problems = {ends[0]: ""}, []
    steps = []
    for name in order:
        keys[name] = _key(name, keys.values())
        try:
            layer = reader.layer(name)
            if layer is not None:
                layers[keys[name]] = layer
        except Problem as problem:
            problems.append(f"{name!r}: {problem}")
        except (ValueError, RuntimeError, TypeError, AttributeError, IndexError) as error:
            problems.append(f"{name!r}: {' '.join(str(error).split())}")
        steps.append((keys[name], tuple(keys[s] for s, t in graph.edges if t == name)))
    if problems:
        raise UnsupportedModelError(
            f"the NIR graph is no rate-coded ReLU network: {'; '.join(problems)}"
        )
    return RateNetwork(layers, steps).eval()


def _kind(node: Any) -> str:
    return type(node).__name__


def _ends(graph: Any, kind: str) -> str:
    found = [name for name, node in graph.nodes.items() if _kind(node) == kind]
    if len(found) != 1:
        raise UnsupportedModelError(f"the NIR graph has {len(found)} {kind} nodes {found}, not one")
    return found[0]


def _order(graph: Any, first: str, last: str) -> list[str]:
    """Names in an order in which each follows its sources, without the input; all used ones."""
    unknown = sorted({n for edge in graph.edges for n in edge} - set(graph.nodes))
    if unknown:
        raise UnsupportedModelError(f"the NIR graph has edges to {unknown[0]!r}, which is no node")
    sources = {n: [a for a, b in graph.edges if b == n] for n in graph.nodes}
    wanted, waiting = {last}, [last]
    while waiting:
        for source in sources[waiting.pop()]:
            if source not in wanted:
                wanted.add(source)
                waiting.append(source)
    dangling = sorted(n for n in wanted if not sources[n] and n != first)
    if dangling:
        raise UnsupportedModelError(f"nothing feeds the NIR node {dangling[0]!r}")
    done, order = {first}, []
    while len(done) < len(wanted):
        ready = [n for n in graph.nodes if n in wanted - done and done.issuperset(sources[n])]
        if not ready:
            loop = ", ".join(map(repr, sorted(wanted - done)))
            raise UnsupportedModelError(
                f"the NIR graph is recurrent, a loop goes through or before {loop}: a sample must"
                " pass every node once"
            )
        order += ready
        done.update(ready)
    return order


def _key(name: str, taken: Any) -> str:
    """A name that a torch module may have."""
    wanted = name.replace(".", "_") or "node"
    while wanted in taken or hasattr(nn.ModuleDict, wanted):
        wanted += "_"
    return wanted


class _Reader:
    """Layers of nodes. before_output: names of what feeds the output."""

    def __init__(self, graph: Any, reset: Reset, before_output: set[str]) -> None:
        self.graph, self.reset, self.before_output = graph, reset, before_output
        self.forms: dict[str, Callable[[str, Any], nn.Module | None]] = {
            "Affine": lambda name, n: linear(n.weight, n.bias),
            "Linear": lambda name, n: linear(n.weight, None),
            "Conv1d": lambda name, n: convolution(nn.Conv1d, n),
            "Conv2d": lambda name, n: convolution(nn.Conv2d, n),
            "Flatten": lambda name, n: flatten(n),
            "AvgPool2d": lambda name, n: nn.AvgPool2d(*geometry(n)),
            "SumPool2d": lambda name, n: sum_pool(n),
            "Scale": self.scale,
            "IF": self.integrate_and_fire,
            "I": self.integrator,
            "LI": self.integrator,
            "Output": lambda name, n: None,
        }

    def layer(self, name: str) -> nn.Module | None:
        """Return the layer of a node, None where it changes nothing; raise Problem."""
        node = self.graph.nodes[name]
        if _kind(node) not in self.forms:
            reason = _REASONS.get(_kind(node), "it is unknown here")
            raise Problem(f"{_kind(node)}: {reason}")
        return self.forms[_kind(node)](name, node)

    def integrate_and_fire(self, name: str, node: Any) -> nn.Module:
        if self.reset != "subtract":
            raise Problem(
                "IF: reset to zero forgets what is above the threshold, so its rate is no ReLU of"
                " its input; train with reset by subtraction"
            )
        if np.any(np.asarray(node.v_reset) != 0):
            raise Problem(f"IF: it resets to v_reset = {some(node.v_reset)}, only 0 is read")
        if self.scale_behind(name):
            return nn.ReLU()
        behind = factor(self.unit(node))
        return nn.ReLU() if behind is None else nn.Sequential(nn.ReLU(), behind)

    def unit(self, node: Any) -> Array:
        """Current that makes an IF node spike every step, one a channel."""
        theta, r = channels(node.v_threshold, "v_threshold"), channels(node.r, "r")
        if not (np.all(theta > 0) and np.all(r > 0)):
            raise Problem(f"IF: v_threshold and r must be above 0, not {some(theta)} and {some(r)}")
        return theta / r

    def scale_behind(self, name: str) -> str:
        """The only node that an IF node feeds, if it is a Scale that nothing else feeds."""
        targets = [b for a, b in self.graph.edges if a == name]
        if len(targets) == 1 and _kind(self.graph.nodes[targets[0]]) == "Scale":
            sources = [a for a, b in self.graph.edges if b == targets[0]]
            return targets[0] if sources == [name] else ""
        return ""

    def scale(self, name: str, node: Any) -> nn.Module | None:
        scale = channels(node.scale, "scale")
        sources = [a for a, b in self.graph.edges if b == name]
        if len(sources) == 1 and self.scale_behind(sources[0]) == name:
            before = self.graph.nodes[sources[0]]
            if _kind(before) == "IF":  # a threshold and what a spike is worth: one factor
                unit = self.unit(before)
                return (
                    None if np.all(unit == scale) else multiply(scale / unit, np.ndim(node.scale))
                )
        return multiply(scale, np.ndim(node.scale))

    def integrator(self, name: str, node: Any) -> nn.Module | None:
        if name not in self.before_output:
            raise Problem(f"{_kind(node)}: {_REASONS[_kind(node)]}")
        if np.any(np.asarray(getattr(node, "v_leak", 0)) != 0):
            raise Problem(f"{_kind(node)}: v_leak is {some(node.v_leak)}, only 0 is read")
        r = channels(node.r, "r")
        if not np.all(r > 0):
            raise Problem(f"{_kind(node)}: r must be above 0, not {some(r)}")
        return factor(1 / r)
