"""A sketch as a NIR graph that others can simulate, and that carries what NIR has no word for.

Native nodes alone, without our metadata, are a rate-coded network: constant input currents, IF
neurons that reset by subtraction, and the mean over many steps as the output. For that each
threshold is the value of a full word, so that a spike a step means the greatest word.
"""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import numpy as np

from spikeloom.exchange.pieces import Array, Piece, Sketch, spread

__all__ = ["KEY", "VERSION", "write_graph"]

#: Key of our metadata in a graph and its nodes, and the version of what is there.
KEY = "spikeloom"
VERSION = 1


def write_graph(sketch: Sketch, nir: ModuleType) -> Any:
    """Write a sketch as a ``nir.NIRGraph``; weights and biases keep every bit."""
    return _Writer(sketch, nir).graph()


class _Writer:
    """Nodes and edges of a graph that grows; ``words`` is what gives a piece's words."""

    def __init__(self, sketch: Sketch, nir: ModuleType) -> None:
        self.sketch, self.nir = sketch, nir
        shape = np.array(sketch.input_shape)
        self.nodes: dict[str, Any] = {"input": nir.Input(input_type={"input": shape})}
        self.edges: list[tuple[str, str]] = []
        self.words = {"input": "input"}

    def graph(self) -> Any:
        """Return all of it."""
        layers = [self.piece(piece) for piece in self.sketch.pieces]
        last = self.sketch.pieces[-1]
        shape = np.array(last.shape)
        self.add("output", self.nir.Output(output_type={"output": shape}), self.words[last.name])
        about = {
            "version": VERSION,
            "form": self.sketch.form,
            "input_shape": self.sketch.input_shape,
            "input_bits": self.sketch.input_bits,
            "about": self.sketch.about,
            "layers": layers,
        }
        # nir's own check of types (1.0.8) takes depthwise and rectangular kernels for wrong ones
        return self.nir.NIRGraph(
            nodes=self.nodes, edges=self.edges, metadata={KEY: json.dumps(about)}, type_check=False
        )

    def add(self, wanted: str, node: Any, *sources: str) -> str:
        """Add a node under a free name; "/" would be a folder in the file."""
        wanted = wanted.replace("/", "_")
        name, count = wanted, 1
        while name in self.nodes:
            count += 1
            name = f"{wanted}_{count}"
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return name

    def piece(self, piece: Piece) -> dict[str, Any]:
        """Add the nodes of a piece; what to find them by, as plain values."""
        names: dict[str, str] = {}
        first = self.words[piece.sources[0]]
        before = self.sketch.shape(piece.sources[0])
        if piece.kind in ("linear", "add") and len(piece.shape) < len(before):
            shape = {"input": np.array(before)}
            flat = self.nir.Flatten(input_type=shape, start_dim=0, end_dim=-1)
            first = names["flatten"] = self.add(f"{piece.name}.flatten", flat, first)
        if piece.kind != "fire":
            first = names["main"] = self.add(piece.name, self.main(piece, before), first)
        last = (first,)
        if piece.skip is not None:
            last = (first, self.skip(piece, names))
        if piece.firing is not None:
            last = (self.fire(piece, names, last),)
        elif len(last) > 1:
            raise AssertionError(f"{piece.name}: a sum that does not fire")
        self.words[piece.name] = last[0]
        shape = {k: list(getattr(piece, k)) for k in ("kernel", "stride", "padding")}
        about = {k: getattr(piece, k) for k in ("name", "kind", "sources", "shape", "groups")}
        return about | shape | {"fields": piece.fields, "nodes": names}

    def main(self, piece: Piece, before: tuple[int, ...]) -> Any:
        """Make the node with a piece's weights."""
        nir, extra = self.nir, {KEY: {k: plain(v) for k, v in piece.extra.items()}}
        metadata = extra if piece.extra else {}
        if piece.kind == "flatten":
            shape = {"input": np.array(before)}
            return nir.Flatten(input_type=shape, start_dim=0, end_dim=-1, metadata=metadata)
        if piece.kind in ("average", "sum"):
            kind = nir.AvgPool2d if piece.kind == "average" else nir.SumPool2d
            geometry = (np.array(v) for v in (piece.kernel, piece.stride, piece.padding))
            return kind(*geometry, metadata=metadata)
        weight, bias = _floats(piece.weight, np.float32), _floats(piece.bias, np.float64)
        if piece.kind == "add":
            if len(piece.shape) == 1:
                return nir.Affine(np.diag(weight), bias, metadata=metadata)
            weight = weight.reshape(-1, 1, 1, 1)
        elif piece.kind == "linear":
            return nir.Affine(weight, bias, metadata=metadata)
        groups = len(weight) if piece.kind == "add" else piece.groups
        return nir.Conv2d(
            input_shape=tuple(before[1:]),
            weight=weight,
            stride=tuple(piece.stride),
            padding=tuple(piece.padding),
            dilation=(1, 1),
            groups=groups,
            bias=bias,
            metadata=metadata,
        )

    def skip(self, piece: Piece, names: dict[str, str]) -> str:
        """Add the factor of a second source; its name."""
        source = self.words[piece.sources[1]]
        before = self.sketch.shape(piece.sources[1])
        if len(piece.shape) < len(before):
            flat = self.nir.Flatten(input_type={"input": np.array(before)}, start_dim=0, end_dim=-1)
            source = names["skip_flatten"] = self.add(f"{piece.name}.skip.flatten", flat, source)
        scale = spread(_floats(piece.skip, np.float32), piece.shape)
        names["skip"] = self.add(f"{piece.name}.skip", self.nir.Scale(scale), source)
        return names["skip"]

    def fire(self, piece: Piece, names: dict[str, str], sources: tuple[str, ...]) -> str:
        """Add neurons, and what a spike of theirs is worth."""
        firing = piece.firing
        assert firing is not None
        ones = np.ones(piece.shape)
        full = spread(np.asarray(firing.threshold, np.float64) * firing.top, piece.shape)
        coding = {
            "neuron": "SpikePack",
            "reset": "subtract",
            "comparison": ">=",
            "steps": firing.steps,
            "tau": firing.tau,
            "rounding": int(firing.rounding),
            "threshold": plain(firing.threshold),
            "lsb": plain(firing.lsb),
        }
        if piece.kind == "fire":
            coding |= {k: plain(v) for k, v in piece.extra.items()}
        node = self.nir.IF(r=ones, v_threshold=full, v_reset=0 * ones, metadata={KEY: coding})
        name = names["fire"] = self.add(f"{piece.name}.fire", node, *sources)
        worth = spread(np.asarray(firing.lsb, np.float64) * firing.top, piece.shape)
        names["words"] = self.add(f"{piece.name}.words", self.nir.Scale(worth), name)
        return names["words"]


def _floats(value: Array | None, least: Any) -> Array:
    """Floats as they are; integers as floats that hold them exactly."""
    assert value is not None
    return value.copy() if value.dtype.kind == "f" else value.astype(least)


def plain(value: Array) -> Any:
    """A single number as such: HDF5 compresses no array without axes."""
    value = np.asarray(value)
    return value.copy() if value.ndim else value[()]
