"""A model that was trained with SpikePack into its spiking network: nothing to calibrate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spikeloom.conversion.fold import fold
from spikeloom.conversion.graph import Added, Graph, Node, Padded, Pooled, Synaptic
from spikeloom.conversion.layers import (
    SpikingAdd,
    SpikingAvgPool,
    SpikingConv2d,
    SpikingLayer,
    SpikingLinear,
    SpikingMaxPool,
    SpikingPad,
)
from spikeloom.conversion.options import check_integer
from spikeloom.conversion.spike import average_threshold
from spikeloom.conversion.spiking import EdgeReport, InputWords, Report, SpikingNetwork
from spikeloom.conversion.trace import trace
from spikeloom.errors import UnsupportedModelError
from spikeloom.neuron import SpikePack

__all__ = ["spiking"]


@torch.no_grad()
def spiking(model: nn.Module, sample_shape: Sequence[int], input_bits: int = 8) -> SpikingNetwork:
    """Take a model whose activations are ``SpikePack`` as it is: norms folded, thresholds kept.

    model: what ``convert`` takes, with SpikePack (tau = 2, at most 8 steps) for every ReLU. It is
    left as it is. sample_shape: of one input, (channels, height, width) or (features,). input_bits:
    T of the input words, 1..8: inputs are rounded to them. Average pools give words of as many bits
    as their sum needs, 8 at most.

    Raises UnsupportedModelError that lists what has no spiking form; ValueError on input_bits.
    """
    check_integer("input_bits", input_bits, 1, 8)
    traced = trace(model)
    sample_shape = traced.sample(sample_shape)
    graph = fold(traced, sample_shape)
    silent = [
        node.name
        for node in graph.nodes
        if (isinstance(node, Added) or (isinstance(node, Synaptic) and node.fires))
        and node.name not in graph.neurons
    ]
    if silent:
        raise UnsupportedModelError(
            f"no SpikePack fires on {', '.join(silent)}: replace every activation by one, put one"
            " behind every residual sum, or use spikeloom.convert"
        )
    words = InputWords(input_bits)
    channels = sample_shape[0]
    streams = {"input": (torch.full((channels,), 1 / words.top, dtype=torch.float64), input_bits)}
    layers: list[SpikingLayer] = []
    edges = [_edge("input", input_bits, streams["input"][0])]
    for node in graph.nodes:
        layer, scale, bits = _layer(node, graph, *streams[node.sources[0]])
        layers.append(layer)
        streams[node.name] = (scale, bits)
        if not isinstance(layer, (SpikingMaxPool, SpikingPad)) and bits:
            edges.append(_edge(node.name, bits, scale))
    return SpikingNetwork(layers, sample_shape, input_bits, Report(tuple(edges)))


def _edge(name: str, bits: int, scale: Tensor) -> EdgeReport:
    """Report on a stream that nothing has been measured on."""
    return EdgeReport(name, bits, "trained", scale.numpy(), math.nan, math.nan, ())


def _layer(node: Node, graph: Graph, given: Tensor, bits: int) -> tuple[SpikingLayer, Tensor, int]:
    """Layer of a node, the real value of an LSB of its words (channels,), and their bits.

    given, bits: those of the words of its first source.
    """
    if isinstance(node, Padded):
        return SpikingPad(node, given), given, bits
    if isinstance(node, Pooled):
        if not node.average:
            return SpikingMaxPool(node), given, bits
        threshold, wide = average_threshold(node.taps, bits, None)
        scale = given * threshold / node.taps
        return SpikingAvgPool(node, given, threshold, wide), scale, wide
    if isinstance(node, Added):
        alive = torch.ones(node.shape[0], dtype=torch.bool)
        neuron, theta, bias = _neuron(graph.neurons[node.name], node.bias)
        return SpikingAdd(node, node.scale, bias, neuron, alive), theta, neuron.steps
    assert isinstance(node, Synaptic)
    alive = torch.ones(len(node.weight), dtype=torch.bool)
    neuron, theta, bias = None, torch.ones(len(node.weight)), node.bias
    if node.fires:
        neuron, theta, bias = _neuron(graph.neurons[node.name], node.bias)
    # no data: no mean to correct for, and all weights count alike
    inputs = node.weight.shape[1:] if node.groups == 1 else node.weight.shape
    moments = (torch.zeros(inputs), torch.ones(inputs))
    bits = neuron.steps if neuron else 0
    if node.convolves:
        layer = SpikingConv2d(node, node.weight, bias, neuron, node.skip_scale, alive, *moments)
        return layer, theta, bits
    return SpikingLinear(node, node.weight, bias, neuron, alive, *moments), theta, bits


def _neuron(trained: SpikePack, bias: Tensor) -> tuple[SpikePack, Tensor, Tensor]:
    """Return a neuron that rounds, its thresholds (channels,), and the bias that goes with it."""
    theta = trained.threshold.detach().double().cpu().expand(len(bias)).contiguous()
    neuron = SpikePack(trained.steps, theta, rounding=True)
    return neuron, theta, bias if trained.rounding else bias - theta / 2
