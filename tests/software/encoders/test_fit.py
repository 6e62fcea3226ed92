import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from spikeloom.encoders import LIF, Delta, StepForward, sweep
from spikeloom.encoders.bsa import BSA
from spikeloom.encoders.pwm import PWM
from spikeloom.errors import InputError

SMALL = {"trials": 64}


def wave(length: int = 400, channels: int = 3, dtype=np.float32) -> np.ndarray:
    t = np.arange(length) / length
    rows = [np.sin(2 * np.pi * (2 + 3 * c) * t + c) * 2.0**c + 0.3 * c for c in range(channels)]
    return np.stack(rows).astype(dtype)


def step_forward_score(x: np.ndarray, threshold: float) -> tuple[float, float]:
    """MSE and density of step-forward from its first sample, sample by sample."""
    theta, base = np.float32(threshold), x[0]
    squares, spikes = 0.0, 0
    for sample in x:
        if sample > base + theta:
            base, spikes = base + theta, spikes + 1
        elif sample < base - theta:
            base, spikes = base - theta, spikes + 1
        squares += (float(base) - float(sample)) ** 2
    return squares / len(x), spikes / len(x)


def test_report_says_what_the_encoder_does():
    x = wave()
    encoder = StepForward.fit(x, weight=0.02, **SMALL)
    report = encoder.fit_report
    assert report is not None
    assert encoder.channels == 3
    assert report.parameters["threshold"] == tuple(encoder.threshold.tolist())
    assert torch.equal(encoder.initial, torch.as_tensor(x[:, 0]).double())
    for c in range(3):
        mse, density = step_forward_score(x[c], float(encoder.threshold[c]))
        variance = x[c].astype(np.float64).var()
        assert report.error[c] == pytest.approx(mse / variance, rel=1e-5)
        assert report.snr_db[c] == pytest.approx(10 * math.log10(variance / mse), abs=1e-4)
        assert report.density[c] == density
    assert (report.kind, report.weight, report.trials) == ("mse", 0.02, 64)
    assert report.seconds > 0
    assert report.seconds_per_trial == report.seconds / (64 * 3)
    text = str(report)
    assert "step-forward, fitted: least MSE / variance + 0.02 x density" in text
    assert f"{encoder.threshold[1]:.5g}" in text


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.3])
def test_nothing_on_a_grid_is_much_better(weight):
    x = wave(channels=2)
    report = StepForward.fit(x, weight=weight, trials=256).fit_report
    for c in range(2):
        span = float(x[c].max() - x[c].min())
        variance = x[c].astype(np.float64).var()
        scores = [step_forward_score(x[c], span * 10 ** (-3 * k / 150)) for k in range(151)]
        best = min(mse / variance + weight * density for mse, density in scores)
        assert report.error[c] + weight * report.density[c] <= 1.02 * best


def test_candidates_are_never_beaten_by_the_result():
    x = wave(channels=2)
    for threshold in (0.011, 0.2, 5.0):  # the last is beyond the range that is searched
        report = StepForward.fit(
            x, weight=0.01, trials=5, candidates=[{"threshold": [threshold, 2 * threshold]}]
        ).fit_report
        assert report.trials == 5
        for c, theta in enumerate((threshold, 2 * threshold)):
            mse, density = step_forward_score(x[c], theta)
            score = mse / x[c].astype(np.float64).var() + 0.01 * density
            assert report.error[c] + 0.01 * report.density[c] <= score + 1e-7
    exact = StepForward.fit(x[0], trials=1, candidates=[{"threshold": 0.123}])
    assert float(exact.threshold) == 0.123


def test_max_density_is_a_hard_limit():
    x = wave()
    free = StepForward.fit(x, weight=0.0, **SMALL).fit_report
    bound = StepForward.fit(x, weight=0.0, max_density=0.03, **SMALL).fit_report
    assert min(free.density) > 0.03
    assert max(bound.density) <= 0.03
    assert all(a < b for a, b in zip(bound.snr_db, free.snr_db, strict=True))
    assert "density <= 0.03" in str(bound)


def test_max_density_out_of_reach_names_the_lowest():
    # every sample spikes until the base has come from far away
    with pytest.raises(InputError, match=r"cannot go down to 0.01 spikes.*lowest density found is"):
        StepForward.fit(wave(), initial=-1000.0, max_density=0.01, **SMALL)


def test_more_weight_means_fewer_spikes():
    density = [
        StepForward.fit(wave(), weight=w, **SMALL).fit_report.density for w in (1e-4, 1e-2, 1.0)
    ]
    for c in range(3):
        assert density[0][c] > density[1][c] > density[2][c]


