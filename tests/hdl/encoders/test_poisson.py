"""The Poisson core against xorshift32, one draw at a time."""

from __future__ import annotations

import pathlib
import random
import sys
from itertools import pairwise

import pytest
from spikeloom.hardware.encoders import PoissonParameters
from spikeloom_hdl.encoders.poisson import Poisson

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from value_bench import Item, run, values, word_of


class Channel:
    """A channel of the definition, seeded as after reset."""

    def __init__(self, number: int):
        self.x = 0x9E3779B9 * (number + 1) % 2**32

    def word(self, v: int, bits: int, steps: int) -> int:
        t = v + (v >> (bits - 1))
        spikes = []
        for _ in range(steps):
            self.x ^= self.x << 13 & 0xFFFFFFFF
            self.x ^= self.x >> 17
            self.x ^= self.x << 5 & 0xFFFFFFFF
            spikes.append(int(self.x >> (32 - bits) < t))
        return word_of(spikes)


def expected_words(parameters: PoissonParameters, items: list[Item]) -> list[dict[str, int]]:
    channels = [Channel(c) for c in range(parameters.channels)]
    words = []
    for port, p in items:
        channel = channels[p["channel"]]
        if port == "p":
            channel.x = p["seed"]
            continue
        word = channel.word(p["value"], parameters.bits, parameters.steps)
        words.append({"word": word} | {k: p[k] for k in ("channel", "first", "last")})
    return words


def reseeded(items: list[Item], channels: int, every: int) -> list[Item]:
    """Put seeds between the values, now and then two of them."""
    rng = random.Random(channels)
    mixed: list[Item] = []
    for item in items:
        while rng.random() < 1 / every:
            seed = rng.choice([1, 2**31, 2**32 - 1, rng.randrange(1, 2**32)])
            mixed.append(("p", {"channel": rng.randrange(channels), "seed": seed}))
        mixed.append(item)
    return mixed


def numbers(count: int, bits: int) -> list[int]:
    rng = random.Random(count)
    edges = [0, 1, 2 ** (bits - 1), 2**bits - 1]
    return [rng.choice(edges) if rng.random() < 0.2 else rng.randrange(2**bits)
            for _ in range(count)]  # fmt: skip


def check(parameters: PoissonParameters, items: list[Item], seed: int | None = None):
    expected = expected_words(parameters, items)
    core = Poisson(parameters)
    (found,), cycles = run(core, (items, len(expected)), seed=seed)
    assert found == expected
    return core, cycles


@pytest.mark.parametrize(
    ("bits", "steps", "channels"),
    [(8, 8, 1), (8, 8, 2), (8, 8, 7), (8, 8, 64), (1, 1, 2), (4, 3, 5), (16, 32, 8)],
)
@pytest.mark.parametrize("stalls", [False, True])
def test_draws(bits, steps, channels, stalls):
    """Runs on over words and frames; seeds in between take effect from the next value on."""
    parameters = PoissonParameters(bits=bits, steps=steps, channels=channels)
    items = values(numbers(200 if channels == 64 else 80, bits), channels)
    if stalls:
        items = reseeded(items, channels, every=6)
    check(parameters, items, seed=1 if stalls else None)


def test_hand_computed():
    """From 1: 1 ^ 1 << 13 = 0x2001, >> 17 adds nothing, << 5 gives 0x42021, of 8 bits 0x00."""
    channel = Channel(0)
    channel.x = 1
    assert channel.word(1, 8, 1) == 1
    assert channel.x == 0x42021
    items: list[Item] = [("p", {"channel": 0, "seed": 1}), *values([1, 0])]
    (found,), _ = run(Poisson(PoissonParameters(steps=1)), (items, 2))
    assert [f["word"] for f in found] == [1, 0]


def test_full_always_fires_and_zero_never():
    parameters = PoissonParameters(bits=3, steps=16)
    items = values([7, 0] * 50)
    (found,), _ = run(Poisson(parameters), (items, 100))
    assert [f["word"] for f in found] == [0xFFFF, 0] * 50


def test_reset_in_the_middle():
    """Seeds are those of the defaults again, whatever was drawn or written."""
    parameters = PoissonParameters(channels=2)
    items = reseeded(values(numbers(50, 8), 2), 2, every=5)
    expected = expected_words(parameters, items)
    found, _ = run(Poisson(parameters), (items, 30), (items, len(expected)), seed=3)
    assert found == [expected[:30], expected]


@pytest.mark.parametrize("channels", [1, 8])
def test_rate_and_latency(channels):
    """A word a cycle, also when all are of one channel."""
    for items in (values([100] * 50, channels), [*values([100] * 50, 1)]):
        core, cycles = check(PoissonParameters(channels=channels), items)
        assert cycles[0] == core.latency == 5
        assert all(b == a + core.interval for a, b in pairwise(cycles))


def test_events():
    """Events are the set bits of the words."""
    parameters = PoissonParameters(channels=3, steps=4, output="events")
    items = values(numbers(60, 8), 3)
    dense = expected_words(PoissonParameters(channels=3, steps=4), items)
    places = [0] * 3
    expected = []
    for w in dense:
        c = w["channel"]
        places[c] = 0 if w["first"] else places[c] + 1
        expected += [(c, places[c] * 4 + k) for k in range(4) if w["word"] >> (3 - k) & 1]
    silent = sum(1 for w in dense if not w["word"] and (w["first"] or w["last"]))
    (found,), _ = run(Poisson(parameters), (items, len(expected) + silent), seed=4)
    assert [(f["channel"], f["time"]) for f in found if f["spike"]] == expected
