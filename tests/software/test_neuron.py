from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
import torch
from spikeloom import SpikePack
from spikeloom.spikepack import pack_spikes


def near_ties(theta: float, steps: int, dtype: torch.dtype) -> torch.Tensor:
    """Multiples of theta, and their neighbours in floating point, some potentials between."""
    k = torch.arange(-2, 2**steps + 3, dtype=torch.float64)
    exact = (k * theta).to(dtype)
    up = torch.nextafter(exact, torch.full_like(exact, torch.inf))
    down = torch.nextafter(exact, torch.full_like(exact, -torch.inf))
    g = torch.Generator().manual_seed(steps)
    some = (torch.rand(500, generator=g, dtype=torch.float64) * 1.3 - 0.1) * theta * 2**steps
    return torch.cat([exact, up, down, some.to(dtype)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("theta", [0.25, 0.1, 1 / 3, 0.7, 1e-3, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 12])
def test_parallel_equals_serial_equals_exact_arithmetic(steps, theta, dtype):
    neuron = SpikePack(steps, theta)
    neuron.threshold = torch.tensor(theta, dtype=dtype)  # all its bits, or no multiple is rounded
    v = near_ties(float(neuron.threshold), steps, dtype)
    exact_theta = Fraction(float(neuron.threshold))
    expected = [min(max(floor(Fraction(x) / exact_theta), 0), 2**steps - 1) for x in v.tolist()]
    assert neuron.pack(v).tolist() == expected
    spikes = neuron.spikes(v)
    assert spikes.shape == (steps, *v.shape)
    assert spikes.dtype == torch.uint8
    assert pack_spikes(spikes).tolist() == expected
    y = neuron(v)
    assert y.dtype == dtype
    assert torch.equal(y, neuron.pack(v).to(dtype) * neuron.threshold)


def test_without_the_correction_near_ties_would_differ():
    """Guards the test above: the plain quotient is wrong somewhere on its inputs."""
    v = near_ties(0.1, 8, torch.float32)
    theta = torch.tensor(0.1)
    plain = torch.floor(v / theta).clamp(0, 255).to(torch.int64)
    assert not torch.equal(plain, SpikePack(8, 0.1).pack(v))


def test_infinities_saturate():
    v = torch.tensor([torch.inf, -torch.inf])
    assert SpikePack(4, 0.25).pack(v).tolist() == [15, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_in_and_out(dtype):
    v = torch.tensor([-1.0, 0.3, 0.5, 9.0], dtype=dtype)
    y = SpikePack(4, 0.25)(v)
    assert y.dtype == dtype
    assert y.tolist() == [0.0, 0.25, 0.5, 3.75]


def test_rounding_is_half_up():
    neuron = SpikePack(4, 0.25, rounding=True)
    assert neuron.pack(torch.tensor([0.124, 0.125, 0.374, 0.375])).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(("dim", "shape"), [(1, (5, 3)), (1, (2, 3, 4, 4)), (-1, (5, 3))])
def test_threshold_per_channel(dim, shape):
    theta = torch.tensor([0.1, 0.25, 2.0])
    neuron = SpikePack(4, theta, channel_dim=dim)
    v = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 4
    for c in range(3):
        one = SpikePack(4, theta[c])
        assert torch.equal(neuron(v).select(dim, c), one(v.select(dim, c)))
        assert torch.equal(neuron.spikes(v).select(dim if dim < 0 else dim + 1, c),
                           one.spikes(v.select(dim, c)))  # fmt: skip
    with pytest.raises(ValueError, match="has not 3 channels"):
        neuron(torch.rand(5, 4))


def test_gradient_is_straight_through_and_clipped():
    v = torch.tensor([-0.1, 0.0, 0.1, 1.0, 3.75, 3.76], requires_grad=True)
    SpikePack(4, 0.25)(v).sum().backward()
    assert v.grad is not None
    assert v.grad.tolist() == [0, 1, 1, 1, 1, 0]


def test_gradient_with_rounding_covers_the_same_range():
    v = torch.tensor([-0.1, 0.0, 3.75, 3.8], requires_grad=True)
    SpikePack(4, 0.25, rounding=True)(v).sum().backward()
    assert v.grad is not None
    assert v.grad.tolist() == [0, 1, 1, 0]


def test_gradient_of_a_trained_threshold():
    neuron = SpikePack(2, 0.5, trainable=True)
    v = torch.tensor([-1.0, 0.75, 9.0])
    neuron(v).sum().backward()
    # below: 0; inside: word - v / theta = 1 - 1.5; above: 2^T - 1
    assert neuron.threshold.grad is not None
    assert float(neuron.threshold.grad) == 0 - 0.5 + 3
    per_channel = SpikePack(2, torch.tensor([0.5, 1.0]), trainable=True)
    per_channel(torch.rand(7, 2)).sum().backward()
    assert per_channel.threshold.grad is not None
    assert per_channel.threshold.grad.shape == (2,)


def test_drop_in_for_relu_trains():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(2, 16), SpikePack(4, 0.25), torch.nn.Linear(16, 2)
        )
        x = torch.rand(256, 2)
        y = (x[:, 0] > x[:, 1]).long()
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(150):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
        assert float((model(x).argmax(1) == y).float().mean()) > 0.95


def test_tau_below_two_warns_and_fires_greedily():
    with pytest.warns(UserWarning, match="hardware runs tau = 2"):
        neuron = SpikePack(3, 1.0, tau=1.5)
    v = torch.tensor([3.3])  # levels 2.25, 1.5, 1: 3.3 - 2.25 = 1.05 -> not 1.5, then 1
    assert neuron.spikes(v)[:, 0].tolist() == [1, 0, 1]
    assert neuron.pack(v).tolist() == [5]
    assert neuron(v).tolist() == [3.25]


def test_tau_above_two_needs_consent():
    with pytest.raises(ValueError, match="allow_gaps=True"):
        SpikePack(4, 0.25, tau=3.0)
    assert SpikePack(2, 1.0, tau=3.0, allow_gaps=True)(torch.tensor([2.9])).tolist() == [1.0]


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": 0},
        {"steps": 17},
        {"steps": 4.0},
        {"threshold": 0.0},
        {"threshold": float("nan")},
        {"threshold": torch.ones(2, 2)},
        {"tau": 1.0},
        {"tau": float("inf"), "allow_gaps": True},
    ],
)
def test_bad_parameters_are_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        SpikePack(**arguments)


def test_integers_are_refused_as_potentials():
    with pytest.raises(TypeError, match="floating point"):
        SpikePack()(torch.tensor([1]))


def test_state_survives_saving():
    a, b = SpikePack(4, torch.tensor([0.1, 0.2])), SpikePack(4, torch.tensor([1.0, 1.0]))
    b.load_state_dict(a.state_dict())
    assert torch.equal(a.threshold, b.threshold)
    assert "2 channels" in repr(b)
