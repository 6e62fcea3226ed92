"""When each transfer goes through a layer without windows: fully connected, fire, add, pad."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from spikeloom.hardware.parameters import (
    AddParameters,
    DenseParameters,
    FireParameters,
    PadParameters,
)

from spikeloom_boards.cycle_model import add_latency, pass_rows, skew, slice_events
from spikeloom_boards.dataflow_links import Link, Process, known

__all__ = ["dense", "plain"]

#: cycles from a fully connected layer's last transfer to its first event
LIST_LATENCY = 4


def plain(
    layer: FireParameters | AddParameters | PadParameters,
    ins: Sequence[Link],
    o: Link,
    samples: int,
) -> Process:
    """Fire, add or pad: a pipeline that stands still while its output waits."""
    late, room = _pipeline(layer)
    starts = _inside(layer) if isinstance(layer, PadParameters) else None
    now, used = -1, 0
    for _ in range(samples):
        for k in range(layer.port_out.transfers):
            now += 1
            index = len(o.put)
            takes = starts is None or starts[k]
            if takes or k == 0:
                for link in ins:
                    yield from known(link.put, used)
                    now = max(now, link.put[used])
            if index >= room:
                yield from known(o.taken, index - room)
                now = max(now, o.taken[index - room])
            if takes:
                for link in ins:
                    link.taken.append(now)
                used += 1
            o.put.append(now + late)


def _pipeline(layer: FireParameters | AddParameters | PadParameters) -> tuple[int, int]:
    """Cycles of latency, and transfers that fit."""
    if isinstance(layer, PadParameters):
        return 1, 2
    late = layer.output_bits
    if isinstance(layer, AddParameters):
        late += add_latency(layer)
    return late, late + 1


def _inside(layer: PadParameters) -> NDArray[np.bool_]:
    """For every output transfer, whether the sample gives it."""
    here = np.zeros((layer.out_height, layer.out_width), dtype=bool)
    here[layer.top : layer.top + layer.height, layer.left : layer.left + layer.width] = True
    return np.repeat(here.ravel(), layer.drain_rows)


def dense(layer: DenseParameters, spikes: NDArray[np.uint8], i: Link, o: Link) -> list[Process]:
    """A fully connected layer: two banks of events, replayed once a pass."""
    fold = layer.folding
    events = slice_events(spikes, fold.slices, fold.form).sum(1).max(-1).tolist()
    rows, late = pass_rows(layer), skew(layer)
    serial = fold.form == "serial"
    behind = 1 + layer.output_bits
    tokens: list[int] = []  # of the last pass of every sample

    def take() -> Process:
        now = -1
        for sample in range(len(events)):
            for _ in range(layer.beats):
                index = len(i.taken)
                yield from known(i.put, index)
                now = max(now + 1, i.put[index])
                if sample >= 2:
                    yield from known(tokens, sample - 2)
                    now = max(now, tokens[sample - 2] - 2)
                i.taken.append(now)

    def replay() -> Process:
        token = done = -1
        for sample, count in enumerate(events):
            last = (sample + 1) * layer.beats - 1
            yield from known(i.taken, last)
            start = i.taken[last] + LIST_LATENCY + serial
            for k, transfers in enumerate(rows):
                token = max(start if k == 0 else 0, token + 1) + count
                token = max(token, done + 1)
                for r in range(transfers):
                    leaves = max(token + late + r, done + 1)
                    index = len(o.put)
                    if index >= behind + 1:
                        yield from known(o.taken, index - behind - 1)
                        leaves = max(leaves, o.taken[index - behind - 1])
                    done = leaves
                    o.put.append(leaves + behind)
            tokens.append(token)

    return [take(), replay()]
