"""Integer low-pass taps: SciPy's design, rounded; what BSA accepts."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders.filters import checked_taps, low_pass_taps


@pytest.mark.parametrize("taps", [1, 2, 3, 10, 35, 128])
@pytest.mark.parametrize("cutoff", [0.001, 0.1, 0.2, 0.499])
def test_as_scipy_designs_it(taps, cutoff):
    """Equal at a fraction that leaves ties no chance; one LSB where rounding errors decide."""
    for fraction in (8, 15, 30):
        design = scipy.signal.firwin(taps, cutoff, window="hamming", fs=1.0) * 2**fraction
        found = np.array(low_pass_taps(taps, cutoff, Fixed(32, fraction)))
        assert np.abs(found - design).max() <= 0.5 + 1e-12 * 2**fraction


def test_symmetric_with_gain_one():
    h = low_pass_taps(11, 0.15, Fixed(24, 22))
    assert h == h[::-1]
    assert abs(sum(h) - 2**22) <= 5  # half an LSB a tap


def test_default_is_a_low_pass():
    assert checked_taps(None, taps=10, format=Fixed(16, 15)) == low_pass_taps(
        10, 0.2, Fixed(16, 15)
    )


@pytest.mark.parametrize(
    ("taps", "cutoff", "message"),
    [
        (0, 0.2, "taps must be an integer in 1..128, not 0"),
        (129, 0.2, "taps must be an integer in 1..128, not 129"),
        (5, 0.0, "cutoff must be above 0 and below 0.5 cycles a sample, not 0.0"),
        (5, 0.5, "cutoff must be above 0 and below 0.5 cycles a sample, not 0.5"),
        (5, float("nan"), "cutoff must be above 0 and below 0.5 cycles a sample, not nan"),
    ],
)
def test_wrong_designs(taps, cutoff, message):
    with pytest.raises(ValueError, match=message):
        low_pass_taps(taps, cutoff, Fixed(16, 15))


def test_limits_of_taps():
    format = Fixed(8, 7)
    assert checked_taps((-256, 0), taps=2, format=format) == (-256, 0)
    assert checked_taps((100, -156), taps=2, format=format) == (100, -156)
    with pytest.raises(ValueError, match="add up to 257, at most"):
        checked_taps((101, -156), taps=2, format=format)
    assert checked_taps((255, 255), taps=2, format=format, bounded=False) == (255, 255)
    with pytest.raises(ValueError, match="tap 0 must be an integer"):
        checked_taps((256, 0), taps=2, format=format, bounded=False)


@pytest.mark.parametrize("taps", [1, 2, 10, 86, 87, 128])
@pytest.mark.parametrize(("width", "fraction"), [(16, 15), (8, 7), (8, 8), (8, 20), (4, 2)])
def test_default_always_fits(taps, width, fraction):
    """And is not smaller than it has to be."""
    h = checked_taps(None, taps=taps, format=Fixed(width, fraction))
    total = sum(map(abs, h))
    assert total < 2**width
    if fraction != 2:  # full scale: half as much would do
        assert total >= 2 ** (width - 1) - taps
    if taps < 87 and fraction < width:
        assert h == low_pass_taps(taps, 0.2, Fixed(width, fraction))
