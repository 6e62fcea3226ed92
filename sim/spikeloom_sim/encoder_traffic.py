"""Random frames for an encoder or decoder core, and what its golden model makes of them.

Channels come interleaved in random order, in frames of many lengths, with parameters that change
between frames. Everything is an array: a million samples take a second or two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from spikeloom.hardware.encoders import (
    BSADecoderParameters,
    BSAParameters,
    CoreParameters,
)
from spikeloom.hardware.encoders.common import MAX_CHANNELS

from spikeloom_sim.encoder_models import Answer, Block, Settings, answers, outputs_of, runs_on
from spikeloom_sim.stimuli import random_fields, random_settings, random_taps
from spikeloom_sim.stream_harness import Write

__all__ = ["Mismatches", "Traffic", "compare", "make_traffic"]

Integers = NDArray[np.int64]
Generator = np.random.Generator


@dataclass(frozen=True, eq=False)
class Traffic:
    """Inputs of a core and what must come out.

    inputs: by field of ``i``, (samples,). writes: for :class:`StreamHarness`. expected: by field of
    ``o``, (outputs,), sorted by channel of the input, in order within one. frame, sample: of each
    expected output, in its channel and in its frame. lanes: channels at the output for each at the
    input.
    """

    parameters: CoreParameters
    inputs: dict[str, Integers]
    writes: list[Write]
    expected: dict[str, Integers]
    frame: Integers
    sample: Integers
    lanes: int

    @property
    def samples(self) -> int:
        """Number of inputs."""
        return len(self.inputs["channel"])

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class Mismatches:
    """How many outputs differ from what they must be, and the first of them in words."""

    count: int
    text: str


@dataclass(frozen=True, eq=False)
class _Epoch:
    """Frames between two changes of parameters, each channel's one after another.

    inputs: by field (channels, time). outputs: by field (channels, time, K); keep likewise.
    frame, sample: (time,).
    """

    inputs: dict[str, Integers]
    outputs: dict[str, Integers]
    keep: NDArray[np.bool_]
    frame: Integers
    sample: Integers


def make_traffic(
    parameters: CoreParameters,
    samples: int,
    *,
    seed: int,
    epochs: int | None = None,
    marked: bool = False,
) -> Traffic:
    """Make at least ``samples`` inputs of a core.

    epochs: between changes of parameters, 4 if not given (more where the golden model goes through
    all frames one by one); in the first a core has its defaults.
    marked: every frame has both its markers; otherwise they are left out at random where that
    changes nothing.
    """
    rng = np.random.default_rng(seed)
    if epochs is None:
        epochs = min(256, MAX_CHANNELS // parameters.channels) if runs_on(parameters) else 4
    filtered = isinstance(parameters, BSAParameters | BSADecoderParameters)
    changes = [Settings(parameters.settings())]
    for _ in range(epochs - 1):
        taps = random_taps(parameters, rng) if filtered else None
        changes.append(Settings(parameters.settings(random_settings(parameters, rng)), taps))
    share = -(-samples // (parameters.channels * epochs))
    plan = _plan(share, rng)
    marker = _Marker(parameters, marked, rng)
    laid = [_lay_out(parameters, plan, marker, rng) for _ in range(epochs)]
    answered = answers(parameters, changes, [blocks for blocks, _, _ in laid])
    joined = [
        _join(blocks, answer, order, lengths)
        for (blocks, order, lengths), answer in zip(laid, answered, strict=True)
    ]
    return _interleave(parameters, changes, joined, rng, together=filtered)


def _plan(samples: int, rng: Generator) -> list[tuple[int, int]]:
    """Frames of a channel and their lengths: most samples in long ones, and many very short."""
    short = [(8, 1), (6, 2), (4, 3), (2, 40)] if samples > 500 else [(1, 1), (1, 2)]
    rest = samples - sum(frames * length for frames, length in short)
    if rest < 4:
        return [(1, samples)]
    frames = max(1, round(rest / int(rng.integers(200, 1000))))
    return [*short, (frames, -(-rest // frames))]


class _Marker:
    """Chooses where ``first`` and ``last`` are, such that frames begin and end as they should."""

    def __init__(self, parameters: CoreParameters, always: bool, rng: Generator):
        self._last = 1.0 if always else 0.85
        self._first = 1.0 if always else 0.7
        self._ended = np.ones(parameters.channels, dtype=bool)
        # taps may only change while no frame is under way
        self._closes = isinstance(parameters, BSAParameters)
        self._rng = rng

    def marks(self, frames: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return whether the next frames of each channel have ``first`` and ``last``."""
        shape = (frames, len(self._ended))
        last = self._rng.random(shape) < self._last
        last[-1] |= self._closes
        ended = np.concatenate([self._ended[None], last[:-1]])
        self._ended = last[-1].copy()
        return (self._rng.random(shape) < self._first) | ~ended, last


