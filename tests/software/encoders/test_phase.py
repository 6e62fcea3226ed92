"""Phase: exact bit planes, with fractions as the oracle."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from spikeloom import SpikePack
from spikeloom.encoders import Phase
from spikeloom.errors import InputError


def word(v: int, full: int, steps: int) -> int:
    return math.floor(Fraction(v, full) * (2**steps - 1) + Fraction(1, 2))


def test_by_hand():
    # 5/7 in 3 bits is 101; 0.5 * 7 + 0.5 = 4
    y = Phase(3)(torch.tensor([5 / 7, 0.5, 0.0, 1.0], dtype=torch.float64))
    assert y.tolist() == [[1, 0, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]]
    assert Phase(4).fixed(bits=4).encode(torch.arange(16)).tolist() == list(range(16))
    assert Phase(1).fixed(bits=2).encode([0, 1, 2, 3]).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("steps", [1, 2, 5, 8, 16])
def test_every_value(steps):
    for bits in range(1, 11):
        full = (1 << bits) - 1
        values = torch.arange(full + 1)
        expected = torch.tensor([word(v, full, steps) for v in range(full + 1)])
        gold = Phase(steps).fixed(bits=bits)
        assert torch.equal(gold.encode(values), expected)
        assert torch.equal(Phase(steps).spikes(values.double() / full), gold.spikes(values))
        assert torch.equal(
            Phase(steps, bits=bits).spikes(values.float() / full), gold.spikes(values)
        )


@pytest.mark.parametrize(("bits", "steps"), [(16, 16), (16, 5), (5, 16), (12, 8)])
def test_with_bits_any_number_gives_the_spikes_of_the_core(bits, steps):
    x = torch.rand(20_000)
    enc = Phase(steps, bits=bits)
    gold = enc.fixed()
    assert torch.equal(gold.spikes(gold.quantise(x).values), enc.spikes(x))


def test_decode_is_exact_on_its_own_grid():
    u = torch.arange(256, dtype=torch.float64) / 255
    enc = Phase(8)
    assert torch.allclose(enc.decode(enc(u)), u, rtol=0, atol=1e-15)
    x = torch.rand(1000, dtype=torch.float64)
    assert float((enc.decode(enc(x)) - x).abs().max()) <= 0.5 / 255 + 1e-12


def test_a_spikepack_neuron_sends_the_same_spikes():
    """v = (2^T - 1) u + 1/2, threshold 1, is the neuron whose words are these."""
    u = torch.rand(500, dtype=torch.float64)
    spikes = SpikePack(steps=6, threshold=1.0).spikes(u * 63 + 0.5)
    assert torch.equal(spikes.movedim(0, -1).to(torch.int8), Phase(6).spikes(u))


def test_steps():
    with pytest.raises(InputError, match=r"steps of a phase code must be an integer in 1\.\.16"):
        Phase(17)
