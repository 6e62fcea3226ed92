"""BSA(profile="compat") against spike-encoding 1.8.2: spikes and reconstructions, bit for bit."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
import torch
from scipy.signal import firwin
from spikeloom import Fixed
from spikeloom.encoders import BSA, engine
from spikeloom.encoders.golden.bsa import FixedBSA
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import BSAParameters
from spikeloom.hardware.encoders.filters import low_pass
from torch import Tensor

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from cases import rows_of_all_kinds

package = pytest.importorskip("spike_encoding.bens_spiker_algorithm")


class GivenTaps(package.BensSpikerAlgorithm):
    """The package with filters of the caller's choice, and for signals as they are."""

    def __init__(self, filters: list[Tensor], **options: object):
        super().__init__(**options)
        self.filters = filters
        self.scale_factor = torch.ones(len(filters))
        self.min_value = torch.zeros(len(filters))

    def fir_filter(self) -> list[Tensor]:
        return self.filters


def random_case(seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Signal float32 (channels, time) with rows of all kinds, and parameters of each channel."""
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 4 if seed % 4 else 10))  # about 1 ms a sample: mostly short
    time = int(rng.integers(2, 301 if seed % 50 == 0 else 25))
    x = rows_of_all_kinds(rng, channels, time)
    orders = rng.integers(1, 13, channels) if seed % 10 else rng.integers(35, 51, channels)
    return x, {
        "threshold": torch.as_tensor(rng.uniform(-0.1, 1.1, channels), dtype=torch.float32),
        "order": torch.as_tensor(orders),
        "cutoff": torch.as_tensor(rng.uniform(0.001, 0.49, channels), dtype=torch.float32),
    }


def equal(a: Tensor, b: Tensor) -> bool:
    """Bit for bit, any NaN being equal to any."""
    return (
        a.dtype == b.dtype
        and torch.equal(a.isnan(), b.isnan())
        and bool(((a == b) | a.isnan()).all())
    )


@pytest.mark.parametrize("block", range(6))
def test_spikes_and_reconstruction_equal_the_package(block):
    spiking = 0
    for seed in range(block * 100, block * 100 + 100):
        x, p = random_case(seed)
        theirs = package.BensSpikerAlgorithm(
            threshold=p["threshold"], filter_order=p["order"], filter_cutoff=p["cutoff"]
        )
        their_spikes = theirs.encode(x.clone())
        ours = BSA(**p, profile="compat")
        with engine("numba" if seed % 10 else "torch"):
            spikes = ours(x)
            signal = ours.decode(spikes, record=ours.record(x))
        assert equal(spikes, their_spikes), f"spikes of case {seed}"
        their_signal = torch.tensor(theirs.decode(their_spikes))
        assert equal(signal, their_signal), f"reconstruction of case {seed}"
        spiking += int(spikes.any())
    assert spiking > 45


def test_our_filters_have_scipys_bits():
    rng = np.random.default_rng(7)
    for n in range(1, 129):
        for cutoff in (*rng.uniform(0.001, 0.499, 4), float(np.float32(rng.uniform(0.01, 0.49)))):
            assert np.array_equal(low_pass(n, float(cutoff)), firwin(n, cutoff, fs=1.0))


def test_golden_equals_the_package_on_the_integer_grid():
    """Signal, taps and threshold multiples of 2^-fraction: the package's float32 is exact."""
    compared, total = 0, 0
    for seed in range(500):
        rng = np.random.default_rng(seed)
        channels = int(rng.integers(1, 4 if seed % 4 else 10))
        time = int(rng.integers(2, 301 if seed % 50 == 0 else 25))
        width = int(rng.choice([6, 8, 12, 16]))
        format, order = Fixed(width, width - 1), int(rng.integers(1, 15))
        x = rng.integers(-(2**width) // 16, format.high + 1, (channels, time))
        taps = np.rint(low_pass(order + 1, rng.uniform(0.02, 0.4)) * 2**format.fraction).astype(int)
        threshold = rng.integers(-(2 ** (width - 3)), 2**format.fraction, channels)
        real = torch.as_tensor(format.to_real(taps)).float()
        theirs = GivenTaps(
            [real] * channels,
            threshold=torch.as_tensor(format.to_real(threshold)).float(),
            filter_order=[order] * channels,
            filter_cutoff=[0.1] * channels,
        )
        floats = torch.as_tensor(format.to_real(x)).float()
        expected = theirs.encode(floats.clone(), isNormed=True)
        parameters = BSAParameters(format=format, channels=channels, taps=order + 1)
        golden = FixedBSA(
            parameters, {"threshold": threshold}, taps=taps.tolist(), profile="compat"
        )
        spikes = golden.encode(x if channels > 1 else x[0])
        assert torch.equal(spikes.float().reshape(x.shape), expected), f"case {seed}"
        back = format.to_real(golden.decode(spikes).reshape(x.shape).numpy())
        their_back = np.array(theirs.decode(expected.clone()))
        assert np.array_equal(back, their_back), f"reconstruction of case {seed}"
        bypassed = BSA(
            torch.as_tensor(format.to_real(threshold)), real, profile="compat", normalise=False
        )
        assert torch.equal(bypassed(floats), expected), f"case {seed}"
        assert np.array_equal(bypassed.decode(expected).numpy(), their_back), f"case {seed}"
        same = bypassed.fixed(format, channels=channels)
        assert (same.taps, same.profile) == (golden.taps, "compat")
        compared += x.size
        total += int(spikes.sum())
    assert compared > 15_000
    assert total > 3_000


def test_tap_zero_is_never_used_and_the_first_sample_never_tested():
    x = torch.rand(2, 200)
    first = BSA(0.1, [0.0, 0.5, 0.4], profile="compat")
    second = BSA(0.1, [77.0, 0.5, 0.4], profile="compat")
    assert torch.equal(first(x), second(x))
    assert first(x).any()
    above = torch.full((1, 50), 0.9)
    assert BSA(0.1, [0.5, 0.4], profile="textbook")(above)[0, 0] == 1
    late = BSA(0.1, [0.0, 0.5, 0.4], profile="compat", normalise=False)
    assert late(above)[0, :2].tolist() == [0, 1]


@pytest.mark.parametrize(("order", "shift"), [(4, -1), (5, 0)])
def test_its_decoder_is_aligned_for_even_orders_only(order, shift):
    encoder = BSA(0.1, order=order, profile="compat", normalise=False)
    train = torch.zeros(40)
    train[20] = 1
    expected = torch.zeros(40)
    expected[20 + shift : 20 + shift + order + 1] = encoder.taps.float()
    assert torch.allclose(encoder.decode(train), expected, atol=1e-7)
    blank = encoder.decode(torch.ones(40))
    assert blank[: (order + 1) // 2].tolist() == [0] * ((order + 1) // 2)
    assert blank[(order + 1) // 2] != 0


def test_a_stream_has_no_record():
    encoder = BSA(0.5, profile="compat")
    with pytest.raises(InputError, match="needs the minimum and maximum of the whole record"):
        encoder.step(torch.rand(9))
    with pytest.raises(InputError, match=r"decode\(spikes, record=encoder.record\(x\)\)"):
        encoder.decode(torch.zeros(9))
    with pytest.raises(InputError, match="order must be at least 1"):
        BSA(0.5, order=0, profile="compat")
