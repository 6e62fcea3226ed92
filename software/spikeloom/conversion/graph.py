"""A folded model: nodes that each become one operation of the integer network, in order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor
from torch.nn import functional

from spikeloom.conversion.operations import Pair
from spikeloom.neuron import SpikePack

__all__ = [
    "Added",
    "Frame",
    "Graph",
    "Node",
    "Padded",
    "Pooled",
    "Shape",
    "Synaptic",
    "forward",
    "pad",
    "per_channel",
    "potentials",
]

Shape = tuple[int, ...]
#: Pixels at (top, bottom, left, right).
Frame = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Node:
    """One node. sources: names of the nodes that feed it, "input" for the input.

    shape: of what leaves, (channels, height, width) or (features,).
    """

    name: str
    sources: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True, eq=False)
class Synaptic(Node):
    """min(relu(weight * x + bias + skip_scale q), bound), or without relu; float64.

    weight: (outputs, inputs), or (outputs, inputs / groups, height, width) of a convolution.
    Without fires it is the readout, or a convolution whose potentials are another's skip.
    skip_scale: (outputs,) of the words q of a second source; ones where those are potentials.
    zeros: weights that are there only because gates hold no dilation and no groups.
    """

    weight: Tensor
    bias: Tensor
    fires: bool
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    groups: int = 1
    skip_scale: Tensor | None = None
    bound: float = math.inf
    zeros: int = 0

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution."""
        return self.weight.ndim == 4

    def weighted(self, x: Tensor, weight: Tensor) -> Tensor:
        """``weight * x`` alone, in the dtype of x; samples on the first axis."""
        if not self.convolves:
            return x.flatten(1) @ weight.T
        return functional.conv2d(x, weight, None, self.stride, self.padding, 1, self.groups)


@dataclass(frozen=True, eq=False)
class Padded(Node):
    """A frame of ``value`` (channels,) around the sample, in the units of its source."""

    value: Tensor
    padding: Frame


@dataclass(frozen=True, eq=False)
class Pooled(Node):
    """Greatest or mean of windows. average: which."""

    average: bool
    kernel: Pair
    stride: Pair
    padding: Pair

    def __call__(self, x: Tensor) -> Tensor:
        """Pool floats (n, channels, height, width)."""
        if self.average:
            return functional.avg_pool2d(x, self.kernel, self.stride, self.padding)
        return functional.max_pool2d(x, self.kernel, self.stride, self.padding)

    @property
    def taps(self) -> int:
        """Pixels of a window."""
        return math.prod(self.kernel)


@dataclass(frozen=True, eq=False)
class Added(Node):
    """min(relu(scale[0] q + scale[1] r + bias), bound) of two sources of one shape.

    scale: (2, channels). bits: of the words that leave, where that is not T.
    """

    scale: Tensor
    bias: Tensor
    bound: float = math.inf
    bits: int = 0


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in an order in which each follows its sources; the last one gives the logits.

    neurons: what fires on a node, by its name, where the model says so.
    """

    nodes: tuple[Node, ...]
    input_shape: Shape
    neurons: Mapping[str, SpikePack] = field(default_factory=dict)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of inputs (n, *input_shape), float64: the model itself, folded."""
        return list(self.values(x.double()).values())[-1]

    def values(self, x: Tensor) -> dict[str, Tensor]:
        """What every node gives, in order, by its name; inputs (n, *input_shape) as ``input``."""
        found = {"input": x}
        for node in self.nodes:
            found[node.name] = forward(node, [found[name] for name in node.sources])
        return found


def per_channel(value: Tensor, like: Tensor) -> Tensor:
    """Shape (channels,) to broadcast against (n, channels, ...)."""
    return value.view(-1, *[1] * (like.ndim - 2))


def forward(node: Node, given: list[Tensor]) -> Tensor:
    """What the original model computes at a node, in the dtype of what it is given."""
    y = potentials(node, given)
    if isinstance(node, Added) or (isinstance(node, Synaptic) and node.fires):
        return y.clamp(0, node.bound)
    return y


def potentials(node: Node, given: list[Tensor]) -> Tensor:
    """What a node computes, before the ReLU if it has one."""
    x = given[0]
    if isinstance(node, Synaptic):
        y = node.weighted(x, node.weight.to(x.dtype))
        y = y + per_channel(node.bias.to(x.dtype), y)
        if node.skip_scale is not None:
            y = y + given[1] * per_channel(node.skip_scale.to(x.dtype), y)
        return y
    if isinstance(node, Padded):
        return pad(x, node.value, node.padding)
    if isinstance(node, Pooled):
        return node(x)
    assert isinstance(node, Added)
    if len(node.shape) == 1:
        x, other = (g.flatten(1) for g in given)
    else:
        x, other = given
    a, b = (per_channel(s.to(x.dtype), x) for s in node.scale)
    return a * x + b * other + per_channel(node.bias.to(x.dtype), x)


def pad(x: Tensor, value: Tensor, padding: Frame) -> Tensor:
    """Frame (n, channels, height, width) with values (channels,)."""
    v = per_channel(value.to(x.dtype), x)
    top, bottom, left, right = padding
    return functional.pad(x - v, (left, right, top, bottom)) + v
