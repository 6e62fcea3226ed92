"""What every signal encoder has: shapes, dtypes, engines, parameters, saving."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from spikeloom.encoders import LIF, PWM, Delta, SignalEncoder, StepForward, engine
from spikeloom.errors import InputError

#: Every way through the code of every encoder, for signals (..., 2, time) above 0.
ENCODERS: dict[str, Callable[[], SignalEncoder]] = {
    "step-forward": lambda: StepForward([0.1, 0.3], initial=[0.5, 1.0]),
    "step-forward first": lambda: StepForward(0.1, initial="first", offset=0.2, scale=[1.5, 2.0]),
    "step-forward adaptive": lambda: StepForward([0.05, 0.02], levels=3),
    "step-forward compat": lambda: StepForward(0.1, profile="compat"),
    "lif": lambda: LIF([1.0, 0.4], [0.8, 0.95], offset=0.5),
    "lif zero": lambda: LIF(0.5, 0.9, reset="zero", offset=1.5),
    "lif refractory": lambda: LIF(0.5, 0.9, refractory=[1, 3], decode_leak=[0.5, 0.0], offset=1.5),
    "lif compat": lambda: LIF([0.5, 0.3], 0.9, profile="compat"),
    "lif compat bypassed": lambda: LIF(0.5, 0.9, profile="compat", normalise=False, offset=0.5),
    "delta": lambda: Delta([0.1, 0.2], quanta=3, hysteresis=[0.05, 0.0]),
    "delta first": lambda: Delta(0.1, initial="first"),
    "delta log": lambda: Delta(0.2, quanta=15, initial="first", log=True, scale=3.0),
    "pwm": lambda: PWM([0.05, 0.37], offset=0.1, scale=[0.3, 0.4]),
    "pwm compat bypassed": lambda: PWM([70.0, 333.0], profile="compat", normalise=False, scale=0.3),
}


def signal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """Smooth and rough parts, above 0."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(shape, generator=generator, dtype=torch.float64)
    time = torch.arange(shape[-1], dtype=torch.float64)
    return (torch.sin(time / 9) + 1.1 + noise * torch.rand(shape, generator=generator)).to(dtype)


