"""The float twin of an integer network: the same decisions, in real units.

A word is its integer times the real value of its LSB, one for each channel. v0 is an integer, so
that half an LSB more changes no comparison; it keeps exact multiples of the threshold away from the
rounding of floats, and every layer fires the integer network's words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from spikeloom.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Dense,
    Fire,
    Flatten,
    MaxPool2d,
    Pad2d,
    Readout,
)

if TYPE_CHECKING:
    from spikeloom.network import Network

__all__ = ["Dequantised"]

Scale = NDArray[np.float64]


class _Layer(nn.Module):
    """One op in real units.

    inputs: real value of an LSB of what enters, (channels,), for each source. own: that of the
    potentials, if potentials leave. scale: of what leaves, a buffer.
    """

    scale: Tensor

    def __init__(self, op: Any, inputs: list[Scale], own: Scale | None) -> None:
        super().__init__()
        self.op = op
        self.keep("scale", self.prepare(op, inputs, own))

    def keep(self, name: str, value: NDArray[Any]) -> None:
        """Make a buffer of some numbers."""
        self.register_buffer(name, torch.from_numpy(np.array(value, dtype=np.float64)))

    def prepare(self, op: Any, inputs: list[Scale], own: Scale | None) -> Scale:
        """Make buffers of the op's constants; return the scale of what leaves."""
        return inputs[0]

    def fire(self, v: Tensor) -> Tensor:
        """Words, in real units, of potentials half an LSB above their integers."""
        scale, top = _along(self.scale, v), (1 << self.op.output_bits) - 1
        return torch.floor(v / scale).clamp(0, top) * scale


class _Linear(_Layer):
    """Dense: v = weight @ x + bias, which fires. Readout: the same, rounded to its logits."""

    weight: Tensor
    bias: Tensor

    def prepare(self, op: Any, inputs: list[Scale], own: Scale | None) -> Scale:
        fires = op.threshold is not None
        S = _lsb(op) if fires else np.full(op.outputs, op.logit_scale)
        self.keep("weight", op.weight * S[:, None] / inputs[0])
        self.keep("bias", (op.bias + (0.5 if fires else 0)) * S)
        return op.output_scale if fires else S

    def forward(self, x: Tensor) -> Tensor:
        v = x @ self.weight.T + self.bias
        # logits: back onto their grid, so that ties stay ties
        fires = self.op.threshold is not None
        return self.fire(v) if fires else torch.round(v / self.scale) * self.scale


class _Convolution(_Layer):
    """Conv2d."""

    weight: Tensor
    bias: Tensor
    skip_weight: Tensor

    def prepare(self, op: Conv2d, inputs: list[Scale], own: Scale | None) -> Scale:
        S = _lsb(op) if own is None else own
        per_input = inputs[0][:, None] if op.groups > 1 else inputs[0][None]
        self.keep("weight", op.weight * (S[:, None] / per_input)[..., None, None])
        self.keep("bias", (op.bias + (0.5 if own is None else 0)) * S)
        if op.skip:
            k = 1 if op.skip_weight is None else op.skip_weight
            self.keep("skip_weight", k * S / inputs[1])
        return S if op.output_scale is None else op.output_scale

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        op = self.op
        v = functional.conv2d(x, self.weight, self.bias, op.stride, op.padding, 1, op.groups)
        if skip is not None:
            v = v + skip * _along(self.skip_weight, v)
        return self.fire(v) if op.output_bits else v


class _Add(_Layer):
    """Add."""

    weight: Tensor
    bias: Tensor

    def prepare(self, op: Add, inputs: list[Scale], own: Scale | None) -> Scale:
        S = _lsb(op)
        self.keep("weight", op.weight * S / np.stack(inputs))
        self.keep("bias", (op.bias + 0.5) * S)
        return op.output_scale

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        a, b, bias = (_along(values, x) for values in (*self.weight, self.bias))
        return self.fire(a * x + b * other + bias)


class _Fire(_Layer):
    """Fire; its potentials come in units of its own, so that it only adds the half LSB."""

    offset: Tensor
    factor: Tensor

    def prepare(self, op: Fire, inputs: list[Scale], own: Scale | None) -> Scale:
        S = _lsb(op)
        self.keep("factor", S / inputs[0])
        self.keep("offset", 0.5 * S)
        return op.output_scale

    def forward(self, x: Tensor) -> Tensor:
        return self.fire(x * _along(self.factor, x) + _along(self.offset, x))


class _MaxPool(_Layer):
    """MaxPool2d."""

    def forward(self, x: Tensor) -> Tensor:
        op = self.op
        return functional.max_pool2d(x, op.kernel, op.stride, op.padding)


