"""Poisson: the bits of a scalar xorshift32, and what a random code has to be."""

from __future__ import annotations

import math

import pytest
import torch
from spikeloom.encoders import Poisson, engine
from spikeloom.errors import InputError

GOLDEN = 0x9E3779B9


def draws(seed: int, count: int) -> list[int]:
    x, result = seed, []
    for _ in range(count):
        x = (x ^ (x << 13)) % 2**32
        x ^= x >> 17
        x = (x ^ (x << 5)) % 2**32
        result.append(x)
    return result


def oracle(values: list[int], seed: int, bits: int, steps: int) -> list[int]:
    """Words of a channel's values, one after the other."""
    numbers, words = iter(draws(seed, len(values) * steps)), []
    for v in values:
        t = v + v // 2 ** (bits - 1)
        word = 0
        for _ in range(steps):
            word = 2 * word + (next(numbers) // 2 ** (32 - bits) < t)
        words.append(word)
    return words


def test_the_generator_is_marsaglias():
    # xorshift32 with 13, 17, 5 from 1: known values
    assert draws(1, 3) == [270369, 67634689, 2647435461]
    enc = Poisson(3, seed=1)
    _, state = enc.step(torch.tensor(0.5))
    assert int(state) == 2647435461


@pytest.mark.parametrize("name", ["torch", "numba"])
def test_a_spike_needs_a_draw_below_the_value(name):
    """The first draw of seed 1 is 270369."""
    enc = Poisson(1, seed=1)
    with engine(name):
        for limit, fires in ((270369, 0), (270369.5, 1), (270370, 1)):
            u = torch.tensor(limit / 2**32, dtype=torch.float64)
            assert enc(u).tolist() == [fires]


@pytest.mark.parametrize(("bits", "steps"), [(1, 5), (4, 32), (8, 8), (16, 1)])
def test_golden_channels_run_on(bits, steps):
    values = torch.randint(0, 1 << bits, (3, 40))
    gold = Poisson(steps).fixed(bits=bits, channels=3)
    expected = [oracle(values[c].tolist(), (c + 1) * GOLDEN % 2**32, bits, steps) for c in range(3)]
    assert gold.encode(values).tolist() == expected
    # every leading index starts anew
    assert gold.encode(values.expand(2, 3, 40)).tolist() == [expected, expected]


def test_golden_with_one_channel_and_a_seed():
    gold = Poisson(6, seed=77).fixed(bits=5)
    values = [3, 31, 0, 16, 9]
    assert gold.encode(values).tolist() == oracle(values, 77, 5, 6)
    assert gold.encode(values)[1] == 0b111111
    assert gold.encode(values)[2] == 0
    with pytest.raises(InputError, match=r"values must be \(\.\.\., count\)"):
        gold.encode(torch.tensor(3))
    with pytest.raises(InputError, match=r"\(\.\.\., 2, count\), not \(3, 4\)"):
        Poisson(6).fixed(channels=2).encode(torch.zeros(3, 4, dtype=torch.int64))


@pytest.mark.parametrize("bits", [1, 3, 8, 16])
@pytest.mark.parametrize("name", ["torch", "numba"])
def test_float_equals_golden(bits, name):
    """Element i of x is channel i of the core, and streams run on."""
    enc = Poisson(9, bits=bits, seed=12345)
    x = torch.rand(20, 6)  # 20 values of 6 channels
    gold = enc.fixed(channels=6)
    words = gold.spikes(gold.quantise(x.T).values)  # (6, 20, steps)
    with engine(name):
        state, rows = None, []
        for row in x:
            y, state = enc.step(row, state)
            rows.append(y)
        assert torch.equal(torch.stack(rows, 1), words.float())
        assert torch.equal(enc(x[0]), rows[0])


def test_engines_have_the_same_bits_without_a_grid():
    enc = Poisson(50)
    x = torch.rand(1000, dtype=torch.float64)
    with engine("torch"):
        reference, reference_state = enc.step(x)
    with engine("numba"):
        kernel, state = enc.step(x)
    assert torch.equal(reference, kernel)
    assert torch.equal(reference_state, state)


@pytest.mark.parametrize("seed", [GOLDEN, 1, 2**32 - 1, 2**32 - GOLDEN])
def test_certain_values(seed):
    enc = Poisson(2000, seed=seed)  # the last seed would give channel 1 a generator that is stuck
    y = enc(torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0]))
    assert y.mean(-1).tolist() == [0, 1, 0, 1, 1]
    assert (enc.seeds(5) > 0).all()
    assert 0.4 < float(enc(torch.full((5,), 0.5)).mean(-1).min())


