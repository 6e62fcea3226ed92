"""What all value encoders do: shapes, types, ranges, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from spikeloom.encoders import GaussianPopulation, Latency, Phase, Poisson, Rate, ValueEncoder
from spikeloom.errors import InputError

ENCODERS = {
    "rate": Rate,
    "poisson": Poisson,
    "latency": Latency,
    "phase": Phase,
    "log latency": lambda steps, **common: Latency(steps, rule="log", **common),
    "population": lambda steps, **common: GaussianPopulation(4, steps, **common),
}


#: Those without a random generator: the place of a value does not matter.
PLAIN = [name for name in ENCODERS if name != "poisson"]


@pytest.fixture(params=ENCODERS, scope="module")
def make(request):
    return ENCODERS[request.param]


def spike_shape(enc: ValueEncoder, shape: tuple[int, ...]) -> tuple[int, ...]:
    neurons = (enc.neurons,) if isinstance(enc, GaussianPopulation) else ()
    return (*shape, *neurons, enc.steps)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3), (2, 1, 3, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_shape_and_dtype(make, shape, dtype):
    enc = make(7)
    x = torch.rand(shape, dtype=dtype)
    y = enc(x)
    assert y.dtype == dtype
    assert y.shape == spike_shape(enc, shape)
    assert set(y.unique().tolist()) <= {0.0, 1.0}
    s = enc.spikes(x)
    assert s.dtype == torch.int8
    assert torch.equal(s.to(dtype), y)
    assert enc.decode(y).shape == shape
    assert enc.decode(y).dtype == dtype
    assert enc.decode(s).dtype == torch.float32


def test_forward_is_stateless_and_leaves_its_input_alone(make):
    enc = make(7)
    x = torch.rand(20)
    before = x.clone()
    assert torch.equal(enc(x), enc(x))
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", PLAIN)
def test_not_contiguous(name):
    x = torch.rand(4, 6)
    enc = ENCODERS[name](7)
    assert torch.equal(enc(x.T), enc(x).transpose(0, 1))


def test_offset_and_scale(make):
    u = torch.linspace(0, 1, 33, dtype=torch.float64)  # exact, as is all that follows
    plain, moved = make(7), make(7, offset=-3.0, scale=0.25)
    assert torch.equal(moved(u * 4 - 3), plain(u))
    assert torch.allclose(moved.decode(moved(u * 4 - 3)), plain.decode(plain(u)) * 4 - 3)


def test_parameters_per_channel(make):
    u = torch.rand(4, 3, dtype=torch.float64).round(decimals=2)
    enc = make(7, offset=[0.0, 1.0, -2.0], scale=[1.0, 0.5, 4.0])
    x = u / torch.tensor([1.0, 0.5, 4.0]) + torch.tensor([0.0, 1.0, -2.0])
    assert torch.equal(enc(x), make(7)((x - enc.offset) * enc.scale))
    assert enc.channels == 3
    for shape in ((), (2,), (3, 2)):
        with pytest.raises(InputError, match=r"3 channels.*\(\.\.\., 3\)"):
            enc(torch.rand(shape))
    with pytest.raises(InputError, match="offset is for 3 channels, but scale for 2"):
        make(7, offset=[0.0] * 3, scale=[1.0] * 2)


def test_outside_is_clipped_and_counted(make):
    x = torch.tensor([-0.5, 0.0, 0.25, 1.0, 1.5, 1e30])
    enc = make(7)
    assert enc.clipped(x) == 3
    assert torch.equal(enc(x), enc(x.clamp(0, 1)))
    assert enc.clipped(torch.rand(100)) == 0
    assert enc.clipped(torch.tensor([1.0000001, -1e-8])) == 0  # rounding of a normalisation


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite(make, bad):
    x = torch.rand(3, 4)
    x[1, 2] = x[2, 0] = bad
    for call in (make(7), make(7).spikes, make(7).clipped, make(7).step):
        with pytest.raises(InputError, match=rf"values\[1, 2\] is {bad}"):
            call(x)


def test_bad_input(make):
    for wrong in (torch.ones(3, dtype=torch.int64), torch.ones(3).half(), torch.ones(3).bool()):
        with pytest.raises(InputError, match="must be float32 or float64"):
            make(7)(wrong)
    with pytest.raises(InputError, match="empty"):
        make(7)(torch.rand(0, 3))
    for steps in (0, -1, 1 << 20, 2.0, True, "8"):
        with pytest.raises(InputError, match="steps.* must be an integer"):
            make(steps)
    for bits in (0, 17, 4.0):
        with pytest.raises(InputError, match="bits must be an integer in 1..16"):
            make(7, bits=bits)
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="scale must be a finite number > 0"):
            make(7, scale=scale)
    with pytest.raises(InputError, match="offset must be a finite number"):
        make(7, offset=float("inf"))


def test_bad_trains(make):
    enc = make(7)
    inner = spike_shape(enc, ())[:-1]
    with pytest.raises(InputError, match="not"):
        enc.decode(torch.zeros(*inner, 6))
    with pytest.raises(InputError, match="not"):
        enc.decode(torch.tensor(1.0))
    with pytest.raises(InputError, match="is nan"):
        enc.decode(torch.full((*inner, 7), float("nan")))


def test_takes_arrays(make):
    enc = make(7)
    x = np.random.default_rng(1).random(9)
    assert torch.equal(enc(x), enc(torch.as_tensor(x)))


@pytest.mark.parametrize("name", PLAIN)
def test_step_without_a_generator(name):
    enc = ENCODERS[name](7)
    x = torch.rand(3, 4)
    y, state = enc.step(x)
    assert state is None
    assert torch.equal(y, enc(x))
    assert enc.flush(state).numel() == 0


@pytest.mark.parametrize("kind", [Latency, Phase])
def test_codes_without_a_gradient_are_detached(kind):
    x = torch.rand(5, requires_grad=True)
    assert not kind(7)(x).requires_grad


def test_a_golden_model_checks(make):
    gold = make(7).fixed(bits=4)
    with pytest.raises(InputError, match=r"value 16 is outside 0\.\.15"):
        gold.encode([0, 16])
    with pytest.raises(InputError, match=r"value -1 is outside"):
        gold.encode(torch.tensor([-1]))
    with pytest.raises(InputError, match="integers"):
        gold.encode([0.5])
    with pytest.raises(InputError, match="integers"):
        gold.encode([True])


def test_quantise_rounds_saturates_and_counts():
    gold = Rate(4, offset=1.0, scale=0.5).fixed(bits=2)  # 1..3 to 0..3
    q = gold.quantise([0.9, 1.0, 1.33, 1.34, 2.0, 3.0, 3.1, float("inf")])
    assert q.values.tolist() == [0, 0, 0, 1, 2, 3, 3, 3]  # 1.5 to even
    assert q.count == 3
    with pytest.raises(InputError, match=r"values\[1\] is nan"):
        gold.quantise([0.0, float("nan")])


def test_quantise_per_channel():
    gold = Rate(4, offset=[0.0, 10.0]).fixed(bits=8)
    assert gold.parameters.channels == 2
    assert gold.quantise([[0.0, 1.0, 2.0], [10.0, 11.0, 9.0]]).values.tolist() == [
        [0, 255, 255],
        [0, 255, 0],
    ]


def test_no_core_for_too_many_steps():
    Rate(33)(torch.rand(3))
    with pytest.raises(InputError, match=r"no rate core.*steps must be an integer in 1\.\.32"):
        Rate(33).fixed()


def test_state_dict_and_repr(make):
    enc = make(7, offset=0.5)
    make(7).load_state_dict(enc.state_dict())
    assert "steps=7" in repr(enc)
    assert "offset=0.5" in repr(enc)
    assert "bits=4" in repr(make(7, bits=4))