class _AvgPool(_Layer):
    """AvgPool2d: the mean, padding included, on the grid of its words."""

    bias: Tensor

    def prepare(self, op: AvgPool2d, inputs: list[Scale], own: Scale | None) -> Scale:
        lsb = inputs[0] / (op.kernel[0] * op.kernel[1])
        self.keep("bias", (op.bias + 0.5) * lsb)
        return lsb * op.threshold

    def forward(self, x: Tensor) -> Tensor:
        op = self.op
        mean = functional.avg_pool2d(x, op.kernel, op.stride, op.padding)
        return self.fire(mean + _along(self.bias, mean))


class _Pad(_Layer):
    """Pad2d."""

    word: Tensor

    def prepare(self, op: Pad2d, inputs: list[Scale], own: Scale | None) -> Scale:
        self.keep("word", op.word * inputs[0])
        return inputs[0]

    def forward(self, x: Tensor) -> Tensor:
        top, bottom, left, right = self.op.padding
        word = _along(self.word, x)
        # only zero stays itself when it is padded with zeros
        return functional.pad(x - word, (left, right, top, bottom)) + word


class _Flatten(_Layer):
    """Flatten; the scale of a channel is that of all its pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


_LAYERS: dict[type, type[_Layer]] = {
    Add: _Add,
    AvgPool2d: _AvgPool,
    Conv2d: _Convolution,
    Dense: _Linear,
    Fire: _Fire,
    Flatten: _Flatten,
    MaxPool2d: _MaxPool,
    Pad2d: _Pad,
    Readout: _Linear,
}


def _along(values: Tensor, x: Tensor) -> Tensor:
    """One value a channel, shaped to meet samples (n, channels, ...)."""
    return values.reshape(-1, *[1] * (x.ndim - 2))


def _lsb(op: Any) -> Scale:
    """Real value of an LSB of the potentials on which an op fires, (channels,)."""
    return op.output_scale / op.threshold


def _potential_scale(network: Network, name: str) -> Scale:
    """Real value of an LSB of the potentials that leave an op, (channels,): what their user says.

    Potentials have no unit of their own; whoever fires on them gives them one, and the first of
    several is as good as any.
    """
    channels = network.edges[name].channels
    for op in network.ops:
        feeds = network.sources(op)
        if name not in feeds:
            continue
        if isinstance(op, Fire):
            return _lsb(op)
        if isinstance(op, Conv2d):
            S = _lsb(op) if op.output_bits else _potential_scale(network, op.name)
            k = np.ones(channels) if op.skip_weight is None else np.abs(op.skip_weight)
            return S * np.maximum(k, 1)
        if isinstance(op, MaxPool2d):
            return _potential_scale(network, op.name)
    return np.ones(channels)


class Dequantised(nn.Module):
    """Images (n, *sample shape) uint8 to logits (n, classes), float64, in real units.

    Weights are those of the integers times their scales. The words of every layer and the argmax of
    the logits equal the integer network's.
    layers: one module an op, in the network's order; ``scale`` is the real value of an LSB of what
    leaves it, (channels,).
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.encode, self.input_shape = network.encode, network.input_shape
        self.input_scale = 1 / ((1 << network.input_bits) - 1)
        scales: dict[str, Scale] = {"input": np.full(network.input_shape[0], self.input_scale)}
        position = {op.name: k for k, op in enumerate(network.ops, start=1)} | {"input": 0}
        layers, self.sources = [], []
        for op in network.ops:
            names = network.sources(op)
            own = network.edges[op.name].signed and isinstance(op, Conv2d)
            unit = _potential_scale(network, op.name) if own else None
            layer = _LAYERS[type(op)](op, [scales[name] for name in names], unit)
            layers.append(layer)
            scale = layer.scale.numpy()
            if isinstance(op, Flatten):
                scale = np.repeat(scale, network.edges[op.name].size // len(scale))
                layer.scale = torch.from_numpy(scale)
            scales[op.name] = scale
            self.sources.append([position[name] for name in names])
        self.layers = nn.ModuleList(layers)

    def forward(self, images: Tensor | np.ndarray) -> Tensor:
        """Return the logits; InputError as ``Network.encode``."""
        words = self.encode(images.cpu().numpy() if isinstance(images, Tensor) else images)
        x = torch.from_numpy(words).double() * self.input_scale
        values = [x.reshape(-1, *self.input_shape)]
        for layer, sources in zip(self.layers, self.sources, strict=True):
            values.append(layer(*(values[k] for k in sources)))
        return values[-1]
