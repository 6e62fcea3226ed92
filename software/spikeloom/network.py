"""The integer network: ops as plain data, checked, saved and loaded. Never imports torch itself.

A ``.spikeloom`` file is a safetensors file: integer arrays ``<op name>.<field>`` and, in the
metadata, one JSON graph under the key ``spikeloom`` with its own version number. No pickle.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeloom.errors import AccumulatorOverflowError, InputError, NetworkFileError
from spikeloom.hardware.parameters import DenseParameters, Folding, NetworkParameters

if TYPE_CHECKING:
    import torch

    from spikeloom.golden import Trace

__all__ = ["Dense", "Flatten", "Network", "Op", "Readout", "accumulator_width"]

#: Raised by one whenever the meaning of a file changes.
FORMAT_VERSION = 1
_METADATA_KEY = "spikeloom"


def _require(condition: object, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _check_int(where: str, name: str, value: object, low: int, high: int) -> None:
    good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    _require(good, f"{where}: {name} must be an integer in {low}..{high}, not {value!r}")


def _integers(
    where: str, name: str, value: ArrayLike, shape: tuple[int, ...], low: int, high: int, dtype: Any
) -> NDArray[Any]:
    """Return a read-only copy as ``dtype``; ValueError on a wrong kind, shape or range."""
    array = np.asarray(value)
    _require(array.dtype.kind in "iu", f"{where}: {name} must be integers, not {array.dtype}")
    _require(array.shape == shape, f"{where}: {name} has shape {array.shape}, expected {shape}")
    if array.size:
        least, most = int(array.min()), int(array.max())
        _require(
            low <= least and most <= high,
            f"{where}: {name} holds {least}..{most}, allowed are {low}..{high}",
        )
    array = array.astype(dtype)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Flatten:
    """Lay a sample of any shape out as one row, C order."""

    name: str
    kind: ClassVar[str] = "flatten"

    def __post_init__(self) -> None:
        _check_name(self.name)


def _check_name(name: object) -> None:
    _require(isinstance(name, str) and name, f"an op needs a name, not {name!r}")


@dataclass(frozen=True, eq=False)
class _Linear:
    """What Dense and Readout share: v0 = weight @ p + bias, all integers."""

    name: str
    weight: NDArray[np.int8] = field(repr=False)
    bias: NDArray[np.int64] = field(repr=False)
    input_bits: int
    weight_bits: int
    accumulator_bits: int

    def __post_init__(self) -> None:
        _check_name(self.name)
        where = f"op {self.name!r}"
        for name, low, high in (
            ("input_bits", 1, 8),
            ("weight_bits", 2, 8),
            ("accumulator_bits", 2, 32),
        ):
            _check_int(where, name, getattr(self, name), low, high)
        top = (1 << (self.weight_bits - 1)) - 1
        shape = np.shape(self.weight)
        _require(
            len(shape) == 2 and min(shape) >= 1,
            f"{where}: weight has shape {shape}, expected (outputs, inputs)",
        )
        weight = _integers(where, "weight", self.weight, shape, -top, top, np.int8)
        a = 1 << (self.accumulator_bits - 1)
        bias = _integers(where, "bias", self.bias, shape[:1], -a, a - 1, np.int64)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)

    @property
    def outputs(self) -> int:
        """Number of neurons."""
        return self.weight.shape[0]

    @property
    def inputs(self) -> int:
        """Number of input words of a sample."""
        return self.weight.shape[1]

    def potential_bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Least and greatest v0 of every neuron, (outputs,), over all possible input words."""
        w, top = self.weight.astype(np.int64), (1 << self.input_bits) - 1
        return (
            self.bias + np.minimum(w, 0).sum(1) * top,
            self.bias + np.maximum(w, 0).sum(1) * top,
        )

    def check_accumulator(self) -> None:
        """Raise AccumulatorOverflowError, naming a neuron, if v0 could leave its width."""
        low, high = self.potential_bounds()
        limit = 1 << (self.accumulator_bits - 1)
        bad = np.flatnonzero((low < -limit) | (high >= limit))
        if bad.size:
            n = int(bad[0])
            raise AccumulatorOverflowError(
                f"layer {self.name!r}, neuron {n} (one of {bad.size}): v0 can reach"
                f" {low[n]}..{high[n]}, an accumulator of {self.accumulator_bits} bits holds"
                f" {-limit}..{limit - 1}: use {accumulator_width(low, high)} bits or more"
            )


def accumulator_width(low: ArrayLike, high: ArrayLike) -> int:
    """Bits of the narrowest two's complement integer that holds every value of low..high."""
    least, most = int(np.min(low)), int(np.max(high))
    return max((-least - 1).bit_length() if least < 0 else 0, max(most, 0).bit_length()) + 1


@dataclass(frozen=True, eq=False)
class Dense(_Linear):
    """A fully connected layer that fires: p_out = clip(floor(v0 / threshold), 0, 2^T - 1).

    weight: int8 (outputs, inputs), within +-(2^(weight_bits-1) - 1).
    bias: int64 (outputs,), half threshold included; added once, at the fire input.
    threshold: int64 (outputs,), 1 .. 2^threshold_bits - 1.
    input_bits, output_bits: T of the words in and out, 1..8.
    output_scale: float64 (outputs,), the real value of one LSB of an output word.
    Raises ValueError when a field is out of its range.
    """

    threshold: NDArray[np.int64] = field(repr=False)
    output_bits: int
    output_scale: NDArray[np.float64] = field(repr=False)
    threshold_bits: int = 16
    kind: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        super().__post_init__()
        where, shape = f"op {self.name!r}", (self.outputs,)
        _check_int(where, "output_bits", self.output_bits, 1, 8)
        _check_int(where, "threshold_bits", self.threshold_bits, 1, 16)
        top = (1 << self.threshold_bits) - 1
        threshold = _integers(where, "threshold", self.threshold, shape, 1, top, np.int64)
        scale = np.asarray(self.output_scale)
        _require(
            scale.dtype.kind == "f" and scale.shape == shape,
            f"{where}: output_scale is {scale.dtype} {scale.shape}, expected floats {shape}",
        )
        scale = scale.astype(np.float64)
        _require(
            bool(np.isfinite(scale).all() and (scale > 0).all()),
            f"{where}: output_scale must be finite and above 0",
        )
        scale.setflags(write=False)
        object.__setattr__(self, "threshold", threshold)
        object.__setattr__(self, "output_scale", scale)


