"""Hough's spiker algorithm: hand-made vectors, streams, golden model, plain integers."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
import torch
from spikeloom import Fixed
from spikeloom.encoders import BSA, HoughSpiker, engine
from spikeloom.encoders.golden.hough_spiker import FixedHoughSpiker
from spikeloom.encoders.listing import listing
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import HoughSpikerParameters

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from cases import both

ENGINES = ("torch", "numba")


def oracle(taps: list[int], threshold: int, frame: list[int]) -> list[int]:
    """Spikes of one channel, from the docstring of HoughSpikerParameters."""
    r, spikes = list(frame), []
    for t in range(len(r)):
        spike = 0
        if t + len(taps) <= len(r):
            e = sum(max(0, h - r[t + k]) for k, h in enumerate(taps))
            spike = int(e <= threshold)
        spikes.append(spike)
        if spike:
            for k, h in enumerate(taps):
                r[t + k] -= h
    return spikes


@pytest.mark.parametrize(
    ("signal", "threshold", "spikes"),
    [
        # taps 2, 1; the last sample has no room for its response
        ([2, 3, 1, 0, 9], 0, [1, 1, 0, 0, 0]),
        ([1.75, 1, 0, 2, 1], 0, [0, 0, 0, 1, 0]),
        ([1.75, 1, 0, 2, 1], 0.25, [1, 0, 0, 1, 0]),
        # 1 is missing at both places; then 2 + 1 of the residuals 0, 0
        ([1, 0, 0, 0], 2, [1, 0, 0, 0]),
        ([1, 0, 0, 0], 1.75, [0, 0, 0, 0]),
        # what there is too much of does not make up for what is missing
        ([9, 0, 0], 0.5, [0, 0, 0]),
        ([9, 0, 0], 1, [1, 0, 0]),
        ([5], 4, [0]),
    ],
)
def test_a_spike_where_the_signal_reaches_the_filter(signal, threshold, spikes):
    x = torch.tensor(signal, dtype=torch.float64)
    if len(signal) > 1:
        assert both(HoughSpiker(threshold, [2.0, 1.0]), x).tolist() == spikes
    format = Fixed(8, 2)
    golden = HoughSpiker(threshold, [2.0, 1.0]).fixed(format)
    assert golden.encode(format.quantise(x.numpy()).values).tolist() == spikes


def test_the_original_stays_below_the_signal():
    """The residual never goes below 0, taps below 0 or not; that of the modification may."""
    t = torch.arange(3000.0, dtype=torch.float64)
    x = 0.5 + 0.4 * torch.sin(2 * torch.pi * t / 300)
    for cutoff in (0.2, 0.02):
        original = HoughSpiker(order=20, cutoff=cutoff)
        spikes = both(original, x)
        below = x - original.decode(spikes)
        assert float(below.min()) > -1e-12
        assert spikes.mean() > 0.1
    modified = HoughSpiker(0.2, order=20, cutoff=0.02)
    error = (x - modified.decode(both(modified, x)))[50:-50]
    assert error.square().mean() < 0.3 * below[50:-50].square().mean()
    assert 10 * torch.log10(x.var() / error.square().mean()) > 12


def test_decode_is_that_of_bsa():
    spikes = (torch.rand(3, 50) > 0.6).float()
    options = {"order": [4, 9, 2], "cutoff": 0.1, "offset": 1.0, "scale": [1.0, 2.0, 3.0]}
    assert torch.equal(HoughSpiker(**options).decode(spikes), BSA(**options).decode(spikes))
    row = next(row for row in listing() if row.name == "HoughSpiker")
    assert (row.core, row.decodes) == ("hough-spiker", "yes")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 2, 3)])
def test_channels_have_filters_of_their_own(shape, dtype):
    orders, cutoffs, thresholds = (0, 7, 20), (0.3, 0.2, 0.1), (0.0, 0.1, 0.3)
    encoder = HoughSpiker(thresholds, order=orders, cutoff=cutoffs, scale=1.1)
    x = torch.rand((*shape, 120), dtype=dtype).sqrt()
    whole = both(encoder, x)
    assert whole.dtype == dtype
    assert 0.1 < whole.mean() < 0.9
    assert torch.equal(encoder.spikes(x), whole.to(torch.int8))
    for c in range(3):
        single = HoughSpiker(thresholds[c], order=orders[c], cutoff=cutoffs[c], scale=1.1)
        assert torch.equal(single(x[..., c, :]), whole[..., c, :])
        # where the response of this filter would not fit, not that of the longest one
        assert not whole[..., c, 120 - orders[c] :].any()


def test_sums_are_sequential_in_the_dtype_of_the_signal():
    """1 + 2^-24 + 2^-24 is 1 in float32 in this order, and more in any other or in float64."""
    tiny = 2.0**-24
    encoder = HoughSpiker(1.0, [1.0, tiny, tiny])
    x = torch.zeros(3)
    assert both(encoder, x).tolist() == [1, 0, 0]
    assert both(encoder, x.double()).tolist() == [0, 0, 0]


@pytest.mark.parametrize("engine_name", ENGINES)
def test_wrong_signals_are_refused(engine_name):
    encoder = HoughSpiker(0.1, [0.5, 0.5])
    x = torch.rand(2, 30)
    x[1, 7] = float("nan")
    with engine(engine_name):
        with pytest.raises(InputError, match=r"signal\[1, 7\] is nan"):
            encoder(x)
        with pytest.raises(InputError, match="the filter has 2 taps, but the signal only 1"):
            encoder(torch.ones(1))


def test_wrong_options_are_refused():
    with pytest.raises(InputError, match=r"threshold must be a finite number >= 0, not -0\.1"):
        HoughSpiker(-0.1)
    with pytest.raises(TypeError, match="profile"):
        HoughSpiker(profile="compat")
    with pytest.raises(InputError, match="hough-spiker has no gradient"):
        HoughSpiker(trainable=["threshold"])
    with pytest.raises(InputError, match="a HoughSpiker core has one filter for all its channels"):
        HoughSpiker(cutoff=[0.1, 0.2]).fixed(Fixed(16, 15))


def random_taps(rng: np.random.Generator, width: int, taps: int) -> list[int]:
    """Taps, some below 0, with a sum of magnitudes up to the limit, 2^width."""
    shares = rng.dirichlet(np.ones(taps)) * rng.choice([0.3, 1.0]) * 2**width
    found = (np.floor(shares) * rng.choice([-1, 1, 1, 1], taps)).astype(int)
    return np.clip(found, -(2**width), 2**width - 1).tolist()


def test_golden_equals_the_oracle():
    rng = np.random.default_rng(6)
    seen = 0
    for _ in range(60):
        width, taps = int(rng.integers(4, 25)), int(rng.integers(1, 25))
        format = Fixed(width, width - 1)
        channels = int(rng.choice([1, 2, 7]))
        parameters = HoughSpikerParameters(format=format, channels=channels, taps=taps)
        filter = random_taps(rng, width, taps)
        threshold = rng.integers(0, 2 ** (width - 1), channels)
        length = int(rng.choice([taps - 1 or 1, taps, 40]))
        x = rng.integers(format.low // 8, format.high + 1, (2, channels, length))
        x[0, :, 5:9] = np.array([format.low, format.high, 0, format.high])[: max(0, length - 5)]
        golden = FixedHoughSpiker(parameters, {"threshold": threshold}, taps=filter)
        spikes = golden.encode(x if channels > 1 else x[:, 0])
        assert spikes.dtype == torch.int8
        spikes = spikes.reshape(x.shape).tolist()
        for b in range(2):
            for c in range(channels):
                assert spikes[b][c] == oracle(filter, int(threshold[c]), x[b, c].tolist())
                seen += sum(spikes[b][c])
    assert seen > 500


@pytest.mark.parametrize(("width", "order"), [(8, 10), (12, 24), (16, 10)])
def test_float_equals_golden_on_the_grid(width, order):
    """Sums stay below 2^24 LSB, so that float32 is exact."""
    format = Fixed(width, width - 1)
    golden = HoughSpiker([0.0, 0.2], order=order, cutoff=0.15).fixed(format)
    assert golden.parameters == HoughSpikerParameters(format=format, channels=2, taps=order + 1)
    threshold, taps = (
        torch.as_tensor(format.to_real(np.array(v)))
        for v in (golden.settings["threshold"], golden.taps)
    )
    encoder = HoughSpiker(threshold, taps)
    x = torch.randint(0, format.high + 1, (2, 400))
    x[:, 200:] = torch.arange(200) * format.high // 200
    spikes = golden.encode(x)
    assert 0.1 < spikes[1].double().mean() < 0.9
    assert spikes[0].any()
    floats = torch.as_tensor(format.to_real(x.numpy()))
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(both(encoder, floats.to(dtype)).to(torch.int8), spikes)


def test_fit_searches_the_threshold_and_the_filter():
    t = torch.arange(400.0, dtype=torch.float64)
    x = 3 + torch.sin(2 * torch.pi * t / 90)
    fitted = HoughSpiker.fit(x, trials=64, seed=1)
    assert fitted.fit_report is not None
    error = x - fitted.decode(fitted(x))
    default = HoughSpiker(offset=2.0, scale=0.5)
    assert error.square().mean() < (x - default.decode(default(x))).square().mean()
