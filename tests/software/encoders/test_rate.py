"""Deterministic rate against a plain accumulator."""

from __future__ import annotations

import pytest
import torch
from spikeloom.encoders import Rate


def oracle(v: int, bits: int, steps: int) -> list[int]:
    """Adds into a register of ``bits`` bits; the carry is the spike."""
    t = v + (1 if v >= 2 ** (bits - 1) else 0)
    accumulator, word = 2 ** (bits - 1), []
    for _ in range(steps):
        accumulator += t
        word.append(accumulator >> bits)
        accumulator %= 2**bits
    return word


def test_by_hand():
    # bits 2: values 0, 1, 2, 3 stand for 0, 1/4, 3/4, 1 in the accumulator
    gold = Rate(8).fixed(bits=2)
    assert gold.spikes([0, 1, 2, 3]).tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 1, 0, 0],
        [1, 1, 0, 1, 1, 1, 0, 1],
        [1, 1, 1, 1, 1, 1, 1, 1],
    ]
    assert gold.encode([0, 1, 2, 3]).tolist() == [0, 0b01000100, 0b11011101, 0xFF]
    assert Rate(4)(torch.tensor([0.125, 0.1, 0.5])).tolist() == [
        [0, 0, 0, 1],
        [0, 0, 0, 0],
        [1, 0, 1, 0],
    ]


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 16, 31, 32])
def test_every_value(steps):
    for bits in range(1, 9):
        values = torch.arange(1 << bits)
        expected = torch.tensor([oracle(v, bits, steps) for v in values.tolist()])
        gold = Rate(steps).fixed(bits=bits)
        assert torch.equal(gold.spikes(values).to(torch.int64), expected), bits
        for dtype in (torch.float32, torch.float64):
            u = values.to(dtype) / ((1 << bits) - 1)
            assert torch.equal(Rate(steps, bits=bits).spikes(u).to(torch.int64), expected), bits


@pytest.mark.parametrize("bits", [11, 16])
def test_with_bits_any_number_gives_the_spikes_of_the_core(bits):
    x = torch.rand(50_000) * 1.2 - 0.1
    enc = Rate(32, bits=bits)
    gold = enc.fixed()
    assert gold.parameters.bits == bits
    assert torch.equal(gold.spikes(gold.quantise(x).values), enc.spikes(x))


@pytest.mark.parametrize("steps", [1, 5, 32, 1000])
def test_counts_are_the_value_rounded_and_evenly_spread(steps):
    u = torch.rand(500, dtype=torch.float64)
    counts = Rate(steps).spikes(u).to(torch.int64).cumsum(-1)
    for k in (1, steps // 2, steps):
        if k:
            assert torch.equal(counts[:, k - 1], torch.floor(k * u + 0.5).to(torch.int64))


def test_decode_is_within_half_a_spike():
    x = torch.linspace(-2, 5, 1001)
    enc = Rate(32, offset=-2.0, scale=1 / 7)
    assert float((enc.decode(enc(x)) - x).abs().max()) <= 7 * 0.5 / 32 + 1e-6


def test_straight_through_gradient():
    x = torch.tensor([-1.0, 0.1, 0.5, 3.0, 9.0], requires_grad=True)
    for enc in (Rate(4, scale=0.25), Rate(4, scale=0.25, bits=3)):
        y = enc(x)
        assert torch.equal(y.detach(), enc(x.detach()))
        (grad,) = torch.autograd.grad(y.mean(-1).sum(), x)
        assert grad.tolist() == [0.0, 0.25, 0.25, 0.25, 0.0]  # scale; 0 where it is clipped
