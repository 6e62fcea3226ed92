"""The contents of a device's memories: which word of which memory holds which weight.

The load bus addresses 32-bit words: ``layer << 26 | kind << 24 | column << 14 | row``. A column is
a memory of its own, at most 32 bits wide. The order of :func:`memory_image` (layer, kind, column,
row) is also the order of the CRC-32 that a device computes over what it holds.
"""

from __future__ import annotations

import dataclasses
import enum
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikeloom.errors import SpikeloomError
from spikeloom.hardware.parameters import (
    ROW_BITS,
    AddParameters,
    ConvParameters,
    DenseParameters,
    DepthwiseParameters,
    FireParameters,
    LayerParameters,
    NetworkParameters,
    PadParameters,
    PoolParameters,
    SynapseParameters,
)
from spikeloom.hardware.structure import layer_parameters
from spikeloom.ops import Add, AvgPool2d, Conv2d, Dense, Fire, MaxPool2d, Pad2d, Readout

if TYPE_CHECKING:
    from spikeloom.network import Layer, Network

ADDRESS_BITS = 30


class Kind(enum.IntEnum):
    """The memories of a layer."""

    WEIGHT = 0
    BIAS = 1  #: of a pad layer: its words
    THRESHOLD = 2
    SKIP = 3  #: weights of a skip connection, or of the two streams of an addition


def address(layer: int, kind: int, column: int, row: int = 0) -> int:
    """Return the load-bus address of one word."""
    return layer << 26 | kind << 24 | column << ROW_BITS | row


@dataclass(frozen=True)
class Column:
    """One memory column: where it lies, how many bits a word has, how many rows there are."""

    layer: int
    kind: Kind
    column: int
    bits: int
    rows: int

    @property
    def address(self) -> int:
        """Load-bus address of row 0."""
        return address(self.layer, self.kind, self.column)


def _shapes(layer: LayerParameters) -> Iterator[tuple[Kind, int, int, int]]:
    """For each kind of memory of a layer: (kind, columns, bits, rows)."""
    lanes = layer.folding.lanes
    if isinstance(layer, PoolParameters):
        return
    if isinstance(layer, FireParameters):
        yield Kind.THRESHOLD, lanes, layer.threshold_bits, layer.drain_rows
        return
    if isinstance(layer, PadParameters):
        yield Kind.BIAS, lanes, layer.bits, layer.drain_rows
        return
    if isinstance(layer, AddParameters):
        yield Kind.BIAS, lanes, layer.accumulator_bits, layer.drain_rows
        yield Kind.THRESHOLD, lanes, layer.threshold_bits, layer.drain_rows
        yield Kind.SKIP, 2 * lanes, layer.weight_bits, layer.drain_rows
        return
    fold, neurons = layer.folding, layer.folding.fire_lanes
    weights = fold.copies * fold.slices * layer.columns_per_slice
    yield Kind.WEIGHT, weights, layer.lanes_per_column * layer.weight_bits, layer.weight_depth
    yield Kind.BIAS, neurons, layer.accumulator_bits, layer.drain_rows
    if layer.fires:
        yield Kind.THRESHOLD, neurons, layer.threshold_bits, layer.drain_rows
    if isinstance(layer, ConvParameters) and layer.skip_weight_bits:
        yield Kind.SKIP, neurons, layer.skip_weight_bits, layer.drain_rows


def columns(parameters: NetworkParameters) -> Iterator[Column]:
    """List every memory column of a device, in the order of the image and of its CRC.

    Weights: column (copy * slices + slice) * columns_per_slice + c; every unit has a copy, paired
    units one between the two of them. The other memories of a layer with weights: column = fire
    lane. SKIP of an addition: the first ``lanes`` columns weigh its first stream, the others its
    second.
    """
    for index, layer in enumerate(parameters.layers):
        for kind, count, bits, rows in _shapes(layer):
            for c in range(count):
                yield Column(index, kind, c, bits, rows)


def _slices(weight: np.ndarray, layer: SynapseParameters) -> np.ndarray:
    """Lay weights out as [output, row of a pass, slice], int64, zero where the input is padding."""
    fold = layer.folding
    if isinstance(layer, DepthwiseParameters):
        return weight.reshape(layer.outputs, layer.window.taps, 1)
    assert isinstance(layer, (DenseParameters, ConvParameters))
    # C order of (channels, pixels) or (channels, taps) in the network, channels last in memory
    cube = weight.reshape(layer.outputs, layer.channels, -1).transpose(0, 2, 1)
    transfers = layer.ports_in[0].transfers_per_pixel
    padded = np.zeros((*cube.shape[:2], transfers * fold.scan), dtype=np.int64)
    padded[..., : cube.shape[2]] = cube
    return padded.reshape(layer.outputs, -1, fold.slices)


def _weight_columns(weight: np.ndarray, layer: SynapseParameters) -> np.ndarray:
    """Integers of an op -> (slices * columns_per_slice, weight_depth) uint32."""
    fold, lpc, columns_ = layer.folding, layer.lanes_per_column, layer.columns_per_slice
    lanes = columns_ * lpc  # the last column may have lanes that no neuron uses
    rows = _slices(np.asarray(weight).astype(np.int64), layer)
    padded = np.zeros((layer.passes * fold.lanes, *rows.shape[1:]), dtype=np.int64)
    padded[: layer.outputs] = rows
    # [pass, lane, row, slice] -> [slice, pass, row, lane]
    cube = padded.reshape(layer.passes, fold.lanes, *rows.shape[1:]).transpose(3, 0, 2, 1)
    wide = np.zeros((*cube.shape[:3], lanes), dtype=np.int64)
    wide[..., : fold.lanes] = cube
    wide &= (1 << layer.weight_bits) - 1
    shifts = np.arange(lpc, dtype=np.int64) * layer.weight_bits
    words = (wide.reshape(len(cube), layer.weight_depth, columns_, lpc) << shifts).sum(-1)
    return words.transpose(0, 2, 1).reshape(-1, layer.weight_depth).astype(np.uint32)


