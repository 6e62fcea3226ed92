"""Random traffic for the cores of signal encoders, and what a scalar oracle says of it."""

from __future__ import annotations

import pathlib
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from value_bench import Item, run

#: A sample of a channel: (fields of its payload, settings, whether a frame begins) to the fields
#: of the payload out. One is made for every channel; it may keep what it likes.
Oracle = Callable[[dict[str, int], dict[str, int], bool], dict[str, int]]


def waves(low: int, high: int, rng: random.Random) -> Iterator[int]:
    """Samples of every kind: ends of the range, constants, steps, alternating extremes, noise."""
    while True:
        kind, length = rng.randrange(6), rng.randint(1, 12)
        level, size = rng.randint(low, high), 1 << rng.randint(0, (high - low).bit_length() - 1)
        for k in range(length):
            x = (
                level,
                (low, high)[k % 2],
                rng.choice((low, low + 1, -1, 0, 1, high - 1, high)),
                rng.randint(low, high),
                level + rng.randint(-size, size),
                level + k * (size if level < 0 else -size),
            )[kind]
            yield min(max(x, low), high)


def some_value(field: Any, rng: random.Random) -> int:
    """A setting: an end of its range, a small one, a power of two, or any."""
    return rng.choice(
        (
            field.low,
            field.high,
            min(field.high, max(field.low, rng.randint(1, 3))),
            min(field.high, 1 << rng.randrange(field.bits)),
            rng.randint(field.low, field.high),
            rng.randint(field.low, min(field.high, field.low + (field.high - field.low) // 16)),
        )
    )


def traffic(
    parameters: Any,
    draw: Callable[[random.Random], Callable[[], dict[str, int]]],
    oracle: Callable[[], Oracle],
    count: int,
    seed: int,
    *,
    writes: float = 0.03,
    channels_used: int | None = None,
) -> tuple[list[Item], list[dict[str, int]]]:
    """Items for ``i`` and ``p``, and what must come out.

    draw: makes the source of one channel's payloads (without marks). writes: how often parameters
    of a channel are written, between frames or inside them. A channel often comes twice in
    succession, or after one other. Some frames begin without a mark, after reset or after ``last``.
    """
    rng = random.Random(seed)
    n = parameters.channels
    used = list(range(n)) if channels_used is None else rng.sample(range(n), channels_used)
    defaults = {f.name: f.defaults(n) for f in parameters.fields}
    settings = [{name: int(row[c]) for name, row in defaults.items()} for c in range(n)]
    oracles = {c: oracle() for c in used}
    sources = {c: draw(rng) for c in used}
    left = dict.fromkeys(used, 0)  # samples of the frame that are to come
    under_way = dict.fromkeys(used, False)
    items: list[Item] = []
    expected: list[dict[str, int]] = []
    recent = [used[0]]
    while len(expected) < count:
        if parameters.fields and rng.random() < writes:
            c = rng.choice((*recent[-2:], rng.choice(used)))
            settings[c] = {f.name: some_value(f, rng) for f in parameters.fields}
            items.append(("p", {"channel": c, **settings[c]}))
            continue
        c = rng.choice((*recent[-2:], rng.choice(used)))
        recent.append(c)
        begins = not under_way[c] or rng.random() < 0.02
        if begins:
            left[c] = rng.choice((1, 2, 3, 10, 40))
        left[c] -= 1
        last = left[c] == 0
        # the mark may be missing where the frame begins anyway
        first = begins and (under_way[c] or rng.random() < 0.8)
        payload = sources[c]()
        items.append(("i", {**payload, "channel": c, "first": first, "last": last}))
        result = oracles[c](payload, settings[c], begins)
        expected.append({**result, "channel": c, "first": begins, "last": last})
        under_way[c] = not last
    return items, expected


def as_events(dense: list[dict[str, int]], time_bits: int) -> list[dict[str, int]]:
    """Keep spikes, and the ends of frames; number the samples of every frame."""
    times: dict[int, int] = {}
    events = []
    for sample in dense:
        c = sample["channel"]
        times[c] = 0 if sample["first"] else times[c] + 1
        if sample["spike"] or sample["first"] or sample["last"]:
            events.append({**sample, "time": times[c] % (1 << time_bits)})
    return events


def compare(found: list[dict[str, int]], expected: list[dict[str, int]]) -> None:
    """Equal, but for the side-band (``start``) where it means nothing: not at ``first``."""
    assert len(found) == len(expected)
    for index, (f, e) in enumerate(zip(found, expected, strict=True)):
        given = {name: f[name] for name in f if name != "start" or e["first"]}
        wanted = {name: int(e[name]) for name in e if name != "start" or e["first"]}
        assert given == wanted, f"transfer {index}"


def samples(parameters: Any) -> Callable[[random.Random], Callable[[], dict[str, int]]]:
    """Source of samples of the format."""
    low, high = parameters.format.low, parameters.format.high

    def draw(rng: random.Random) -> Callable[[], dict[str, int]]:
        source = waves(low, high, rng)
        return lambda: {"sample": next(source)}

    return draw


def check(
    core: Any, draw: Any, oracle: Callable[[], Oracle], count: int, *, seed: int, **more: Any
) -> list[int]:
    """Run random traffic with pauses on both sides, once more after a reset, then without pauses.

    Returns the cycles of the transfers out of the run without pauses and without p writes.
    """
    parameters = core.parameters
    segments = []
    for k, part in enumerate((count // 4, count)):
        items, expected = traffic(parameters, draw, oracle, part, seed + k, **more)
        if parameters.output == "events":
            expected = as_events(expected, parameters.time_bits)
        segments.append((items, expected))
    # the first part ends in the middle: a reset drops what is inside
    (cut, before), (items, after) = segments
    cut_at = len(before) - 7
    found, _ = run(core, (cut, cut_at), (items, len(after)), seed=seed)
    compare(found[0], before[:cut_at])
    compare(found[1], after)
    items, expected = traffic(parameters, draw, oracle, count // 2, seed + 9, **more, writes=0)
    if parameters.output == "events":
        expected = as_events(expected, parameters.time_bits)
    found, cycles = run(core, (items, len(expected)))
    compare(found[0], expected)
    return cycles
