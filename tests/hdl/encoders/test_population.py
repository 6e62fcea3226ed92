"""The population core against its table."""

from __future__ import annotations

import pathlib
import random
import sys
from itertools import pairwise

import pytest
from spikeloom.hardware.encoders import PopulationParameters
from spikeloom_hdl.encoders.population import Population

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from value_bench import Item, run, values


def responses(parameters: PopulationParameters, items: list[Item]) -> list[dict[str, int]]:
    return [
        {
            "value": parameters.table[n][p["value"]],
            "channel": p["channel"] * parameters.neurons + n,
            "first": p["first"],
            "last": p["last"],
        }
        for _, p in items
        for n in range(parameters.neurons)
    ]


def random_population(seed: int, **settings: int) -> PopulationParameters:
    rng = random.Random(seed)
    shape = PopulationParameters(**settings)
    top = 2**shape.response_bits
    table = [[rng.randrange(top) for _ in range(2**shape.bits)] for _ in range(shape.neurons)]
    return PopulationParameters(**settings, table=tuple(map(tuple, table)))


def check(parameters: PopulationParameters, items: list[Item], seed: int | None = None):
    expected = responses(parameters, items)
    core = Population(parameters)
    (found,), cycles = run(core, (items, len(expected)), seed=seed)
    assert found == expected
    return core, cycles


@pytest.mark.parametrize(
    ("bits", "neurons", "response_bits"),
    [(1, 2, 1), (4, 3, 5), (6, 8, 8), (5, 64, 16), (8, 10, 8)],
)
def test_every_value(bits, neurons, response_bits):
    parameters = random_population(neurons, bits=bits, neurons=neurons, response_bits=response_bits)
    check(parameters, values(list(range(2**bits))))


@pytest.mark.parametrize("channels", [1, 2, 7, 64])
@pytest.mark.parametrize("neurons", [5, 8])
def test_back_pressure(channels, neurons):
    parameters = random_population(channels, bits=5, neurons=neurons, channels=channels)
    rng = random.Random(channels)
    items = values([rng.randrange(32) for _ in range(40)], channels)
    check(parameters, items, seed=channels)


def test_hand_computed():
    """Two neurons of one bit, on channels 6 and 7 of a fourth channel."""
    parameters = PopulationParameters(
        channels=4, bits=1, neurons=2, response_bits=4, table=((9, 3), (5, 12))
    )
    items: list[Item] = [("i", {"value": 1, "channel": 3, "first": 1, "last": 0})]
    (found,), _ = run(Population(parameters), (items, 2))
    assert found == [
        {"value": 3, "channel": 6, "first": 1, "last": 0},
        {"value": 12, "channel": 7, "first": 1, "last": 0},
    ]


def test_reset_in_the_middle():
    parameters = random_population(1, bits=4, neurons=3)
    items = values(list(range(16)))
    expected = responses(parameters, items)
    found, _ = run(Population(parameters), (items, 20), (items, len(expected)), seed=3)
    assert found == [expected[:20], expected]


def test_rate_and_latency():
    """A response a cycle, also from one value to the next."""
    parameters = random_population(1, bits=4, neurons=6, channels=8)
    core, cycles = check(parameters, values(list(range(16)), 8))
    assert core.interval == 6
    assert cycles[0] == core.latency == 3
    assert all(b == a + 1 for a, b in pairwise(cycles))
