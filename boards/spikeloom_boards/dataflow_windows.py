"""When each transfer goes through a layer with windows: convolutions and pooling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from spikeloom.hardware.parameters import (
    ConvParameters,
    DepthwiseParameters,
    PoolParameters,
    Port,
    Window,
)
from spikeloom_hdl.neuron.multiply import multiply_latency

from spikeloom_boards.cycle_model import (
    lane_latency,
    pass_rows,
    queue_depth,
    skew,
    skips_in_cells,
    spacing,
    tiles,
    transfer_cycles,
    window_events,
)
from spikeloom_boards.dataflow_links import Link, Process, known

__all__ = ["conv", "depthwise", "pool"]

#: cycles from the last word of a pixel to the first event of the window that waited for it
SCANNER_LATENCY = 13
#: cycles from a token to the first transfer behind the queue, beyond the skew
QUEUE_LATENCY = 3


class _Rows:
    """Rows of a ring, over the borders of samples: which may be written when."""

    def __init__(self, window: Window, samples: int):
        w = self.window = window
        self.ring = w.kernel_height + w.stride_y
        steps = [w.stride_y] * (w.out_height - 1)
        steps.append(w.height - (w.out_height - 1) * w.stride_y)
        self.freed = np.concatenate([[0], np.cumsum(steps * samples)])

    def needs(self, row: int) -> int:
        """Rows of windows that must be done before a row of the stream has room."""
        return int(np.searchsorted(self.freed, row + self.window.pad_y - self.ring + 1))


def conv(
    layer: ConvParameters, spikes: NDArray[np.uint8], i: Link, skip: Link | None, o: Link
) -> list[Process]:
    """A convolution: units that walk windows, a queue behind each, one output in raster order."""
    fold, w = layer.folding, layer.window
    samples = len(spikes)
    events = (window_events(w, spikes, fold.slices, fold.form) - 1).reshape(-1, w.out_width)
    work = transfer_cycles(spikes, fold.scan, fold.slices).reshape(samples * w.pixels, -1)
    rows = pass_rows(layer)
    units = fold.units
    complete: list[int] = []  # cycle in which each pixel is there
    ends: list[list[int]] = [[] for _ in range(units)]  # of every row of windows
    ready: list[list[int]] = [[] for _ in range(units)]  # of every transfer, behind the queue
    left: list[list[int]] = [[] for _ in range(units)]  # when it left the queue

    def write() -> Process:
        ring, done, room = _Rows(w, samples), 0, 0
        for pixel, transfers in enumerate(work.tolist()):
            if pixel % w.width == 0:
                need = ring.needs(pixel // w.width)
                if need:
                    for unit in ends:
                        yield from known(unit, need - 1)
                        room = max(room, unit[need - 1] + 2)
            for cycles in transfers:
                index = len(i.taken)
                yield from known(i.put, index)
                now = max(i.put[index], done)
                i.taken.append(now)
                done = max(now + 1, room) + cycles - 1
            complete.append(done)

    def walk(unit: int) -> Process:
        step, late, depth = w.stride_x * units, skew(layer) + QUEUE_LATENCY, queue_depth(layer)
        token, loaded, reserved = -1, -1, 0
        spaced = -1
        out = ready[unit]
        gone = left[unit]
        serial = fold.form == "serial"
        for y, line in enumerate(events.tolist()):
            sample, row = divmod(y, w.out_height)
            for x in range(unit, w.out_width, units):
                pixel = sample * w.pixels + w.needs(row * w.out_width + x) - 1
                yield from known(complete, pixel)
                loaded = max(loaded + step, complete[pixel] + SCANNER_LATENCY + serial)
                start = max(token + 1, loaded)
                for k, transfers in enumerate(rows):
                    token = max(start if k == 0 else token + 1, 0) + line[x]
                    token = max(token, spaced)
                    reserved += transfers
                    if reserved > depth:
                        yield from known(gone, reserved - depth - 1)
                        token = max(token, gone[reserved - depth - 1] + 2)
                    spaced = token + spacing(layer, transfers)
                    out.extend(range(token + late, token + late + transfers))
            ends[unit].append(token)

    def collect() -> Process:
        late = 1 + layer.output_bits + _skip_latency(layer)
        room = late + 1
        count = layer.drain_rows
        now, at = -1, [0] * units
        for _ in range(samples * w.out_height):
            for x in range(w.out_width):
                unit = x % units
                source, gone = ready[unit], left[unit]
                for _ in range(count):
                    index = at[unit]
                    at[unit] += 1
                    yield from known(source, index)
                    now = max(now + 1, source[index])
                    position = len(o.put)
                    if skip is not None:
                        yield from known(skip.put, position)
                        now = max(now, skip.put[position] - 1)
                        skip.taken.append(now + 1)
                    if position >= room:
                        yield from known(o.taken, position - room)
                        now = max(now, o.taken[position - room])
                    gone.append(now - 2)
                    o.put.append(now + late)

    return [write(), *(walk(unit) for unit in range(units)), collect()]


def _skip_latency(layer: ConvParameters) -> int:
    """Cycles of the stage that adds a skip connection."""
    if not layer.skip_bits:
        return 0
    if not layer.skip_weight_bits:
        return 1
    if skips_in_cells(layer):
        return 1 + 3
    return 1 + multiply_latency(layer.skip_bits)


def _ring(window: Window, transfers: int, i: Link, ends: list[int], samples: int) -> Process:
    """Take transfers into a ring of rows; ``ends``: when each row of windows was read."""
    ring, now = _Rows(window, samples), -1
    for pixel in range(samples * window.pixels):
        need = ring.needs(pixel // window.width) if pixel % window.width == 0 else 0
        if need:
            yield from known(ends, need - 1)
            now = max(now, ends[need - 1] + 1)
        for _ in range(transfers):
            index = len(i.taken)
            yield from known(i.put, index)
            now = max(now + 1, i.put[index])
            i.taken.append(now)


def _windows(window: Window) -> list[list[tuple[int, int]]]:
    """For every window, row by row: pixels that it waits for, and its taps inside the sample."""
    w, found = window, []
    for y in range(w.out_height):
        top = y * w.stride_y - w.pad_y
        high = min(top + w.kernel_height, w.height) - max(top, 0)
        sides = [x * w.stride_x - w.pad_x for x in range(w.out_width)]
        wide = [min(side + w.kernel_width, w.width) - max(side, 0) for side in sides]
        found.append([(w.needs(y * w.out_width + x), high * n) for x, n in enumerate(wide)])
    return found


def _walked(
    window: Window, port: Port, i: Link, o: Link, samples: int, late: int, room: int
) -> list[Process]:
    """Windows in a ring of rows, a tap of a transfer a cycle; ``late`` cycles behind the RAM."""
    transfers = port.transfers_per_pixel
    ends: list[int] = []
    rows = _windows(window)

    def walk() -> Process:
        now = -1
        for sample in range(samples):
            for row in rows:
                for needs, taps in row:
                    pixel = (sample * window.pixels + needs) * transfers - 1
                    yield from known(i.taken, pixel)
                    now = max(now, i.taken[pixel] + 2)
                    for _ in range(transfers):
                        now += taps
                        position = len(o.put)
                        if position >= room:
                            yield from known(o.taken, position - room)
                            now = max(now, o.taken[position - room] - 2)
                        o.put.append(now + 2 + late)
                ends.append(now)

    return [_ring(window, transfers, i, ends, samples), walk()]


def depthwise(layer: DepthwiseParameters, i: Link, o: Link, samples: int) -> list[Process]:
    """A depthwise convolution: a tap of ``lanes`` channels a cycle, two groups on their way out."""
    fold, transfers = layer.folding, layer.ports_in[0].transfers_per_pixel
    gap = fold.multiplier == "sb_mac16"
    late = 3 + lane_latency(layer)
    behind, rows = 1 + layer.output_bits, pass_rows(layer)
    ends: list[int] = []
    left: list[int] = []  # of every group
    windows = _windows(layer.window)

    def walk() -> Process:
        now = leaves = -1
        for sample in range(samples):
            for line in windows:
                for needs, taps in line:
                    pixel = (sample * layer.window.pixels + needs) * transfers - 1
                    yield from known(i.taken, pixel)
                    now = max(now, i.taken[pixel] + 2)
                    for count in rows:
                        now += taps
                        if len(left) > 1:
                            now = max(now, left[-2] - 1)
                        # read, two registers, the sums, and the register that holds them
                        leaves = max(now + 2 + late + 1, leaves)
                        now += gap
                        for _ in range(count):
                            leaves += 1
                            position = len(o.put)
                            if position > behind:
                                yield from known(o.taken, position - behind - 1)
                                leaves = max(leaves, o.taken[position - behind - 1])
                            o.put.append(leaves + behind)
                        left.append(leaves)
                ends.append(now)

    return [_ring(layer.window, transfers, i, ends, samples), walk()]


def pool(layer: PoolParameters, i: Link, o: Link, samples: int) -> list[Process]:
    """A pooling: on the fly where windows lie side by side, else a tap a cycle."""
    late = 0
    if layer.rule == "average":
        late = 2 if layer.threshold & (layer.threshold - 1) == 0 else 1 + layer.output_bits
    room = 2 + late
    if not tiles(layer):
        return _walked(layer.window, layer.ports_in[0], i, o, samples, 1 + late, room)
    w, transfers = layer.window, layer.ports_in[0].transfers_per_pixel
    closes = np.zeros((w.height, w.width), dtype=bool)
    last_y, last_x = w.kernel_height - 1, w.kernel_width - 1
    closes[last_y :: w.stride_y, last_x :: w.stride_x] = True
    closes[last_y + (w.out_height - 1) * w.stride_y + 1 :] = False
    closes[:, last_x + (w.out_width - 1) * w.stride_x + 1 :] = False
    marks = np.repeat(closes.ravel(), transfers).tolist()

    def run() -> Process:
        now = -1
        for _ in range(samples):
            for closing in marks:
                index = len(i.taken)
                yield from known(i.put, index)
                now = max(now + 1, i.put[index])
                position = len(o.put)
                if position > room:
                    yield from known(o.taken, position - room - 1)
                    now = max(now, o.taken[position - room - 1] - 4)
                i.taken.append(now)
                if closing:
                    o.put.append(now + 4 + late)

    return [run()]