def test_curve_is_a_pareto_front_that_holds():
    x = wave(channels=2)
    report = StepForward.fit(x, **SMALL).fit_report
    for c, curve in enumerate(report.curve):
        assert len(curve) > 5
        for a, b in pairwise(curve):
            assert a.density < b.density
            assert a.snr_db < b.snr_db
        for point in curve[:: len(curve) // 4]:
            mse, density = step_forward_score(x[c], point.parameters["threshold"])
            assert point.density == density
            snr = 10 * math.log10(x[c].astype(np.float64).var() / mse)
            assert point.snr_db == pytest.approx(snr, abs=1e-4)


@pytest.mark.parametrize("cls", [StepForward, LIF, Delta, PWM, BSA])
def test_same_seed_same_result(cls):
    x = wave(200, 2)
    first, second = (cls.fit(x, seed=3, **SMALL).fit_report for _ in range(2))
    assert first.parameters == second.parameters
    assert first.curve == second.curve


def test_blocks_do_not_change_the_result(monkeypatch):
    x = wave(200, 2)
    whole = LIF.fit(x, **SMALL).fit_report
    monkeypatch.setattr(sweep, "BLOCK", 3000)
    assert LIF.fit(x, **SMALL).fit_report.parameters == whole.parameters


@pytest.mark.parametrize("cls", [StepForward, LIF, Delta, PWM, BSA])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_encoder_fits_better_than_its_defaults(cls, dtype):
    x = wave(300, 2, dtype)
    encoder = cls.fit(x, weight=0.0, trials=128)
    report = encoder.fit_report
    y = torch.as_tensor(x)
    spikes = encoder(y)
    back = encoder.decode(spikes)
    mse = (back - y).double().square().mean(1)
    variance = y.double().var(1, unbiased=False)
    for c in range(2):
        assert report.error[c] == pytest.approx(float(mse[c] / variance[c]), rel=1e-4)
        assert report.density[c] == pytest.approx(float(spikes[c].abs().mean()), rel=1e-5)
    common = {"offset": encoder.offset, "scale": encoder.scale}
    default = cls(**common)
    worse = (default.decode(default(y)) - y).double().square().mean(1)
    assert bool((mse < worse).all())


@pytest.mark.parametrize(("cls", "low", "high"), [(PWM, 0, 1), (BSA, 0, 1), (LIF, -1, 1)])
def test_normalisation_is_chosen_and_explicit(cls, low, high):
    x = 100 * wave(200, 2) + 7
    encoder = cls.fit(x, trials=16)
    z = (torch.as_tensor(x) - encoder.offset[:, None]) * encoder.scale[:, None]
    assert z.amin(1).tolist() == pytest.approx([low, low], abs=1e-4)
    assert z.amax(1).tolist() == pytest.approx([high, high], abs=1e-4)
    given = cls.fit(x, trials=16, offset=7.0, scale=0.01)
    assert (float(given.offset), float(given.scale)) == (7.0, 0.01)


@pytest.mark.parametrize("cls", [StepForward, Delta])
def test_thresholds_follow_the_unit_of_the_signal(cls):
    x = wave(200, 2)
    plain, scaled = cls.fit(x, **SMALL), cls.fit(x * 1024, **SMALL)
    assert torch.allclose(scaled.threshold, plain.threshold * 1024, rtol=1e-12)
    offset = cls.fit(x, offset=[1.0, 2.0], scale=[0.5, 0.25], **SMALL)
    z = (x[:, 0] - np.float32([1, 2])) * np.float32([0.5, 0.25])
    assert offset.initial.tolist() == z.astype(np.float64).tolist()


def test_fixed_options_pass_through():
    x = wave(200, 2)
    encoder = StepForward.fit(x, initial="first", levels=2, trainable=["threshold"], **SMALL)
    assert encoder.side_band
    assert encoder.levels == 2
    assert [p.requires_grad for p in encoder.parameters()] == [True]
    lif = LIF.fit(x, leak=[0.5, 0.6], reset="zero", **SMALL)
    assert lif.leak.tolist() == [0.5, 0.6]
    assert list(lif.fit_report.parameters) == ["threshold"]
    taps = [0.5, 0.3]  # as many as channels, but for both of them
    bsa = BSA.fit(x, taps=taps, order=1, cutoff=0.1, **SMALL)
    assert bsa.taps.tolist() == taps
    each = BSA.fit(x, taps=[taps, [0.2, 0.1]], order=1, cutoff=0.1, **SMALL)
    assert each.taps.tolist() == [taps, [0.2, 0.1]]
    assert list(each.fit_report.parameters) == ["threshold"]
    one = BSA.fit(x[0], taps=torch.tensor(taps), order=1, cutoff=0.1, **SMALL)
    assert one.taps.tolist() == torch.tensor(taps).tolist()
    alone = StepForward.fit(x, threshold=0.25)
    assert float(alone.threshold) == 0.25
    assert alone.fit_report.trials == 1
    assert alone.fit_report.parameters == {}
    assert [p.ndim for p in (alone.initial, alone.threshold)] == [1, 0]


def test_one_channel_has_plain_parameters():
    for x in (wave()[0], wave()[:1]):
        encoder = StepForward.fit(x, **SMALL)
        assert encoder.channels is None
        assert encoder.threshold.ndim == encoder.initial.ndim == 0


def test_records_share_parameters():
    x = wave(200, 2)
    records = np.stack([x, x[:, ::-1], -x])
    encoder = StepForward.fit(records, **SMALL)
    assert encoder.threshold.shape == (2,)
    assert encoder.initial.tolist() == pytest.approx(records[:, :, 0].mean(0), rel=1e-6)
    y = torch.as_tensor(records)
    mse = (encoder.decode(encoder(y)) - y).double().square().mean((0, 2))
    variance = y.double().transpose(0, 1).reshape(2, -1).var(1, unbiased=False)
    assert encoder.fit_report.error == pytest.approx((mse / variance).tolist(), rel=1e-5)


def test_correlation_ignores_gain_and_offset():
    x = wave(300, 2)
    encoder = LIF.fit(x, error="correlation", weight=0.0, **SMALL)
    back = encoder.decode(encoder(torch.as_tensor(x))).numpy()
    for c in range(2):
        r = np.corrcoef(x[c].astype(np.float64), back[c].astype(np.float64))[0, 1]
        assert encoder.fit_report.error[c] == pytest.approx(1 - r, abs=1e-5)
    assert "1 - correlation" in str(encoder.fit_report)
    by_mse = LIF.fit(x, weight=0.0, **SMALL)
    y = by_mse.decode(by_mse(torch.as_tensor(x))).numpy()
    for c in range(2):
        assert encoder.fit_report.error[c] <= 1 - np.corrcoef(x[c], y[c])[0, 1] + 0.01


@pytest.mark.parametrize("cls", [StepForward, PWM, LIF])
def test_constant_channel_is_noted_and_spoils_no_other(cls):
    x = wave(200, 2)
    with_constant = np.stack([x[0], np.full(200, 3.5, np.float32), x[1]])
    encoder = cls.fit(with_constant, trials=32)
    assert encoder.fit_report.notes == ("channel 1 is constant: its parameters mean little",)
    assert "channel 1 is constant" in str(encoder.fit_report)
    assert bool(torch.isfinite(encoder(torch.as_tensor(with_constant))).all())
    assert all(math.isfinite(e) for e in encoder.fit_report.error)
    assert encoder.fit_report.snr_db[0] > 3


def test_progress_counts_trials(capsys):
    StepForward.fit(wave(100, 2), trials=16, progress=True)
    assert "fit step-forward" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("signal", "options", "message"),
    [
        (np.full((2, 50), 3, np.float32), {}, "the signal is constant, there is nothing to fit"),
        (np.float32([[1, 2, np.nan]]), {}, r"signal\[0, 2\] is nan"),
        (np.float32([[1, np.inf, 2]]), {}, r"signal\[0, 1\] is inf"),
        (np.arange(10), {}, "must be float32 or float64, not int64"),
        (np.float32([1]), {}, "at least 2 samples; this one has 1"),
        (np.zeros((2, 0), np.float32), {}, "the signal is empty"),
        (wave(), {"error": "mae"}, "error must be one of mse, correlation, not 'mae'"),
        (wave(), {"weight": -1.0}, "weight must be at least 0, not -1"),
        (wave(), {"weight": math.nan}, "weight must be at least 0"),
        (wave(), {"max_density": -0.1}, "max_density must be at least 0"),
        (wave(), {"trials": 0}, "trials must be at least 1, not 0"),
        (wave(), {"candidates": [{"leak": 1}]}, r"candidate 0 gives \['leak'\], but what is"),
        (wave(), {"candidates": [{"threshold": [1, 2]}]}, "for 2 channels, the signal has 3"),
        (wave(), {"candidates": [{"threshold": -1.0}]}, "threshold must be a finite number > 0"),
        (wave(), {"scale": [1, 2]}, "scale is for 2 channels, the signal has 3"),
    ],
)
def test_bad_input_has_a_clear_line(signal, options, message):
    with pytest.raises(InputError, match=message):
        StepForward.fit(signal, **options)
