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

from spikeloom_boards.cycle_model import (
    add_latency,
    pass_rows,
    skew,
    slice_events,
    transfer_words,
)
from spikeloom_boards.dataflow_links import Link, Process, join, known, pipeline, pipelines

__all__ = ["dense", "plain"]

#: cycles from a fully connected layer's last transfer to its first event
LIST_LATENCY = 4


def plain(
    layer: FireParameters | AddParameters | PadParameters,
    ins: Sequence[Link],
    o: Link,
    samples: int,
) -> list[Process]:
    """Fire, add or pad: pipelines behind what is taken together."""
    joined = Link()
    if isinstance(layer, PadParameters):
        takes = np.tile(_inside(layer), samples).tolist()
        waits = [k == 0 for k in range(layer.port_out.transfers)] * samples
        return [join(ins, joined, zip(takes, waits, strict=True)), *pipelines(joined, o, 1)]
    depths = [layer.output_bits]
    if isinstance(layer, AddParameters):
        depths.insert(0, add_latency(layer))
    return [join(ins, joined), *pipelines(joined, o, *depths)]


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
    drain, biased = Link(), Link()
    freed: list[int] = []  # when the bank of every sample can be written again
    ahead = _ahead(layer, spikes)

    def take() -> Process:
        now = -1
        for sample in range(len(events)):
            for _ in range(layer.beats):
                index = len(i.taken)
                yield from known(i.put, index)
                now = max(now + 1, i.put[index])
                if sample >= 2:
                    yield from known(freed, sample - 2)
                    now = max(now, freed[sample - 2])
                i.taken.append(now)

    def replay() -> Process:
        token = done = -1
        for sample, count in enumerate(events):
            last = (sample + 1) * layer.beats - 1
            yield from known(i.taken, last)
            start = i.taken[last] + LIST_LATENCY + serial
            for k, transfers in enumerate(rows):
                begun = max(start if k == 0 else 0, token + 1)
                token = max(begun + count, done + 1)
                if k == len(rows) - 1:
                    freed.append(token - 2 if serial else begun + ahead[sample])
                for r in range(transfers):
                    drain.put.append(max(token + late + r, done + 1))
                    yield from known(drain.taken, len(drain.put) - 1)
                    done = drain.taken[-1]

    if not layer.output_bits:  # a readout gives what the bias was added to
        return [take(), replay(), *pipeline(drain, o, 1)]
    behind = pipeline(drain, biased, 1)
    return [take(), replay(), *behind, *pipelines(biased, o, layer.output_bits)]


def _ahead(layer: DenseParameters, spikes: NDArray[np.uint8]) -> list[int]:
    """Cycles from the begin of a sample's last pass until its list is read to the end.

    A list is read three entries ahead of the events: a transfer's words in a slice are an entry.
    """
    fold = layer.folding
    entries = transfer_words(spikes, fold.scan, fold.slices)
    entries = entries.reshape(len(spikes), layer.beats, fold.slices)
    found = []
    for sample in entries:
        lists = [column[column > 0] for column in sample.T]
        found.append(max(int(n.sum() - n[-2:].sum()) - max(0, 2 - len(n)) for n in lists))
    return found
