"""The parts of SpikePack networks that stand alone: the fire stage, and every kind of layer."""

from __future__ import annotations

import dataclasses
from typing import Any

from spikeloom.hardware.parameters import (
    AddParameters,
    ConvParameters,
    DenseParameters,
    DepthwiseParameters,
    FireParameters,
    Folding,
    PadParameters,
    PoolParameters,
    Window,
)

from spikeloom_hdl.catalogue.core import Core
from spikeloom_hdl.catalogue.notes import layer_notes, lone_columns
from spikeloom_hdl.network import make_layer
from spikeloom_hdl.neuron.fire import Fire

__all__ = ["NETWORK_CORES", "dense_parameters"]


def _parameters(cls: Any, settings: dict[str, Any]) -> Any:
    """Split settings between the shape of a layer, its window and its folding."""
    parts = {"folding": Folding, "window": Window}
    shape = dict(settings)
    for field, part in parts.items():
        if any(f.name == field for f in dataclasses.fields(cls)):
            names = [f.name for f in dataclasses.fields(part) if f.name in shape]
            shape[field] = part(**{name: shape.pop(name) for name in names})
    return cls(**shape)


def dense_parameters(settings: dict[str, Any]) -> DenseParameters:
    """Return the parameters of a fully connected layer with these settings."""
    return _parameters(DenseParameters, settings)


def _layer_notes(core: Any) -> list[str]:
    return [*layer_notes(core), *lone_columns(core.parameters)]


def _layer(title: str, cls: Any, defaults: dict[str, Any], **fixed: Any) -> Core:
    """Entry of a layer; fixed: fields of its parameters that are no settings."""
    return Core(
        title, defaults, lambda s: make_layer(_parameters(cls, {**s, **fixed})), _layer_notes
    )


def _fire_notes(core: Fire) -> list[str]:
    return [
        f"In: {core.lanes} membrane potentials ({core.bits} bits, two's complement) and their"
        f" thresholds ({core.threshold_bits} bits, unsigned, >= 1) a transfer.",
        f"Out: {core.lanes} words of {core.steps} bits, first spike = most significant bit:"
        f" clip(floor(v / threshold), 0, {2**core.steps - 1}), floor toward minus infinity.",
        f"Rate: a transfer a cycle. Latency: {core.steps} cycles.",
    ]


_HIDDEN = {
    "inputs": 64, "outputs": 16, "input_bits": 4, "output_bits": 4, "weight_bits": 8,
    "accumulator_bits": 24, "threshold_bits": 16,
}  # fmt: skip
_FOLDING = {f.name: f.default for f in dataclasses.fields(Folding)}
_DENSE = {k: v for k, v in _FOLDING.items() if k not in ("units", "paired")}
_WINDOW = {
    "height": 16, "width": 16, "kernel_height": 3, "kernel_width": 3, "stride_y": 1, "stride_x": 1,
    "pad_y": 1, "pad_x": 1,
}  # fmt: skip
_CONV = {
    **{"channels" if k == "inputs" else k: v for k, v in _HIDDEN.items()}, "channels": 8,
    "skip_bits": 0, "skip_signed": False, "skip_weight_bits": 0,
}  # fmt: skip
_DEPTHWISE = {
    **{k: v for k, v in _HIDDEN.items() if k != "inputs"}, **_WINDOW, "lanes": 4, "fire_lanes": 1,
    "multiplier": "lut", "weight_memory": "block",
}  # fmt: skip
_TILES = {**_WINDOW, "kernel_height": 2, "kernel_width": 2, "stride_y": 2, "stride_x": 2}
_TILES |= {"pad_y": 0, "pad_x": 0}
_PIXELS = {"pixels": 256, "channels": 16}
_POTENTIALS = {"accumulator_bits": 24, "output_bits": 4, "threshold_bits": 16}

NETWORK_CORES: dict[str, Core] = {
    "fire": Core(
        "SpikePack fire stage: compare, spike, reset by subtraction",
        {"lanes": 1, "bits": 24, "steps": 4, "threshold_bits": 16},
        lambda s: Fire(**s),
        _fire_notes,
    ),
    "dense": _layer(
        "fully connected SpikePack layer, event driven", DenseParameters, {**_HIDDEN, **_DENSE}
    ),
    "readout": _layer(
        "readout layer: membrane potentials, no spikes",
        DenseParameters,
        {**_HIDDEN, "outputs": 10, "output_bits": 0, **_DENSE},
    ),
    "conv2d": _layer(
        "convolution, event driven, with a skip connection if wanted",
        ConvParameters,
        {**_CONV, **_WINDOW, **_FOLDING},
    ),
    "depthwise": _layer(
        "depthwise convolution: a kernel for each channel", DepthwiseParameters, _DEPTHWISE
    ),
    "maxpool": _layer(
        "the greatest word, or potential, of each window",
        PoolParameters,
        {"channels": 16, **_TILES, "bits": 4, "signed": False, "lanes": 1},
        rule="max",
    ),
    "avgpool": _layer(
        "mean of each window, by a fire stage with a constant threshold",
        PoolParameters,
        {"channels": 16, **_TILES, "bits": 4, "output_bits": 4, "threshold": 4, "bias": 2,
         "lanes": 1},
        rule="average",
    ),
    "add": _layer(
        "addition of two streams of words, which fires",
        AddParameters,
        {**_PIXELS, "input_bits": 4, "other_bits": 4, "weight_bits": 8, **_POTENTIALS, "lanes": 1,
         "multiplier": "lut"},
    ),
    "fire_layer": _layer(
        "fire layer: thresholds of its own, on a stream of membrane potentials",
        FireParameters,
        {**_PIXELS, **_POTENTIALS, "lanes": 1},
    ),
    "pad": _layer(
        "frame of constant words around each sample",
        PadParameters,
        {"height": 16, "width": 16, "top": 1, "bottom": 1, "left": 1, "right": 1, "channels": 16,
         "bits": 4, "lanes": 1},
    ),
}  # fmt: skip
