"""A spiking network with everything that can learn as parameters: what ``fine_tune`` trains.

Its words, weights and thresholds are those of the network that :meth:`Tuned.frozen` returns, and so
are its outputs. With ``weight_bits`` they lie on the integers of :mod:`grid` all the time, so that
lowering rounds nothing.
"""

from __future__ import annotations

import copy
import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from spikeloom.conversion.graph import pad, per_channel
from spikeloom.conversion.grid import MOST_THRESHOLD, odd, on_grid, quantised_weights
from spikeloom.conversion.layers import (
    SpikingAdd,
    SpikingAvgPool,
    SpikingConv2d,
    SpikingLayer,
    SpikingLinear,
    SpikingMaxPool,
    SpikingPad,
)
from spikeloom.conversion.scales import best_scale
from spikeloom.conversion.spiking import SpikingNetwork
from spikeloom.errors import UnsupportedModelError
from spikeloom.neuron import SpikePack
from spikeloom.neuron_kernels.function import spike

__all__ = ["Tuned"]

#: LSB of a sum's weights: the greater of the two has this one.
_SUM_WEIGHT = 512
_MOST_SKIP = (1 << 15) - 1

#: Words of a layer as values, and the real value of an LSB of them, (channels,), without gradient.
Stream = tuple[Tensor, Tensor]


class _Neurons(nn.Module):
    """Learned thresholds (channels,) or (1,), as logarithms: they stay above 0, and learn alike.

    A threshold that all channels share stays shared.
    """

    def __init__(self, neuron: SpikePack, channels: int) -> None:
        super().__init__()
        theta = neuron.threshold.detach().clone().reshape(-1)
        if bool((theta == theta[0]).all()):
            theta = theta[:1]
        self.steps, self.channels = neuron.steps, channels
        self.log_threshold = nn.Parameter(theta.log())

    def threshold(self) -> Tensor:
        """Return thresholds (channels,)."""
        return self.log_threshold.exp().expand(self.channels)

    def fire(self, v: Tensor, theta: Tensor) -> Stream:
        y = spike(v, theta, self.steps, rounding=True)
        return y, theta.detach()


