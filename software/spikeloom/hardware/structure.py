"""From the ops of a network to the parameters of its layers in gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spikeloom.hardware.folding import Folding
from spikeloom.hardware.parameters import (
    AddParameters,
    ConvParameters,
    DenseParameters,
    DepthwiseParameters,
    FireParameters,
    LayerParameters,
    NetworkParameters,
    PadParameters,
    PoolParameters,
)
from spikeloom.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Dense,
    Edge,
    Fire,
    MaxPool2d,
    Pad2d,
    Readout,
    accumulator_width,
)

if TYPE_CHECKING:
    from spikeloom.network import Layer, Network

__all__ = ["layer_parameters", "network_parameters"]


def network_parameters(network: Network, foldings: Sequence[Folding]) -> NetworkParameters:
    """Return the structure in gates, one folding a layer; ValueError where they do not fit."""
    ops = network.layers
    if len(foldings) != len(ops):
        raise ValueError(f"{len(ops)} layers need {len(ops)} foldings, not {len(foldings)}")
    index = {op.name: k for k, op in enumerate(ops)} | {"input": -1}
    layers = []
    for op, folding in zip(ops, foldings, strict=True):
        try:
            layers.append(layer_parameters(network, op, folding))
        except ValueError as error:
            raise ValueError(f"layer {index[op.name]} ({op.name}): {error}") from error
    sources = tuple(tuple(index[name] for name in network.layer_sources(op)) for op in ops)
    return NetworkParameters(tuple(layers), sources)


def layer_parameters(network: Network, op: Layer, folding: Folding) -> LayerParameters:
    """Return one layer in gates; ValueError where the folding does not fit."""
    # what Flatten gives is still the pixels of the layer before it
    source = network.layer_sources(op)[0]
    edge = network.edges[source]
    if isinstance(op, (Dense, Readout)):
        return DenseParameters(
            inputs=op.inputs,
            outputs=op.outputs,
            input_bits=op.input_bits,
            output_bits=op.output_bits,
            weight_bits=op.weight_bits,
            accumulator_bits=op.accumulator_bits,
            threshold_bits=op.threshold_bits,
            folding=folding,
            pixels=1 if source == "input" and _flat_input(network) else edge.pixels,
        )
    for name, layer in zip(network.sources(op), network.layer_sources(op), strict=True):
        if network.edges[name].shape != network.edges[layer].shape:
            raise ValueError("only fully connected layers take what a Flatten gives")
    if isinstance(op, Conv2d):
        return _convolution(op, edge, folding)
    channels, pixels = edge.channels, edge.pixels
    if isinstance(op, MaxPool2d):
        return PoolParameters(
            "max", channels, op.window(edge), edge.bits, edge.signed, folding=folding
        )
    if isinstance(op, AvgPool2d):
        return PoolParameters(
            "average",
            channels,
            op.window(edge),
            edge.bits,
            output_bits=op.output_bits,
            threshold=op.threshold,
            bias=op.bias,
            folding=folding,
        )
    if isinstance(op, Fire):
        return FireParameters(
            pixels,
            channels,
            op.accumulator_bits,
            op.output_bits,
            op.threshold_bits,
            folding=folding,
        )
    if isinstance(op, Add):
        return AddParameters(
            pixels,
            channels,
            *op.input_bits,
            weight_bits=accumulator_width(op.weight, op.weight),
            accumulator_bits=op.accumulator_bits,
            output_bits=op.output_bits,
            threshold_bits=op.threshold_bits,
            folding=folding,
        )
    assert isinstance(op, Pad2d)
    height, width = edge.shape[1:]
    return PadParameters(
        height, width, *op.padding, channels=channels, bits=edge.bits, folding=folding
    )


def _flat_input(network: Network) -> bool:
    """Whether nothing looks at the pixels of the network's input: then it streams in as it is."""
    return all(
        isinstance(op, (Dense, Readout))
        for op in network.layers
        if "input" in network.layer_sources(op)
    )


def _convolution(op: Conv2d, edge: Edge, folding: Folding) -> ConvParameters | DepthwiseParameters:
    common = {
        "outputs": op.outputs,
        "window": op.window(edge),
        "input_bits": op.input_bits,
        "output_bits": op.output_bits,
        "weight_bits": op.weight_bits,
        "accumulator_bits": op.accumulator_bits,
        "threshold_bits": op.threshold_bits,
        "folding": folding,
    }
    if op.depthwise:
        return DepthwiseParameters(**common)
    k = op.skip_weight
    return ConvParameters(
        channels=op.inputs,
        skip_bits=op.skip_bits,
        skip_signed=op.skip_signed,
        skip_weight_bits=0 if k is None else accumulator_width(k, k),
        **common,
    )
