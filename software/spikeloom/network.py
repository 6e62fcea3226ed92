"""The integer network: what golden model and gates run. Plain data; never imports torch itself."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeloom.errors import InputError
from spikeloom.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Dense,
    Edge,
    Fire,
    Flatten,
    MaxPool2d,
    Op,
    Pad2d,
    Readout,
    Synapses,
    accumulator_width,
    short_shapes,
)

if TYPE_CHECKING:
    import torch

    from spikeloom.golden import Trace
    from spikeloom.hardware.folding import Folding
    from spikeloom.hardware.parameters import NetworkParameters

__all__ = ["INPUT", "Dense", "Flatten", "Layer", "Network", "Op", "Readout", "accumulator_width"]

#: The name of a network's input among the sources of its ops.
INPUT = "input"

#: The ops that become a layer in gates.
Layer = Dense | Readout | Pad2d | Conv2d | MaxPool2d | AvgPool2d | Fire | Add


def _size(op: Layer) -> str:
    """A layer in a few characters: 128, 16c3, mp2, ap8, add ..."""
    if isinstance(op, Conv2d):
        kernel = "x".join(map(str, sorted(set(op.kernel), reverse=True)))
        return f"{op.outputs}{'dw' if op.depthwise else 'c'}{kernel}"
    if isinstance(op, (MaxPool2d, AvgPool2d)):
        return f"{'mp' if isinstance(op, MaxPool2d) else 'ap'}{op.kernel[0]}"
    if isinstance(op, (Dense, Readout)):
        return str(op.outputs)
    return op.kind


def _require(condition: object, message: str) -> None:
    if not condition:
        raise ValueError(message)


class Network:
    """An integer spiking network: what golden model and gates run, with the same bits.

    ops: in an order in which each follows what feeds it, the only Readout last. Flatten stands
    before a Dense or a Readout when samples have more than one axis.
    input_shape: shape of one uint8 sample. input_bits: T of the input words, 1..8.
    metadata: free text, saved with the network.
    Raises ValueError when the ops do not fit together.
    """

    def __init__(
        self,
        ops: Sequence[Op],
        input_shape: Sequence[int],
        input_bits: int = 8,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.ops: tuple[Op, ...] = tuple(ops)
        self.input_shape: tuple[int, ...] = tuple(input_shape)
        self.input_bits = input_bits
        self.metadata: dict[str, str] = dict(metadata or {})
        self._validate()

    def _validate(self) -> None:
        shape = self.input_shape
        _require(
            shape and all(isinstance(n, int) and 1 <= n <= 1 << 24 for n in shape),
            f"input_shape must be positive integers, not {shape}",
        )
        bits = self.input_bits
        _require(
            isinstance(bits, int) and not isinstance(bits, bool) and 1 <= bits <= 8,
            f"input_bits must be an integer in 1..8, not {bits!r}",
        )
        for key, value in self.metadata.items():
            _require(
                isinstance(key, str) and isinstance(value, str),
                f"metadata must map text to text, not {key!r} to {value!r}",
            )
        _require(self.ops, "a network needs at least a readout")
        names = [op.name for op in self.ops]
        _require(len(set(names)) == len(names), f"op names must differ: {names}")
        self.edges: dict[str, Edge] = {INPUT: Edge(shape, bits)}
        used: set[str] = set()
        for index, op in enumerate(self.ops):
            last = index == len(self.ops) - 1
            _require(
                isinstance(op, Readout) == last,
                f"op {op.name!r}: a network ends with its only readout, this is op {index + 1}"
                f" of {len(self.ops)}",
            )
            sources = self.sources(op)
            for source in sources:
                _require(
                    source in self.edges,
                    f"op {op.name!r} takes {source!r}, which is no op before it",
                )
            used.update(sources)
            self.edges[op.name] = op.infer(*(self.edges[source] for source in sources))
        idle = [name for name in (INPUT, *names[:-1]) if name not in used]
        _require(not idle, f"nothing uses the output of {', '.join(map(repr, idle))}")

    def sources(self, op: Op) -> tuple[str, ...]:
        """Names of what feeds an op, resolved: ops before it, or "input"."""
        index = self.ops.index(op)
        before = self.ops[index - 1].name if index else INPUT
        return tuple(name or before for name in op.sources)

    @property
    def sizes(self) -> str:
        """The layers in a few characters: 784-128-10, 3x32x32-16c3-mp2-10."""
        flat = isinstance(self.layers[0], (Dense, Readout))
        head = str(self.inputs) if flat else "x".join(map(str, self.input_shape))
        return "-".join([head, *(_size(op) for op in self.layers)])

    def __repr__(self) -> str:
        shape = self.input_shape
        return f"Network({self.sizes}, input_shape={shape}, input_bits={self.input_bits})"

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The ops that become a layer in gates, in order: all but Flatten."""
        return tuple(op for op in self.ops if not isinstance(op, Flatten))

    def layer_sources(self, op: Op) -> tuple[str, ...]:
        """Names of the layers that feed an op, looking through Flatten; "input" for the input."""

        def through(name: str) -> str:
            while name != INPUT:
                found = next(o for o in self.ops if o.name == name)
                if not isinstance(found, Flatten):
                    return name
                name = self.sources(found)[0]
            return name

        return tuple(through(name) for name in self.sources(op))

    @property
    def inputs(self) -> int:
        """Words of one sample."""
        return math.prod(self.input_shape)

    @property
    def classes(self) -> int:
        """Logits of one sample."""
        return self.edges[self.ops[-1].name].size

    def encode(self, images: ArrayLike) -> NDArray[np.uint8]:
        """Turn samples into input words, p = (2 x (2^T - 1) + 255) // 510.

        images: uint8 (n, *input_shape), (n, inputs), or one sample without its first axis; pictures
        of one channel may come without it, (n, height, width), and samples of width 1, which
        networks of 1-D layers take, as (n, channels, length).
        Returns uint8 (n, inputs). Raises InputError on another dtype or shape.
        """
        x = np.asarray(images)
        if x.dtype != np.uint8:
            raise InputError(
                f"images are {x.dtype}, the network takes uint8 0..255:"
                " scale to 0..255, round, then .astype(numpy.uint8)"
            )
        shapes = [self.input_shape, (self.inputs,), *short_shapes(self.input_shape)]
        if x.shape in shapes:
            x = x[None]
        if x.ndim == 0 or x.shape[1:] not in shapes:
            sample = ", ".join(map(str, self.input_shape))
            raise InputError(
                f"images have shape {x.shape}, the network takes (n, {sample})"
                f" or (n, {self.inputs})"
            )
        wide = x.reshape(x.shape[0], self.inputs).astype(np.uint32)
        top = (1 << self.input_bits) - 1
        return ((2 * wide * top + 255) // 510).astype(np.uint8)

    def run(self, images: ArrayLike, device: str = "cpu") -> NDArray[np.int64]:
        """Integer logits (n, classes) of the golden model; see :meth:`encode` for ``images``.

        device: a torch device, ``cpu`` or ``cuda``: same bits.
        """
        from spikeloom import golden

        return golden.run_words(self, self.encode(images), device=device)

    def trace(self, images: ArrayLike, device: str = "cpu") -> list[Trace]:
        """Every layer's potentials v0 and packed output words, from the golden model."""
        from spikeloom import golden

        return golden.trace_words(self, self.encode(images), device=device)

    def dequantised(self) -> torch.nn.Module:
        """Return the float64 twin, in real units; see :mod:`spikeloom.dequantise`."""
        from spikeloom.dequantise import Dequantised

        return Dequantised(self)

    def parameters(self, foldings: Sequence[Folding]) -> NetworkParameters:
        """Return the structure in gates, one folding a layer; ValueError where they do not fit."""
        from spikeloom.hardware.structure import network_parameters

        return network_parameters(self, foldings)

    def check_accumulators(self) -> None:
        """Raise AccumulatorOverflowError if any possible input could overflow a layer's v0."""
        for op in self.layers:
            if isinstance(op, Synapses):
                op.check_accumulator()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a ``.spikeloom`` file; see :mod:`spikeloom.network_file`."""
        from spikeloom.network_file import write_network

        write_network(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Network:
        """Read and check a ``.spikeloom`` file; NetworkFileError, one line, if anything is off."""
        from spikeloom.network_file import read_network

        return read_network(path)
