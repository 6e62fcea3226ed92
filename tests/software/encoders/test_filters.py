"""Filter banks and the smoother against SciPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.encoders import FilterBank, StepForward, engine, smooth
from spikeloom.encoders.biquads import butterworth
from spikeloom.errors import InputError

RATE = 200.0
FLOATS = [torch.float32, torch.float64]


def sos(low: float | None, high: float | None, order: int) -> np.ndarray:
    """SciPy's sections of the same filter."""
    if low is None:
        return scipy.signal.butter(order, high, "lowpass", fs=RATE, output="sos")
    if high is None:
        return scipy.signal.butter(order, low, "highpass", fs=RATE, output="sos")
    return scipy.signal.butter(order, [low, high], "bandpass", fs=RATE, output="sos")


BANDS = [(None, 10.0), (30.0, None), (5.0, 8.0), (0.5, 90.0), (0.02, 0.03)]


@pytest.mark.parametrize("order", range(1, 9))
@pytest.mark.parametrize("band", BANDS[:4])
def test_design_is_scipys(band, order):
    """The same poles and gain, however they are paired: equal frequency responses."""
    ours = butterworth(*band, RATE, order)
    with_a0 = np.insert(ours, 3, 1.0, axis=1)
    _, h = scipy.signal.sosfreqz(with_a0, 512, fs=RATE)
    _, expected = scipy.signal.sosfreqz(sos(*band, order), 512, fs=RATE)
    np.testing.assert_allclose(h, expected, atol=1e-9)
    assert len(ours) == (order if None not in band else (order + 1) // 2)


@pytest.mark.parametrize("name", ["torch", "numba"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_equals_sosfilt(order, name):
    x = np.random.default_rng(order).standard_normal((2, 3, 300))
    bank = FilterBank(BANDS[:4], RATE, order=order)
    with engine(name):
        y = bank(torch.as_tensor(x))
    assert y.shape == (2, 12, 300)
    for b, band in enumerate(BANDS[:4]):
        expected = scipy.signal.sosfilt(sos(*band, order), x)
        np.testing.assert_allclose(y[:, b::4].numpy(), expected, rtol=1e-9, atol=1e-10)


def test_low_cut_offs_are_stable_in_float32():
    """A band at 1/8000 of the rate: float32 arithmetic loses it, float64 inside does not."""
    t = np.arange(40_000) / RATE
    x = np.sin(2 * np.pi * 0.025 * t) + 3.0
    y = FilterBank([BANDS[4]], RATE)(torch.as_tensor(x, dtype=torch.float32))
    assert y.dtype == torch.float32
    expected = scipy.signal.sosfilt(sos(*BANDS[4], 2), x)
    np.testing.assert_allclose(y[0].numpy(), expected, atol=1e-5)


def test_engines_have_the_same_bits():
    bank = FilterBank([*BANDS[:4], (2.0, 3.0)], RATE, order=3)
    for dtype in (torch.float32, torch.float64):
        x = torch.randn(4, 3, 97, dtype=dtype)
        with engine("torch"):
            reference, state = bank.step(x)
        with engine("numba"):
            kernel, kernel_state = bank.step(x)
        assert torch.equal(reference, kernel)
        assert torch.equal(state.memory, kernel_state.memory)
        assert torch.equal(kernel, bank(x))


@pytest.mark.parametrize("merge", [True, False])
def test_shapes(merge):
    bank = FilterBank([(1.0, 5.0), (None, 30.0)], RATE, merge=merge)
    for shape in ((50,), (3, 50), (2, 3, 50)):
        x = torch.randn(shape)
        y = bank(x)
        if merge and len(shape) > 1:
            assert y.shape == (*shape[:-2], 6, 50)
            y = y.unflatten(-2, (3, 2))
        assert y.shape == (*shape[:-1], 2, 50)
        alone = FilterBank([(None, 30.0)], RATE)(x).reshape(shape)
        assert torch.equal(y[..., 1, :], alone)


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("name", ["torch", "numba"])
@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, 40), max_size=6), dtype=st.sampled_from(FLOATS))
def test_chunks_equal_the_whole(merge, name, cuts, dtype):
    """A bank and an encoder, streamed together; chunks may be empty."""
    bank, enc = FilterBank(BANDS[:3], RATE, merge=merge), StepForward(0.05)
    x = torch.randn(2, 3, 40, dtype=dtype)
    edges = [0, *sorted(cuts), 40]
    with engine(name):
        whole = bank(x)
        state, spike_state, parts, spikes = None, None, [], []
        for low, high in itertools.pairwise(edges):
            y, state = bank.step(x[..., low:high], state)
            s, spike_state = enc.step(y, spike_state)
            parts.append(y)
            spikes.append(s)
        tail = bank.flush(state)
        assert tail.shape == (*whole.shape[:-1], 0)
        assert torch.equal(torch.cat([*parts, tail], -1), whole)
        assert torch.equal(torch.cat(spikes, -1), enc(whole))


