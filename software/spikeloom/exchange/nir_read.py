"""Our own NIR graphs back into a sketch: weights from the nodes, time coding from their metadata.

What was read is written again and compared, so that a graph that someone changed without its
metadata is refused and not misread.
"""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import numpy as np

from spikeloom.errors import InputError
from spikeloom.exchange.nir_write import KEY, VERSION, write_graph
from spikeloom.exchange.pieces import Array, Firing, Piece, Sketch

__all__ = ["is_ours", "read_sketch"]

_ADVICE = "read it as a rate-coded network: from_nir(graph, exact=False)"


def is_ours(graph: Any) -> bool:
    """Whether a graph has our metadata."""
    return KEY in (graph.metadata or {})


def read_sketch(graph: Any, nir: ModuleType) -> Sketch:
    """Read a graph that :func:`write_graph` made; InputError, one line, if it was changed since."""
    try:
        about = json.loads(graph.metadata[KEY])
        version = about["version"]
        if version != VERSION:
            raise InputError(
                f"the graph's spikeloom metadata are version {version!r}, this Spikeloom reads"
                f" {VERSION}; {_ADVICE}"
            )
        sketch = Sketch(
            about["form"],
            tuple(_piece(layer, graph.nodes) for layer in about["layers"]),
            tuple(about["input_shape"]),
            about["input_bits"],
            about["about"],
        )
        again = write_graph(sketch, nir)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError, IndexError) as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"the graph's spikeloom metadata do not belong to its nodes ({what}); {_ADVICE}"
        ) from error
    _compare(graph, again)
    return sketch


def _piece(layer: dict[str, Any], nodes: dict[str, Any]) -> Piece:
    given: dict[str, Any] = {k: tuple(layer[k]) for k in ("kernel", "stride", "padding")}
    found = {role: nodes[name] for role, name in layer["nodes"].items()}
    kind, main = layer["kind"], found.get("main")
    extra = dict((main.metadata if main is not None else {}).get(KEY, {}))
    if "fire" in found:
        coding = dict(found["fire"].metadata[KEY])
        given["firing"] = _firing(coding)
        if kind == "fire":
            extra = coding
    if kind in ("linear", "conv", "add"):
        weight = np.asarray(main.weight)  # type: ignore[union-attr]
        if kind == "add":
            weight = np.diagonal(weight) if weight.ndim == 2 else weight.reshape(len(weight))
        given |= {"weight": weight.copy(), "bias": np.array(main.bias)}  # type: ignore[union-attr]
    if "skip" in found:
        scale = np.asarray(found["skip"].scale)
        given["skip"] = scale.reshape(len(scale), -1)[:, 0].copy()
    return Piece(
        layer["name"],
        kind,
        tuple(layer["sources"]),
        tuple(layer["shape"]),
        groups=layer["groups"],
        extra={k: np.asarray(v) for k, v in extra.items()},
        fields=layer["fields"],
        **given,
    )


def _firing(coding: dict[str, Any]) -> Firing:
    """Take the time coding out of a neuron's metadata; the rest stays."""
    stated = {k: coding.pop(k) for k in ("neuron", "reset", "comparison")}
    if stated != {"neuron": "SpikePack", "reset": "subtract", "comparison": ">="}:
        raise ValueError(f"neurons are {stated}")
    return Firing(
        threshold=np.asarray(coding.pop("threshold")),
        steps=int(coding.pop("steps")),
        rounding=bool(coding.pop("rounding")),
        lsb=np.asarray(coding.pop("lsb")),
        tau=float(coding.pop("tau")),
    )


def _compare(graph: Any, again: Any) -> None:
    """Refuse a graph that is not what its metadata give, naming the first node that differs."""
    for name in sorted({*graph.nodes, *again.nodes}):
        a, b = graph.nodes.get(name), again.nodes.get(name)
        if a is None or b is None:
            raise InputError(f"node {name!r} was added or removed since it was written; {_ADVICE}")
        if type(a) is not type(b):
            raise InputError(f"node {name!r} is another one than was written; {_ADVICE}")
        for key, value in b.to_dict().items():
            if key != "metadata" and not _equal(value, a.to_dict().get(key)):
                raise InputError(
                    f"node {name!r}: its {key} does not belong to its metadata; {_ADVICE}"
                )
    differing = set(map(tuple, graph.edges)) ^ set(map(tuple, again.edges))
    if differing:
        a, b = min(differing)
        raise InputError(
            f"the edge from {a!r} to {b!r} was added or removed since it was written; {_ADVICE}"
        )


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict) or isinstance(b, dict):
        same = isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys()
        return same and all(_equal(a[k], b[k]) for k in a)
    x: Array = np.asarray(a)
    return x.shape == np.shape(b) and np.array_equal(x, np.asarray(b))
