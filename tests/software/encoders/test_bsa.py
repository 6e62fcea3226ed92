"""BSA: hand-made vectors, streams, the golden model against plain integers and floats."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
import torch
from spikeloom import Fixed
from spikeloom.encoders import BSA, engine
from spikeloom.encoders.golden.bsa import FixedBSA, FixedBSADecoder
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import BSADecoderParameters, BSAParameters
from spikeloom.hardware.encoders.filters import low_pass

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from cases import both

ENGINES = ("torch", "numba")


def oracle(taps: list[int], threshold: int, frame: list[int]) -> list[int]:
    """Spikes of one channel, from the docstring of BSAParameters."""
    r, spikes = list(frame), []
    for t in range(len(r)):
        ks = range(min(len(taps), len(r) - t))
        e = sum(abs(r[t + k]) - abs(r[t + k] - taps[k]) for k in ks)
        spikes.append(int(e >= threshold))
        if spikes[-1]:
            for k in ks:
                r[t + k] -= taps[k]
    return spikes


def decoded_by_hand(taps: list[int], format: Fixed, spikes: list[int]) -> list[int]:
    """Samples of one channel, from the docstring of BSADecoderParameters."""
    samples = []
    for t in range(len(spikes)):
        y = sum(h * spikes[t - k] for k, h in enumerate(taps) if k <= t)
        samples.append(min(max(y, format.low), format.high))
    return samples


@pytest.mark.parametrize(
    ("signal", "threshold", "spikes"),
    [
        # taps 2, 1; the last window has one sample only
        ([2, 3, 1, 0, 2], 1, [1, 1, 0, 0, 1]),
        ([2, 3, 1, 0, 2], 3, [1, 1, 0, 0, 0]),
        ([2, 3, 1, 0, 2], 3.5, [0, 0, 0, 0, 0]),  # 5 - 2 and 4 - 1 are the most there is to gain
        ([1, 0, 0, 0], -1, [1, 0, 0, 0]),  # 1, 0 becomes -1, -1: the residual may grow by 1
        ([1, 0, 0, 0], -0.5, [0, 0, 0, 0]),
        ([-2, -1, 5, 0], 1, [0, 0, 1, 0]),
    ],
)
def test_a_spike_where_the_response_fits(signal, threshold, spikes):
    x = torch.tensor(signal, dtype=torch.float64)
    assert both(BSA(threshold, [2.0, 1.0]), x).tolist() == spikes


def test_decode_is_the_filter():
    encoder = BSA(1.0, [2.0, 1.0])
    assert encoder.decode(torch.tensor([1.0, 1, 0, 0, 1])).tolist() == [2, 3, 1, 0, 2]
    two = BSA(1.0, [[2.0, 1.0], [5.0, -1.0]], offset=10.0, scale=[1.0, 0.5])
    train = torch.tensor([[1.0, 0, 1], [1.0, 1, 0]])
    assert two.decode(train).tolist() == [[12, 11, 12], [20, 18, 8]]
    assert encoder.decode(torch.ones(1)).tolist() == [2]


def test_a_constant_keeps_its_level():
    """The filter has sum 1, so that spikes in a row stand for 1."""
    for level in (0.25, 0.5, 0.75):
        encoder = BSA(0.8, order=30, cutoff=0.05)
        x = torch.full((4000,), level)
        assert float(encoder.decode(encoder(x))[100:-100].mean()) == pytest.approx(level, abs=0.1)
    assert float(BSA().decode(torch.ones(50))[10:].mean()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("threshold", "order", "cutoff", "least"), [(0.5, 10, 0.2, 9), (0.8, 20, 0.1, 15)]
)
def test_reconstruction_follows_a_sine(threshold, order, cutoff, least):
    t = torch.arange(6000.0)
    x = 5 + 2 * torch.sin(2 * torch.pi * t / 300)
    encoder = BSA(threshold, order=order, cutoff=cutoff, offset=3.0, scale=0.25)
    error = (x - encoder.decode(encoder(x)))[50:-50]
    assert 10 * torch.log10(x.var() / error.square().mean()) > least
    smoothed = (x - encoder.decode(encoder(x), low_pass=0.02))[50:-50]
    assert smoothed.square().mean() < error.square().mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (4, 3), (2, 2, 3)])
def test_any_leading_shape_and_memory_layout(shape, dtype):
    """Parameters, and filters of different lengths, for each channel."""
    orders, cutoffs, thresholds = (0, 7, 20), (0.3, 0.2, 0.1), (0.0, 0.4, 0.7)
    encoder = BSA(list(thresholds), order=list(orders), cutoff=list(cutoffs), scale=1.1)
    x = torch.rand((*shape, 120), dtype=dtype)
    whole = both(encoder, x)
    assert whole.dtype == dtype
    assert 0.2 < whole.mean() < 0.8
    assert torch.equal(encoder.spikes(x), whole.to(torch.int8))
    assert encoder.spikes(x).dtype == torch.int8
    loose = x.transpose(0, -1).contiguous().transpose(0, -1)
    assert torch.equal(both(encoder, loose), whole)
    before = x.clone()
    encoder(x)
    assert torch.equal(x, before)
    back = encoder.decode(whole)
    for c in range(3):
        single = BSA(thresholds[c], order=orders[c], cutoff=cutoffs[c], scale=1.1)
        assert torch.equal(single(x[..., c, :]), whole[..., c, :])
        assert torch.equal(single.decode(whole[..., c, :]), back[..., c, :])
        given = BSA(thresholds[c], low_pass(orders[c] + 1, cutoffs[c]), scale=1.1)
        assert torch.equal(given(x[..., c, :]), whole[..., c, :])


def test_rows_in_threads_are_the_same():
    x = torch.rand(8, 1 << 16)
    encoder = BSA(0.5, order=3)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        threaded = encoder(x)
        torch.set_num_threads(1)
        assert torch.equal(encoder(x), threaded)
    finally:
        torch.set_num_threads(before)


def test_sums_are_sequential_in_the_dtype_of_the_signal():
    """1 + 2^-24 + 2^-24 is 1 in float32 in this order, and more in any other or in float64."""
    tiny = 2.0**-24
    x = torch.tensor([1.0, tiny, tiny, 0.0])
    encoder = BSA(1.0 + 2.0**-23, [1.0, tiny, tiny, 0.0])
    assert both(encoder, x)[0] == 0
    assert both(encoder, x.double())[0] == 1
    # nothing is taken away, so that both sums are the same, whatever they round to
    assert both(BSA(0.0, [0.0] * 4), x)[0] == 1


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_stream_holds_back_its_latency(engine_name):
    encoder = BSA(0.4, order=[10, 3])
    x = torch.rand(2, 100)
    whole = encoder(x)
    with engine(engine_name):
        assert encoder.latency == 10
        first, state = encoder.step(x[:, :10])
        assert first.shape == (2, 0)
        second, state = encoder.step(x[:, 10:40], state)
        assert torch.equal(second, whole[:, :30])
        third, state = encoder.step(x[:, 40:], state)
        assert third.shape == (2, 60)
        tail = encoder.flush(state)
        assert torch.equal(encoder.flush(state), tail)  # the state is not used up
    assert torch.equal(torch.cat((second, third, tail), -1), whole)
    assert BSA(0.4, order=0).latency == 0


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_filter_longer_than_the_signal_is_refused(engine_name):
    encoder = BSA(0.4, order=10)
    with engine(engine_name):
        with pytest.raises(
            InputError, match=r"the filter has 11 taps, but the signal only 10 samples: .*order=9"
        ):
            encoder(torch.rand(3, 10))
        assert encoder(torch.rand(3, 11)).shape == (3, 11)
        _, state = encoder.step(torch.rand(3, 10))
        with pytest.raises(InputError, match="11 taps, but the stream only 10 samples"):
            encoder.flush(state)
        _, state = encoder.step(torch.rand(3, 1), state)
        assert encoder.flush(state).shape == (3, 10)
        _, nothing = encoder.step(torch.rand(3, 0))
        assert encoder.flush(nothing).shape == (3, 0)


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize("profile", ["textbook", "compat"])
def test_wrong_signals_are_refused(engine_name, profile):
    encoder = BSA(0.3, profile=profile)
    x = torch.rand(2, 3, 50)
    x[1, 0, 43] = float("inf")
    x[1, 2, 17] = float("nan")
    with engine(engine_name):
        with pytest.raises(InputError, match=r"signal\[1, 0, 43\] is inf"):
            encoder(x)
        with pytest.raises(InputError, match="the signal is empty"):
            encoder(torch.zeros(2, 0))
        with pytest.raises(InputError, match="must be float32 or float64, not int64"):
            encoder(torch.ones(40, dtype=torch.int64))
        with pytest.raises(InputError, match=r"parameters for 2 channels, .* not \(3, 90\)"):
            BSA(0.3, [[0.5, 0.5], [0.3, 0.7]], profile=profile)(torch.ones(3, 90))
        bypassed = BSA(0.3, profile=profile, normalise=False)
        _, state = bypassed.step(torch.rand(2, 30))
        with pytest.raises(InputError, match=r"signal\[1, 2\] is nan"):
            bypassed.step(torch.tensor([[0.0, 0, 0], [0, 0, float("nan")]]), state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": float("nan")}, "threshold must be a finite number, not nan"),
        ({"order": -1}, "order must be a finite number >= 0, not -1"),
        ({"order": 2.5}, "order must be a whole number, not 2.5"),
        ({"cutoff": 0.0}, "cutoff is 0 cycles a sample, allowed is above 0 and below 0.5"),
        ({"cutoff": [0.1, 0.5]}, "cutoff is 0.5 cycles a sample"),
        ({"cutoff": 10.0}, r"give the sampling rate \(rate=...\) if it is in Hz"),
        ({"order": [3, 4], "cutoff": [0.1, 0.2, 0.3]}, "order is for 2 channels, but cutoff for 3"),
        ({"threshold": [1, 2], "cutoff": [0.1, 0.2, 0.3]}, "filters for 3 channels, but other"),
        ({"taps": []}, "taps must be one filter"),
        ({"taps": [[[1.0]]]}, "taps must be one filter"),
        ({"taps": [1.0, float("inf")]}, "taps must be finite numbers"),
        ({"taps": [[1.0], [1.0, 2.0]]}, "a filter must be an array of numbers"),
        ({"profile": "1.8.2"}, "profile must be 'textbook' or 'compat', not '1.8.2'"),
        ({"profile": "compat", "offset": 1.0}, "leave out offset and scale"),
        ({"trainable": ["threshold"]}, "bsa has no gradient"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        BSA(**options)


def test_cutoff_in_hertz():
    assert torch.equal(BSA(cutoff=25.0, rate=250.0).taps, BSA(cutoff=0.1).taps)


def test_state_dict_and_float32_modules():
    x = torch.rand(2, 200)
    encoder = BSA([0.3, 0.5], order=[4, 9])
    other = BSA([0.7, 0.1], order=[9, 4], cutoff=0.1)
    assert not torch.equal(other(x), encoder(x))
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(other(x), encoder(x))
    assert torch.equal(other.float()(x), encoder(x))


def random_taps(rng: np.random.Generator, width: int, taps: int) -> list[int]:
    """Taps of both signs with a sum of magnitudes up to the limit, 2^width."""
    shares = rng.dirichlet(np.ones(taps)) * rng.choice([0.3, 1.0]) * 2**width
    found = (np.floor(shares) * rng.choice([-1, 1, 1, 1], taps)).astype(int)
    return np.clip(found, -(2**width), 2**width - 1).tolist()


def test_golden_equals_the_oracle():
    rng = np.random.default_rng(5)
    seen = 0
    for _ in range(60):
        width, taps = int(rng.integers(4, 25)), int(rng.integers(1, 25))
        format = Fixed(width, width - 1)
        parameters = BSAParameters(format=format, channels=int(rng.integers(1, 4)), taps=taps)
        filter = random_taps(rng, width, taps)
        size = 2 ** (width + 1)
        threshold = rng.integers(-size // 16, size // 8, parameters.channels)
        x = rng.integers(format.low // 4, format.high + 1, (2, parameters.channels, 40))
        x[0, :, 5:9] = [[format.low, format.high, 0, format.high]]
        golden = FixedBSA(parameters, {"threshold": threshold}, taps=filter)
        given = x if parameters.channels > 1 else x[:, 0]
        spikes = golden.encode(given)
        assert spikes.dtype == torch.int8
        assert spikes.shape == given.shape
        back = golden.decode(spikes).reshape(x.shape).tolist()
        spikes = spikes.reshape(x.shape).tolist()
        for b in range(2):
            for c in range(parameters.channels):
                expected = oracle(filter, int(threshold[c]), x[b, c].tolist())
                assert spikes[b][c] == expected
                assert back[b][c] == decoded_by_hand(filter, format, expected)
                seen += sum(expected)
    assert seen > 500


def test_golden_takes_frames_shorter_than_the_filter():
    golden = FixedBSA(BSAParameters(taps=5), {"threshold": 1}, taps=[2, 1, 1, 1, 1])
    assert golden.encode(torch.tensor([2, 3])).tolist() == oracle([2, 1, 1, 1, 1], 1, [2, 3])
    assert golden.decode(torch.tensor([1, 1], dtype=torch.int8)).tolist() == [2, 3]


@pytest.mark.parametrize(("width", "order"), [(8, 10), (12, 24), (16, 10), (16, 42)])
def test_float_equals_golden_on_the_grid(width, order):
    """Sums stay below 2^24 LSB, so that float32 is exact."""
    format = Fixed(width, width - 1)
    designed = BSA([0.3, 0.6], order=order, cutoff=0.15)
    golden = designed.fixed(format)
    taps = torch.as_tensor(format.to_real(np.array(golden.taps)))
    assert float((taps - designed.taps).abs().max()) <= format.step / 2
    threshold = format.to_real(golden.settings["threshold"])
    encoder = BSA(torch.as_tensor(threshold), taps)
    x = torch.randint(0, format.high + 1, (2, 400))
    x[:, 200:] = torch.arange(200) * format.high // 200
    floats = torch.as_tensor(format.to_real(x.numpy()))
    spikes = golden.encode(x)
    assert 0.2 < spikes.double().mean() < 0.8
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(both(encoder, floats.to(dtype)).to(torch.int8), spikes)
    inside = encoder.decode(spikes.double()).clamp(max=format.to_real(np.array(format.high)).item())
    assert torch.equal(torch.as_tensor(format.to_real(golden.decode(spikes).numpy())), inside)


def test_fixed_needs_one_filter_that_fits():
    with pytest.raises(InputError, match="a BSA core has one filter for all its channels"):
        BSA(0.5, cutoff=[0.1, 0.2]).fixed(Fixed(16, 15))
    with pytest.raises(InputError, match="a BSA core has one filter for all its channels"):
        BSA(0.5, order=[9, 10]).fixed(Fixed(16, 15))
    assert BSA([0.5, 0.2], cutoff=[0.1, 0.1]).fixed(Fixed(16, 15)).parameters.channels == 2
    assert BSA().fixed(Fixed(16, 15), channels=4).parameters.channels == 4
    with pytest.raises(InputError, match="magnitudes add up to"):
        BSA(0.5, [1.5, 1.5]).fixed(Fixed(8, 7))
    with pytest.raises(InputError, match="threshold of channel 0 is"):
        BSA(5.0).fixed(Fixed(8, 7))
    with pytest.raises(InputError, match="sample 128 is outside -128..127: quantise saturates"):
        BSA().fixed(Fixed(8, 7)).encode(torch.tensor([0, 128]))


def test_decoder_alone():
    parameters = BSADecoderParameters(format=Fixed(8, 7), channels=2, taps=3)
    decoder = FixedBSADecoder(parameters, taps=[100, 50, -20])
    train = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 0, 1, 1]])
    expected = [[100, 127, 30, -20, 0], [0, 0, 0, 100, 127]]
    assert decoder.decode(train).tolist() == expected
    with pytest.raises(InputError, match="the filter has 3 taps, not 2"):
        FixedBSADecoder(parameters, taps=[1, 2])


def test_integers_do_not_normalise_records():
    with pytest.raises(InputError, match="integers have no record normalisation"):
        BSA(profile="compat").fixed(Fixed(16, 15))
    assert BSA(profile="compat", normalise=False).fixed(Fixed(16, 15)).profile == "compat"