def test_a_state_can_be_used_twice():
    bank = FilterBank(BANDS[:3], RATE)
    _, state = bank.step(torch.randn(2, 3, 9))
    kept = state.memory.clone()
    x = torch.randn(2, 3, 5)
    once, _ = bank.step(x, state)
    assert torch.equal(bank.step(x, state)[0], once)
    assert torch.equal(state.memory, kept)
    with pytest.raises(InputError, match=r"\(4, 5\) does not continue a stream of shape \(2, 3\)"):
        bank.step(torch.randn(4, 5), state)


def test_in_front_of_an_encoder():
    bank = FilterBank.spaced(1.0, 40.0, 4, RATE)
    chain = torch.nn.Sequential(bank, StepForward([0.1, 0.2, 0.3, 0.4]))
    x = torch.randn(5, 1, 80)
    assert chain(x).shape == (5, 4, 80)
    assert torch.equal(chain(x), chain[1](bank(x)))


def test_spaced():
    bands = FilterBank.spaced(2.0, 32.0, 4, RATE).bands
    assert bands[0][0] == 2.0
    assert bands[-1][1] == 32.0
    for k, (low, high) in enumerate(bands):
        assert (low, high) == pytest.approx((2.0 * 2**k, 4.0 * 2**k))


def test_gradient():
    bank = FilterBank([(5.0, 20.0), (None, 30.0)], RATE)
    x = torch.randn(2, 1, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(bank, (x,))
    assert torch.autograd.gradcheck(lambda v: smooth(v, 0.2), (x,))


@pytest.mark.parametrize("cutoff", [0.01, 0.1, 0.4])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_smooth_equals_sosfiltfilt(cutoff, order):
    x = np.random.default_rng(1).standard_normal((3, 500)).cumsum(-1)
    sections = scipy.signal.butter(order, cutoff, fs=1.0, output="sos")
    expected = scipy.signal.sosfiltfilt(sections, x, padlen=min(499, math.ceil(3 / cutoff)))
    got = smooth(torch.as_tensor(x), cutoff, order=order)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-8, atol=1e-8)


def test_smooth_keeps_what_is_slow_and_removes_what_is_fast():
    t = torch.arange(400, dtype=torch.float64)
    slow, fast = torch.sin(0.02 * t), torch.sin(2.5 * t)
    got = smooth(slow + fast, 0.05)
    assert float((got - slow)[20:-20].abs().max()) < 0.01
    assert torch.allclose(smooth(torch.full((7,), 3.0), 0.1), torch.full((7,), 3.0))
    ramp = 0.5 * t.float() + 2
    assert torch.allclose(smooth(ramp, 0.02), ramp, atol=1e-3)
    for shape in ((1,), (2, 1), (2, 3, 2)):
        y = torch.randn(shape)
        assert smooth(y, 0.3).shape == shape
        assert smooth(y, 0.3).dtype == torch.float32
    assert torch.equal(smooth(torch.tensor([4.0]), 0.3), torch.tensor([4.0]))


def test_decode_through_the_low_pass():
    enc = StepForward(0.1)
    x = torch.sin(torch.arange(600) * 0.03)
    s = enc(x)
    rough, fine = enc.decode(s), enc.decode(s, low_pass=0.02)
    assert float((fine - x).pow(2).mean()) < 0.8 * float((rough - x).pow(2).mean())
    assert torch.equal(fine, smooth(rough, 0.02))


def test_bad_arguments():
    for band in ((0.0, 10.0), (10.0, 100.0), (-1.0, None), (None, 150.0), (float("nan"), 10.0)):
        with pytest.raises(InputError, match="cut-off must be above 0 and below half the sampling"):
            FilterBank([band], RATE)
    with pytest.raises(InputError, match="the low cut-off, 20 Hz, must be below the high one, 10"):
        FilterBank([(20.0, 10.0)], RATE)
    with pytest.raises(InputError, match="needs a low or a high cut-off"):
        FilterBank([(None, None)], RATE)
    for bands in (5.0, [5.0], [(1.0, 2.0, 3.0)]):
        with pytest.raises(InputError, match="bands must be pairs"):
            FilterBank(bands, RATE)
    with pytest.raises(InputError, match="at least one band"):
        FilterBank([], RATE)
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="sampling rate must be a number of Hz above 0"):
            FilterBank([(1.0, 2.0)], rate)
    with pytest.raises(InputError, match="order must be an integer in 1..8"):
        FilterBank([(1.0, 2.0)], RATE, order=9)
    with pytest.raises(InputError, match="cut-offs must be 0 < low < high"):
        FilterBank.spaced(5.0, 2.0, 3, RATE)
    for cutoff in (0.0, 0.5, -1.0, float("nan")):
        with pytest.raises(InputError, match="above 0 and below 0.5 cycles a sample"):
            smooth(torch.randn(9), cutoff)


def test_bad_signals():
    bank = FilterBank([(1.0, 2.0)], RATE)
    x = torch.randn(2, 9)
    x[1, 4] = float("nan")
    for call in (bank, lambda v: smooth(v, 0.1)):
        with pytest.raises(InputError, match=r"signal\[1, 4\] is nan"):
            call(x)
        with pytest.raises(InputError, match="the signal is empty"):
            call(torch.zeros(2, 0))
    with pytest.raises(InputError, match=r"chunk\[1, 4\] is nan"):
        bank.step(x)
    with pytest.raises(InputError, match="float32 or float64, not int64"):
        bank(torch.arange(5))
