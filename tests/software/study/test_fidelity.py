"""Errors and delays of signals whose answer is known."""

import math

import numpy as np
import pytest
from spikeloom.study.fidelity import correlation, group_delay, normalised_error, snr_db

TIME = np.arange(2000)
WAVE = np.stack([np.sin(TIME / 17.0), 5 + 3 * np.sin(TIME / 31.0) + np.cos(TIME / 7.0)])


def test_snr_is_relative_to_each_channel():
    tenth = WAVE + 0.1 * WAVE.std(axis=1, keepdims=True)
    assert normalised_error(WAVE, tenth) == pytest.approx(0.01)
    assert snr_db(WAVE, tenth) == pytest.approx(20)
    assert snr_db(WAVE, WAVE) == math.inf
    assert normalised_error(np.ones((1, 4)), np.full((1, 4), 3.0)) == 4.0


def test_correlation_ignores_gain_and_offset():
    assert correlation(WAVE, 3 * WAVE - 7) == pytest.approx(1)
    assert correlation(WAVE, -WAVE) == pytest.approx(-1)
    assert correlation(WAVE, np.zeros_like(WAVE)) == 0


@pytest.mark.parametrize("delay", [-3, 0, 1, 12])
def test_a_shift_is_found(delay):
    noise = np.random.default_rng(3).normal(size=(2, 3000)).cumsum(axis=1)
    start = 100
    signal = noise[:, start : start + 2500]
    late = noise[:, start - delay : start - delay + 2500]
    assert group_delay(signal, late) == pytest.approx(delay, abs=0.2)


def test_half_a_sample_is_found():
    late = np.sin((TIME - 0.5) / 17.0)[None]
    assert group_delay(WAVE[:1], late) == pytest.approx(0.5, abs=0.05)


def test_a_constant_has_no_delay():
    assert math.isnan(group_delay(WAVE, np.zeros_like(WAVE)))
    noise = np.random.default_rng(1).normal(size=WAVE.shape)
    assert math.isnan(group_delay(WAVE, noise))