def _neuron_columns(
    values: np.ndarray, lanes: int, drain_rows: int, bits: int, pad: int
) -> np.ndarray:
    """(outputs,) -> (lanes, drain_rows) uint32, neuron n at [n % lanes, n // lanes]."""
    padded = np.full(drain_rows * lanes, pad, dtype=np.int64)
    padded[: len(values)] = values
    return (padded.reshape(-1, lanes).T & ((1 << bits) - 1)).astype(np.uint32)


def _content(op: Layer, layer: LayerParameters) -> dict[Kind, np.ndarray]:
    """Words of every memory of a layer, (columns, rows). Padding never fires."""
    content: dict[Kind, np.ndarray] = {}
    if isinstance(layer, PoolParameters):
        return content
    plain = not isinstance(layer, SynapseParameters)
    lanes = layer.folding.lanes if plain else layer.folding.fire_lanes

    def neurons(values: np.ndarray, bits: int, pad: int) -> np.ndarray:
        return _neuron_columns(values, lanes, layer.drain_rows, bits, pad)

    if isinstance(op, Pad2d):
        assert isinstance(layer, PadParameters)
        content[Kind.BIAS] = neurons(op.word, layer.bits, 0)
        return content
    assert not isinstance(layer, PadParameters)
    assert not isinstance(op, (MaxPool2d, AvgPool2d))
    fires = op.threshold is not None
    if isinstance(layer, SynapseParameters):
        assert isinstance(op, (Dense, Readout, Conv2d))
        copies = (layer.folding.copies, 1)
        content[Kind.WEIGHT] = np.tile(_weight_columns(op.weight, layer), copies)
    if not isinstance(op, Fire):
        content[Kind.BIAS] = neurons(op.bias, layer.accumulator_bits, -1 if fires else 0)
    if fires:
        content[Kind.THRESHOLD] = neurons(op.threshold, layer.threshold_bits, 1)  # type: ignore[arg-type]
    if isinstance(op, Add):
        assert isinstance(layer, AddParameters)
        parts = [neurons(k, layer.weight_bits, 0) for k in op.weight]
        content[Kind.SKIP] = np.concatenate(parts)
    if isinstance(op, Conv2d) and op.skip_weight is not None:
        assert isinstance(layer, ConvParameters)
        content[Kind.SKIP] = neurons(op.skip_weight, layer.skip_weight_bits, 0)
    return content


def memory_image(
    network: Network, parameters: NetworkParameters
) -> list[tuple[Column, np.ndarray]]:
    """Lay a network's integers into the memories of a device.

    Returns every column with its words (uint32, one a row). Neurons that pad the last transfer
    never fire: bias -1, threshold 1. Raises SpikeloomError when the network has another structure.
    """
    ops = network.layers
    if len(ops) != len(parameters.layers):
        raise SpikeloomError(
            f"the network has {len(ops)} layers, the device {len(parameters.layers)}"
        )
    content: dict[tuple[int, Kind], np.ndarray] = {}
    for index, (op, layer) in enumerate(zip(ops, parameters.layers, strict=True)):
        _check_structure(network, index, op, layer)
        for kind, words in _content(op, layer).items():
            content[index, kind] = words
    return [(c, content[c.layer, c.kind][c.column]) for c in columns(parameters)]


def _check_structure(network: Network, index: int, op: Layer, layer: LayerParameters) -> None:
    """Raise SpikeloomError unless the device has this op's structure; widths may be wider."""
    where = f"layer {index} ({op.name})"
    if isinstance(op, (Dense, Readout)) and isinstance(layer, DenseParameters):
        if op.weight.shape != (layer.outputs, layer.inputs):
            raise SpikeloomError(
                f"{where} has weights {op.weight.shape},"
                f" the device expects {(layer.outputs, layer.inputs)}"
            )
        if layer.fires != (op.threshold is not None):
            fires = {True: "fires", False: "is a readout"}
            raise SpikeloomError(
                f"{where} {fires[not layer.fires]} in the network,"
                f" and {fires[layer.fires]} on the device"
            )
    wanted = layer_parameters(network, op, layer.folding)
    wider = ("accumulator_bits", "threshold_bits", "skip_weight_bits", "weight_bits")
    for f in dataclasses.fields(layer):
        same = type(layer) is type(wanted)
        ours = getattr(wanted, f.name) if same else None
        theirs = getattr(layer, f.name)
        wide = same and f.name in wider and ours <= theirs and bool(ours) == bool(theirs)
        if not same or (ours != theirs and not wide):
            raise SpikeloomError(
                f"{where} is {wanted.kind} with {f.name} {ours} in the network, and {layer.kind}"
                f" with {f.name} {theirs} on the device"
            )


def image_crc(image: Sequence[tuple[Column, np.ndarray]]) -> int:
    """CRC-32 (zlib) of all words, little endian, in the order of the image."""
    crc = 0
    for _, words in image:
        crc = zlib.crc32(words.astype("<u4").tobytes(), crc)
    return crc
