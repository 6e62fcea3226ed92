from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spikeloom import Fixed
from spikeloom.fixed import round_half_even, shift_half_even


def test_rounding_is_half_even():
    x = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999999999999994]
    assert round_half_even(x).tolist() == [-2, -2, 0, 0, 2, 2, 0]


@pytest.mark.parametrize("x", [np.nan, np.inf, 2.0**63])
def test_rounding_refuses_what_has_no_integer(x):
    with pytest.raises(ValueError, match="cannot round"):
        round_half_even([1.0, x])


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 62))
def test_shift_equals_the_exact_fraction(x, bits):
    # Python's round() of a Fraction is exact and half even
    assert int(shift_half_even([x], bits)[0]) == round(Fraction(x, 2**bits))


def test_shift_refuses_floats_and_bad_counts():
    with pytest.raises(TypeError, match="expected integers"):
        shift_half_even([1.5], 1)
    with pytest.raises(ValueError, match=r"0\.\.62"):
        shift_half_even([1], 63)


@pytest.mark.parametrize(
    ("width", "fraction", "error"),
    [(1, 0, ValueError), (65, 0, ValueError), (8.0, 0, TypeError), (8, None, TypeError)],
)
def test_bad_formats_are_refused(width, fraction, error):
    with pytest.raises(error):
        Fixed(width, fraction)


def test_quantise_saturates_and_counts():
    f = Fixed(8, 4)
    result = f.quantise([-8.0, -8.1, 7.9375, 7.97, 100.0, np.inf, -np.inf, 0.03125, 0.09375])
    assert result.values.tolist() == [-128, -128, 127, 127, 127, 127, -128, 0, 2]
    # -8.1 rounds to -130; 7.97 to 128; the rest of the count is 100 and the infinities
    assert result.count == 5
    assert f.to_real(result.values[:1])[0] == -8.0
    assert f.step == 1 / 16


def test_widest_format_saturates_without_wrapping():
    f = Fixed(64, 0)
    assert f.quantise([2.0**63, -(2.0**63), 1e30]).values.tolist() == [f.high, f.low, f.high]


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        Fixed(8, 0).quantise([0.0, np.nan])


def test_integers_saturate():
    result = Fixed(4, 0).saturate([-9, -8, 7, 8])
    assert (result.values.tolist(), result.count) == ([-8, -8, 7, 7], 2)
    with pytest.raises(TypeError, match="expected integers"):
        Fixed(4, 0).saturate([1.0])


@given(st.integers(2, 53), st.integers(-20, 40), st.floats(-1e6, 1e6))
def test_quantise_equals_the_exact_fraction(width, fraction, x):
    f = Fixed(width, fraction)
    exact = min(max(round(Fraction(x) * Fraction(2) ** fraction), f.low), f.high)
    assert int(f.quantise([x]).values[0]) == exact
