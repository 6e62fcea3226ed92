"""The phase core against the division of its definition."""

from __future__ import annotations

import pathlib
import random
import sys
from itertools import pairwise

import pytest
from spikeloom.hardware.encoders import PhaseParameters
from spikeloom_hdl.encoders.phase import Phase

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from value_bench import run, values


def phase_word(v: int, bits: int, steps: int) -> int:
    full = 2**bits - 1
    return (2 * v * (2**steps - 1) + full) // (2 * full)


def check(bits: int, steps: int, numbers: list[int], channels: int = 1, seed: int | None = None):
    items = values(numbers, channels)
    core = Phase(PhaseParameters(bits=bits, steps=steps, channels=channels))
    (found,), cycles = run(core, (items, len(items)), seed=seed)
    expected = [
        {"word": phase_word(p["value"], bits, steps)}
        | {k: p[k] for k in ("channel", "first", "last")}
        for _, p in items
    ]
    assert found == expected
    return core, cycles


def test_rounding_by_rotation():
    """The identity of the core's docstring, for every value of up to 12 bits and 16 steps."""
    for bits in range(1, 13):
        full, half = 2**bits - 1, 2 ** (bits - 1)
        for steps in range(1, 17):
            turn = steps % bits
            for v in range(full + 1):
                repeated = v * ((2 ** (16 * bits) - 1) // full) >> 16 * bits - steps
                turned = (v << turn | v >> bits - turn) & full
                rounded = repeated + (turned - v >= half) - (v - turned >= half)
                assert rounded == phase_word(v, bits, steps)


@pytest.mark.parametrize("bits", range(1, 11))
def test_every_value(bits):
    """All values, at steps that divide, do not divide, and exceed their width."""
    for steps in sorted({1, 2, 3, 5, bits, 8, 11, 16} if bits < 9 else {3, 8, bits - 1}):
        check(bits, steps, list(range(2**bits)))


@pytest.mark.parametrize("steps", [1, 7, 15, 16])
def test_sixteen_bits(steps):
    rng = random.Random(steps)
    edges = [0, 1, 0x7FFF, 0x8000, 0x5555, 0xAAAA, 0xFFFE, 0xFFFF]
    check(16, steps, edges + [rng.randrange(2**16) for _ in range(300)], channels=7)


def test_hand_computed():
    """127 of 255 in two steps is 1.494, 128 is 1.506: one and two."""
    assert [phase_word(v, 8, 2) for v in (0, 127, 128, 255)] == [0, 1, 2, 3]
    check(8, 2, [0, 127, 128, 255])


@pytest.mark.parametrize("channels", [1, 2, 7, 64])
def test_back_pressure(channels):
    rng = random.Random(channels)
    check(8, 5, [rng.randrange(256) for _ in range(150)], channels, seed=channels)


def test_rate_and_latency():
    core, cycles = check(8, 8, list(range(50)))
    assert cycles[0] == core.latency == 3
    assert all(b == a + core.interval for a, b in pairwise(cycles))
