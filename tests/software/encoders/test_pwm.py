"""PWM: hand-made vectors, the golden model against plain integers, both against each other."""

from __future__ import annotations

import copy
import pathlib
import sys

import numpy as np
import pytest
import torch
from spikeloom import Fixed
from spikeloom.encoders import PWM, engine
from spikeloom.encoders.golden.pwm import FixedPWM
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import PWMParameters

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from cases import both

ENGINES = ("torch", "numba")


def oracle(parameters: PWMParameters, step: int, frame: list[int]) -> list[int]:
    """Spikes of one channel, from the docstring of PWMParameters."""
    full = 2**parameters.phase_bits
    phase, previous, spikes = 0, 0, []
    for x in frame:
        a = max(x, 0) * 2 ** (parameters.phase_bits - parameters.format.fraction)
        p = 1 if a < phase else 0
        if parameters.bipolar and a > full - phase:
            p = -1
        spikes.append(p if p != previous else 0)
        previous = p
        phase += step
        if phase >= full:
            phase = phase - full if parameters.carrier == "wrap" else 0
    return spikes


def decoded_by_hand(parameters: PWMParameters, step: int, spikes: list[int]) -> list[int]:
    """Hold decoder of FixedPWM.decode, with exact fractions."""
    full, f = 2**parameters.phase_bits, parameters.format
    phase, value, samples = 0, 2 ** (f.fraction - 1), []
    for s in spikes:
        on = round((phase + max(phase - step, 0)) * 2**f.fraction / (2 * full))  # half to even
        if s:
            value = on if s > 0 else 2**f.fraction - on
        value = min(value, f.high)
        samples.append(value)
        phase += step
        if phase >= full:
            phase = phase - full if parameters.carrier == "wrap" else 0
    return samples


