from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom import Fixed
from spikeloom.encoders import StepForward, engine
from spikeloom.encoders.golden.step_forward import FixedStepForward
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import StepForwardParameters


def oracle(x, threshold, levels, initial):
    """Rule of StepForwardParameters in plain integers; initial None: the first sample."""
    spikes, bases = [], []
    base, level, last = initial, 0, 0
    for sample in x:
        if base is None:
            base, s = sample, 0
        else:
            theta = threshold * 2**level
            s = 1 if sample > base + theta else -1 if sample < base - theta else 0
            base += s * theta
        level = min(level + 1, levels) if s and s == last else max(level - 1, 0)
        last = s
        spikes.append(s)
        bases.append(base)
    return spikes, bases


def both(encoder, x):
    """Spikes from both engines, equal."""
    results = []
    for name in ("torch", "numba"):
        with engine(name):
            results.append(encoder(torch.as_tensor(x, dtype=torch.float32)).tolist())
    assert results[0] == results[1]
    return results[0]


# By hand -----------------------------------------------------------------------------------------


def test_base_follows_the_signal_by_one_threshold():
    #   x: 0.0  1.0  1.5  1.0  0.0 -3.0, threshold 0.5; base before each: 0 0 .5 1 1 .5
    assert both(StepForward(0.5), [0.0, 1.0, 1.5, 1.0, 0.0, -3.0]) == [0, 1, 1, 0, -1, -1]
    y = StepForward(0.5).decode([0, 1, 1, 0, -1, -1])
    assert y.tolist() == [0, 0.5, 1, 1, 0.5, 0]


def test_comparisons_are_strict():
    assert both(StepForward(0.5), [0.5, -0.5, 0.5]) == [0, 0, 0]
    assert both(StepForward(0.5), [np.nextafter(np.float32(0.5), np.float32(1))]) == [1]


def test_first_sample_sets_the_base_and_does_not_spike():
    encoder = StepForward(0.5, initial="first")
    assert both(encoder, [7.0, 8.0, 7.75, 6.0]) == [0, 1, 0, -1]
    assert encoder.decode([0, 1, 0, -1], initial=7.0).tolist() == [7, 7.5, 7.5, 7]
    with pytest.raises(InputError, match=r"decode\(spikes, initial=x\[..., 0\]\)"):
        encoder.decode([0, 1])


def test_level_rises_with_like_spikes_and_falls_with_anything_else():
    # theta:        1    1    2    4    4     4     2    1
    # base before:  0    1    2    4    8     12    12   10
    x = [9.0, 9.0, 9.0, 9.0, 13.0, 13.0, 9.5, 11.0]
    assert both(StepForward(1, levels=2), x) == [1, 1, 1, 1, 1, 0, -1, 0]
    y = StepForward(1, levels=2).decode([1, 1, 1, 1, 1, 0, -1, 0])
    assert y.tolist() == [1, 2, 4, 8, 12, 12, 10, 10]


def test_one_level_doubles_once():
    # theta 1, 1, 2, 2, and 1 after the opposite spike
    assert both(StepForward(1, levels=1), [10, 10, 10, -10, -10]) == [1, 1, 1, -1, -1]
    y = StepForward(1, levels=1).decode([1, 1, 1, -1, -1])
    assert y.tolist() == [1, 2, 4, 2, 1]


# The float module against the golden model, and both against the oracle ---------------------------


@settings(deadline=None, max_examples=150)
@given(
    x=st.lists(st.integers(-128, 127), min_size=1, max_size=60),
    threshold=st.integers(1, 255),
    levels=st.integers(0, 3),
    initial=st.none() | st.integers(-128, 127),
)
def test_golden_and_float_equal_the_oracle_on_integers(x, threshold, levels, initial):
    spikes, bases = oracle(x, threshold, levels, initial)
    parameters = StepForwardParameters(
        format=Fixed(8, 0), levels=levels, initial="first" if initial is None else "value"
    )
    values = {"threshold": threshold} | ({} if initial is None else {"initial": initial})
    golden = FixedStepForward(parameters, values)
    assert golden.encode(x).tolist() == spikes
    assert golden.encode(x).dtype == torch.int8
    assert golden.decode(spikes, start=x[0] if initial is None else None).tolist() == bases
    assert all(-128 <= base <= 127 for base in bases)

    encoder = StepForward(threshold, levels=levels, initial="first" if initial is None else initial)
    for name in ("torch", "numba"):
        with engine(name):
            signal = torch.tensor(x, dtype=torch.float32)
            assert encoder(signal).tolist() == spikes
            start = x[0] if initial is None else None
            assert encoder.decode(spikes, initial=start).tolist() == bases