def _lay_out(
    parameters: CoreParameters, plan: Sequence[tuple[int, int]], marker: _Marker, rng: Generator
) -> tuple[list[Block], Integers, Integers]:
    """Return blocks of frames; the order in which their samples are sent; lengths as sent."""
    lengths = np.concatenate([np.full(frames, length) for frames, length in plan])
    sent = rng.permutation(len(lengths))  # which frame comes when
    first, last = marker.marks(len(lengths))
    if runs_on(parameters):
        lengths = lengths[sent]
        total = int(lengths.sum())
        starts = np.cumsum(lengths) - lengths
        marks = np.zeros((3, 1, parameters.channels, total), dtype=bool)
        marks[0, 0][:, starts] = first.T
        marks[1, 0][:, starts + lengths - 1] = last.T
        marks[2, 0][:, starts] = True
        block = Block(random_fields(parameters, 1, total, rng), *marks)
        return [block], np.arange(total), lengths
    first[sent], last[sent] = first.copy(), last.copy()
    blocks, start = [], 0
    for frames, length in plan:
        marks = np.zeros((3, frames, parameters.channels, length), dtype=bool)
        marks[0, ..., 0] = first[start : start + frames]
        marks[1, ..., -1] = last[start : start + frames]
        marks[2, ..., 0] = True
        blocks.append(Block(random_fields(parameters, frames, length, rng), *marks))
        start += frames
    chosen = lengths[sent]
    starts = (np.cumsum(lengths) - lengths)[sent]
    order = np.repeat(starts - (np.cumsum(chosen) - chosen), chosen) + np.arange(chosen.sum())
    return blocks, order, chosen


def _join(
    blocks: Sequence[Block], answered: Sequence[Answer], order: Integers, lengths: Integers
) -> _Epoch:
    """Put frames of all blocks one after another."""

    def inputs(arrays: Sequence[np.ndarray]) -> np.ndarray:
        rows = [a.swapaxes(0, 1).reshape(a.shape[1], -1) for a in arrays]
        return np.concatenate(rows, axis=1)[:, order]

    def outputs(arrays: Sequence[np.ndarray]) -> np.ndarray:
        rows = [a.swapaxes(0, 1).reshape(a.shape[1], -1, a.shape[3]) for a in arrays]
        return np.concatenate(rows, axis=1)[:, order]

    fields = {name: inputs([b.fields[name] for b in blocks]) for name in blocks[0].fields}
    fields["first"] = inputs([b.first for b in blocks]).astype(np.int64)
    fields["last"] = inputs([b.last for b in blocks]).astype(np.int64)
    results = {name: outputs([a.fields[name] for a in answered]) for name in answered[0].fields}
    starts = np.cumsum(lengths) - lengths
    return _Epoch(
        fields,
        results,
        outputs([a.keep for a in answered]),
        np.repeat(np.arange(len(lengths)), lengths),
        np.arange(len(order)) - np.repeat(starts, lengths),
    )


def _turns(channels: int, count: int, rng: Generator) -> Integers:
    """Channel of each sample, ``count`` of each: strictly in turn, or bursts in random order."""
    if rng.random() < 0.2:
        return np.tile(rng.permutation(channels), count)
    burst = int(rng.choice([1, 1, 2, 50]))
    sizes = rng.integers(1, burst, (channels, count), endpoint=True)
    ends = np.minimum(np.cumsum(sizes, axis=1), count)
    sizes = np.diff(ends, axis=1, prepend=0).reshape(-1)
    order = rng.permutation(len(sizes))
    return np.repeat(np.repeat(np.arange(channels), count)[order], sizes[order])