@pytest.mark.parametrize(
    ("value", "options", "spikes"),
    [
        # carrier 0, 1/4, 1/2, 3/4, and again
        (0.4, {}, [0, 0, 1, -1, 0, 0, 1, -1, 0]),
        (0.6, {}, [0, 0, -1, 0, 0, 0, -1, 0, 0]),
        (0.4, {"bipolar": False}, [0, 0, 1, 0, 0, 0, 1, 0, 0]),
        (0.25, {}, [0, 0, 1, 0, 0, 0, 1, 0, 0]),  # equal is no crossing, of the mirror image too
        (0.0, {}, [0, 1, 0, 0, 0, 1, 0, 0, 0]),
        (-3.0, {}, [0, 1, 0, 0, 0, 1, 0, 0, 0]),
        (1.0, {}, [0, -1, 0, 0, 0, -1, 0, 0, 0]),
        (1.5, {}, [-1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_levels_and_their_changes(value, options, spikes):
    assert both(PWM(0.25, **options), torch.full((9,), value)).tolist() == spikes


def test_comparisons_are_not_rounded():
    """At the third sample the carrier is 1/2, and so is its mirror image."""
    for dtype, small in ((torch.float32, 2.0**-25), (torch.float64, 2.0**-50)):
        encoder = PWM(0.25)
        assert both(encoder, torch.full((3,), 0.5, dtype=dtype)).tolist() == [0, 0, 0]
        assert both(encoder, torch.full((3,), 0.5 - small, dtype=dtype)).tolist() == [0, 0, 1]
        assert both(encoder, torch.full((3,), 0.5 + 4 * small, dtype=dtype)).tolist() == [0, 0, -1]
    # a frequency of 2^-32 is one unit of the phase, far below the resolution of float32 near 1
    slow = PWM(2.0**-32)
    assert both(slow, torch.tensor([1.0, 1.0])).tolist() == [0, -1]


def test_a_carrier_wraps_or_restarts():
    x = torch.full((12,), 0.55)
    # 0, .3, .6, .9, then on from .2 (.2, .5, .8, .1, .4, .7, 0) or again from 0
    assert both(PWM(0.3), x).tolist() == [0, 0, -1, 0, 0, -1, 0, 0, 0, -1, 0, 0]
    restart = both(PWM(0.3, carrier="restart"), x)
    assert restart.tolist() == [0, 0, -1, 0, 0, 0, -1, 0, 0, 0, -1, 0]


def test_frequency_in_hertz():
    x = torch.rand(500)
    assert torch.equal(PWM(50.0, rate=1000.0)(x), PWM(0.05)(x))
    with pytest.raises(InputError, match=r"frequency is 50 cycles a sample, .* \(rate=...\)"):
        PWM(50.0)


def test_decode_takes_the_middle_of_the_crossing():
    encoder = PWM(0.25)
    for value, decoded in ((0.4, 0.375), (0.6, 0.625)):
        spikes = encoder(torch.full((9,), value))
        assert encoder.decode(spikes).tolist() == [decoded] * 9
    # ON at 2 says .375, OFF at 5 (carrier 0, 1/4) says 1 - .125
    train = torch.tensor([0.0, 0, 1, 0, 0, -1, 0])
    third = 0.5 / 3
    line = [0.375, 0.375, 0.375, 0.375 + third, 0.375 + 2 * third, 0.875, 0.875]
    assert encoder.decode(train).tolist() == pytest.approx(line)
    held = [0.5, 0.5, 0.375, 0.375, 0.375, 0.875, 0.875]
    assert PWM(0.25, hold=True).decode(train).tolist() == held
    assert PWM(0.25, hold=True).decode(train, 0.25).tolist() == [0.25, 0.25, *held[2:]]
    assert encoder.decode(train, 0.175).tolist() == pytest.approx([0.175, 0.275, *line[2:]])
    assert encoder.decode(torch.zeros(3)).tolist() == [0.5] * 3
    shifted = PWM(0.25, offset=10.0, scale=0.5)
    assert shifted.decode(train).tolist() == pytest.approx([10 + 2 * v for v in line])


@pytest.mark.parametrize("carrier", ["wrap", "restart"])
@pytest.mark.parametrize("hold", [False, True])
def test_reconstruction_follows_a_sine(carrier, hold):
    """Error of a spike at most half a step of the carrier, 0.025; of the time between, small."""
    t = torch.arange(6000.0)
    x = 5 + 2 * torch.sin(2 * torch.pi * t / 1500)
    encoder = PWM(0.05, carrier=carrier, hold=hold, offset=3.0, scale=0.25)
    back = encoder.decode(encoder(x))
    error = (x - back)[100:-100]
    assert 10 * torch.log10(x.var() / error.square().mean()) > (22 if hold else 26)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (4, 3), (2, 2, 3)])
def test_any_leading_shape_and_memory_layout(shape, dtype):
    encoder = PWM([0.011, 0.3, 0.77], carrier="restart", offset=[0.0, 0.1, -0.1], scale=1.1)
    x = torch.rand((*shape, 2100), dtype=dtype)  # more than a block of the kernel
    whole = both(encoder, x)
    assert whole.dtype == dtype
    assert torch.equal(encoder.spikes(x), whole.to(torch.int8))
    assert encoder.spikes(x).dtype == torch.int8
    loose = x.transpose(0, -1).contiguous().transpose(0, -1)
    assert torch.equal(both(encoder, loose), whole)
    for c, f in enumerate((0.011, 0.3, 0.77)):
        single = PWM(f, carrier="restart", offset=(0.0, 0.1, -0.1)[c], scale=1.1)
        assert torch.equal(single(x[..., c, :]), whole[..., c, :])
        assert torch.equal(single.decode(whole[..., c, :]), encoder.decode(whole)[..., c, :])


def test_float32_modules_keep_their_carrier():
    x = torch.rand(3000)
    for converted in (PWM(0.1234567).float(), PWM(0.1234567).half(), copy.deepcopy(PWM(0.1234567))):
        assert converted.frequency.dtype == torch.float64
        assert torch.equal(converted(x), PWM(0.1234567)(x))


@pytest.mark.parametrize("carrier", ["wrap", "restart"])
@pytest.mark.parametrize("bipolar", [False, True])
def test_golden_equals_the_oracle(carrier, bipolar):
    rng = np.random.default_rng(3)
    for case in range(40):
        width = int(rng.integers(4, 25))
        fraction = int(rng.integers(1, width + 1))
        parameters = PWMParameters(
            format=Fixed(width, fraction),
            channels=int(rng.integers(1, 4)),
            phase_bits=int(rng.integers(max(8, fraction), 33)),
            carrier=carrier,
            bipolar=bipolar,
        )
        full = 2**parameters.phase_bits
        step = rng.integers(1, full // (1 if case % 2 else 16), parameters.channels)
        f = parameters.format
        x = rng.integers(f.low, f.high + 1, (2, parameters.channels, 50))
        x = np.minimum(x, np.where(rng.random(x.shape) < 0.8, 2**fraction, f.high))
        x[0, :, 5:9] = [[f.low, f.high, 0, min(2**fraction, f.high)]]
        golden = FixedPWM(parameters, {"step": step})
        given = x if parameters.channels > 1 else x[:, 0]
        spikes = golden.encode(given)
        assert spikes.dtype == torch.int8
        assert spikes.shape == given.shape
        back = golden.decode(spikes).reshape(x.shape).tolist()
        spikes = spikes.reshape(x.shape).tolist()
        for b in range(2):
            for c in range(parameters.channels):
                assert spikes[b][c] == oracle(parameters, int(step[c]), x[b, c].tolist())
                assert back[b][c] == decoded_by_hand(parameters, int(step[c]), spikes[b][c])


@pytest.mark.parametrize("carrier", ["wrap", "restart"])
@pytest.mark.parametrize(("width", "dtype"), [(8, torch.float32), (24, torch.float32), (24, None)])
def test_float_equals_golden_on_the_grid(carrier, width, dtype):
    """Bit for bit by construction: the float encoder compares without rounding."""
    dtype = dtype or torch.float64
    frequencies = [0.05, 1 / 3, 0.7071, 1e-4, 0.5, 2.0**-7]
    format = Fixed(width, width - 1)
    encoder = PWM(frequencies, carrier=carrier)
    golden = encoder.fixed(format)
    x = torch.randint(-(2 ** (width - 2)), format.high + 1, (6, 1200))
    x[:, 600:] = torch.arange(600) * format.high // 600
    floats = torch.as_tensor(format.to_real(x.numpy())).to(dtype)
    assert torch.equal(both(encoder, floats).to(torch.int8), golden.encode(x))
    held = PWM(frequencies, carrier=carrier, hold=True).decode(golden.encode(x).to(dtype))
    lsb = torch.as_tensor(format.to_real(golden.decode(golden.encode(x)).numpy())) - held
    assert float(lsb.abs().max()) <= format.step


def test_fixed_quantises_with_offset_and_scale():
    encoder = PWM(0.05, offset=1.0, scale=0.5)
    golden = encoder.fixed(Fixed(16, 15))
    x = torch.rand(2000, dtype=torch.float64) * 2.2 + 0.9
    found = golden.quantise(x)
    assert found.count == int((x >= 3 - 2**-16).sum()) > 50  # saturated, never wrapped
    on_grid = golden.to_real(found.values)
    assert torch.equal(encoder(on_grid).to(torch.int8), golden.encode(found.values))


def test_hold_decoder_of_the_golden_starts_where_it_is_told():
    golden = PWM(0.25).fixed(Fixed(8, 6))
    train = torch.tensor([0, 0, 1, 0])
    assert golden.decode(train).tolist() == [32, 32, 24, 24]
    assert golden.decode(train, 7).tolist() == [7, 7, 24, 24]
    two = PWM([0.25, 0.5]).fixed(Fixed(8, 6))
    assert two.decode(train.expand(2, 4), torch.tensor([7, 9])).tolist() == [
        [7, 7, 24, 24],
        [9, 9, 0, 0],
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frequency": 0.0}, "frequency must be a finite number > 0, not 0.0"),
        ({"frequency": -1.0}, "frequency must be a finite number > 0, not -1.0"),
        ({"frequency": float("nan")}, "frequency must be a finite number > 0, not nan"),
        ({"frequency": 1.0}, "frequency is 1 cycles a sample, allowed is"),
        ({"frequency": [0.1, 2.0]}, "frequency is 2 cycles a sample, allowed is"),
        ({"frequency": 1e-11}, "frequency is 1e-11 cycles a sample, allowed is"),
        ({"rate": 0.0}, "rate must be a finite number > 0, not 0.0"),
        ({"carrier": "sine"}, "carrier must be 'wrap' or 'restart', not 'sine'"),
        ({"profile": "1.8.2"}, "profile must be 'textbook' or 'compat', not '1.8.2'"),
        ({"profile": "compat", "bipolar": False}, "profile='compat' has OFF spikes"),
        ({"profile": "compat", "hold": True}, "and a linear decoder only"),
        ({"profile": "compat", "scale": 2.0}, "leave out offset and scale"),
        ({"trainable": True}, "pwm has no gradient"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        PWM(**options)


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize("profile", ["textbook", "compat"])
def test_wrong_signals_are_refused(engine_name, profile):
    encoder = PWM(0.3, profile=profile)
    x = torch.rand(2, 3, 5000)
    x[1, 0, 4321] = float("inf")
    x[1, 2, 17] = float("nan")
    with engine(engine_name):
        with pytest.raises(InputError, match=r"signal\[1, 0, 4321\] is inf"):
            encoder(x)
        with pytest.raises(InputError, match="the signal is empty"):
            encoder(torch.zeros(2, 0))
        with pytest.raises(InputError, match="must be float32 or float64, not int64"):
            encoder(torch.ones(4, dtype=torch.int64))
        with pytest.raises(InputError, match=r"parameters for 2 channels, .* not \(3, 9\)"):
            PWM([0.1, 0.2], profile=profile)(torch.ones(3, 9))


def test_a_nan_in_a_stream_is_found_in_any_block():
    for encoder in (PWM(0.3), PWM(20.0, profile="compat", normalise=False)):
        _, state = encoder.step(torch.rand(2, 10))
        chunk = torch.rand(2, 9000)
        chunk[1, 8999] = float("nan")
        with pytest.raises(InputError, match=r"signal\[1, 8999\] is nan"):
            encoder.step(chunk, state)


def test_golden_refuses_what_is_outside():
    golden = FixedPWM(PWMParameters(format=Fixed(8, 7)))
    with pytest.raises(InputError, match="sample 128 is outside -128..127: quantise saturates"):
        golden.encode(torch.tensor([0, 128]))
    with pytest.raises(InputError, match="step of channel 0 is 0, allowed is"):
        FixedPWM(PWMParameters(), {"step": 0})
    plain = PWM(50.0, profile="compat", normalise=False).fixed(Fixed(16, 15))
    with pytest.raises(InputError, match="has no integers"):
        plain.decode(torch.zeros(4, dtype=torch.int8))
    with pytest.raises(InputError, match="integers have no record normalisation"):
        PWM(50.0, profile="compat").fixed(Fixed(16, 15))
    with pytest.raises(InputError, match="no pwm core like this encoder: the format's fraction"):
        PWM(0.05).fixed(Fixed(16, 0))
    with pytest.raises(InputError, match="takes the place of settings"):
        FixedPWM(PWMParameters(), package_frequency=50.0)
    restart = PWMParameters(channels=2, carrier="restart")
    with pytest.raises(InputError, match="package_frequency is for 3 channels, not 2"):
        FixedPWM(restart, package_frequency=torch.tensor([1.0, 2.0, 3.0]))
