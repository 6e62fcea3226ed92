"""Signed words: serial form, parallel form and the scalar oracle are one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.signed import SignedSpikePack


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(1, 10),
    theta=st.floats(1e-3, 10),
    rounding=st.booleans(),
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_serial_is_parallel(steps, theta, rounding, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    half = 1 << (steps - 1)
    near = torch.randint(-2 * half, 2 * half, (40,), generator=generator).to(dtype) * theta
    wild = torch.randn(40, generator=generator, dtype=dtype) * theta * half
    v = torch.cat([near, wild, torch.tensor([torch.inf, -torch.inf], dtype=dtype)])
    neuron = SignedSpikePack(steps, theta, rounding=rounding)
    spikes, words = neuron.spikes(v).to(torch.int64), neuron.pack(v)
    weights = torch.tensor([-half if t == 0 else half >> t for t in range(steps)])
    assert torch.equal((spikes * weights[:, None]).sum(0), words)
    assert torch.equal(neuron(v), (words * neuron.threshold.to(dtype)).to(dtype))
    assert int(words.min()) == -half
    assert int(words.max()) == half - 1


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("theta", [1, 3, 8])
def test_words_are_those_of_the_oracle(steps, theta, oracle):
    values = list(range(-5 * theta - (theta << steps), 5 * theta + (theta << steps)))
    neuron = SignedSpikePack(steps, float(theta))
    spikes = neuron.spikes(torch.tensor(values, dtype=torch.float64))
    words = neuron.pack(torch.tensor(values, dtype=torch.float64))
    for index, v in enumerate(values):
        expected = oracle.fire_spikes(v, theta, steps, signed=True)
        assert spikes[:, index].tolist() == expected
        assert int(words[index]) == oracle.word(expected, signed=True)


def test_threshold_a_channel_and_rounding():
    neuron = SignedSpikePack(3, torch.tensor([1.0, 2.0]), rounding=True, channel_dim=-1)
    v = torch.tensor([[-0.5, -0.5], [0.49, 1.0], [-9.0, 9.0], [1.5, -3.1]])
    assert neuron.pack(v).tolist() == [[0, 0], [0, 1], [-4, 3], [2, -2]]
    assert neuron(v).tolist() == [[0.0, 0.0], [0.0, 2.0], [-4.0, 6.0], [2.0, -4.0]]


def test_gradient_passes_inside_the_range():
    neuron = SignedSpikePack(3, 0.5, rounding=True, trainable=True)
    v = torch.tensor([-3.0, -1.9, -0.3, 0.0, 1.4, 2.0], requires_grad=True)
    neuron(v).sum().backward()
    assert v.grad is not None
    assert v.grad.tolist() == [0, 1, 1, 1, 1, 0]
    # outside: the word itself; inside: rounding error in thresholds
    words = torch.tensor([-4, (-2.0 + 1.9) / 0.5, (-0.5 + 0.3) / 0.5, 0, (1.5 - 1.4) / 0.5, 3])
    torch.testing.assert_close(neuron.threshold.grad, words.sum())


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="steps must be"):
        SignedSpikePack(0)
    with pytest.raises(ValueError, match="above 0"):
        SignedSpikePack(4, -1.0)