class _Synapses(nn.Module):
    """Linear or convolution, its skip, and its neurons; see :mod:`grid`."""

    alive: Tensor
    ratio: Tensor
    skip_scale: Tensor | None
    skip_weight: Tensor

    def __init__(self, layer: SpikingLinear | SpikingConv2d, weight_bits: int | None) -> None:
        super().__init__()
        self.inner = inner = layer.linear if isinstance(layer, SpikingLinear) else layer.conv
        assert inner.bias is not None
        self.weight = nn.Parameter(inner.weight.detach().clone())
        self.bias = nn.Parameter(inner.bias.detach().clone())
        inner.requires_grad_(False)
        self.layer = [layer]  # in a list: it is no part of this module
        self.neurons = None if layer.neuron is None else _Neurons(layer.neuron, len(inner.weight))
        self.top = (1 << (weight_bits - 1)) - 1 if weight_bits else 0
        self.register_buffer("alive", layer.alive.clone())
        scale = getattr(layer, "skip_scale", None)
        self.register_buffer("skip_scale", None if scale is None else scale.clone())
        self.partner: list[_Synapses] = []  # fires on the potentials of this one

    def start(self, inputs: Tensor, skip: Tensor | None) -> None:
        """Choose the integers that stay: thresholds in LSBs, or the weight of a skip.

        inputs: real values of the input words. skip: those of a skip of words.
        """
        if not self.top:
            return
        V = (self.weight.detach().double() * inputs).flatten(1)
        readout = self.layer[0].neuron is None and not self.partner  # one scale for all its rows
        rows = V.reshape(1, -1) if readout else V
        square = (self.layer[0].input_square / inputs**2).expand_as(self.weight).flatten(1)
        weigh = square.reshape(rows.shape) if self.top <= 7 else torch.ones_like(rows)
        found = best_scale(rows.numpy(), weigh.numpy(), self.top)
        scale = torch.from_numpy(found).clamp(min=1e-30)
        if self.neurons is None:
            if not self.partner:
                self.log_scale = nn.Parameter(scale.log().to(self.weight.dtype))
            return
        theta = self.neurons.threshold().detach().double()
        live = V.abs().amax(1) > 0
        scale = torch.where(live, scale, theta / 257)
        self.register_buffer("ratio", odd(theta / scale))
        k = torch.zeros_like(theta)
        if skip is not None and self.skip_scale is not None:
            size = (skip * self.skip_scale).abs().double()
            k = torch.round(size / torch.maximum(scale, theta / MOST_THRESHOLD))
            k = torch.where(size > 0, k.clamp(1, _MOST_SKIP), 0)
        self.register_buffer("skip_weight", k)

    def grid(self, skip: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scale S and thresholds, (outputs,), in float64; skip: as of ``start``."""
        if self.neurons is None:
            return self.log_scale.double().exp(), torch.empty(0)
        theta = self.neurons.threshold().double()
        scale = theta / self.ratio
        if skip is not None and self.skip_scale is not None:
            size = (skip * self.skip_scale).abs().double()
            tied = self.skip_weight > 0
            scale = torch.where(tied, size / self.skip_weight.clamp(min=1), scale)
            # the skip sets the scale: the threshold goes to the nearest odd number of it
            near = scale.detach() * odd((theta / scale).detach())
            theta = theta + torch.where(tied, near - theta, 0.0).detach()
        return scale, theta

    def forward(self, given: Stream, skip: Stream | None) -> Stream:
        x, inputs = given
        layer = self.layer[0]
        inputs = spread(layer, inputs, x)
        words = None if skip is None or self.top == 0 or not len(skip[1]) else skip[1]
        weight, bias = self.weight, self.bias
        theta = self.neurons.threshold() if self.neurons is not None else None
        alive = self.alive.view(-1, *[1] * (weight.ndim - 1))
        weight = torch.where(alive, weight, 0.0)
        if self.top:
            scale, exact = (self.partner or [self])[0].grid(words)
            theta = exact.to(weight.dtype) if self.neurons is not None else None
            weight = quantised_weights(weight, scale, inputs, self.top)
            bias = on_grid(bias, scale.detach())
            self.scale = scale.detach()
        if theta is not None:
            bias = torch.where(self.alive, bias, -theta.detach())
        elif self.partner:
            # a channel that its user has pruned adds nothing
            bias = torch.where(self.alive, bias, 0.0)
        self.effective = weight.detach(), bias.detach(), theta
        if isinstance(layer, SpikingLinear):
            v = functional.linear(x.flatten(1), weight, bias)
        else:
            conv = layer.conv
            v = functional.conv2d(x, weight, bias, conv.stride, conv.padding, 1, conv.groups)  # type: ignore[arg-type]
        if skip is not None and self.skip_scale is not None:
            v = v + skip[0] * per_channel(self.skip_scale, v)
        if self.neurons is None or theta is None:
            logits = self.top and not self.partner
            return on_grid(v, scale.detach()) if logits else v, torch.empty(0)
        return self.neurons.fire(v, theta)

    @torch.no_grad()
    def freeze(self) -> None:
        """Write what the last forward pass used into the layer."""
        weight, bias, theta = self.effective
        layer = self.layer[0]
        self.inner.weight.copy_(weight)
        assert self.inner.bias is not None
        self.inner.bias.copy_(bias)
        if layer.neuron is not None and theta is not None:
            layer.neuron.threshold = theta.detach().clone()
        if self.top:
            layer.grid = self.scale.expand(len(weight)).clone()


class _Sum(nn.Module):
    """Adds two streams and fires."""

    alive: Tensor

    def __init__(self, layer: SpikingAdd, weight_bits: int | None) -> None:
        super().__init__()
        self.layer, self.quantised = [layer], weight_bits is not None
        self.bias = nn.Parameter(layer.bias.detach().clone())
        self.neurons = _Neurons(layer.neuron, len(layer.bias))
        self.register_buffer("alive", layer.alive.clone())

    def forward(self, given: Stream, other: Stream) -> Stream:
        (x, a), (y, b) = given, other
        layer = self.layer[0]
        if len(layer.shape) == 1:
            a, b = spread(layer, a, x).reshape(-1), spread(layer, b, y).reshape(-1)
            x, y = x.flatten(1), y.flatten(1)
        theta, bias, gains = self.neurons.threshold(), self.bias, layer.scale
        if self.quantised:
            G = torch.stack([a, b]).double() * gains
            most = G.abs().amax(0)
            live = theta.detach().double()
            scale = torch.where(most > 0, most, live) / _SUM_WEIGHT
            scale = torch.maximum(scale, live / MOST_THRESHOLD)
            gains = (torch.round(G / scale) * scale / torch.stack([a, b])).to(x.dtype)
            near = (odd(live / scale) * scale).to(theta.dtype)
            theta, bias = theta + (near - theta).detach(), on_grid(bias, scale)
            self.scale = scale
        bias = torch.where(self.alive, bias, -theta.detach())
        self.effective = gains, bias.detach(), theta
        v = per_channel(gains[0], x) * x + per_channel(gains[1], y) * y + per_channel(bias, x)
        return self.neurons.fire(v, theta)

    @torch.no_grad()
    def freeze(self) -> None:
        """Write what the last forward pass used into the layer."""
        layer = self.layer[0]
        gains, bias, theta = self.effective
        layer.scale, layer.bias = gains.clone(), bias.clone()
        layer.neuron.threshold = theta.detach().clone()
        if self.quantised:
            layer.grid = self.scale.clone()


class _Plain(nn.Module):
    """Pooling and padding: their scales follow the thresholds before them."""

    def __init__(self, layer: SpikingLayer) -> None:
        super().__init__()
        self.layer = [layer]

    def forward(self, given: Stream) -> Stream:
        x, a = given
        layer, self.inputs = self.layer[0], a
        if isinstance(layer, SpikingMaxPool):
            return layer.pool(x), a
        if isinstance(layer, SpikingPad):
            return pad(x, torch.floor(layer.value / a + 0.5) * a, layer.padding), a
        assert isinstance(layer, SpikingAvgPool)
        theta = a * layer.threshold / layer.taps
        v = layer.pool(x)
        v = v + per_channel(a, v) / (4 * layer.taps)
        return spike(v, theta, layer.neuron.steps, rounding=True), theta

    @torch.no_grad()
    def freeze(self) -> None:
        """Write the last scales into the layer."""
        layer = self.layer[0]
        if isinstance(layer, (SpikingPad, SpikingAvgPool)):
            layer.scale = self.inputs.clone()
        if isinstance(layer, SpikingAvgPool):
            layer.neuron.threshold = self.inputs * layer.threshold / layer.taps


def spread(layer: SpikingLayer, a: Tensor, x: Tensor) -> Tensor:
    """Real values of input words, shaped to broadcast against a layer's weights."""
    if isinstance(layer, SpikingConv2d):
        return a.view(-1, 1, 1, 1) if layer.conv.groups > 1 else a.view(-1, 1, 1)
    return a.repeat_interleave(math.prod(x.shape[2:]))


class Tuned(nn.Module):
    """A copy of a spiking network to be trained; images in, logits out, as of the network.

    weight_bits: W of the weights, 2..8, on the integers of hardware; None leaves weights, biases
    and thresholds as they are, to be rounded when they are lowered.
    Raises UnsupportedModelError for a sum of three or more terms that fires once, with weight_bits.
    """

    def __init__(self, snn: SpikingNetwork, weight_bits: int | None) -> None:
        super().__init__()
        if weight_bits is not None and not (isinstance(weight_bits, int) and 2 <= weight_bits <= 8):
            raise ValueError(
                f"weight_bits must be an integer in 2..8, or None, not {weight_bits!r}"
            )
        copied = copy.deepcopy(snn)
        for layer in copied.spiking_layers:
            if weight_bits and isinstance(layer, SpikingConv2d) and layer.passes_sum:
                raise UnsupportedModelError(
                    f"{layer.name}: a sum of three or more that fires once is not trained as"
                    " integers; put an activation after every sum of two, or use weight_bits=None"
                )
        self.network = [copied]
        self.layers = nn.ModuleDict()
        for layer in copied.spiking_layers:
            if isinstance(layer, (SpikingLinear, SpikingConv2d)):
                made: nn.Module = _Synapses(layer, weight_bits)
            elif isinstance(layer, SpikingAdd):
                made = _Sum(layer, weight_bits)
            else:
                made = _Plain(layer)
            self.layers[_key(layer.name)] = made
        for layer in copied.spiking_layers:
            source = self._find(layer.sources[-1]) if len(layer.sources) == 2 else None
            if isinstance(source, _Synapses) and source.neurons is None:
                source.partner.append(cast(_Synapses, self._find(layer.name)))
        self._start()

    def _find(self, name: str) -> nn.Module | None:
        return self.layers._modules.get(_key(name))

    @torch.no_grad()
    def _start(self) -> None:
        """Fix the integers of all layers from the scales between them; needs no images."""
        network = self.network[0]
        scales = {"input": torch.full((network.sample_shape[0],), 1 / network.encode.top)}
        shapes = {"input": network.sample_shape}
        for layer in network.spiking_layers:
            made, given = self._find(layer.name), scales[layer.sources[0]]
            shapes[layer.name] = layer.shape
            if isinstance(made, _Synapses):
                like = torch.empty(1, *shapes[layer.sources[0]], device="meta")
                skip = scales[layer.sources[1]] if len(layer.sources) == 2 else None
                skip = skip if skip is not None and len(skip) else None
                made.start(spread(layer, given, like), skip)
                scale = torch.empty(0)
                if made.neurons is not None:
                    scale = made.grid(skip)[1] if made.top else made.neurons.threshold()
                scales[layer.name] = scale.detach().to(given.dtype)
            elif isinstance(made, _Sum):
                scales[layer.name] = made.neurons.threshold().detach()
            elif isinstance(layer, SpikingAvgPool):
                scales[layer.name] = given * layer.threshold / layer.taps
            else:
                scales[layer.name] = given

    def forward(self, images: Tensor) -> Tensor:
        """(n, *sample shape), uint8 or floats 0..1, to logits (n, classes)."""
        network = self.network[0]
        if tuple(images.shape[1:]) != network.sample_shape:
            images = images.reshape(-1, *network.sample_shape)
        x = network.encode(images)
        scale = torch.full((network.sample_shape[0],), 1 / network.encode.top, dtype=x.dtype)
        values: dict[str, Stream] = {"input": (x, scale.to(x.device))}
        for layer in network.spiking_layers:
            made = self._find(layer.name)
            given = [values[name] for name in layer.sources]
            if isinstance(made, _Synapses):
                out = made(given[0], given[1] if len(given) > 1 else None)
            else:
                assert made is not None
                out = made(*given)
            values[layer.name] = out
        return out[0]

    def frozen(self) -> SpikingNetwork:
        """Return the network as it is now; it gives this module's logits, and lowers as it is."""
        network = self.network[0]
        with torch.no_grad():
            self(torch.zeros(1, *network.sample_shape))
        for made in self.layers.values():
            made.freeze()  # type: ignore[operator]
        return copy.deepcopy(network)


def _key(name: str) -> str:
    """Name of a layer as that of a module, which may hold no dots."""
    return "layer/" + name.replace(".", "/")
