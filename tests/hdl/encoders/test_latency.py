"""The time-to-first-spike core against a search through its boundaries."""

from __future__ import annotations

import pathlib
import random
import sys
from itertools import pairwise

import pytest
from spikeloom.hardware.encoders import LatencyParameters
from spikeloom_hdl.encoders.latency import Latency

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from value_bench import run, values


def latency_word(v: int, boundaries: tuple[int, ...]) -> int:
    for k, boundary in enumerate(boundaries):
        if v >= boundary:
            return 1 << (len(boundaries) - 1 - k)
    return 0


def check(parameters: LatencyParameters, numbers: list[int], seed: int | None = None):
    items = values(numbers, parameters.channels)
    core = Latency(parameters)
    (found,), cycles = run(core, (items, len(items)), seed=seed)
    expected = [
        {"word": latency_word(p["value"], parameters.boundaries)}
        | {k: p[k] for k in ("channel", "first", "last")}
        for _, p in items
    ]
    assert found == expected
    return core, cycles


@pytest.mark.parametrize("bits", range(1, 10))
def test_every_value_with_random_boundaries(bits):
    """Boundaries with repetitions, 0 and one more than full: first at once, last never."""
    rng = random.Random(bits)
    for steps in (1, 5, 32):
        boundaries = [rng.randint(0, 2**bits) for _ in range(steps)]
        if steps > 1:
            boundaries[:2] = [2**bits, boundaries[2]]
        parameters = LatencyParameters(
            bits=bits, steps=steps, boundaries=tuple(sorted(boundaries, reverse=True))
        )
        check(parameters, list(range(2**bits)))


def test_linear_rule():
    """Three steps of two bits: 3 at once, 2 and 1 (two thirds and one third) in the middle."""
    parameters = LatencyParameters(bits=2, steps=3)
    assert [latency_word(v, parameters.boundaries) for v in range(4)] == [1, 2, 2, 4]
    check(parameters, [0, 1, 2, 3])


def test_sixteen_bits():
    """Both sides of every boundary, which share digits."""
    boundaries = sorted([0xF000, 0xF00F, 0x700F, 0x7001, 0x7000, 0x100, 0x10, 1], reverse=True)
    parameters = LatencyParameters(bits=16, steps=8, boundaries=tuple(boundaries), channels=7)
    numbers = [b + d for b in boundaries for d in (-1, 0, 1)] + [0, 0xFFFF]
    rng = random.Random(2)
    check(parameters, numbers + [rng.randrange(2**16) for _ in range(500)])


@pytest.mark.parametrize("channels", [1, 2, 7, 64])
def test_back_pressure(channels):
    rng = random.Random(channels)
    numbers = [rng.randrange(256) for _ in range(150)]
    check(LatencyParameters(channels=channels), numbers, seed=channels)


def test_rate_and_latency():
    core, cycles = check(LatencyParameters(), list(range(50)))
    assert cycles[0] == core.latency == 3
    assert all(b == a + core.interval for a, b in pairwise(cycles))
