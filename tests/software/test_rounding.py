"""Codes that make up for each other's rounding, beside plain rounding and the best there is."""

import itertools

import numpy as np
import pytest
from spikeloom.conversion.rounding import Moments, best_scale, round_rows, row_error


def correlated(rows=400, inputs=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 2)) @ rng.normal(size=(2, inputs)) + 0.1 * rng.normal(
        size=(rows, inputs)
    )


def moments_of(x):
    return Moments(np.cov(x.T, bias=True))


def test_without_moments_every_weight_is_rounded_by_itself():
    V = np.array([[0.24, 0.26, -9.0], [0.75, -1.25, 100.0]])
    assert round_rows(V, np.array([0.5, 0.5]), 3).tolist() == [[0, 1, -3], [2, -2, 3]]


def test_inputs_that_know_nothing_of_each_other_change_nothing():
    V = np.random.default_rng(1).normal(size=(20, 9))
    S = np.full(20, 0.2)
    alone = Moments(np.diag(np.linspace(1, 3, 9)))
    assert np.array_equal(round_rows(V, S, 7, alone), round_rows(V, S, 7))


def test_codes_stay_in_range_and_err_less_than_plain_ones():
    x, rng = correlated(), np.random.default_rng(2)
    V, S, top = rng.normal(size=(200, 6)), np.full(200, 0.8), 3
    moments = moments_of(x)
    codes = round_rows(V, S, top, moments)
    assert np.abs(codes).max() <= top
    assert np.array_equal(codes, np.rint(codes))
    error = row_error(V, np.ones(6), S, top, moments)
    # what row_error says is what the data say
    there = (((V - S[:, None] * codes) @ (x - x.mean(0)).T) ** 2).mean(1)
    np.testing.assert_allclose(error, there)
    plain = moments.error(V - S[:, None] * round_rows(V, S, top))
    assert error.mean() < 0.5 * plain.mean()


def test_codes_are_near_the_best_of_all():
    x, rng = correlated(inputs=5, seed=3), np.random.default_rng(4)
    V, S, top = rng.uniform(-1, 1, (30, 5)), np.full(30, 0.5), 2
    moments = moments_of(x)
    grid = np.array(list(itertools.product(range(-top, top + 1), repeat=5)))
    least = [moments.error(v - 0.5 * grid).min() for v in V]
    error = row_error(V, np.ones(5), S, top, moments)
    plain = moments.error(V - 0.5 * round_rows(V, S, top))
    assert (error >= np.array(least) - 1e-12).all()
    # most of what plain rounding loses is won back
    assert (error.mean() - np.mean(least)) < 0.25 * (plain.mean() - np.mean(least))


def test_moments_of_each_row_are_those_of_the_row():
    V, S = np.random.default_rng(5).normal(size=(4, 6)), np.full(4, 0.5)
    each = [moments_of(correlated(seed=k)) for k in range(4)]
    together = Moments(np.stack([m.gram for m in each]))
    for k, one in enumerate(each):
        row = slice(k, k + 1)
        assert np.array_equal(
            round_rows(V, S, 3, together)[row], round_rows(V[row], S[row], 3, one)
        )
        np.testing.assert_allclose(together.error(V)[row], one.error(V[row]))


@pytest.mark.parametrize("gram", [np.zeros((3, 3)), np.ones((3, 3))])
def test_inputs_that_never_change_or_always_together_are_no_trouble(gram):
    V = np.array([[0.4, -0.4, 1.2]])
    codes = round_rows(V, np.ones(1), 3, Moments(gram))
    assert np.isfinite(codes).all()
    assert np.abs(codes).max() <= 3


def test_the_best_scale_is_judged_by_the_data():
    V, moments = np.random.default_rng(6).normal(size=(8, 6)), moments_of(correlated())
    ones = np.ones(6)
    best = row_error(V, ones, best_scale(V, ones, 3, moments), 3, moments)
    for clip in (0.3, 0.65, 1.0):
        assert (best <= row_error(V, ones, clip * np.abs(V).max(1) / 3, 3, moments) + 1e-12).all()
    common = best_scale(V, np.broadcast_to(ones, V.shape), 3, moments, common=True)
    assert len(set(common)) == 1
    assert row_error(V, ones, common, 3, moments).sum() >= best.sum()
