"""Cycles of one layer by itself, from the words that enter it: what the planner balances.

The formulas are those that the gateware states; :mod:`spikeloom_boards.dataflow` puts the layers
together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from spikeloom.hardware.parameters import (
    AddParameters,
    ConvParameters,
    DenseParameters,
    DepthwiseParameters,
    LayerParameters,
    PoolParameters,
    SynapseParameters,
    Window,
)
from spikeloom_hdl.neuron.multiply import MAC16_LATENCY, MULT18_LATENCY, multiply_latency

__all__ = ["LayerTimes", "layer_cycles", "skew", "slice_events", "window_events"]

#: lanes of a group in gates, about
GROUP_LANES = 16

#: transfers of a row that a pooling without overlap needs
TILE_DISTANCE = 3


def group_lanes(layer: SynapseParameters) -> list[int]:
    """Lanes of each group, one a register behind the other."""
    columns = min(layer.columns_per_slice, max(1, GROUP_LANES // layer.lanes_per_column))
    step, lanes = columns * layer.lanes_per_column, layer.folding.lanes
    return [min(step, lanes - k) for k in range(0, lanes, step)]


def groups(layer: SynapseParameters) -> int:
    """Groups of lanes."""
    return len(group_lanes(layer))


def _product_latency(layer: SynapseParameters) -> int:
    """Cycles of what multiplies."""
    cells = {"mult18x18d": MULT18_LATENCY, "sb_mac16": MAC16_LATENCY}
    return cells.get(layer.folding.multiplier) or multiply_latency(layer.input_bits)


def accumulate_latency(layer: SynapseParameters) -> int:
    """Cycles from an event to the cycle in which the accumulators hold it."""
    fold = layer.folding
    tree = (fold.slices - 1).bit_length()
    if fold.form == "serial":
        return 1 + tree
    return _product_latency(layer) + (0 if fold.multiplier == "sb_mac16" else tree)


def add_latency(layer: AddParameters) -> int:
    """Cycles from the words of an addition to its potentials."""
    if layer.folding.multiplier == "mult18x18d":
        return 1 + MULT18_LATENCY
    return 1 + multiply_latency(max(layer.input_bits, layer.other_bits))


def lane_latency(layer: DepthwiseParameters) -> int:
    """Cycles from words to the sums of a depthwise layer."""
    return 1 + _product_latency(layer)


def skew(layer: SynapseParameters) -> int:
    """Cycles from the token of a pass to the first cycle of its drain."""
    return 4 + accumulate_latency(layer) + groups(layer)


def pass_rows(layer: SynapseParameters) -> list[int]:
    """Transfers that leave in each pass."""
    rows = layer.folding.lanes // layer.folding.fire_lanes
    return [rows] * (layer.passes - 1) + [layer.drain_rows - (layer.passes - 1) * rows]


def spacing(layer: SynapseParameters, rows: int) -> int:
    """Cycles from a token to the next in a convolution, at least."""
    return max(2, rows + groups(layer) - 1)


def queue_depth(layer: SynapseParameters) -> int:
    """Transfers that the queue behind the accumulators of a convolution holds."""
    fold = layer.folding
    rows = min(layer.drain_rows, fold.lanes // fold.fire_lanes)
    depth = skew(layer) + 4 + 2 * rows
    if fold.units > 1:
        depth = max(depth, layer.drain_rows + rows)
    return 1 << (depth - 1).bit_length()


def slice_events(spikes: NDArray[np.uint8], slices: int, form: str) -> NDArray[np.int64]:
    """Events of every pixel in every fan-in slice: (samples, pixels, slices).

    One a non-zero word, or one a set bit in the serial form.
    """
    events = (spikes if form == "serial" else spikes > 0).astype(np.int64)
    padded = -(-events.shape[2] // slices) * slices
    events = np.pad(events, ((0, 0), (0, 0), (0, padded - events.shape[2])))
    return events.reshape(*events.shape[:2], -1, slices).sum(2)


def skips_in_cells(layer: ConvParameters) -> bool:
    """Whether the words of a skip connection are weighed in multiplier cells."""
    return (
        layer.folding.multiplier == "mult18x18d" and layer.skip_bits + (not layer.skip_signed) <= 18
    )


def windows(values: NDArray[np.int64], window: Window) -> NDArray[np.int64]:
    """Lay out what each window sees: (n, pixels, k) -> (n, out_height, out_width, k, taps)."""
    w = window
    cube = values.reshape(len(values), w.height, w.width, -1)
    cube = np.pad(cube, ((0, 0), (w.pad_y, w.pad_y), (w.pad_x, w.pad_x), (0, 0)))
    view = sliding_window_view(cube, (w.kernel_height, w.kernel_width), axis=(1, 2))  # type: ignore[call-overload]
    view = view[:, :: w.stride_y, :: w.stride_x][:, : w.out_height, : w.out_width]
    return view.reshape(*view.shape[:4], -1)


def window_events(
    window: Window, spikes: NDArray[np.uint8], slices: int, form: str
) -> NDArray[np.int64]:
    """Cycles that the events of each window take in a pass, token included: (n, height, width).

    Slices work side by side and wait for the fullest.
    """
    return windows(slice_events(spikes, slices, form), window).sum(-1).max(-1) + 1


def transfer_words(spikes: NDArray[np.uint8], scan: int, slices: int) -> NDArray[np.int64]:
    """Non-zero words of every input transfer: (n, pixels, transfers a pixel, slices)."""
    transfers = -(-spikes.shape[2] // scan)
    words = np.pad(spikes > 0, ((0, 0), (0, 0), (0, transfers * scan - spikes.shape[2])))
    return words.reshape(*words.shape[:2], transfers, scan // slices, slices).sum(3)


def transfer_cycles(spikes: NDArray[np.uint8], scan: int, slices: int) -> NDArray[np.int64]:
    """Cycles that each input transfer of a convolution takes: (n, pixels, transfers a pixel).

    The non-zero words of each slice are written one a cycle.
    """
    return np.maximum(transfer_words(spikes, scan, slices).max(-1), 1)


def _by_unit(cycles: NDArray[np.int64], units: int) -> NDArray[np.float64]:
    """Cycles of a sample when the pixels of a row are dealt to units: (n,).

    Units run ahead of each other by a pixel or two: the truth lies between that of the busiest at
    every turn and of the busiest over a row.
    """
    n, height, width = cycles.shape
    turns = -(-width // units)
    padded = np.pad(cycles, ((0, 0), (0, 0), (0, turns * units - width)))
    dealt = padded.reshape(n, height, turns, units)
    together = dealt.max(-1).sum((1, 2))
    apart = dealt.sum(2).max(-1).sum(1)
    return (together + apart) / 2


class LayerTimes:
    """Cycles of a layer for one activity, for any folding; what foldings share is computed once."""

    def __init__(self, spikes: NDArray[np.uint8] | None):
        self.spikes = spikes
        self._cache: dict[tuple, NDArray] = {}

    def _windows(self, window: Window, slices: int, form: str) -> NDArray[np.int64]:
        assert self.spikes is not None
        return window_events(window, self.spikes, slices, form)

    def _samples(self, slices: int, form: str) -> NDArray[np.int64]:
        assert self.spikes is not None
        return slice_events(self.spikes, slices, form).sum(1).max(-1) + 1

    def _writer(self, scan: int, slices: int) -> NDArray[np.int64]:
        assert self.spikes is not None
        return transfer_cycles(self.spikes, scan, slices).sum((1, 2))

    def of(self, layer: LayerParameters) -> NDArray[np.float64]:
        """Cycles between two samples if nothing else holds the layer up, for each sample."""
        transfers = max(port.transfers for port in (*layer.ports_in, layer.port_out))
        if isinstance(layer, ConvParameters):
            return np.maximum(self._conv(layer), transfers)
        if isinstance(layer, DenseParameters):
            return np.maximum(self._dense(layer), layer.ports_in[0].transfers)
        if isinstance(layer, DepthwiseParameters):
            return np.array([float(max(transfers, _depthwise(layer)))])
        if isinstance(layer, PoolParameters):
            return np.array([float(max(transfers, _pool(layer)))])
        return np.array([float(transfers)])

    def _conv(self, layer: ConvParameters) -> NDArray[np.float64]:
        fold = layer.folding
        events = self._known(self._windows, layer.window, fold.slices, fold.form)
        cycles = sum(np.maximum(events, spacing(layer, rows)) for rows in pass_rows(layer))
        cycles = np.maximum(cycles, layer.window.stride_x * fold.units)
        writer = self._known(self._writer, fold.scan, fold.slices)
        return np.maximum(_by_unit(np.asarray(cycles), fold.units), writer)

    def _dense(self, layer: DenseParameters) -> NDArray[np.float64]:
        fold = layer.folding
        events = self._known(self._samples, fold.slices, fold.form)
        late = skew(layer)
        cycles = sum(np.maximum(events, rows + late) for rows in pass_rows(layer))
        return np.asarray(cycles, dtype=np.float64)

    def _known(self, compute, *key):
        """What ``compute`` gives, computed once."""
        if (compute.__name__, *key) not in self._cache:
            self._cache[compute.__name__, *key] = compute(*key)
        return self._cache[compute.__name__, *key]


def taps_inside(window: Window) -> int:
    """Taps of all windows of a sample that lie inside it."""

    def along(size: int, kernel: int, stride: int, pad: int, count: int) -> int:
        starts = [k * stride - pad for k in range(count)]
        return sum(min(s + kernel, size) - max(s, 0) for s in starts)

    w = window
    high = along(w.height, w.kernel_height, w.stride_y, w.pad_y, w.out_height)
    return high * along(w.width, w.kernel_width, w.stride_x, w.pad_x, w.out_width)


def tiles(layer: PoolParameters) -> bool:
    """Whether a pooling is reduced while its pixels come in: no overlap, no padding."""
    w = layer.window
    return (
        not (w.pad_x or w.pad_y)
        and (w.stride_x >= w.kernel_width or w.out_width == 1)
        and (w.stride_y >= w.kernel_height or w.out_height == 1)
        and w.width * layer.ports_in[0].transfers_per_pixel >= TILE_DISTANCE
    )


def _depthwise(layer: DepthwiseParameters) -> int:
    """Cycles of all windows: their taps, or what two groups on their way out allow."""
    w, rows = layer.window, pass_rows(layer)
    least = max(max(rows), -(-(max(rows) + lane_latency(layer) + 5) // 2))
    gap = layer.folding.multiplier == "sb_mac16"
    total = 0
    for y in range(w.out_height):
        top = y * w.stride_y - w.pad_y
        high = min(top + w.kernel_height, w.height) - max(top, 0)
        for x in range(w.out_width):
            side = x * w.stride_x - w.pad_x
            wide = min(side + w.kernel_width, w.width) - max(side, 0)
            total += len(rows) * max(high * wide + gap, least)
    return total


def _pool(layer: PoolParameters) -> int:
    """Transfers that a pooling reads: every input once, or its windows where they overlap."""
    port = layer.ports_in[0]
    return port.transfers if tiles(layer) else taps_inside(layer.window) * port.transfers_per_pixel


def layer_cycles(
    layers: Sequence[LayerParameters], spikes: Sequence[NDArray[np.uint8] | None]
) -> list[float]:
    """Mean cycles of every layer by itself."""
    return [
        float(LayerTimes(words).of(layer).mean())
        for layer, words in zip(layers, spikes, strict=True)
    ]
