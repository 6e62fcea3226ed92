"""The layers of a spiking twin as torch modules: values of words in, values of words out.

Each has ``name``, ``sources`` (names of the layers that feed it, or "input") and ``shape``, that of
one sample of what leaves.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spikeloom.conversion.graph import Added, Node, Padded, Pooled, Synaptic, pad, per_channel
from spikeloom.conversion.grid import on_grid
from spikeloom.neuron import SpikePack

__all__ = [
    "SpikingAdd",
    "SpikingAvgPool",
    "SpikingConv2d",
    "SpikingLayer",
    "SpikingLinear",
    "SpikingMaxPool",
    "SpikingPad",
]


class SpikingLayer(nn.Module):
    """What all layers share."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.name, self.sources, self.shape = node.name, node.sources, node.shape


class _Weighted(SpikingLayer):
    """A layer with weights and the neurons that fire on it.

    Buffers: ``alive`` (outputs,) bool, False for pruned channels; ``input_mean`` and
    ``input_square``, mean and mean square of the real input at every weight in calibration, which
    lowering weighs its rounding errors with. ``grid``: (outputs,), real value of an LSB of the
    potentials, if weights, bias and threshold are integers of it already (``fine_tune``), or None.
    """

    alive: Tensor
    input_mean: Tensor
    input_square: Tensor
    grid: Tensor | None

    def __init__(
        self,
        node: Node,
        neuron: SpikePack | None,
        alive: Tensor,
        input_mean: Tensor,
        input_square: Tensor,
    ) -> None:
        super().__init__(node)
        self.neuron = neuron
        self.register_buffer("alive", alive)
        self.register_buffer("input_mean", input_mean.double())
        self.register_buffer("input_square", input_square.double())
        self.register_buffer("grid", None)


class SpikingLinear(_Weighted):
    """A Linear layer and the neurons that fire on it (none for the readout).

    ``input_mean`` and ``input_square``: (inputs,).
    """

    def __init__(
        self, node: Node, weight: Tensor, bias: Tensor, neuron: SpikePack | None, *buffers: Tensor
    ) -> None:
        super().__init__(node, neuron, *buffers)
        self.linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.get_default_dtype())
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            self.linear.bias.copy_(bias)

    def potentials(self, x: Tensor) -> Tensor:
        """(n, ...) -> (n, outputs): what fires."""
        return self.linear(x.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) -> (n, outputs): values of words, or logits."""
        v = self.potentials(x)
        if self.neuron is not None:
            return self.neuron(v)
        # logits: back onto their grid, so that ties stay ties
        return v if self.grid is None else on_grid(v, self.grid)


class SpikingConv2d(_Weighted):
    """A convolution, an optional skip added to it, and the neurons that fire on it.

    Without neurons its potentials are the skip of another one. skip_scale: (outputs,), factors of
    the skip. ``input_mean`` and ``input_square`` broadcast against the weights. zeros: weights that
    are there only because gates hold no dilation and no groups.
    """

    skip_scale: Tensor | None
    zeros = 0

    def __init__(
        self,
        node: Synaptic,
        weight: Tensor,
        bias: Tensor,
        neuron: SpikePack | None,
        skip_scale: Tensor | None,
        *buffers: Tensor,
    ) -> None:
        super().__init__(node, neuron, *buffers)
        if node.zeros:
            self.zeros = node.zeros
        outputs, inputs, *kernel = weight.shape
        self.conv = nn.Conv2d(
            inputs * node.groups,
            outputs,
            (kernel[0], kernel[1]),
            node.stride,
            node.padding,
            groups=node.groups,
            dtype=torch.get_default_dtype(),
        )
        with torch.no_grad():
            self.conv.weight.copy_(weight)
            assert self.conv.bias is not None
            self.conv.bias.copy_(bias)
        scale = None if skip_scale is None else skip_scale.to(self.conv.weight.dtype)
        self.register_buffer("skip_scale", scale)

    @property
    def passes_sum(self) -> bool:
        """Whether it adds something and leaves the firing to another one."""
        return self.neuron is None and len(self.sources) == 2

    def potentials(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w): what fires."""
        v = self.conv(x)
        if self.skip_scale is not None and skip is not None:
            v = v + skip * per_channel(self.skip_scale, v)
        return v

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w): values of words, or potentials."""
        v = self.potentials(x, skip)
        return v if self.neuron is None else self.neuron(v)


class SpikingPad(SpikingLayer):
    """Frames samples with constant words. value: (channels,), what they stand for.

    scale: (channels,), real value of one LSB of the words.
    """

    value: Tensor
    scale: Tensor

    def __init__(self, node: Padded, scale: Tensor) -> None:
        super().__init__(node)
        self.padding = node.padding
        self.register_buffer("value", node.value)
        self.register_buffer("scale", scale)

    @property
    def words(self) -> Tensor:
        """The constant words, rounded half up; (channels,)."""
        return torch.floor(self.value / self.scale + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> the same, larger."""
        return pad(x, self.words * self.scale, self.padding)


class SpikingMaxPool(SpikingLayer):
    """Max pooling of words: exact, as all positions of a channel share a threshold."""

    def __init__(self, node: Pooled) -> None:
        super().__init__(node)
        self.pool = nn.MaxPool2d(node.kernel, node.stride, node.padding)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> the same, smaller."""
        return self.pool(x)


class SpikingAvgPool(SpikingLayer):
    """Average pooling: the sum of a window's words fires with an integer threshold.

    scale: (channels,), real value of one LSB of the words in. threshold: of the sums. neuron: fires
    on the mean, its threshold is scale * threshold / pixels of a window.
    """

    scale: Tensor

    def __init__(self, node: Pooled, scale: Tensor, threshold: int, bits: int) -> None:
        super().__init__(node)
        self.kernel, self.stride, self.padding = node.kernel, node.stride, node.padding
        self.threshold, self.taps = threshold, node.taps
        self.pool = nn.AvgPool2d(node.kernel, node.stride, node.padding)
        self.register_buffer("scale", scale)
        self.neuron = SpikePack(bits, scale * threshold / node.taps, rounding=True)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> the same, smaller."""
        mean = self.pool(x)
        # a quarter of an LSB of the sum changes no word, and keeps ties away from float rounding
        quarter = per_channel(self.scale.to(mean.dtype), mean) / (4 * self.taps)
        return self.neuron(mean + quarter)


class SpikingAdd(SpikingLayer):
    """Adds two streams and fires. scale: (2, channels), factors; bias: (channels,).

    ``grid``: as of the layers with weights.
    """

    scale: Tensor
    bias: Tensor
    alive: Tensor
    grid: Tensor | None

    def __init__(
        self, node: Added, scale: Tensor, bias: Tensor, neuron: SpikePack, alive: Tensor
    ) -> None:
        super().__init__(node)
        dtype = torch.get_default_dtype()
        self.register_buffer("scale", scale.to(dtype))
        self.register_buffer("bias", bias.to(dtype))
        self.register_buffer("alive", alive)
        self.register_buffer("grid", None)
        self.neuron = neuron

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Two of (n, channels, ...) -> the same."""
        if len(self.shape) == 1:
            x, other = x.flatten(1), other.flatten(1)
        a, b = (per_channel(s, x) for s in self.scale)
        return self.neuron(a * x + b * other + per_channel(self.bias, x))