@dataclass(frozen=True, eq=False)
class Readout(_Linear):
    """The last layer: its potentials v0 are the logits, one scale for all classes.

    logit_scale: real value of one LSB of v0. Ties of the argmax go to the lowest class.
    """

    logit_scale: float
    kind: ClassVar[str] = "readout"
    threshold: ClassVar[None] = None
    output_bits: ClassVar[int] = 0
    threshold_bits: ClassVar[int] = 16  # no meaning; the same in every description of a readout

    def __post_init__(self) -> None:
        super().__post_init__()
        good = isinstance(self.logit_scale, (int, float)) and math.isfinite(self.logit_scale)
        _require(
            good and self.logit_scale > 0,
            f"op {self.name!r}: logit_scale must be finite and above 0, not {self.logit_scale!r}",
        )
        object.__setattr__(self, "logit_scale", float(self.logit_scale))


Op = Union[Flatten, Dense, Readout]  # noqa: UP007  (evaluated at run time by typing tools)
_KINDS: dict[str, type[Op]] = {op.kind: op for op in (Flatten, Dense, Readout)}
_ARRAYS = ("weight", "bias", "threshold", "output_scale")


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
        _check_int("network", "input_bits", self.input_bits, 1, 8)
        for key, value in self.metadata.items():
            _require(
                isinstance(key, str) and isinstance(value, str),
                f"metadata must map text to text, not {key!r} to {value!r}",
            )
        names = [op.name for op in self.ops]
        _require(len(set(names)) == len(names), f"op names must differ: {names}")
        flat, words, bits = len(shape) == 1, self.inputs, self.input_bits
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
        """Write a ``.spikeloom`` file."""
        from safetensors.numpy import save_file

        arrays: dict[str, NDArray[Any]] = {}
        ops = []
        for op in self.ops:
            entry: dict[str, Any] = {"op": op.kind}
            for f in dataclasses.fields(op):
                if f.name in _ARRAYS:
                    arrays[f"{op.name}.{f.name}"] = getattr(op, f.name)
                else:
                    entry[f.name] = getattr(op, f.name)
            ops.append(entry)
        graph = {
            "version": FORMAT_VERSION,
            "input_shape": list(self.input_shape),
            "input_bits": self.input_bits,
            "ops": ops,
            "metadata": self.metadata,
        }
        save_file(arrays, os.fspath(path), metadata={_METADATA_KEY: json.dumps(graph)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Network:
        """Read and check a ``.spikeloom`` file; NetworkFileError, one line, if anything is off."""
        try:
            return cls._load(os.fspath(path))
        except (ValueError, TypeError, RecursionError) as error:
            raise NetworkFileError(f"{path}: {error}") from error

    @classmethod
    def _load(cls, path: str) -> Network:
        from safetensors import SafetensorError, safe_open

        if not os.path.isfile(path):
            raise NetworkFileError(f"{path}: no such file")
        try:
            with safe_open(path, framework="numpy") as file:
                text = (file.metadata() or {}).get(_METADATA_KEY)
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise NetworkFileError(
                f"{path}: damaged, cut short, or no network file ({error})"
            ) from error
        _require(text is not None, "a safetensors file, but not a Spikeloom network")
        graph = _object(json.loads(str(text)), "the graph")
        version = graph.get("version")
        _require(
            version == FORMAT_VERSION,
            f"network file version {version!r}, this Spikeloom reads {FORMAT_VERSION}:"
            " lower the model again",
        )
        ops = [_read_op(_object(entry, "an op"), arrays) for entry in _list(graph, "ops")]
        _require(not arrays, f"arrays that no op uses: {', '.join(sorted(arrays))}")
        return cls(
            ops,
            _list(graph, "input_shape"),
            graph.get("input_bits"),  # type: ignore[arg-type]  # checked by the constructor
            _object(graph.get("metadata"), "metadata"),
        )


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a JSON object")
    return value


def _list(graph: dict[str, Any], key: str) -> list[Any]:
    value = graph.get(key)
    if not isinstance(value, list):
        raise ValueError(f"{key} is missing or not a list")
    return value


def _read_op(entry: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Op:
    """Build one op and take its arrays out of ``arrays``; ValueError on anything unexpected."""
    entry = dict(entry)
    kind, name = entry.pop("op", None), entry.get("name")
    op_type = _KINDS.get(str(kind))
    if op_type is None:
        raise ValueError(f"unknown op {kind!r} ({name!r}); known are {', '.join(sorted(_KINDS))}")
    for f in dataclasses.fields(op_type):
        if f.name in _ARRAYS:
            key = f"{name}.{f.name}"
            _require(key in arrays, f"op {name!r}: array {key!r} is missing")
            entry[f.name] = arrays.pop(key)
        else:
            _require(f.name in entry, f"op {name!r}: field {f.name!r} is missing")
    extra = set(entry) - {f.name for f in dataclasses.fields(op_type)}
    _require(not extra, f"op {name!r}: unknown fields {sorted(extra)}")
    return op_type(**entry)
