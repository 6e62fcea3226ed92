"""The contents of a device's memories: which word of which memory holds which weight.

The load bus addresses 32-bit words: ``layer << 26 | kind << 24 | column << 14 | row``. A column is
a memory of its own, at most 32 bits wide. The order of :func:`memory_image` (layer, kind, column,
row) is also the order of the CRC-32 that a device computes over what it holds.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikeloom.errors import SpikeloomError
from spikeloom.hardware.parameters import ROW_BITS, DenseParameters, NetworkParameters

if TYPE_CHECKING:
    from spikeloom.network import Network

ADDRESS_BITS = 30


class Kind(enum.IntEnum):
    """The memories of a layer."""

    WEIGHT = 0
    BIAS = 1
    THRESHOLD = 2


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


def columns(parameters: NetworkParameters) -> Iterator[Column]:
    """List every memory column of a device, in the order of the image and of its CRC."""
    for index, layer in enumerate(parameters.layers):
        lpc, fold = layer.lanes_per_column, layer.folding
        for c in range(fold.slices * layer.columns_per_slice):
            yield Column(index, Kind.WEIGHT, c, lpc * layer.weight_bits, layer.weight_depth)
        for c in range(fold.fire_lanes):
            yield Column(index, Kind.BIAS, c, layer.accumulator_bits, layer.drain_rows)
        if layer.fires:
            for c in range(fold.fire_lanes):
                yield Column(index, Kind.THRESHOLD, c, layer.threshold_bits, layer.drain_rows)


def _weight_columns(weight: np.ndarray, layer: DenseParameters) -> np.ndarray:
    """(outputs, inputs) integers -> (slices * columns_per_slice, weight_depth) uint32."""
    fold, lpc, columns_ = layer.folding, layer.lanes_per_column, layer.columns_per_slice
    lanes = columns_ * lpc  # the last column may have lanes that no neuron uses
    rows = layer.rows_per_pass
    padded = np.zeros((layer.passes * fold.lanes, rows * fold.slices), dtype=np.int64)
    padded[: layer.outputs, : layer.inputs] = weight
    # [pass, lane, row, slice] -> [slice, pass, row, lane]
    cube = padded.reshape(layer.passes, fold.lanes, rows, fold.slices).transpose(3, 0, 2, 1)
    wide = np.zeros((*cube.shape[:3], lanes), dtype=np.int64)
    wide[..., : fold.lanes] = cube
    wide &= (1 << layer.weight_bits) - 1
    shifts = np.arange(lpc, dtype=np.int64) * layer.weight_bits
    words = (wide.reshape(fold.slices, layer.weight_depth, columns_, lpc) << shifts).sum(-1)
    return words.transpose(0, 2, 1).reshape(-1, layer.weight_depth).astype(np.uint32)


def _neuron_columns(values: np.ndarray, layer: DenseParameters, bits: int, pad: int) -> np.ndarray:
    """(outputs,) -> (fire_lanes, drain_rows) uint32, neuron n at [n % lanes, n // lanes]."""
    lanes = layer.folding.fire_lanes
    padded = np.full(layer.drain_rows * lanes, pad, dtype=np.int64)
    padded[: layer.outputs] = values
    return (padded.reshape(-1, lanes).T & ((1 << bits) - 1)).astype(np.uint32)


def memory_image(
    network: Network, parameters: NetworkParameters
) -> list[tuple[Column, np.ndarray]]:
    """Lay a network's integers into the memories of a device.

    Returns every column with its words (uint32, one a row). Neurons that pad the last transfer
    never fire: bias -1, threshold 1. Raises SpikeloomError when the network has another structure.
    """
    layers = network.layers
    if len(layers) != len(parameters.layers):
        raise SpikeloomError(
            f"the network has {len(layers)} layers, the device {len(parameters.layers)}"
        )
    content: dict[tuple[int, int], np.ndarray] = {}
    for index, (op, layer) in enumerate(zip(layers, parameters.layers, strict=True)):
        if op.weight.shape != (layer.outputs, layer.inputs):
            raise SpikeloomError(
                f"layer {index} ({op.name}) has weights {op.weight.shape},"
                f" the device expects {(layer.outputs, layer.inputs)}"
            )
        if layer.fires != (op.threshold is not None):
            fires = {True: "fires", False: "is a readout"}
            raise SpikeloomError(
                f"layer {index} ({op.name}) {fires[not layer.fires]} in the network,"
                f" and {fires[layer.fires]} on the device"
            )
        content[index, Kind.WEIGHT] = _weight_columns(op.weight, layer)
        pad = -1 if layer.fires else 0
        content[index, Kind.BIAS] = _neuron_columns(op.bias, layer, layer.accumulator_bits, pad)
        if op.threshold is not None:
            content[index, Kind.THRESHOLD] = _neuron_columns(
                op.threshold, layer, layer.threshold_bits, 1
            )
    return [(c, content[c.layer, c.kind][c.column]) for c in columns(parameters)]


def image_crc(image: list[tuple[Column, np.ndarray]]) -> int:
    """CRC-32 (zlib) of all words, little endian, in the order of the image."""
    crc = 0
    for _, words in image:
        crc = zlib.crc32(words.astype("<u4").tobytes(), crc)
    return crc
