"""Observations: bounds, sides, inverses, spaces, and the integer rule."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from spikeloom.encoders import Observation, Poisson, Rate
from spikeloom.errors import InputError
from spikeloom.fixed import Fixed


def test_values_by_hand():
    x = torch.tensor([0.0, 5.0], dtype=torch.float64)  # u = 0.25, 1
    bounds = [-1.0, -5.0], [3.0, 5.0]

    def values(**options):
        return Observation(*bounds, **options).values(x).tolist()

    assert values() == [0.25, 1.0]
    assert values(split=True) == [0.0, 0.5, 1.0, 0.0]
    assert values(inverted=True) == [0.25, 0.75, 1.0, 0.0]
    assert values(split=True, inverted=True) == [0.0, 0.5, 1.0, 0.5, 1.0, 0.0, 0.0, 1.0]
    # 3/15 and 12/15 in 4 bits: 0.25 * 15 = 3.75
    assert values(bits=4) == pytest.approx([4 / 15, 1.0])


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("into", ["rate", "population"])
def test_shapes_and_the_way_back(split, inverted, into):
    enc = Observation(
        [-1.0, 0.0, 2.0], [1.0, 10.0, 3.0], split=split, inverted=inverted, into=into, steps=31
    )
    x = torch.tensor([[-1.0, 7.0, 2.3], [0.2, 0.0, 3.0]])
    y = enc(x)
    features = 3 * (1 + split) * (1 + inverted) * (8 if into == "population" else 1)
    assert y.shape == (2, features, 31)
    assert y.dtype == torch.float32
    assert enc.spikes(x).dtype == torch.int8
    assert torch.equal(enc.spikes(x).float(), y)
    assert enc.outputs == (1 + split) * (1 + inverted)
    error = (enc.decode(y) - x).abs() / torch.tensor([2.0, 10.0, 1.0])
    assert float(error.max()) < 0.06


def test_values_of_a_channel_follow_each_other():
    x = torch.rand(3)
    enc = Observation([0.0] * 3, [1.0] * 3, inverted=True, steps=20)
    y = enc(x)
    assert torch.equal(y[0::2], Rate(20)(x))
    assert torch.equal(y[1::2], Rate(20)(1 - x.double()).float())


def test_outside_is_clipped_and_counted():
    enc = Observation([0.0, 0.0], [1.0, 2.0])
    assert enc.clipped(torch.tensor([[1.5, 1.5], [-0.1, 2.5], [1.0, 2.0]])) == 3
    assert torch.equal(enc(torch.tensor([9.0, -9.0])), enc(torch.tensor([1.0, 0.0])))


def test_from_space():
    space = gymnasium.spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, 4.0]), dtype=np.float64)
    enc = Observation.from_space(space, inverted=True, steps=5)
    assert enc.low.tolist() == [-1.0, 0.0]
    assert enc.high.tolist() == [1.0, 4.0]
    assert enc(torch.as_tensor(space.sample())).shape == (4, 5)


def test_an_environment_with_infinite_bounds():
    """CartPole's velocities have none: the line says which, and what to do."""
    env = gymnasium.make("CartPole-v1")
    space = env.observation_space
    with pytest.raises(InputError, match=r"observation\[1\] has the bounds -inf and inf: give fin"):
        Observation.from_space(space)
    with pytest.raises(InputError, match=r"observation\[3\]"):
        Observation.from_space(space, low={1: -3.0}, high={1: 3.0})
    enc = Observation.from_space(space, low={1: -3.0, 3: -3.0}, high={1: 3.0, 3: 3.0})
    observation, _ = env.reset(seed=1)
    assert enc(torch.as_tensor(observation)).shape == (4, 16)
    assert enc.clipped(torch.as_tensor(observation)) == 0
    assert enc.low.tolist() == pytest.approx([-4.8, -3.0, -0.41887903, -3.0])


def test_other_spaces():
    with pytest.raises(InputError, match="must be a Box of numbers, not Discrete"):
        Observation.from_space(gymnasium.spaces.Discrete(4))
    with pytest.raises(InputError, match=r"not of shape \(2, 3\): use gymnasium.wrappers.Flatten"):
        Observation.from_space(gymnasium.spaces.Box(0.0, 1.0, (2, 3)))
    box = gymnasium.spaces.Box(0.0, 1.0, (2,))
    with pytest.raises(InputError, match=r"index of low must be an integer in 0\.\.1, not 2"):
        Observation.from_space(box, low={2: 0.0})


