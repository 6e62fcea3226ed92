"""Time to first spike against the formulas, value by value."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from spikeloom.encoders import Latency
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import LatencyParameters


def one_hot(step: int | None, steps: int) -> list[int]:
    return [int(k == step) for k in range(steps)]


def linear(v: int, full: int, steps: int) -> int:
    """Round (full - v) / full * (steps - 1); ties cannot happen, full is odd."""
    return math.floor(Fraction((full - v) * (steps - 1), full) + Fraction(1, 2))


def test_by_hand():
    y = Latency(5)(torch.tensor([1.0, 0.8, 0.5, 0.3, 0.05, 0.0]))
    assert y.argmax(-1).tolist() == [0, 1, 2, 3, 4, 4]
    assert y.sum(-1).tolist() == [1] * 6
    gold = Latency(4).fixed(bits=2)  # one value a step
    assert gold.encode([3, 2, 1, 0]).tolist() == [0b1000, 0b0100, 0b0010, 0b0001]


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 31, 32])
def test_linear_every_value(steps):
    for bits in range(1, 9):
        full = (1 << bits) - 1
        values = torch.arange(full + 1)
        expected = torch.tensor([one_hot(linear(v, full, steps), steps) for v in range(full + 1)])
        enc = Latency(steps)
        assert torch.equal(enc.fixed(bits=bits).spikes(values).to(torch.int64), expected)
        for dtype in (torch.float32, torch.float64):
            u = values.to(dtype) / full
            assert torch.equal(enc.spikes(u).to(torch.int64), expected)
            assert torch.equal(Latency(steps, bits=bits).spikes(u).to(torch.int64), expected)


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
@pytest.mark.parametrize("steps", [1, 2, 8, 32])
def test_the_linear_boundaries_are_those_of_the_core_by_default(bits, steps):
    default = LatencyParameters(bits=bits, steps=steps)
    assert Latency(steps).fixed(bits=bits).parameters == default


@pytest.mark.parametrize(("threshold", "tau"), [(0.1, 4.0), (0.3, 2.0), (0.02, 20.0), (0.05, None)])
def test_log_every_value(threshold, tau):
    """A neuron that charges step by step: u (1 - exp(-t / tau)) reaches the threshold."""
    steps = 8
    enc = Latency(steps, rule="log", threshold=threshold, tau=tau)
    if tau is None:
        tau = -1 / math.log(1 - threshold)
    expected = []
    for v in range(256):
        time = tau * math.log(v / 255 / (v / 255 - threshold)) if v / 255 > threshold else math.inf
        # on the very border (u = 1 of the default tau) the formula has a rounding error
        step = math.ceil(time - 1e-9) - 1 if time <= steps else None
        expected.append(one_hot(step, steps))
    got = enc.spikes(torch.arange(256) / 255)
    assert got.tolist() == expected
    assert enc.fixed().spikes(torch.arange(256)).tolist() == expected
    assert any(sum(word) == 0 for word in expected)
    assert any(word[-1] for word in expected)


def test_by_default_only_one_spikes_at_the_first_step():
    for k in range(1, 100):  # some thresholds round the first boundary to above 1
        enc = Latency(16, rule="log", threshold=k / 100)
        assert enc.spikes(torch.tensor([1.0, 0.9999])).argmax(-1).tolist() == [0, 1]


def test_float_equals_golden_on_the_grid():
    for steps in (3, 17, 32):
        for common in ({}, {"rule": "log"}, {"rule": "log", "threshold": 0.4, "tau": 7.5}):
            enc = Latency(steps, **common)
            for bits in (5, 12, 16):
                values = torch.arange(1 << bits)
                u = values.double() / ((1 << bits) - 1)
                assert torch.equal(enc.spikes(u), enc.fixed(bits=bits).spikes(values))


def test_with_bits_any_number_gives_the_spikes_of_the_core():
    x = torch.rand(50_000)
    for rule in ("linear", "log"):
        enc = Latency(20, rule=rule, bits=10)
        gold = enc.fixed()
        assert torch.equal(gold.spikes(gold.quantise(x).values), enc.spikes(x))


def test_decode():
    u = torch.linspace(0, 1, 1001, dtype=torch.float64)
    enc = Latency(17)
    assert float((enc.decode(enc(u)) - u).abs().max()) <= 0.5 / 16 + 1e-9
    log = Latency(17, rule="log")
    y = log(u)
    fired = y.sum(-1) > 0
    bounds = [1.0, *log.boundaries.tolist()]
    steps = y.argmax(-1)
    middle = torch.tensor([(bounds[k] + bounds[k + 1]) / 2 for k in steps], dtype=torch.float64)
    assert torch.allclose(log.decode(y), torch.where(fired, middle, 0.0))
    # a second spike does not count
    assert enc.decode(torch.ones(17)) == 1.0
    assert enc.decode(torch.zeros(17)) == 0.0


def test_bad_arguments():
    with pytest.raises(InputError, match="rule must be 'linear' or 'log', not 'exp'"):
        Latency(8, rule="exp")
    for threshold in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(InputError, match="threshold must be above 0 and below 1"):
            Latency(8, rule="log", threshold=threshold)
    for tau in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="tau must be a number of steps above 0"):
            Latency(8, rule="log", tau=tau)
