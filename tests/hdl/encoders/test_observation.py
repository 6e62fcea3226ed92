"""The observation core against its definition in plain integers."""

from __future__ import annotations

import pathlib
import random
import sys
from itertools import pairwise

import pytest
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import ObservationParameters
from spikeloom_hdl.encoders.observation import Observation

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from value_bench import Item, run


def values_of(x: int, low: int, gain: int, parameters: ObservationParameters) -> list[int]:
    full = 2**parameters.bits - 1
    p = min(max(((x - low) * gain + 2**15) >> 16, 0), full)
    values = [max(0, 2 * p - full), max(0, full - 2 * p)] if parameters.split else [p]
    return values + [full - v for v in values] if parameters.inverted else values


def expected_values(parameters: ObservationParameters, items: list[Item]) -> list[dict[str, int]]:
    f, n = parameters.format, parameters.outputs
    gain = round((2**parameters.bits - 1) * 65536 / (f.high - f.low))
    settings = {c: (f.low, gain) for c in range(parameters.channels)}
    expected = []
    for port, p in items:
        if port == "p":
            settings[p["channel"]] = p["low"], p["gain"]
            continue
        for j, value in enumerate(values_of(p["sample"], *settings[p["channel"]], parameters)):
            marks = {"first": p["first"], "last": p["last"]}
            expected.append({"value": value, "channel": p["channel"] * n + j, **marks})
    return expected


def random_items(parameters: ObservationParameters, count: int, *, writes: bool) -> list[Item]:
    """Samples inside, at and outside of bounds; gains from one LSB to the greatest."""
    rng = random.Random(count + parameters.channels)
    f, full = parameters.format, 2**parameters.bits - 1
    bounds = {c: (f.low, f.high) for c in range(parameters.channels)}
    items: list[Item] = []
    for _ in range(count):
        c = rng.randrange(parameters.channels)
        if writes and rng.random() < 0.2:
            low, high = sorted(rng.sample(range(f.low, f.high + 1), 2))
            gain = round(full * 65536 / (high - low))
            if rng.random() < 0.3:
                gain = rng.choice([1, 2**32 - 1, rng.randrange(1, 2**32)])
            bounds[c] = low, high
            items.append(("p", {"channel": c, "low": low, "gain": max(1, gain)}))
            c = rng.choice([c, rng.randrange(parameters.channels)])
        low, high = bounds[c]
        edges = [low, high, max(f.low, low - 1), min(f.high, high + 1), f.low, f.high]
        sample = rng.choice([rng.randint(low, high), rng.randint(f.low, f.high), *edges])
        marks = {"first": rng.randrange(2), "last": rng.randrange(2)}
        items.append(("i", {"sample": sample, "channel": c, **marks}))
    return items


def check(parameters: ObservationParameters, items: list[Item], seed: int | None = None):
    expected = expected_values(parameters, items)
    core = Observation(parameters)
    (found,), cycles = run(core, (items, len(expected)), seed=seed)
    assert found == expected
    return core, cycles


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(("channels", "seed"), [(1, 1), (2, None), (7, 2)])
def test_all_forms(split, inverted, channels, seed):
    parameters = ObservationParameters(channels=channels, split=split, inverted=inverted)
    check(parameters, random_items(parameters, 150, writes=True), seed)


@pytest.mark.parametrize(("width", "bits"), [(4, 1), (4, 16), (5, 3), (12, 8), (17, 10), (24, 16)])
def test_widths(width, bits):
    parameters = ObservationParameters(format=Fixed(width, 2), bits=bits, channels=64, split=True)
    check(parameters, random_items(parameters, 250, writes=True))


def test_every_sample():
    """All samples of eight bits between all bounds would be many: between three."""
    for low, high in ((-128, 127), (-3, 4), (100, 101)):
        parameters = ObservationParameters(format=Fixed(8, 4), bits=5)
        gain = round(31 * 65536 / (high - low))
        items: list[Item] = [("p", {"channel": 0, "low": low, "gain": gain})]
        items += [
            ("i", {"sample": x, "channel": 0, "first": 0, "last": 0}) for x in range(-128, 128)
        ]
        check(parameters, items)


def test_hand_computed():
    """Bounds -1 and 1 of 8 bits: 0 is 127.5, half up 128; split 1 and 0; inverted 254 and 255."""
    parameters = ObservationParameters(split=True, inverted=True)
    items: list[Item] = [
        ("p", {"channel": 0, "low": -256, "gain": 255 * 65536 // 512}),
        ("i", {"sample": 0, "channel": 0, "first": 1, "last": 1}),
    ]
    (found,), _ = run(Observation(parameters), (items, 4))
    assert [f["value"] for f in found] == [1, 0, 254, 255]
    assert [f["channel"] for f in found] == [0, 1, 2, 3]


def test_reset_in_the_middle():
    parameters = ObservationParameters(channels=2, inverted=True)
    items = random_items(parameters, 60, writes=True)
    expected = expected_values(parameters, items)
    found, _ = run(Observation(parameters), (items, 40), (items, len(expected)), seed=3)
    assert found == [expected[:40], expected]


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
def test_rate_and_latency(split, channels):
    """A value a cycle."""
    parameters = ObservationParameters(split=split, channels=channels)
    core, cycles = check(parameters, random_items(parameters, 30, writes=False))
    assert core.interval == parameters.outputs
    assert cycles[0] == core.latency == (9 if split else 7)
    assert all(b == a + 1 for a, b in pairwise(cycles))