def decode(encoder: SignalEncoder, spikes: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Decode with whatever the encoder wants of x."""
    if getattr(encoder, "by_record", False):
        return encoder.decode(spikes, record=encoder.record(x))  # type: ignore[call-arg]
    return encoder.decode(spikes, x[..., 0] if getattr(encoder, "side_band", False) else None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(2,), (1, 2), (3, 2), (2, 3, 2)])
@pytest.mark.parametrize("name", ENCODERS)
def test_numba_has_the_bits_of_the_reference(name, shape, dtype):
    encoder = ENCODERS[name]()
    x = signal(*shape, 150, dtype=dtype)
    results = []
    for engine_name in ("torch", "numba"):
        with engine(engine_name):
            spikes, small = encoder(x), encoder.spikes(x)
            results.append((spikes, small, decode(encoder, spikes, x)))
    (spikes, small, back), numba = results
    for ours, theirs in zip(results[0], numba, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    assert spikes.shape == small.shape == back.shape == x.shape
    assert spikes.dtype == dtype
    assert small.dtype == torch.int8
    assert torch.equal(spikes, small.to(dtype))
    assert spikes.min() < 0 < spikes.max()


@pytest.mark.parametrize("name", ENCODERS)
def test_rows_are_independent_and_channels_keep_their_parameters(name):
    encoder = ENCODERS[name]()
    x = signal(3, 2, 80)
    whole = encoder(x)
    for batch in range(3):
        assert torch.equal(encoder(x[batch]), whole[batch])
    for channel in range(2):
        single = copy.deepcopy(encoder)
        for key, value in encoder.named_buffers():
            if value.ndim:
                single.register_buffer(key, value[channel])
        single.channels = None
        assert torch.equal(single(x[0, channel]), whole[0, channel])


@pytest.mark.parametrize("engine_name", ["torch", "numba"])
@pytest.mark.parametrize("name", ENCODERS)
def test_memory_layout_does_not_matter(name, engine_name):
    encoder = ENCODERS[name]()
    x = signal(3, 2, 60)
    with engine(engine_name):
        whole = encoder(x)
        strided = signal(3, 2, 120)
        strided[..., ::2] = x
        for same in (x.transpose(0, 2).contiguous().transpose(0, 2), strided[..., ::2]):
            assert not same.is_contiguous()
            assert torch.equal(encoder(same), whole)
            assert torch.equal(decode(encoder, whole, same), decode(encoder, whole, x))
        loose = whole.transpose(0, 2).contiguous().transpose(0, 2)
        assert torch.equal(decode(encoder, loose, x), decode(encoder, whole, x))


@pytest.mark.parametrize("name", ENCODERS)
def test_input_is_left_alone(name):
    encoder = ENCODERS[name]()
    x = signal(2, 60)
    before = x.clone()
    spikes = encoder(x)
    kept = spikes.clone()
    decode(encoder, spikes, x)
    assert torch.equal(x, before)
    assert torch.equal(spikes, kept)


@pytest.mark.parametrize("name", ENCODERS)
def test_one_sample_is_a_signal(name):
    encoder = ENCODERS[name]()
    x = signal(2, 1)
    for engine_name in ("torch", "numba"):
        with engine(engine_name):
            spikes = encoder(x)
            assert spikes.shape == (2, 1)
            assert decode(encoder, spikes, x).shape == (2, 1)


@pytest.mark.parametrize("name", ENCODERS)
def test_state_dict_and_copies_keep_the_parameters(name):
    encoder = ENCODERS[name]()
    x = signal(2, 100)
    expected = encoder(x)
    assert torch.equal(copy.deepcopy(encoder)(x), expected)
    other = ENCODERS[name]()
    for parameter, value in other.named_buffers():
        value.mul_(1.0 if parameter in ("offset", "scale") else 0.5)
    assert not torch.equal(other(x), expected)
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(other(x), expected)
    assert all(value.dtype == torch.float64 for value in encoder.state_dict().values())


@pytest.mark.parametrize("name", ENCODERS)
def test_float32_parameters_change_nothing_for_float32_signals(name):
    encoder = ENCODERS[name]()
    x = signal(2, 100)
    expected = encoder(x)
    assert torch.equal(copy.deepcopy(encoder).float()(x), expected)
    assert torch.equal(copy.deepcopy(encoder).to(torch.float32)(x), expected)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 5, 1)])
def test_wrong_number_of_channels_is_refused(shape):
    for encoder in (StepForward([0.1, 0.2]), LIF(leak=[0.5, 0.6]), Delta(hysteresis=[0.0, 0.1])):
        message = r"parameters for 2 channels, so that a signal must be \(\.\.\., 2, time\), not"
        with pytest.raises(InputError, match=message):
            encoder(torch.ones(shape))
        with pytest.raises(InputError, match=message):
            encoder.decode(torch.ones(shape))
        with pytest.raises(InputError, match=message):
            encoder.step(torch.ones(shape))


def test_parameters_for_different_numbers_of_channels_are_refused():
    with pytest.raises(InputError, match="different numbers of channels: .*'offset': 3"):
        StepForward([0.1, 0.2], offset=[0.0, 0.0, 0.0])
    with pytest.raises(InputError, match="different numbers of channels"):
        LIF([0.1, 0.2], decode_leak=[0.5] * 3)


def test_a_list_of_one_holds_for_any_channels():
    x = signal(3, 4, 50)
    assert torch.equal(StepForward([0.1], scale=[2.0])(x), StepForward(0.1, scale=2.0)(x))


def test_offset_and_scale_are_applied_in_this_order():
    x = torch.tensor([10.0, 10.5, 11.5])
    # z = 0, 1, 3
    assert StepForward(0.9, offset=10, scale=2)(x).tolist() == [0, 1, 1]
    assert StepForward(0.9, offset=10, scale=2).decode([0, 1, 1]).tolist() == pytest.approx(
        [10, 10.45, 10.9]
    )
    with pytest.raises(InputError, match="scale must be a finite number > 0, not 0.0"):
        StepForward(0.1, scale=0)
    with pytest.raises(InputError, match="offset must be a finite number, not nan"):
        StepForward(0.1, offset=float("nan"))


def test_decode_takes_any_number_type():
    encoder = StepForward(0.5)
    for dtype in (torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.float32):
        y = encoder.decode(torch.tensor([1, 0, -1], dtype=dtype))
        assert y.dtype == torch.float32
        assert y.tolist() == [0.5, 0.5, 0]
    assert encoder.decode(torch.ones(1, dtype=torch.float64)).dtype == torch.float64
    assert encoder.decode([1, 0, -1]).tolist() == [0.5, 0.5, 0]


def test_decode_refuses_what_is_no_spike_train():
    encoder = StepForward(0.5, initial="first")
    with pytest.raises(InputError, match="the spike train is empty"):
        encoder.decode(torch.zeros(2, 0), 0.0)
    with pytest.raises(InputError, match=r"spike train\[1\] is nan"):
        encoder.decode(torch.tensor([0.0, float("nan")]), 0.0)
    with pytest.raises(InputError, match=r"initial has shape \(3,\), .* each of \(2,\) signals"):
        encoder.decode(torch.zeros(2, 5), [0.0, 0.0, 0.0])


def test_repr_shows_what_differs_from_the_default():
    assert repr(StepForward([0.5, 0.25], offset=1.0)) == (
        "StepForward(threshold=[0.5, 0.25], initial=0.0, offset=1.0)"
    )