@pytest.mark.parametrize("bits", [None, 8])
@pytest.mark.parametrize("p", [1 / 255, 0.1, 0.5, 200 / 255])
def test_rates_are_within_four_sigma(p, bits):
    steps, channels = 20_000, 64
    y = Poisson(steps, bits=bits)(torch.full((channels,), p, dtype=torch.float64))
    t = round(p * 255) + (round(p * 255) >= 128)
    rate = p if bits is None else t / 256
    sigma = math.sqrt(rate * (1 - rate) / steps)
    assert float((y.mean(-1) - rate).abs().max()) < 4 * sigma
    assert abs(float(y.mean()) - rate) < 4 * sigma / math.sqrt(channels)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_neighbours_are_independent(p):
    """In time (where a shift register that moves by one bit has 0.43) and between channels."""
    steps, channels = 20_000, 64
    z = Poisson(steps).spikes(torch.full((channels,), p)).double() - p
    z /= math.sqrt(p * (1 - p))
    bound = 5 / math.sqrt(steps)
    for lag in (1, 2, 3):
        assert float((z[:, lag:] * z[:, :-lag]).mean(-1).abs().max()) < bound
    between = z @ z.T / steps
    assert float((between - torch.diag(between.diag())).abs().max()) < bound


def test_words_of_many_channels_spread_as_they_should():
    """The first word after reset: the seeds are no random numbers, the draws should look so."""
    p, channels, steps = 0.5, 4096, 16
    counts = Poisson(steps)(torch.full((channels,), p)).sum(-1)
    assert abs(float(counts.mean()) - 8) < 4 * 2 / math.sqrt(channels)
    assert float(counts.var()) == pytest.approx(steps * p * (1 - p), rel=0.1)


def test_seeds():
    x = torch.full((50,), 0.5)
    assert torch.equal(Poisson(20)(x), Poisson(20)(x))
    assert not torch.equal(Poisson(20)(x), Poisson(20, seed=3)(x))
    rows = Poisson(100)(torch.full((2, 3), 0.5))
    assert not torch.equal(rows[0], rows[1])  # a batch does not repeat itself
    for seed in (0, -1, 2**32, 1.0):
        with pytest.raises(InputError, match=r"seed must be an integer in 1\.\.4294967295"):
            Poisson(8, seed=seed)


def test_state_belongs_to_a_shape_and_is_not_shared():
    enc = Poisson(8)
    x = torch.rand(4)
    _, state = enc.step(x)
    kept = state.clone()
    again, _ = enc.step(x, state)
    assert torch.equal(state, kept)
    assert torch.equal(enc.step(x, state)[0], again)
    assert not torch.equal(again, enc(x))
    assert enc.flush(state).shape == (4, 0)
    with pytest.raises(InputError, match=r"shape \(3,\) do not continue streams of shape \(4,\)"):
        enc.step(torch.rand(3), state)


def test_straight_through_gradient():
    x = torch.tensor([-1.0, 0.5, 3.0], requires_grad=True)
    y = Poisson(40, scale=0.5)(x)
    assert torch.equal(y.detach(), Poisson(40, scale=0.5)(x.detach()))
    (grad,) = torch.autograd.grad(y.mean(-1).sum(), x)
    assert torch.allclose(grad, torch.tensor([0.0, 0.5, 0.0]))
