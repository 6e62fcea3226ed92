"""The integer network: what golden model and gates run. Plain data; never imports torch itself."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeloom.errors import InputError
from spikeloom.hardware.parameters import DenseParameters, Folding, NetworkParameters
from spikeloom.ops import Dense, Flatten, Op, Readout, accumulator_width

if TYPE_CHECKING:
    import torch

    from spikeloom.golden import Trace

__all__ = ["Dense", "Flatten", "Network", "Op", "Readout", "accumulator_width"]


def _require(condition: object, message: str) -> None:
    if not condition:
        raise ValueError(message)


class Network:
    """An integer spiking network: what golden model and gates run, with the same bits.

    ops: Flatten (needed first when a sample has more than one axis), Dense ..., Readout last.
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
        names = [op.name for op in self.ops]
        _require(len(set(names)) == len(names), f"op names must differ: {names}")
        flat, words = len(shape) == 1, self.inputs
        for index, op in enumerate(self.ops):
            last = index == len(self.ops) - 1
            _require(
                isinstance(op, Readout) == last,
                f"op {op.name!r}: a network ends with its only readout, this is op {index + 1}"
                f" of {len(self.ops)}",
            )
            if isinstance(op, Flatten):
                flat = True
                continue
            _require(flat, f"op {op.name!r} needs flat input, samples are {shape}: add a Flatten")
            _require(
                (op.inputs, op.input_bits) == (words, bits),
                f"op {op.name!r} takes {op.inputs} words of {op.input_bits} bits,"
                f" it is given {words} of {bits}",
            )
            words, bits = op.outputs, op.output_bits
        _require(self.ops, "a network needs at least a readout")

    def __repr__(self) -> str:
        sizes = "-".join(str(n) for n in (self.inputs, *(op.outputs for op in self.layers)))
        return f"Network({sizes}, input_shape={self.input_shape}, input_bits={self.input_bits})"

    @property
    def layers(self) -> tuple[Dense | Readout, ...]:
        """The ops that hold weights, in order."""
        return tuple(op for op in self.ops if isinstance(op, (Dense, Readout)))

    @property
    def inputs(self) -> int:
        """Words of one sample."""
        return math.prod(self.input_shape)

    @property
    def classes(self) -> int:
        """Logits of one sample."""
        return self.layers[-1].outputs

    def encode(self, images: ArrayLike) -> NDArray[np.uint8]:
        """Turn samples into input words, p = (2 x (2^T - 1) + 255) // 510.

        images: uint8 (n, *input_shape), (n, inputs), or one sample without its first axis.
        Returns uint8 (n, inputs). Raises InputError on another dtype or shape.
        """
        x = np.asarray(images)
        if x.dtype != np.uint8:
            raise InputError(
                f"images are {x.dtype}, the network takes uint8 0..255:"
                " scale to 0..255, round, then .astype(numpy.uint8)"
            )
        if x.shape in (self.input_shape, (self.inputs,)):
            x = x[None]
        if x.ndim == 0 or x.shape[1:] not in (self.input_shape, (self.inputs,)):
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
        layers = self.layers
        _require(
            len(foldings) == len(layers), f"{len(layers)} layers need {len(layers)} foldings,"
            f" not {len(foldings)}",
        )  # fmt: skip
        return NetworkParameters(
            tuple(
                DenseParameters(
                    inputs=op.inputs,
                    outputs=op.outputs,
                    input_bits=op.input_bits,
                    output_bits=op.output_bits,
                    weight_bits=op.weight_bits,
                    accumulator_bits=op.accumulator_bits,
                    threshold_bits=op.threshold_bits,
                    folding=folding,
                )
                for op, folding in zip(layers, foldings, strict=True)
            )
        )

    def check_accumulators(self) -> None:
        """Raise AccumulatorOverflowError if any possible input could overflow a layer's v0."""
        for op in self.layers:
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
