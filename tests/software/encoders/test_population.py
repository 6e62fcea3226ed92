"""Gaussian populations against the formulas of the paper, and their golden table."""

from __future__ import annotations

import math

import pytest
import torch
from spikeloom.encoders import GaussianPopulation, Latency, Poisson, Rate
from spikeloom.errors import InputError


def bohte(x: float, low: float, high: float, m: int, beta: float) -> list[float]:
    """Responses as in section 4.1 of the paper, i = 1 .. m."""
    sigma = (high - low) / (m - 2) / beta
    centres = [low + (2 * i - 3) / 2 * (high - low) / (m - 2) for i in range(1, m + 1)]
    return [math.exp(-((x - c) ** 2) / (2 * sigma**2)) for c in centres]


@pytest.mark.parametrize(("m", "beta"), [(3, 1.5), (5, 1.0), (12, 2.0)])
def test_responses_are_those_of_the_paper(m, beta):
    low, high = -2.0, 6.0
    enc = GaussianPopulation(m, beta=beta, offset=low, scale=1 / (high - low))
    for x in (-2.0, 0.3, 5.99, 6.0):
        got = enc.responses(torch.tensor((x - low) / (high - low), dtype=torch.float64))
        assert got.tolist() == pytest.approx(bohte(x, low, high, m, beta), rel=1e-12, abs=1e-300)


def test_a_channel_axis_before_the_last():
    assert GaussianPopulation(5, 7)(torch.rand(2, 3)).shape == (2, 3, 5, 7)
    assert GaussianPopulation(5, 7)(torch.tensor(0.5)).shape == (5, 7)


def test_rate_and_latency_are_the_codes_of_the_responses():
    u = torch.rand(50, dtype=torch.float64)
    r = GaussianPopulation(6).responses(u)
    assert torch.equal(GaussianPopulation(6, 9).spikes(u), Rate(9).spikes(r))
    assert torch.equal(GaussianPopulation(6, 9, into="latency").spikes(u), Latency(9).spikes(r))
    own = Poisson(30, seed=5)
    assert torch.equal(GaussianPopulation(6, into=own).spikes(u), own.spikes(r))


def test_one_hot_is_the_nearest_centre():
    # 5 neurons: centres -1/6, 1/6, 1/2, 5/6, 7/6
    enc = GaussianPopulation(5, 2, into="onehot")
    y = enc(torch.tensor([0.0, 0.3, 0.4, 0.7, 1.0], dtype=torch.float64))
    assert y[..., 0].argmax(-1).tolist() == [0, 1, 2, 3, 3]
    assert y.sum((-2, -1)).tolist() == [2] * 5
    own = GaussianPopulation(3, 1, into="onehot", centres=[0.0, 0.5, 1.0])
    assert own(torch.tensor([0.1, 0.3, 0.8])).argmax(-2).flatten().tolist() == [0, 1, 2]
    assert own.decode(own(torch.tensor([0.1, 0.3, 0.8]))).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("into", ["rate", "latency"])
def test_the_centroid_gives_the_value_back(into):
    x = torch.linspace(-3, 5, 301, dtype=torch.float64)
    enc = GaussianPopulation(8, 32, into=into, offset=-3.0, scale=1 / 8)
    spacing = 8 / 6
    assert float((enc.decode(enc(x)) - x).abs().max()) < spacing / 8
    assert torch.isnan(enc.decode(torch.zeros(8, 32)))


