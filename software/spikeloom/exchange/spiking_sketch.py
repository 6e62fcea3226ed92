"""A spiking twin as a sketch, and back: the same logits, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeloom.conversion.graph import Added, Node, Pooled, Synaptic
from spikeloom.conversion.layers import (
    SpikingAdd,
    SpikingAvgPool,
    SpikingConv2d,
    SpikingLayer,
    SpikingLinear,
    SpikingMaxPool,
    SpikingPad,
)
from spikeloom.conversion.spiking import EdgeReport, Report, SpikingNetwork
from spikeloom.errors import UnsupportedModelError
from spikeloom.exchange.pieces import Array, Firing, Piece, Sketch
from spikeloom.neuron import SpikePack

__all__ = ["sketch_of_spiking", "spiking_of"]

_WEIGHTS = {SpikingLinear: "linear", SpikingConv2d: "conv"}
_REASONS = {
    SpikingMaxPool: "max pooling, train with nn.AvgPool2d",
    SpikingPad: "a frame of constant words, put the normalisation behind the convolution",
}


def sketch_of_spiking(snn: SpikingNetwork) -> Sketch:
    """Sketch a spiking twin; UnsupportedModelError, one line, names every layer without a form."""
    layers = snn.spiking_layers
    wrong = [
        f"{layer.name!r} ({_REASONS.get(type(layer), type(layer).__name__)})"
        for layer in layers
        if type(layer) not in (SpikingLinear, SpikingConv2d, SpikingAvgPool, SpikingAdd)
    ]
    if wrong:
        raise UnsupportedModelError(f"NIR has no node for {'; '.join(wrong)}")
    report = [_edge_data(edge) for edge in snn.report()]
    pieces = tuple(_piece(layer) for layer in layers)
    return Sketch("spiking", pieces, snn.sample_shape, snn.encode.bits, {"report": report})


def _arrays(layer: SpikingLayer) -> dict[str, Array]:
    def array(name: str, value: Tensor) -> Array:
        value = value.detach().cpu()
        if value.dtype in (torch.bfloat16, torch.float16):
            raise UnsupportedModelError(
                f"{layer.name}: {name} is {value.dtype}: call snn.float() before"
            )
        return value.numpy().copy()

    return {name: array(name, value) for name, value in layer.state_dict().items()}


def _firing(neuron: SpikePack | None, arrays: dict[str, Array]) -> Firing | None:
    if neuron is None:
        return None
    theta = arrays.pop("neuron.threshold")
    return Firing(theta, neuron.steps, neuron.rounding, theta, neuron.tau)


def _piece(layer: SpikingLayer) -> Piece:
    arrays = _arrays(layer)
    firing = _firing(layer.neuron, arrays)  # type: ignore[arg-type]
    given: dict[str, Any] = {"firing": firing}
    if isinstance(layer, (SpikingLinear, SpikingConv2d)):
        kind = _WEIGHTS[type(layer)]
        given |= {"weight": arrays.pop(f"{kind}.weight"), "bias": arrays.pop(f"{kind}.bias")}
        if isinstance(layer, SpikingConv2d):
            conv = layer.conv
            given |= {"stride": conv.stride, "padding": conv.padding, "groups": conv.groups}
            given["kernel"] = tuple(given["weight"].shape[2:])
            given["skip"] = arrays.pop("skip_scale", None)
    elif isinstance(layer, SpikingAvgPool):
        kind = "average"
        given |= {"kernel": layer.kernel, "stride": layer.stride, "padding": layer.padding}
        given["fields"] = {"threshold": layer.threshold}
    else:
        kind = "add"
        scale = arrays.pop("scale")
        given |= {"weight": scale[0], "skip": scale[1], "bias": arrays.pop("bias")}
    return Piece(layer.name, kind, layer.sources, layer.shape, extra=arrays, **given)


def spiking_of(sketch: Sketch) -> SpikingNetwork:
    """Build the twin that was sketched."""
    layers = [_layer(piece) for piece in sketch.pieces]
    edges = tuple(_edge(data) for data in sketch.about["report"])
    return SpikingNetwork(layers, sketch.input_shape, sketch.input_bits, Report(edges))


def _neuron(firing: Firing | None) -> SpikePack | None:
    if firing is None:
        return None
    theta = torch.from_numpy(np.array(firing.threshold))
    allow = firing.tau > 2
    return SpikePack(
        firing.steps, theta, tau=firing.tau, rounding=firing.rounding, allow_gaps=allow
    )


def _layer(piece: Piece) -> SpikingLayer:
    state = {name: torch.from_numpy(np.array(a)) for name, a in piece.extra.items()}
    head = (piece.name, piece.sources, piece.shape)
    neuron = _neuron(piece.firing)
    if piece.kind == "average":
        pooled = Pooled(*head, True, piece.kernel, piece.stride, piece.padding)
        assert neuron is not None
        layer: SpikingLayer = SpikingAvgPool(
            pooled, state["scale"], piece.fields["threshold"], neuron.steps
        )
    else:
        weight, bias = (torch.from_numpy(np.array(a)) for a in (piece.weight, piece.bias))
        skip = None if piece.skip is None else torch.from_numpy(np.array(piece.skip))
        if piece.kind == "add":
            assert skip is not None
            assert neuron is not None
            scale = torch.stack([weight, skip])
            state |= {"scale": scale, "bias": bias}
            layer = SpikingAdd(Added(*head, scale, bias), scale, bias, neuron, state["alive"])
        else:
            state |= {f"{piece.kind}.weight": weight, f"{piece.kind}.bias": bias}
            buffers = (state["alive"], state["input_mean"], state["input_square"])
            if piece.kind == "linear":
                layer = SpikingLinear(Node(*head), weight, bias, neuron, *buffers)
            else:
                shape = (piece.stride, piece.padding, piece.groups)
                node = Synaptic(*head, weight, bias, neuron is not None, *shape)
                layer = SpikingConv2d(node, weight, bias, neuron, skip, *buffers)
                if skip is not None:
                    state["skip_scale"] = skip
    if piece.firing is not None:
        state["neuron.threshold"] = torch.from_numpy(np.array(piece.firing.threshold))
    # assigned, not copied: a network in float64 stays one
    layer.load_state_dict(state, assign=True)
    return layer


def _edge_data(edge: EdgeReport) -> dict[str, Any]:
    return vars(edge) | {"thresholds": np.asarray(edge.thresholds, np.float64).tolist()}


def _edge(data: Mapping[str, Any]) -> EdgeReport:
    changed = {"thresholds": np.array(data["thresholds"]), "pruned": tuple(data["pruned"])}
    return EdgeReport(**{**data, **changed})
