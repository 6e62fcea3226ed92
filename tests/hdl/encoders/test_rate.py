"""The deterministic rate core against the accumulator of its definition."""

from __future__ import annotations

import pathlib
import random
import sys
from itertools import pairwise

import pytest
from spikeloom.hardware.encoders import RateParameters
from spikeloom_hdl.encoders.rate import Rate

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from value_bench import run, values, word_of


def rate_word(v: int, bits: int, steps: int) -> int:
    """Add t to an accumulator that starts at one half, and count its overflows."""
    t = v + (v >> (bits - 1))
    total = 2 ** (bits - 1)
    spikes = []
    for _ in range(steps):
        before = total // 2**bits
        total += t
        spikes.append(total // 2**bits - before)
    return word_of(spikes)


def check(bits: int, steps: int, numbers: list[int], channels: int = 1, seed: int | None = None):
    items = values(numbers, channels)
    core = Rate(RateParameters(bits=bits, steps=steps, channels=channels))
    (found,), cycles = run(core, (items, len(items)), seed=seed)
    expected = [
        {"word": rate_word(p["value"], bits, steps)}
        | {k: p[k] for k in ("channel", "first", "last")}
        for _, p in items
    ]
    assert found == expected
    return core, cycles


@pytest.mark.parametrize("steps", range(1, 33))
def test_every_value(steps):
    """All values of one to six bits, at every number of steps."""
    bits = 1 + steps % 6
    check(bits, steps, list(range(2**bits)))


@pytest.mark.parametrize(("bits", "steps"), [(8, 8), (8, 32), (10, 23)])
def test_every_value_of_a_usual_width(bits, steps):
    check(bits, steps, list(range(2**bits)))


def test_sixteen_bits():
    rng = random.Random(3)
    edges = [0, 1, 2, 0x7FFF, 0x8000, 0x8001, 0xFFFE, 0xFFFF]
    check(16, 32, edges + [rng.randrange(2**16) for _ in range(500)], channels=64)


def test_hand_computed():
    """A quarter of 8 steps is 2 spikes, in the middle of each half; full is a spike a step."""
    assert rate_word(64, 8, 8) == 0b01000100
    assert rate_word(255, 8, 8) == 0b11111111
    check(8, 8, [64, 255, 0])


@pytest.mark.parametrize("channels", [1, 2, 7, 64])
def test_back_pressure(channels):
    rng = random.Random(channels)
    check(8, 8, [rng.randrange(256) for _ in range(150)], channels, seed=channels)


def test_rate_and_latency():
    core, cycles = check(8, 8, list(range(50)))
    assert cycles[0] == core.latency == 4
    assert all(b == a + core.interval for a, b in pairwise(cycles))