@pytest.mark.parametrize("bits", [1, 4, 8, 10])
@pytest.mark.parametrize("into", ["rate", "latency", "onehot"])
def test_golden_table_every_value(bits, into):
    enc = GaussianPopulation(5, 8, into=into)
    gold = enc.fixed(bits=bits, response_bits=6)
    v = torch.arange(1 << bits)
    got = gold.encode(v)
    assert got.shape == (5, 1 << bits)
    for k in (0, (1 << bits) // 3, (1 << bits) - 1):
        r = bohte(k / ((1 << bits) - 1), 0.0, 1.0, 5, 1.5)
        if into == "onehot":
            r = [float(n == max(range(5), key=r.__getitem__)) for n in range(5)]
        assert got[:, k].tolist() == [round(p * 63) for p in r]


def test_golden_channels():
    """Channel c * neurons + n is neuron n of channel c."""
    gold = GaussianPopulation(4).fixed(bits=3, channels=2)
    v = torch.randint(0, 8, (3, 2, 6))
    got = gold.encode(v)
    assert got.shape == (3, 8, 6)
    table = gold.parameters.table
    for b in range(3):
        for c in range(2):
            for n in range(4):
                assert got[b, c * 4 + n].tolist() == [table[n][i] for i in v[b, c].tolist()]
    with pytest.raises(InputError, match=r"\(\.\.\., 2, count\)"):
        gold.encode(torch.zeros(3, 5, dtype=torch.int64))
    with pytest.raises(InputError, match="gives values, not spikes"):
        gold.spikes(v)


@pytest.mark.parametrize("into", ["rate", "latency", "onehot"])
def test_with_bits_spikes_are_those_of_the_two_cores(into):
    enc = GaussianPopulation(6, 12, into=into, bits=9, response_bits=7)
    x = torch.rand(2000)
    gold = enc.fixed()
    assert (gold.parameters.bits, gold.parameters.response_bits) == (9, 7)
    responses = gold.encode(gold.quantise(x).values)  # (6, 2000)
    words = enc.coder.fixed(channels=6).spikes(responses)
    assert torch.equal(words.transpose(0, 1), enc.spikes(x))


def test_gradient_goes_through_a_rate_code():
    x = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    enc = GaussianPopulation(5, 8)
    (grad,) = torch.autograd.grad(enc(x).mean(-1)[0, 2], x)
    (expected,) = torch.autograd.grad(enc.responses(x)[0, 2], x)
    assert torch.allclose(grad, expected)
    assert not GaussianPopulation(5, 8, into="latency")(x).requires_grad


def test_step_keeps_the_state_of_a_random_code():
    enc = GaussianPopulation(4, into=Poisson(10))
    x = torch.full((3,), 0.5)
    one, state = enc.step(x)
    two, _ = enc.step(x, state)
    assert torch.equal(one, enc(x))
    assert not torch.equal(one, two)
    assert state.shape == (3, 4)
    assert enc.flush(state).shape == (3, 4, 0)


def test_bad_arguments():
    with pytest.raises(InputError, match="neurons must be an integer in 2..64, not 1"):
        GaussianPopulation(1)
    with pytest.raises(InputError, match="2 neurons need centres"):
        GaussianPopulation(2)
    assert GaussianPopulation(2, centres=[0.0, 1.0])(torch.rand(3)).shape == (3, 2, 8)
    for centres in ([0.0, 1.0], [0.0, 1.0, 1.0], [2.0, 1.0, 0.0]):
        with pytest.raises(InputError, match="centres must be 3 increasing numbers"):
            GaussianPopulation(3, centres=centres)
    with pytest.raises(InputError, match="into must be 'rate', 'latency', 'onehot' or a value"):
        GaussianPopulation(3, into="burst")
    with pytest.raises(InputError, match="steps is 4, but those of rate are 8"):
        GaussianPopulation(3, 4, into=Rate(8))
    with pytest.raises(InputError, match="response_bits is 8, but rate has bits=None"):
        GaussianPopulation(3, into=Rate(8), response_bits=8)
    for beta in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="beta must be a number above 0"):
            GaussianPopulation(3, beta=beta)
    with pytest.raises(InputError, match="width must be a finite number > 0"):
        GaussianPopulation(3, width=0.0)
    with pytest.raises(InputError, match=r"no population core.*bits must be an integer in 1\.\.10"):
        GaussianPopulation(3).fixed(bits=11)
    with pytest.raises(InputError, match=r"spikes must be \(\.\.\., 3, 8\), not \(4, 8\)"):
        GaussianPopulation(3).decode(torch.zeros(4, 8))
