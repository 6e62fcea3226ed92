"""Threshold-based, moving window and sigma-delta: reference, kernels, golden models, streams."""

import numpy as np
import pytest
import torch
from spikeloom.encoders import MovingWindow, SigmaDelta, ThresholdBased, engine
from spikeloom.errors import InputError
from spikeloom.fixed import Fixed


def walk(shape, dtype=torch.float64, seed=1):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)).cumsum(-1)


ENCODERS = {
    "threshold-based": lambda: ThresholdBased([0.5, 1.0, 1.5], offset=0.2, scale=[1.1, 0.9, 1.0]),
    "moving-window": lambda: MovingWindow([0.5, 1.0, 1.5], window=2),
    "moving-window-1": lambda: MovingWindow(0.7, window=0),
    "sigma-delta": lambda: SigmaDelta([8.0, 10.0, 12.0]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ENCODERS)
def test_kernels_equal_the_reference(name, dtype):
    encoder = ENCODERS[name]()
    x = walk((2, 3, 211), dtype)
    with engine("torch"):
        wanted = encoder(x)
    with engine("numba"):
        found = encoder(x)
    assert torch.equal(found, wanted)
    assert wanted.dtype == dtype
    assert set(wanted.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert torch.equal(encoder.spikes(x), wanted.to(torch.int8))


@pytest.mark.parametrize("which", ["torch", "numba"])
@pytest.mark.parametrize("name", ENCODERS)
def test_chunks_equal_the_whole(name, which):
    encoder = ENCODERS[name]()
    x = walk((3, 150))
    with engine(which):
        state, parts = None, []
        for chunk in x.split([1, 2, 0, 90, 57], -1):
            part, state = encoder.step(chunk, state)
            parts.append(part)
        whole = encoder(x)
    assert torch.equal(torch.cat([*parts, encoder.flush(state)], -1), whole)


def scalar(name, x, threshold, window=0):
    """The integer rules, one number at a time."""
    spikes, a, b = [], 0, 0
    for t, now in enumerate(x):
        if name == "threshold-based":
            d = now - x[t - 1] if t else 0
            s = (d > threshold) - (d < -threshold)
        elif name == "moving-window":
            past = [x[max(k, 0)] for k in range(t - (1 << window), t)]
            d = (now << window) - sum(past)
            s = (d > threshold << window) - (d < -(threshold << window)) if t else 0
        else:
            s = (2 * b >= threshold) - (2 * b <= -threshold)
            a, b = a + now - s * threshold, b + a - 2 * s * threshold
        spikes.append(s)
    return spikes


@pytest.mark.parametrize("window", [0, 1, 4])
@pytest.mark.parametrize("name", ["threshold-based", "moving-window", "sigma-delta"])
def test_golden_models_follow_the_rule_and_the_float_modules(name, window):
    make = {
        "threshold-based": ThresholdBased,
        "moving-window": lambda theta: MovingWindow(theta, window=window),
        "sigma-delta": SigmaDelta,
    }[name]
    random = np.random.default_rng(7)
    x = random.integers(-100, 101, size=(4, 80))
    thresholds = torch.tensor([130.0, 140.0, 150.0, 127.0])
    if name != "sigma-delta":
        thresholds = thresholds / 2
    thresholds = thresholds.floor()
    encoder = make(thresholds)
    golden = encoder.fixed(Fixed(9, 0))
    found = golden.encode(x)
    wanted = [
        scalar(name, row.tolist(), int(theta), window)
        for row, theta in zip(x, thresholds, strict=True)
    ]
    assert found.tolist() == wanted
    assert torch.equal(encoder.spikes(torch.from_numpy(x).float()), found)
    assert found.any()


def test_small_trains_by_hand():
    x = torch.tensor([0.0, 2.0, 2.5, 0.0, 0.1, 9.0])
    assert ThresholdBased(1.0)(x).tolist() == [0, 1, 0, -1, 0, 1]
    # means of the two samples before: 0, 1, 2.25, 1.25, 0.05
    assert MovingWindow(1.0, window=1)(x).tolist() == [0, 1, 1, -1, -1, 1]
    assert ThresholdBased(1.0).decode(torch.tensor([0.0, 1, 0, -1]), 5.0).tolist() == [5, 6, 6, 5]
    # the mean of the last two, from 4 on
    assert MovingWindow(2.0, window=1).decode(torch.tensor([0.0, 1, 0]), 4.0).tolist() == [4, 6, 5]


def test_statistics_fix_the_threshold_of_each_channel():
    x = torch.tensor([[0.0, 1.0, 3.0, 3.0], [0.0, 2.0, 4.0, 6.0]])
    # |d| = 1, 2, 0: mean 1, variance 2/3;  2, 2, 2: mean 2, variance 0
    found = ThresholdBased.of(x, 1.5).threshold.tolist()
    assert found == pytest.approx([1 + 1.5 * (2 / 3) ** 0.5, 2])
    with pytest.raises(InputError, match="threshold must be a finite number > 0, not 0"):
        ThresholdBased.of(torch.zeros(2, 5))
    with pytest.raises(InputError, match=r"2 samples or more, not \(1,\)"):
        ThresholdBased.of(torch.zeros(1))


def test_sigma_delta_follows_a_slow_signal():
    x = 0.6 * torch.sin(torch.arange(4000, dtype=torch.float64) / 150)
    encoder = SigmaDelta(1.0)
    spikes = encoder(x)
    # two samples late: z^-2
    error = (encoder.decode(spikes)[200:-200] - x[198:-202]).std() / x.std()
    assert error < 0.05
    # second order: the noise of a first-order loop would be far above this at low frequencies
    noise = (spikes[2:] - x[:-2]).double()
    low = torch.fft.rfft(noise * torch.hann_window(len(noise), dtype=torch.float64)).abs()
    assert low[2:40].mean() < 0.02 * low[-400:].mean()


def test_an_overloaded_sigma_delta_starts_again_and_never_wraps():
    golden = SigmaDelta(10.0).fixed(Fixed(8, 0))
    high = golden.encode(np.full(300, 127))
    # a restart begins with two samples without a spike, and never with one of the wrong sign
    assert high.min() == 0
    assert high.float().mean() > 0.6
    assert torch.equal(golden.encode(np.full(300, -127)), -high)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ThresholdBased(0.0), "threshold must be a finite number > 0, not 0"),
        (lambda: MovingWindow(-1.0), "threshold must be a finite number > 0, not -1"),
        (lambda: MovingWindow(window=9), "window must be an integer in 0..8"),
        (lambda: SigmaDelta([1.0, float("nan")]), "threshold must be a finite number > 0, not nan"),
        (lambda: ThresholdBased(0.001).fixed(Fixed(8, 4)), "threshold of channel 0 is 0, allowed"),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(InputError, match=message):
        make()
