"""Random traffic for BSA cores, and what the rule, written out, makes of it."""

from __future__ import annotations

import pathlib
import random
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from signal_bench import some_value, waves

#: A spike: (0 or 1, first, last).
Spike = tuple[int, bool, bool]


def rule(x: list[int], h: list[int], thresholds: list[int], *, ended: bool = True) -> list[int]:
    """BSAParameters, in plain integers.

    thresholds: in force when each sample went in: that of the sample which allows a decision holds.
    A frame that did not end gives only the spikes that its samples allow.
    """
    length = len(x)
    r = list(x)
    spikes = []
    for t in range(length if ended else length - len(h) + 1):
        k_end = min(len(h), length - t)
        with_h = sum(abs(r[t + k] - h[k]) for k in range(k_end))
        without = sum(abs(r[t + k]) for k in range(k_end))
        if without - with_h >= thresholds[min(t + len(h), length) - 1]:
            spikes.append(1)
            for k in range(k_end):
                r[t + k] -= h[k]
        else:
            spikes.append(0)
    return spikes


def some_taps(count: int, width: int, rng: random.Random) -> list[int]:
    """Taps of any sign; their magnitudes add up to 2^width at most, often exactly."""
    top = 1 << width
    kind = rng.randrange(4)
    if kind == 0:  # one extreme tap
        taps = [0] * count
        taps[rng.randrange(count)] = rng.choice((-top, top - 1))
        return taps
    cuts = sorted(rng.randint(0, top) for _ in range(count - 1))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, top], strict=True)]
    if kind == 1:  # all of one sign, as a smoothing filter
        return [min(size, top - 1) for size in sizes]
    if kind == 2:  # small
        return [rng.randint(-1, 2) if size else 0 for size in sizes]
    return [min(rng.choice((-1, 1)) * size, top - 1) for size in sizes]


class Traffic:
    """Items for ``i``, ``p`` and ``taps``, and the spikes of each channel that they must cause.

    An epoch is some frames on some channels, at the end of which no frame is under way. Frames are
    short and long, begin with and without their mark, and are sometimes abandoned by the next one.
    """

    rule = staticmethod(rule)

    def __init__(self, parameters: Any, taps: tuple[int, ...], seed: int):
        self.p, self.h = parameters, list(taps)
        self.rng = random.Random(seed)
        self.items: list[tuple[str, dict[str, int]]] = []
        channels = range(parameters.channels)
        self.spikes: dict[int, list[Spike]] = {c: [] for c in channels}
        self.threshold = [parameters.fields[0].default] * parameters.channels

    @property
    def count(self) -> int:
        """Transfers out."""
        return sum(len(spikes) for spikes in self.spikes.values())

    def write_taps(self) -> None:
        """New taps, in any order."""
        new = some_taps(self.p.taps, self.p.format.width, self.rng)
        for k in self.rng.sample(range(self.p.taps), self.p.taps):
            self.items.append(("taps", {"index": k, "tap": new[k]}))
        self.h = new

    def write_threshold(self, channel: int, value: int | None = None) -> None:
        """Write a threshold, of a useful size by default."""
        if value is None:
            field = self.p.fields[0]
            useful = sum(map(abs, self.h)) // self.rng.choice((2, 3, 8, -50, 10**9))
            value = self.rng.choice((useful, useful, some_value(field, self.rng)))
            value = min(max(value, field.low), field.high)
        self.threshold[channel] = value
        self.items.append(("p", {"channel": channel, "threshold": value}))

    def epoch(self, frames: int, *, writes: float = 0.1, used: int = 5) -> None:
        """Frames of random lengths on random channels."""
        rng, p = self.rng, self.p
        channels = rng.sample(range(p.channels), min(p.channels, used))
        sources = {c: self._samples() for c in channels}
        open_frames: dict[int, tuple[list[int], list[int], int]] = {}
        recent = channels[0]
        while frames or open_frames:
            c = rng.choice((recent, rng.choice(channels)))
            if c not in open_frames and not frames:
                c = rng.choice(list(open_frames))
            recent = c
            if rng.random() < writes:
                self.write_threshold(c)
            mark = False
            if c not in open_frames:
                frames -= 1
                open_frames[c] = self._frame()
                mark = rng.random() < 0.7
            elif frames and rng.random() < 0.02:
                samples, thresholds, _ = open_frames[c]
                self._expect(c, self.rule(samples, self.h, thresholds, ended=False), ended=False)
                frames -= 1
                open_frames[c] = self._frame()
                mark = True
            samples, thresholds, length = open_frames[c]
            samples.append(next(sources[c]))
            thresholds.append(self.threshold[c])
            last = len(samples) == length
            payload = {"sample": samples[-1], "channel": c, "first": mark, "last": last}
            self.items.append(("i", payload))
            if last:
                self._expect(c, self.rule(samples, self.h, thresholds))
                del open_frames[c]

    def _frame(self) -> tuple[list[int], list[int], int]:
        taps = self.p.taps
        return [], [], max(1, self.rng.choice((1, 2, taps - 1, taps, taps + 1, 3 * taps, 20)))

    def _samples(self) -> Any:
        """All kinds, those above zero (which spike) more often."""
        low, high = self.p.format.low, self.p.format.high
        anything, above = waves(low, high, self.rng), waves(0, high, self.rng)
        while True:
            source = self.rng.choice((anything, above))
            for _ in range(self.rng.randint(1, 20)):
                yield next(source)

    def _expect(self, channel: int, spikes: list[int], *, ended: bool = True) -> None:
        last = len(spikes) - 1
        self.spikes[channel] += [(s, t == 0, ended and t == last) for t, s in enumerate(spikes)]


def by_channel(found: list[dict[str, int]], channels: int) -> dict[int, list[Spike]]:
    """Sort transfers out."""
    spikes: dict[int, list[Spike]] = {c: [] for c in range(channels)}
    for f in found:
        spikes[f["channel"]].append((f["spike"], bool(f["first"]), bool(f["last"])))
    return spikes