@pytest.mark.parametrize("levels", [0, 2])
@pytest.mark.parametrize("initial", ["first", 0.25])
def test_fixed_has_the_bits_of_the_module_on_the_grid(initial, levels):
    encoder = StepForward([0.125, 0.5, 0.75], initial=initial, levels=levels, offset=1, scale=0.5)
    golden = encoder.fixed(Fixed(12, 8))
    rng = np.random.default_rng(1)
    x = rng.integers(-2048, 2048, (4, 3, 400)).cumsum(-1) % 4096 - 2048
    signal = golden.to_real(x)
    assert torch.equal(golden.encode(x), encoder.spikes(signal))
    assert golden.quantise(signal).count == 0
    assert (golden.quantise(signal).values == x).all()
    spikes = golden.encode(x)
    side = initial == "first"
    decoded = golden.decode(spikes, x[..., 0] if side else None)
    expected = encoder.decode(spikes.double(), signal[..., 0] if side else None)
    assert torch.equal(golden.to_real(decoded), expected)


def test_golden_decoder_saturates():
    golden = FixedStepForward(
        StepForwardParameters(format=Fixed(4, 0), initial="value"), {"threshold": 5}
    )
    assert golden.decode([1, 1, 1, -1, -1, -1, -1]).tolist() == [5, 7, 7, 2, -3, -8, -8]


def test_samples_outside_the_format_saturate_and_are_counted():
    golden = StepForward(0.25).fixed(Fixed(8, 4))
    wide = golden.quantise([100.0, 7.9375, 8.0, -8.0, -8.04, 0.03])
    assert wide.values.tolist() == [127, 127, 127, -128, -128, 0]
    assert wide.count == 3
    with pytest.raises(InputError, match="sample 128 is outside -128..127"):
        golden.encode([0, 128])
    with pytest.raises(InputError, match=r"signal\[1\] is nan"):
        golden.quantise([0.0, float("nan")])


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0, -0.5, [0.1, 0.0]])
def test_a_threshold_is_above_zero(threshold):
    with pytest.raises(InputError, match="threshold must be a finite number > 0, not"):
        StepForward(threshold)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": "last"}, "initial must be a number or 'first', not 'last'"),
        ({"levels": 4}, "levels must be 0..3"),
        ({"levels": 1, "profile": "compat"}, "0 with profile='compat'"),
        ({"profile": "exact"}, "profile must be 'textbook' or 'compat', not 'exact'"),
        ({"initial": 0.5, "profile": "compat"}, "starts at the first sample"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        StepForward(0.1, **options)


def test_a_format_must_hold_the_threshold():
    with pytest.raises(InputError, match="threshold of channel 1 is 0, allowed is 1"):
        StepForward([0.5, 0.01]).fixed(Fixed(8, 4))
    with pytest.raises(InputError, match="threshold of channel 0 is 1600, allowed is 1..255"):
        StepForward(100).fixed(Fixed(8, 4))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(5), "samples of a golden model are integers"),
        (np.zeros((3, 5), int), r"samples must be \(..., 2, time\), not \(3, 5\)"),
        (np.zeros((2, 0), int), r"samples must be \(..., 2, time\), not \(2, 0\)"),
    ],
)
def test_golden_refuses_samples_of_a_wrong_kind(samples, message):
    with pytest.raises(InputError, match=message):
        StepForward([0.5, 0.25]).fixed(Fixed(8, 4)).encode(samples)


def test_golden_needs_its_side_band():
    golden = StepForward(0.5, initial="first").fixed(Fixed(8, 4))
    with pytest.raises(InputError, match=r"start=samples\[..., 0\]"):
        golden.decode([0, 1])
    with pytest.raises(InputError, match="'compat' is initial='first' with levels=0"):
        FixedStepForward(StepForwardParameters(levels=1), profile="compat")


def test_a_golden_model_takes_what_quantise_gives():
    golden = StepForward(0.5).fixed(Fixed(8, 4))
    found = golden.quantise(torch.tensor([0.0, 1.0, 99.0]))
    assert found.count == 1
    assert torch.equal(golden.encode(found), golden.encode(found.values))