def test_bad_bounds():
    with pytest.raises(InputError, match=r"observation\[1\] has low = 2, which is not below 2"):
        Observation([0.0, 2.0], [1.0, 2.0])
    for wrong in (float("nan"), -float("inf"), -3.4e38):
        with pytest.raises(InputError, match=r"observation\[0\] has the bounds"):
            Observation([wrong], [1.0])
    for low, high in (([0.0], [1.0, 2.0]), (0.0, 1.0), ([], [])):
        with pytest.raises(InputError, match="lists of one number a channel"):
            Observation(low, high)
    with pytest.raises(InputError, match="into must be 'rate', 'population' or a value encoder"):
        Observation([0.0], [1.0], into="latency")


def test_bad_observations():
    enc = Observation([0.0, 0.0], [1.0, 1.0])
    with pytest.raises(
        InputError, match=r"must be \(\.\.\., 2\), one number a channel, not \(3,\)"
    ):
        enc(torch.rand(3))
    with pytest.raises(InputError, match=r"observation\[1\] is nan"):
        enc(torch.tensor([0.5, float("nan")]))
    with pytest.raises(InputError, match="float32 or float64, not uint8"):
        enc(torch.zeros(2, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"spikes must be \(\.\.\., 2, 16\)"):
        enc.decode(torch.zeros(3, 16))


def oracle(x: int, low: int, gain: int, bits: int, split: bool, inverted: bool) -> list[int]:
    full = 2**bits - 1
    p = min(max(((x - low) * gain + 32768) // 65536, 0), full)
    values = [max(0, 2 * p - full), max(0, full - 2 * p)] if split else [p]
    return values + [full - v for v in values] if inverted else values


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("inverted", [False, True])
def test_golden_rule(split, inverted):
    enc = Observation([-1.5, -100.0], [0.5, 120.0], split=split, inverted=inverted)
    gold = enc.fixed(Fixed(16, 8), bits=6)
    low, gain = (gold.settings[name].tolist() for name in ("low", "gain"))
    assert low == [-384, -25600]
    assert gain == [round(65536 * 63 / 512), round(65536 * 63 / 56320)]
    x = torch.randint(-32768, 32768, (2, 2, 200))
    x[..., :3] = torch.tensor([-32768, 32767, 0])
    got = gold.encode(x)
    assert got.shape == (2, 2 * enc.outputs, 200)
    for b in range(2):
        for c in range(2):
            expected = [oracle(v, low[c], gain[c], 6, split, inverted) for v in x[b, c].tolist()]
            slots = got[b, c * enc.outputs : (c + 1) * enc.outputs]
            assert slots.T.tolist() == expected


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_float_values_are_golden_values_up_to_one(bits):
    enc = Observation([-1.0, 0.1], [1.0, 99.7], inverted=True, bits=bits)
    gold = enc.fixed(Fixed(18, 10))
    x = torch.rand(3000, 2, dtype=torch.float64) * torch.tensor([2.0, 99.6]) + torch.tensor(
        [-1.0, 0.1]
    )
    q = gold.quantise(x.T)
    assert q.count == 0
    real = gold.to_real(q.values).T  # the numbers that the core sees
    got = enc.values(real) * ((1 << bits) - 1)
    difference = (gold.encode(q.values).T - got).abs()
    # of 2^16 steps, half a step of a bound's rounding may be more than one
    assert float(difference.max()) <= 1 + ((1 << bits) - 1) / 2048


def test_exact_where_the_gain_is():
    enc = Observation([-2.0], [2.0 - 2**-6], bits=8)  # 255 steps of 2^-6: gain = 2^16
    gold = enc.fixed(Fixed(12, 6))
    samples = torch.arange(-2048, 2048)
    got = enc.values(gold.to_real(samples).unsqueeze(-1)).squeeze(-1) * 255
    assert torch.equal(gold.encode(samples).squeeze(0), got.round().to(torch.int64))


def test_bounds_must_fit_the_format():
    enc = Observation([-1.0], [200.0])
    with pytest.raises(InputError, match=r"are beyond Fixed\(width=8, fraction=4\)"):
        enc.fixed(Fixed(8, 4))
    with pytest.raises(InputError, match="the same number"):
        Observation([0.0], [0.01]).fixed(Fixed(8, 4))


def test_step_goes_on():
    enc = Observation([0.0, 0.0], [1.0, 1.0], into=Poisson(12))
    x = torch.full((2,), 0.5)
    one, state = enc.step(x)
    two, _ = enc.step(x, state)
    assert torch.equal(one, enc(x))
    assert not torch.equal(one, two)
    assert enc.flush(state).shape == (2, 0)
    plain = Observation([0.0], [1.0])
    assert plain.step(torch.rand(1))[1] is None


def test_gradient():
    x = torch.tensor([0.3, 5.0], requires_grad=True)
    enc = Observation([0.0, 0.0], [2.0, 4.0], inverted=True, bits=8)
    (grad,) = torch.autograd.grad(enc(x).mean(-1)[0::2].sum(), x)
    assert grad.tolist() == [0.5, 0.0]  # 1 / (high - low); 0 where clipped
