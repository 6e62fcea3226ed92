"""Events of packed words against a loop over their bits."""

from __future__ import annotations

import pathlib
import random
import sys
from itertools import pairwise

import pytest
from spikeloom.hardware.encoders import LatencyParameters, PhaseParameters, RateParameters
from spikeloom_hdl.encoders.latency import Latency
from spikeloom_hdl.encoders.phase import Phase
from spikeloom_hdl.encoders.rate import Rate
from spikeloom_hdl.encoders.word_events import WordEvents

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from value_bench import Item, run, values


def events_of(words: list[dict[str, int]], steps: int, time_bits: int) -> list[dict[str, int]]:
    """A frame begins with ``first``, after ``last``, and with the first word of a channel."""
    begun: dict[int, int] = {}  # words of the frame that is under way, by channel
    events = []
    for w in words:
        c = w["channel"]
        first = w["first"] or c not in begun
        place = 0 if first else begun[c]
        times = [k for k in range(steps) if w["word"] >> (steps - 1 - k) & 1]
        sent = [(1, k) for k in times] or ([(0, 0)] if first or w["last"] else [])
        for n, (spike, k) in enumerate(sent):
            events.append(
                {
                    "spike": spike,
                    "channel": c,
                    "first": int(first and n == 0),
                    "last": int(w["last"] and n == len(sent) - 1),
                    "time": (place * steps + k) % 2**time_bits,
                }
            )
        begun[c] = place + 1
        if w["last"]:
            del begun[c]
    return events


def words(count: int, steps: int, channels: int, seed: int) -> list[Item]:
    """Words with none, few and all spikes; frames of one and several words, some not closed."""
    rng = random.Random(seed)
    items: list[Item] = []
    for _ in range(count):
        word = rng.choice([0, 0, 1 << rng.randrange(steps), rng.randrange(1 << steps)])
        if rng.random() < 0.05:
            word = (1 << steps) - 1
        first, last = rng.random() < 0.1, rng.random() < 0.15
        marks = {"channel": rng.randrange(channels), "first": int(first), "last": int(last)}
        items.append(("i", {"word": word, **marks}))
    return items


@pytest.mark.parametrize(
    ("channels", "steps", "time_bits", "seed"),
    [
        (1, 8, 32, None),
        (1, 1, 5, 1),
        (2, 8, 6, None),
        (2, 3, 8, 2),
        (7, 32, 48, None),
        (7, 16, 12, 3),
        (64, 5, 7, 4),
    ],
)
def test_every_spike_is_an_event(channels, steps, time_bits, seed):
    items = words(600, steps, channels, seed=channels)
    expected = events_of([p for _, p in items], steps, time_bits)
    assert len({e["time"] for e in expected}) > 3
    core = WordEvents(RateParameters(steps=steps, channels=channels, time_bits=time_bits))
    (found,), _ = run(core, (items, len(expected)), seed=seed)
    assert found == expected


def test_hand_computed():
    """Two words of a frame, the first with spikes at steps 0 and 2, the last with none."""
    marks = {"channel": 0}
    items = [
        ("i", {"word": 0b1010, "first": 1, "last": 0, **marks}),
        ("i", {"word": 0b0000, "first": 0, "last": 0, **marks}),
        ("i", {"word": 0b0000, "first": 0, "last": 1, **marks}),
    ]
    (found,), cycles = run(WordEvents(RateParameters(steps=4)), (items, 3))
    assert found == [
        {"spike": 1, "channel": 0, "first": 1, "last": 0, "time": 0},
        {"spike": 1, "channel": 0, "first": 0, "last": 0, "time": 2},
        {"spike": 0, "channel": 0, "first": 0, "last": 1, "time": 8},
    ]
    assert cycles[0] == WordEvents.latency


def test_an_event_a_cycle():
    """Full words leave no gap."""
    items = [("i", {"word": 255, "channel": k % 2, "first": 0, "last": 0}) for k in range(20)]
    _, cycles = run(WordEvents(RateParameters(channels=2)), (items, 160))
    assert all(b == a + 1 for a, b in pairwise(cycles))


def test_reset_in_the_middle():
    """What was under way is forgotten: time begins at 0."""
    items = words(100, 8, 2, seed=9)
    expected = events_of([p for _, p in items], 8, 32)
    core = WordEvents(RateParameters(channels=2))
    found, _ = run(core, (items, len(expected) // 2), (items, len(expected)), seed=5)
    assert found[0] == expected[: len(expected) // 2]
    assert found[1] == expected


@pytest.mark.parametrize("channels", [1, 7])
@pytest.mark.parametrize(
    ("make", "parameters"),
    [(Rate, RateParameters), (Latency, LatencyParameters), (Phase, PhaseParameters)],
)
def test_encoders_give_the_events_of_their_words(make, parameters, channels):
    """A core with ``output="events"`` sends the events of what it sends without."""
    rng = random.Random(6)
    items = values([rng.randrange(256) for _ in range(60)], channels)
    (dense,), _ = run(make(parameters(channels=channels)), (items, len(items)))
    core = make(parameters(channels=channels, output="events", time_bits=10))
    expected = events_of(dense, 8, 10)
    (found,), cycles = run(core, (items, len(expected)))
    assert found == expected
    assert cycles[0] == core.latency
    (found,), _ = run(core, (items, len(expected)), seed=7)
    assert found == expected
