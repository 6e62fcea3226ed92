"""An integer network as a sketch, and back: the same integers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from spikeloom.errors import UnsupportedModelError
from spikeloom.exchange.pieces import Array, Firing, Piece, Sketch
from spikeloom.network import Network
from spikeloom.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Dense,
    Fire,
    Flatten,
    MaxPool2d,
    Op,
    Pad2d,
    Readout,
)

__all__ = ["network_of", "sketch_of_network"]

_REASONS = {
    MaxPool2d: "max pooling, train with nn.AvgPool2d",
    Pad2d: "a frame of constant words, put the normalisation behind the convolution",
}
_KINDS: dict[type[Op], str] = {
    Flatten: "flatten",
    Dense: "linear",
    Readout: "linear",
    Conv2d: "conv",
    AvgPool2d: "sum",
    Fire: "fire",
    Add: "add",
}
_OPS: dict[str, type[Op]] = {op.kind: op for op in _KINDS}
_ONE = np.ones(())


def sketch_of_network(network: Network) -> Sketch:
    """Sketch an integer network; UnsupportedModelError, one line, names every op without a form."""
    wrong = [
        f"{op.name!r} ({_REASONS.get(type(op), op.kind)})"
        for op in network.ops
        if type(op) not in _KINDS
    ]
    if wrong:
        raise UnsupportedModelError(f"NIR has no node for {'; '.join(wrong)}")
    pieces = tuple(_piece(network, op) for op in network.ops)
    about = {"metadata": network.metadata}
    return Sketch("integers", pieces, network.input_shape, network.input_bits, about)


def _piece(network: Network, op: Op) -> Piece:
    values = {f.name: getattr(op, f.name) for f in dataclasses.fields(op)}
    arrays = {k: values.pop(k) for k, v in list(values.items()) if isinstance(v, np.ndarray)}
    sources = network.sources(op)
    if isinstance(op, Conv2d) and op.skip:
        sources = (*sources[:1], values["skip"])
    given: dict[str, Any] = {}
    for name in ("kernel", "stride", "padding"):
        if name in values:
            given[name] = values.pop(name)
    own_skip_weight = "skip_weight" in arrays
    if isinstance(op, Conv2d):
        given |= {"kernel": op.kernel, "groups": values.pop("groups")}
        if op.skip:
            given["skip"] = arrays.pop("skip_weight", np.ones(op.outputs, np.int64))
    if getattr(op, "output_bits", 0):
        threshold = np.asarray(arrays.pop("threshold", values.pop("threshold", None)))
        given["firing"] = Firing(threshold, values.pop("output_bits"), False, _ONE)
    weight, bias = arrays.pop("weight", None), arrays.pop("bias", None)
    if isinstance(op, Add) and weight is not None:
        weight, given["skip"] = weight
    values |= {"op": op.kind, "own_skip_weight": own_skip_weight}
    return Piece(
        op.name,
        _KINDS[type(op)],
        sources,
        network.edges[op.name].shape,
        weight,
        bias,
        extra=arrays,
        fields=values,
        **given,
    )


def network_of(sketch: Sketch) -> Network:
    """Build the network that was sketched; ValueError where its values are out of range."""
    ops = [_op(piece) for piece in sketch.pieces]
    return Network(ops, sketch.input_shape, sketch.input_bits, sketch.about["metadata"])


def _integers(value: Array, name: str, what: str) -> Array:
    rounded = np.rint(value)
    if not np.array_equal(rounded, value):
        raise ValueError(f"op {name!r}: {what} of an integer network must be whole numbers")
    return rounded.astype(np.int64)


def _op(piece: Piece) -> Op:
    values: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in piece.fields.items()
    }
    kind, own_skip_weight = _OPS[values.pop("op")], values.pop("own_skip_weight")
    known = {f.name for f in dataclasses.fields(kind)}
    for name in ("kernel", "stride", "padding", "groups"):
        if name in known:
            values[name] = getattr(piece, name)
    values |= piece.extra
    for name in ("weight", "bias"):
        array = getattr(piece, name)
        if array is not None:
            values[name] = _integers(array, piece.name, name)
    if kind is Add:
        assert piece.skip is not None
        skip = _integers(piece.skip, piece.name, "weight")
        values["weight"] = np.stack([values["weight"], skip])
    elif own_skip_weight and piece.skip is not None:
        values["skip_weight"] = _integers(piece.skip, piece.name, "skip_weight")
    if piece.firing is not None:
        threshold = _integers(np.asarray(piece.firing.threshold), piece.name, "threshold")
        values["threshold"] = threshold if threshold.ndim else int(threshold)
        values["output_bits"] = piece.firing.steps
    return kind(**values)
