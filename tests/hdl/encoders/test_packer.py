"""The packer against lists of the spikes of every window."""

from __future__ import annotations

import pathlib
import random
import sys
from itertools import pairwise

import pytest
from spikeloom.hardware.encoders import PackerParameters
from spikeloom_hdl.encoders.packer import Packer

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from value_bench import Item, run, word_of


def packed(parameters: PackerParameters, items: list[Item]) -> list[dict[str, int]]:
    """Keep a list of the spikes of each channel's frame; pack the window that a sample ends."""
    frames: dict[int, list[int]] = {}
    window = parameters.window
    words = []
    for _, p in items:
        c = p["channel"]
        if p["first"] or c not in frames:
            frames[c] = []
        frames[c].append(p["spike"])
        number, step = divmod(len(frames[c]) - 1, window)
        if step == window - 1 or p["last"]:
            spikes = frames[c][number * window :]
            spikes += [0] * (window - len(spikes))
            marks = {"first": int(number == 0), "last": p["last"]}
            for word, q in window_words(parameters, spikes, c):
                words.append({"word": word, "channel": q, **marks})
        if p["last"]:
            del frames[c]
    return words


def window_words(parameters: PackerParameters, spikes: list[int], c: int) -> list[tuple[int, int]]:
    trains = [(c, [max(s, 0) for s in spikes])]
    if parameters.bipolar:
        trains = [(2 * c, trains[0][1]), (2 * c + 1, [max(-s, 0) for s in spikes])]
    if parameters.mode == "count":
        return [(min(sum(train), 2**parameters.word_bits - 1), q) for q, train in trains]
    if parameters.mode == "weighted":
        return [(word_of([int(a > 0) for a in train]), q) for q, train in trains]
    size = parameters.window
    return [(int(a > 0), q * size + k) for q, train in trains for k, a in enumerate(train)]


def samples(parameters: PackerParameters, count: int, seed: int) -> list[Item]:
    """Frames of any length, some without ``first`` after ``last``, some never closed."""
    rng = random.Random(seed)
    low = -(2 ** (parameters.spike_bits - 1))
    items: list[Item] = []
    dense = rng.random()
    for k in range(count):
        if k % 40 == 0:
            dense = rng.random()
        spike = rng.randrange(low, -low) if rng.random() < dense else 0
        first, last = rng.random() < 0.05, rng.random() < 0.08
        c = rng.randrange(parameters.channels)
        items.append(("i", {"spike": spike, "channel": c, "first": int(first), "last": int(last)}))
    return items


def check(parameters: PackerParameters, items: list[Item], seed: int | None = None):
    expected = packed(parameters, items)
    assert len({w["word"] for w in expected}) > 1
    core = Packer(parameters)
    (found,), cycles = run(core, (items, len(expected)), seed=seed)
    assert found == expected
    return core, cycles


@pytest.mark.parametrize("mode", ["count", "weighted", "bits"])
@pytest.mark.parametrize("bipolar", [False, True])
@pytest.mark.parametrize(
    ("channels", "window", "seed"), [(1, 1, 1), (1, 5, None), (2, 8, 2), (7, 3, None), (64, 2, 3)]
)
def test_windows(mode, bipolar, channels, window, seed):
    parameters = PackerParameters(mode=mode, window=window, bipolar=bipolar, channels=channels)
    check(parameters, samples(parameters, 400, seed=channels), seed)


@pytest.mark.parametrize(
    ("window", "word_bits", "spike_bits"), [(255, 4, 2), (40, 8, 5), (16, 1, 3), (200, 16, 5)]
)
def test_counts(window, word_bits, spike_bits):
    """Spikes of several quanta; a full word stays full."""
    parameters = PackerParameters(
        window=window, word_bits=word_bits, spike_bits=spike_bits, channels=2
    )
    items = [
        (port, p | {"last": int(k % 300 > 297)})
        for k, (port, p) in enumerate(samples(parameters, 1500, seed=window))
    ]
    check(parameters, [(port, p | {"first": 0}) for port, p in items])


def test_hand_computed():
    """Three samples with +1 -1 +1, and the last window cut after +1."""
    spikes = [1, -1, 1, 1]
    items: list[Item] = [
        ("i", {"spike": s, "channel": 1, "first": int(k == 0), "last": int(k == 3)})
        for k, s in enumerate(spikes)
    ]
    zeros = [(0, channel) for channel in range(7, 12)]
    for mode, expected in (
        ("count", [(2, 2), (1, 3), (1, 2), (0, 3)]),
        ("weighted", [(0b101, 2), (0b010, 3), (0b100, 2), (0, 3)]),
        ("bits", [(1, 6), (0, 7), (1, 8), (0, 9), (1, 10), (0, 11), (1, 6), *zeros]),
    ):
        parameters = PackerParameters(mode=mode, window=3, channels=2)
        (found,), _ = run(Packer(parameters), (items, len(expected)))
        assert [(f["word"], f["channel"]) for f in found] == expected
        half = len(expected) // 2
        assert [f["first"] for f in found] == [1] * half + [0] * half
        assert [f["last"] for f in found] == [0] * half + [1] * half


def test_reset_in_the_middle():
    parameters = PackerParameters(window=4, channels=3)
    items = samples(parameters, 200, seed=4)
    expected = packed(parameters, items)
    found, _ = run(Packer(parameters), (items, 30), (items, len(expected)), seed=3)
    assert found == [expected[:30], expected]


@pytest.mark.parametrize(("bipolar", "latency"), [(False, 3), (True, 5)])
def test_rate_and_latency(bipolar, latency):
    """A sample a cycle goes in; a word a cycle comes out when every sample ends a window."""
    marks = {"channel": 0, "first": 0, "last": 0}
    items: list[Item] = [("i", {"spike": 1, **marks})] * 40
    parameters = PackerParameters(window=1, bipolar=bipolar)
    core = Packer(parameters)
    _, cycles = run(core, (items, 40 * parameters.parts))
    assert cycles[0] == core.latency == latency
    assert all(b == a + 1 for a, b in pairwise(cycles))
    parameters = PackerParameters(window=4, bipolar=bipolar)
    _, cycles = run(Packer(parameters), (items, 10 * parameters.parts))
    assert cycles[-1] - cycles[0] == 36 + parameters.parts - 1