def _interleave(
    parameters: CoreParameters,
    changes: Sequence[Settings],
    epochs: Sequence[_Epoch],
    rng: Generator,
    *,
    together: bool,
) -> Traffic:
    """Interleave the channels, and place the changes of parameters between their frames.

    together: all channels finish an epoch before any begins the next one (taps are common).
    """
    channels = parameters.channels
    counts = [len(epoch.frame) for epoch in epochs]
    parts = counts if together else [sum(counts)]
    turns = np.concatenate([_turns(channels, count, rng) for count in parts])
    # place[c, t]: where sample t of channel c is in the stream
    place = np.argsort(turns, kind="stable").reshape(channels, -1)
    inputs: dict[str, Integers] = {"channel": turns}
    for name in epochs[0].inputs:
        inputs[name] = np.zeros(len(turns), dtype=np.int64)
        inputs[name][place] = np.concatenate([epoch.inputs[name] for epoch in epochs], axis=1)
    writes: list[Write] = []
    before = 0
    for settings, count in zip(changes, counts, strict=True):
        earliest = place[:, before - 1] + 1 if before else np.zeros(channels, dtype=np.int64)
        if settings.taps is not None:
            fields = {"index": np.arange(len(settings.taps)), "tap": settings.taps}
            writes.append((np.full(len(settings.taps), before * channels), "taps", fields))
        if settings.fields and before:
            at = rng.integers(earliest, place[:, before], endpoint=True)
            if together:
                at = np.maximum(at, before * channels)
            writes.append((at, "p", {"channel": np.arange(channels), **settings.fields}))
        before += count
    keep = np.concatenate([epoch.keep for epoch in epochs], axis=1)
    shape = keep.shape
    expected = {
        name: np.concatenate([epoch.outputs[name] for epoch in epochs], axis=1)[keep]
        for name in epochs[0].outputs
    }
    shift = np.cumsum([0, *(epoch.frame[-1] + 1 for epoch in epochs)])
    frame = np.concatenate([e.frame + s for e, s in zip(epochs, shift, strict=False)])
    sample = np.concatenate([epoch.sample for epoch in epochs])
    frame, sample = (np.broadcast_to(a[None, :, None], shape)[keep] for a in (frame, sample))
    lanes = outputs_of(parameters)
    return Traffic(parameters, inputs, writes, expected, frame, sample, lanes)


def compare(traffic: Traffic, outputs: Mapping[str, Integers]) -> Mismatches:
    """Compare what a core sent with what it must send.

    The order of channels among each other is free; a side-band counts with ``first`` only.
    """
    order = np.argsort(outputs["channel"] // traffic.lanes, kind="stable")
    count = min(len(order), len(traffic))
    surplus = max(len(order), len(traffic)) - count
    got = {name: array[order][:count] for name, array in outputs.items()}
    want = {name: array[:count] for name, array in traffic.expected.items()}
    if set(got) != set(want):
        raise ValueError(f"the core sends {sorted(got)}, its golden model {sorted(want)}")
    differ = np.zeros(count, dtype=bool)
    for name in want:
        wrong = got[name] != want[name]
        differ |= wrong & (want["first"] == 1) if name == "start" else wrong
    found = np.flatnonzero(differ)
    name = traffic.parameters.NAME
    if not len(found):
        text = f"{name}: {len(order)} outputs, {len(traffic)} wanted" if surplus else "none"
        return Mismatches(surplus, text)
    k = int(found[0])
    channel = int(want["channel"][k]) // traffic.lanes

    def shown(fields: Mapping[str, Integers]) -> str:
        return ", ".join(f"{n} {int(a[k])}" for n, a in fields.items() if n != "channel")

    text = (
        f"{name}: channel {channel}, frame {traffic.frame[k]}, sample {traffic.sample[k]}:"
        f" got {shown(got)}; wanted {shown(want)}"
    )
    return Mismatches(len(found) + surplus, text)
