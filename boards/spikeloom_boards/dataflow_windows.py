"""When each transfer goes through a layer with windows: convolutions and pooling."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from spikeloom.hardware.parameters import (
    ConvParameters,
    DepthwiseParameters,
    PoolParameters,
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
from spikeloom_boards.dataflow_links import Link, Process, join, known, pipeline, pipelines

__all__ = ["conv", "depthwise", "pool"]

#: cycles from the last word of a pixel to the first event of the window that waited for it
SCANNER_LATENCY = 13
#: cycles from a token to the first transfer in the queue, beyond the skew
QUEUE_LATENCY = 1


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
    queued, out = [Link() for _ in range(units)], [Link() for _ in range(units)]

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
        queue = queued[unit]
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
                        yield from known(queue.taken, reserved - depth - 1)
                        token = max(token, queue.taken[reserved - depth - 1] + 2)
                    spaced = token + spacing(layer, transfers)
                    queue.put.extend(range(token + late, token + late + transfers))
            ends[unit].append(token)

    def collect(o: Link) -> Process:
        at = [0] * units
        for _ in range(samples * w.out_height):
            for x in range(w.out_width):
                unit = x % units
                for _ in range(layer.drain_rows):
                    yield from known(out[unit].put, at[unit])
                    o.put.append(out[unit].put[at[unit]])
                    yield from known(o.taken, len(o.put) - 1)
                    out[unit].taken.append(o.taken[-1])
                    at[unit] += 1

    collected, biased = Link(), Link()
    processes = [write(), *(walk(unit) for unit in range(units)), collect(collected)]
    for waiting, given in zip(queued, out, strict=True):  # two registers behind the RAM
        between = Link()
        processes += [*pipeline(waiting, between, 1), *pipeline(between, given, 1)]
    processes += pipeline(collected, biased, 1)
    depths = [layer.output_bits] if layer.output_bits else []
    if skip is not None:
        joined = Link()
        processes.append(join([biased, skip], joined))
        biased = joined
        depths.insert(0, _skip_latency(layer))
    return [*processes, *pipelines(biased, o, *depths)]


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
    window: Window, transfers: int, i: Link, o: Link, samples: int
) -> tuple[list[Process], list[bool]]:
    """Windows in a ring of rows, a tap of a transfer a cycle; which taps are the last of theirs."""
    ends: list[int] = []
    rows = _windows(window)
    last = [
        tap == taps - 1
        for row in rows
        for _, taps in row
        for _ in range(transfers)
        for tap in range(taps)
    ]
    reads, between = Link(), Link()

    def walk() -> Process:
        for sample in range(samples):
            for row in rows:
                for needs, taps in row:
                    pixel = (sample * window.pixels + needs) * transfers - 1
                    yield from known(i.taken, pixel)
                    reads.put.append(i.taken[pixel] + 3)
                    reads.put.extend([0] * (taps * transfers - 1))
                yield from known(reads.taken, len(reads.put) - 1)
                ends.append(reads.taken[-1])

    processes = [
        _ring(window, transfers, i, ends, samples),
        walk(),
        *pipeline(reads, between, 1),  # the RAM, and a register
        *pipeline(between, o, 1),
    ]
    return processes, last


def depthwise(layer: DepthwiseParameters, i: Link, o: Link, samples: int) -> list[Process]:
    """A depthwise convolution: a tap of ``lanes`` channels a cycle, two groups on their way out."""
    fold, transfers = layer.folding, layer.ports_in[0].transfers_per_pixel
    gap = fold.multiplier == "sb_mac16"
    late = 3 + lane_latency(layer)
    beats, drain, biased = Link(), Link(), Link()
    walked, last = _walked(layer.window, transfers, i, beats, samples)
    held: list[int] = []  # cycle from which the sums of a group are held
    left: list[int] = []  # that in which its last transfer leaves

    def accept() -> Process:
        now, blocked = -1, 0
        for ends in last * samples:
            index = len(beats.taken)
            yield from known(beats.put, index)
            now = max(now + 1, beats.put[index], blocked)
            if ends:
                if len(held) >= 2:
                    yield from known(left, len(held) - 2)
                    now = max(now, left[len(held) - 2] + 1)
                held.append(now + late + 1)
                blocked = now + 1 + gap
            beats.taken.append(now)

    def give() -> Process:
        for index, count in enumerate(itertools.cycle(pass_rows(layer))):
            yield from known(held, index)
            now = max(held[index], left[-1] if left else 0)
            for _ in range(count):
                drain.put.append(now + 1)
                yield from known(drain.taken, len(drain.put) - 1)
                now = drain.taken[-1]
            left.append(now)

    depths = [layer.output_bits] if layer.output_bits else []
    behind = pipeline(drain, biased, 1)
    return [*walked, accept(), give(), *behind, *pipelines(biased, o, *depths)]


def pool(layer: PoolParameters, i: Link, o: Link, samples: int) -> list[Process]:
    """A pooling: on the fly where windows lie side by side, else a tap a cycle."""
    depths: list[int] = []
    if layer.rule == "average":
        depths = [1, 1 if layer.threshold & (layer.threshold - 1) == 0 else layer.output_bits]
    w, transfers = layer.window, layer.ports_in[0].transfers_per_pixel
    reduced = Link()
    if not tiles(layer):
        beats = Link()
        walked, last = _walked(w, transfers, i, beats, samples)
        values = pipeline(beats, reduced, 1, itertools.cycle(last))
        return [*walked, *values, *pipelines(reduced, o, *depths)]
    closes = np.zeros((w.height, w.width), dtype=bool)
    last_y, last_x = w.kernel_height - 1, w.kernel_width - 1
    closes[last_y :: w.stride_y, last_x :: w.stride_x] = True
    closes[last_y + (w.out_height - 1) * w.stride_y + 1 :] = False
    closes[:, last_x + (w.out_width - 1) * w.stride_x + 1 :] = False
    marks = np.repeat(closes.ravel(), transfers).tolist()
    return [*pipeline(i, reduced, 4, itertools.cycle(marks)), *pipelines(reduced, o, *depths)]
