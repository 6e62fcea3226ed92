from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom import Fixed
from spikeloom.encoders import Delta, StepForward, engine
from spikeloom.encoders.golden.delta import FixedDelta, integer_log2
from spikeloom.encoders.logarithm import log2
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import DeltaParameters


def oracle(x, threshold, hysteresis, quanta, initial):
    """Rule of DeltaParameters in plain integers; initial None: the first sample."""
    ref, last, spikes, refs = initial, 0, [], []
    for sample in x:
        if ref is None:
            ref, s = sample, 0
        else:
            d = sample - ref
            sign = (d > 0) - (d < 0)
            m = abs(d) - (hysteresis if sign * last < 0 else 0)
            s = sign * min(m // threshold, quanta) if m > 0 else 0
            ref += s * threshold
        last = s or last
        spikes.append(s)
        refs.append(ref)
    return spikes, refs


def octaves(x):
    """Rule ``log`` of DeltaParameters, with Python's integers and logarithm."""
    x = max(x, 1)
    e = x.bit_length() - 1
    f = 256 * x // 2**e - 256
    return (e << 8) + round(256 * math.log2(1 + f / 256))


def both(encoder, x, dtype=torch.float32):
    """Spikes from both engines, equal."""
    results = []
    for name in ("torch", "numba"):
        with engine(name):
            results.append(encoder(torch.as_tensor(x, dtype=dtype)).tolist())
    assert results[0] == results[1]
    return results[0]


# By hand -----------------------------------------------------------------------------------------


def test_spikes_count_thresholds_up_to_the_quanta():
    x = [0.5, 0.25, 2.0, 2.75, -9.0, -9.0]
    # ref: 0 .5 .5 1.25(3 quanta of .25) ...
    assert both(Delta(0.5), x) == [1, 0, 1, 1, -1, -1]
    # ref: .5, .5, 2, 2.5, 1, -.5
    assert both(Delta(0.5, quanta=3), x) == [1, 0, 3, 1, -3, -3]
    y = Delta(0.5, quanta=3).decode([1, 0, 3, 1, -3, -3])
    assert y.tolist() == [0.5, 0.5, 2, 2.5, 1, -0.5]


def test_a_change_of_one_threshold_counts_unlike_in_step_forward():
    assert both(Delta(0.5), [0.5, 0.0]) == [1, -1]
    assert both(StepForward(0.5), [0.5, 0.0]) == [0, 0]


def test_hysteresis_holds_against_a_change_of_direction():
    encoder = Delta(1.0, hysteresis=0.5, quanta=4)
    # nothing opposite yet; 1 below needs 1.5; 2.5 below: (2.5 - .5) / 1 = 2 quanta; then up again
    assert both(encoder, [2.0, 1.0, 0.51, 0.5]) == [2, 0, 0, -1]
    assert both(encoder, [2.0, -0.5, -0.5, 1.0]) == [2, -2, 0, 0]
    assert both(encoder, [2.0, -0.5, 1.5]) == [2, -2, 1]
    assert both(encoder, [-1.0, -2.0, -3.0]) == [-1, -1, -1]


def test_first_sample_sets_the_reference():
    encoder = Delta(0.5, initial="first")
    assert both(encoder, [7.0, 8.0, 7.75, 6.0]) == [0, 1, 0, -1]
    assert encoder.decode([0, 1, 0, -1], initial=7.0).tolist() == [7, 7.5, 7.5, 7]
    with pytest.raises(InputError, match=r"decode\(spikes, initial=x\[..., 0\]\)"):
        encoder.decode([0, 1])


def test_log_sees_ratios():
    encoder = Delta(1.0, quanta=3, initial="first", log=True)
    # octaves from the first: 1, 0, 3 (limited), .99
    assert both(encoder, [0.1, 0.2, 0.1, 0.81]) == [0, 1, -1, 3]
    assert both(Delta(1.0, log=True), [2.0, 4.0, 4.0, 1.9]) == [1, 1, 0, -1]
    y = encoder.decode([0, 1, -1, 3], initial=0.25)
    assert y.tolist() == [0.25, 0.5, 0.25, 2]
    assert Delta(1.0, log=True, initial=2.0).decode([0, -1]).tolist() == [4, 2]
    scaled = Delta(1.0, log=True, initial="first", offset=-1.0, scale=2.0)
    assert scaled(torch.tensor([0.0, 1.0, 3.0, 0.0])).tolist() == [0, 1, 1, -1]
    assert scaled.decode([0, 1, 1, -1], initial=0.0).tolist() == [0, 1, 3, 1]


# What the number of quanta means in floats --------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(
    m=st.floats(0.0, 10.0, width=32),
    threshold=st.floats(2.0**-10, 10.0, width=32),
    nudge=st.integers(-1, 1),
    k=st.integers(1, 15),
)
def test_quanta_are_the_most_whose_product_does_not_exceed_the_change(m, threshold, nudge, k):
    theta = np.float32(threshold)
    exact = np.float32(k) * theta  # the worst case: a multiple, and its neighbours
    near = np.nextafter(exact, np.float32(nudge * 1e9)) if nudge else exact
    for change in (np.float32(m), near):
        expected = max([0, *(n for n in range(1, 16) if np.float32(n) * theta <= change)])
        assert both(Delta(threshold, quanta=15), [change, -change])[0] == expected
        assert both(Delta(threshold, quanta=15), [-change])[0] == -expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logarithm_is_right_and_has_no_loose_bits(dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.exp2(torch.rand(20_000, generator=generator, dtype=torch.float64) * 200 - 100)
    x = torch.cat([x, 1 + torch.linspace(-1e-6, 1e-6, 999, dtype=torch.float64)]).to(dtype)
    y = log2(x)
    assert y.dtype == dtype
    expected = [math.log2(value) for value in x.tolist()]
    error = (y.double() - torch.tensor(expected, dtype=torch.float64)).abs()
    bound = torch.finfo(dtype).eps * y.double().abs() * (4 if dtype == torch.float64 else 0.51)
    assert (error <= bound).all()
    powers = torch.exp2(torch.arange(-120, 120, dtype=dtype))
    assert torch.equal(log2(powers), torch.arange(-120, 120, dtype=dtype))
    # one at a time, and every second one: the same bits
    assert torch.equal(torch.cat([log2(x[k : k + 1]) for k in range(100)]), y[:100])
    assert torch.equal(log2(x[::2]), y[::2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_has_the_same_bits_in_both_engines(dtype):
    """Fine quanta: a last bit of the logarithm would move a spike."""
    generator = torch.Generator().manual_seed(1)
    x = torch.exp2(torch.randn((50, 2000), generator=generator, dtype=torch.float64)).to(dtype)
    both(Delta(1e-6 if dtype == torch.float32 else 1e-15, quanta=15, log=True), x[:4, :300], dtype)
    spikes = both(Delta(0.01, quanta=15, log=True, initial="first"), x, dtype)
    assert np.abs(spikes).max() == 15


# The float module against the golden model, and both against the oracle ---------------------------


@settings(deadline=None, max_examples=150)
@given(
    x=st.lists(st.integers(-128, 127), min_size=1, max_size=60),
    threshold=st.integers(1, 255),
    hysteresis=st.integers(0, 40),
    quanta=st.integers(1, 15),
    initial=st.none() | st.integers(-128, 127),
)
def test_golden_and_float_equal_the_oracle_on_integers(x, threshold, hysteresis, quanta, initial):
    spikes, refs = oracle(x, threshold, hysteresis, quanta, initial)
    parameters = DeltaParameters(
        format=Fixed(8, 0), quanta=quanta, initial="first" if initial is None else "value"
    )
    values = {"threshold": threshold, "hysteresis": hysteresis}
    golden = FixedDelta(parameters, values | ({} if initial is None else {"initial": initial}))
    start = x[0] if initial is None else None
    assert golden.encode(x).tolist() == spikes
    assert golden.encode(x).dtype == torch.int8
    assert golden.decode(spikes, start=start).tolist() == refs
    assert all(-128 <= ref <= 127 for ref in refs)

    encoder = Delta(
        threshold,
        quanta=quanta,
        hysteresis=hysteresis,
        initial="first" if initial is None else initial,
    )
    for name in ("torch", "numba"):
        with engine(name):
            assert encoder(torch.tensor(x, dtype=torch.float32)).tolist() == spikes
            assert encoder.decode(spikes, initial=start).tolist() == refs


@pytest.mark.parametrize("initial", ["first", 0.25])
def test_fixed_has_the_bits_of_the_module_on_the_grid(initial):
    encoder = Delta(
        [0.125, 0.5, 0.75], quanta=5, hysteresis=0.25, initial=initial, offset=1, scale=0.5
    )
    golden = encoder.fixed(Fixed(12, 8))
    rng = np.random.default_rng(1)
    x = rng.integers(-300, 300, (4, 3, 400)).cumsum(-1).clip(-2048, 2047)
    signal = golden.to_real(x)
    spikes = golden.encode(x)
    assert torch.equal(spikes, encoder.spikes(signal))
    assert torch.equal(spikes, encoder.spikes(signal.float()))
    side = initial == "first"
    decoded = golden.decode(spikes, x[..., 0] if side else None)
    expected = encoder.decode(spikes.double(), signal[..., 0] if side else None)
    assert torch.equal(golden.to_real(decoded), expected)


@pytest.mark.parametrize("width", [4, 8, 24])
def test_integer_logarithm_equals_its_oracle(width):
    high = (1 << (width - 1)) - 1
    rng = np.random.default_rng(0)
    x = np.unique(
        np.concatenate(
            [
                np.arange(-5, min(high, 1100) + 1),
                np.exp2(rng.uniform(0, width - 1, 2000)).astype(int).clip(max=high),
                [(1 << k) - 1 for k in range(width)],
            ]
        )
    )
    assert integer_log2(torch.as_tensor(x)).tolist() == [octaves(int(n)) for n in x]
    assert octaves(high) <= DeltaParameters(format=Fixed(width, 0), log=True).inner.high


@settings(deadline=None, max_examples=60)
@given(
    x=st.lists(st.integers(-50, 2047), min_size=1, max_size=40),
    threshold=st.integers(1, 600),
    initial=st.none() | st.integers(0, 2000),
)
def test_golden_log_equals_the_oracle(x, threshold, initial):
    parameters = DeltaParameters(
        format=Fixed(12, 4), quanta=7, log=True, initial="first" if initial is None else "value"
    )
    values = {"threshold": threshold, "hysteresis": 30}
    golden = FixedDelta(parameters, values | ({} if initial is None else {"initial": initial}))
    logs = [octaves(n) for n in x]
    spikes, refs = oracle(logs, threshold, 30, 7, initial)
    assert golden.encode(x).tolist() == spikes
    start = logs[0] if initial is None else None
    assert golden.decode(spikes, start=start).tolist() == refs


@pytest.mark.parametrize("initial", ["first", -2.0])
def test_fixed_log_follows_the_module(initial):
    """Not bit for bit, since the table has 8 bits; but to within a threshold of the signal."""
    encoder = Delta(0.125, quanta=15, initial=initial, log=True, offset=-0.01)
    golden = encoder.fixed(Fixed(16, 12))
    t = torch.arange(500).double()
    x = torch.exp2(torch.sin(t / 30) * 2)
    samples = golden.quantise(x).values
    assert golden.settings["threshold"].tolist() == [32]
    if initial != "first":
        assert golden.settings["initial"].tolist() == [(12 - 2) * 256]
    start = int(integer_log2(torch.as_tensor(samples[:1]))) if initial == "first" else None
    y = golden.to_real(golden.decode(golden.encode(samples), start))
    z = encoder.decode(encoder(x), x[0] if initial == "first" else None)
    for reconstruction in (y, z):
        ratio = torch.log2((reconstruction[5:] + 0.01) / (x[5:] + 0.01))
        assert ratio.abs().max() < 0.125 + 0.02


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine_name", ["torch", "numba"])
def test_log_refuses_what_is_not_above_zero(engine_name):
    x = torch.ones(2, 2, 4)
    x[1, 0, 2] = -0.5
    x[1, 1, 3] = math.nan
    encoder = Delta(log=True)
    with engine(engine_name):
        message = r"signal\[1, 0, 2\] is -0.5: with log=True a signal must be above 0"
        with pytest.raises(InputError, match=message):
            encoder(x)
        x[1, 0, 2] = 0.0
        with pytest.raises(InputError, match=r"signal\[1, 0, 2\] is 0.0: with log"):
            encoder(x)
        with pytest.raises(InputError, match=r"signal\[1, 0, 2\] is 0.0: with log"):
            encoder.step(x)
        assert Delta(log=True, offset=-1.0)(x[:1]).shape == (1, 2, 4)
        with pytest.raises(InputError, match=r"signal\[1, 0\] is 0.5: with log=True"):
            Delta(log=True, offset=[0.0, 0.5])(torch.full((2, 2), 0.5))
    with pytest.raises(InputError, match="an initial value must be above 0"):
        Delta(log=True, initial="first").decode([0, 1], initial=-1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0}, "threshold must be a finite number > 0, not 0.0"),
        ({"threshold": -1}, "threshold must be a finite number > 0, not -1.0"),
        ({"hysteresis": -0.1}, "hysteresis must be a finite number >= 0, not -0.1"),
        ({"quanta": 0}, "quanta must be an integer in 1..15, not 0"),
        ({"quanta": 16}, "quanta must be an integer in 1..15, not 16"),
        ({"quanta": 1.5}, "quanta must be an integer in 1..15, not 1.5"),
        ({"initial": "last"}, "initial must be a number or 'first', not 'last'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Delta(**options)


def test_golden_checks_its_format_and_side_band():
    with pytest.raises(InputError, match="threshold of channel 0 is 0, allowed is 1"):
        Delta(0.01).fixed(Fixed(8, 4))
    golden = Delta(0.5, initial="first").fixed(Fixed(8, 4))
    with pytest.raises(InputError, match="the side-band"):
        golden.decode([0, 1])
    with pytest.raises(InputError, match="sample -129 is outside -128..127"):
        golden.encode([-129])
