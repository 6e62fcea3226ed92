from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from spikeloom.spikepack import (
    accumulate_horner,
    accumulate_packed,
    accumulate_serial,
    fire,
    fire_serial,
    pack_spikes,
    unpack_words,
)

VECTORS = json.loads((Path(__file__).parent / "vectors" / "spikepack.json").read_text())


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("theta", [1, 2, 3, 7, 8, 29])
@pytest.mark.parametrize("steps", range(1, 7))
def test_fire_on_every_potential(oracle, steps, theta, signed):
    """All v from far below the range to far above it."""
    span = theta * 2**steps
    v = torch.arange(-span - 2 * theta, span + 2 * theta + 1)
    expected_spikes = [oracle.fire_spikes(int(x), theta, steps, signed) for x in v]
    expected = [oracle.word(s, signed) for s in expected_spikes]
    assert fire(v, theta, steps, signed=signed).tolist() == expected
    spikes = fire_serial(v, theta, steps, signed=signed)
    assert spikes.T.tolist() == expected_spikes
    assert pack_spikes(spikes, signed=signed).tolist() == expected


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("steps", [7, 8, 16])
def test_fire_on_random_potentials(oracle, steps, signed):
    g = torch.Generator().manual_seed(steps)
    theta = torch.randint(1, 1 << 16, (500,), generator=g)
    v = (torch.randn(4, 500, generator=g).double() * theta * 2**steps).to(torch.int64)
    v[0] = theta * torch.randint(-3, 2**steps + 3, (500,), generator=g)  # exact multiples
    v[1] = v[0] - 1
    expected = [
        [
            oracle.word(oracle.fire_spikes(x, t, steps, signed), signed)
            for x, t in zip(row, theta.tolist(), strict=True)
        ]
        for row in v.tolist()
    ]
    assert fire(v, theta, steps, signed=signed).tolist() == expected
    spikes = fire_serial(v, theta, steps, signed=signed)
    assert pack_spikes(spikes, signed=signed).tolist() == expected


@pytest.mark.parametrize("theta", [1, 2, 3, 8, 9])
def test_half_threshold_in_the_bias_rounds_half_up(theta):
    from fractions import Fraction
    from math import floor

    v = range(-20 * theta, 20 * theta)
    words = fire(torch.tensor(list(v)) + theta // 2, theta, 4).tolist()
    assert words == [min(max(floor(Fraction(x, theta) + Fraction(1, 2)), 0), 15) for x in v]


@pytest.mark.parametrize("steps", [1, 3, 4, 8])
def test_accumulate_forms_agree(oracle, steps):
    g = torch.Generator().manual_seed(steps)
    words = torch.randint(0, 2**steps, (5, 37), generator=g).to(torch.uint8)
    weight = torch.randint(-127, 128, (11, 37), generator=g).to(torch.int8)
    expected = [[oracle.accumulate(row, p, 0) for row in weight.tolist()] for p in words.tolist()]
    assert accumulate_packed(words, weight).tolist() == expected
    assert accumulate_serial(words, weight, steps).tolist() == expected
    assert accumulate_horner(words, weight, steps).tolist() == expected


def test_words_survive_unpacking():
    words = torch.arange(256)
    assert torch.equal(pack_spikes(unpack_words(words, 8)), words)
    assert unpack_words(torch.tensor(5), 4).tolist() == [0, 1, 0, 1]  # first step first


def test_potentials_beyond_float64_are_refused():
    with pytest.raises(OverflowError, match="2\\^53"):
        accumulate_packed(torch.tensor([[1 << 40]]), torch.tensor([[1 << 13]]))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: fire(torch.tensor([1.0]), 1, 4), TypeError, "integers"),
        (lambda: fire(torch.tensor([1]), 0, 4), ValueError, "at least 1"),
        (lambda: fire(torch.tensor([1]), 1, 0), ValueError, "steps"),
        (lambda: fire_serial(torch.tensor([1]), 1, 17), ValueError, "steps"),
        (lambda: accumulate_packed(torch.ones(1, 1), torch.ones(1, 1)), TypeError, "integers"),
    ],
)
def test_bad_arguments_are_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_frozen_vectors():
    assert len(VECTORS["fire"]) >= 200
    for v in VECTORS["fire"]:
        v0 = torch.tensor(v["v0"])
        assert int(fire(v0, v["theta"], v["steps"], signed=v["signed"])) == v["word"], v
        spikes = fire_serial(v0, v["theta"], v["steps"], signed=v["signed"])
        assert spikes.tolist() == v["spikes"], v


def test_frozen_vectors_agree_with_the_oracle(oracle):
    for v in VECTORS["fire"]:
        assert oracle.fire_spikes(v["v0"], v["theta"], v["steps"], v["signed"]) == v["spikes"], v


def test_cuda_has_the_same_bits():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    g = torch.Generator().manual_seed(1)
    words = torch.randint(0, 256, (64, 784), generator=g).to(torch.uint8)
    weight = torch.randint(-127, 128, (100, 784), generator=g).to(torch.int8)
    v = accumulate_packed(words, weight)
    assert torch.equal(accumulate_packed(words.cuda(), weight.cuda()).cpu(), v)
    assert torch.equal(fire(v.cuda(), 977, 4).cpu(), fire(v, 977, 4))
