"""LIF(profile="compat") against spike-encoding 1.8.2: spikes and reconstructions, bit for bit."""

from __future__ import annotations

import pathlib
import sys
import warnings

import numpy as np
import pytest
import torch
from spikeloom import Fixed
from spikeloom.encoders import LIF, engine
from spikeloom.encoders.compat import record_normalise
from spikeloom.encoders.golden.lif import FixedLIF
from spikeloom.hardware.encoders import LIFParameters
from torch import Tensor

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from cases import rows_of_all_kinds

package = pytest.importorskip("spike_encoding.lif_based_encoding")


class Unnormalised(package.LIFBasedEncoding):
    """The package without its normalisation, which it has no switch for."""

    def normalize_tensor(self, tensor: Tensor) -> Tensor:
        return tensor.clone()


def signed(spikes: Tensor) -> Tensor:
    """Signed train (channels, time) of the package's up and down planes."""
    return spikes[0] + spikes[1]


def random_case(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Signal float32 (channels, time), thresholds and leaks: rows of all kinds."""
    rng = np.random.default_rng(seed)
    channels, time = int(rng.integers(1, 10)), int(rng.integers(2, 61 if seed % 4 else 301))
    x = rows_of_all_kinds(rng, channels, time)
    return (
        x,
        torch.as_tensor(rng.uniform(0.05, 1.5, channels), dtype=torch.float32),
        torch.as_tensor(rng.uniform(0, 1, channels), dtype=torch.float32),
    )


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
        x, threshold, leak = random_case(seed)
        theirs = package.LIFBasedEncoding(threshold=threshold, membrane_constant=leak)
        their_spikes = theirs.encode(x.clone())
        ours = LIF(threshold, leak, profile="compat")
        with engine("numba" if seed % 10 else "torch"):
            spikes = ours(x)
            signal = ours.decode(spikes, record=ours.record(x))
        assert equal(spikes, signed(their_spikes)), f"spikes of case {seed}"
        assert equal(signal, theirs.decode(their_spikes)), f"reconstruction of case {seed}"
        spiking += int(spikes.any())
    assert spiking > 70


@pytest.mark.parametrize("engine_name", ["torch", "numba"])
def test_normalised_records_equal_the_package(engine_name):
    theirs = package.LIFBasedEncoding()
    for seed in range(100):
        for x in (random_case(seed)[0], random_case(seed)[0].double() + 1e-9):
            with engine(engine_name):
                z, record = record_normalise(x, symmetric=True)
            assert equal(z, theirs.normalize_tensor(x)), f"case {seed}"
            assert equal(record.minimum, theirs.min_value)
            assert equal(record.scale, theirs.scale_factor)


def test_float64_is_normalised_in_float64_and_encoded_in_float32():
    for seed in range(40):
        x, threshold, leak = random_case(seed)
        x = x.double() + torch.randn(x.shape, dtype=torch.float64) * 1e-7
        theirs = package.LIFBasedEncoding(threshold=threshold, membrane_constant=leak)
        their_spikes = theirs.encode(x.clone())
        ours = LIF(threshold, leak, profile="compat")
        spikes = ours(x)
        assert spikes.dtype == torch.float64
        assert torch.equal(spikes.float(), signed(their_spikes))
        assert equal(ours.decode(spikes, record=ours.record(x)), theirs.decode(their_spikes))


def test_golden_equals_the_package_on_the_integer_grid():
    """Leaks k/256, 12-bit integers: every float32 operation of the package is almost exact."""
    compared = 0
    for seed in range(500):
        rng = np.random.default_rng(seed)
        channels, time = int(rng.integers(1, 10)), int(rng.integers(2, 61 if seed % 8 else 301))
        x = rng.integers(-2048, 2048, (channels, time))
        if seed % 3 == 0:
            x = np.clip(rng.normal(size=(channels, time)).cumsum(-1) * 100, -2048, 2047).astype(int)
        threshold = rng.integers(64, 4096, channels)
        leak = rng.integers(0, 257, channels)
        theirs = Unnormalised(
            threshold=torch.as_tensor(threshold).float(),
            membrane_constant=torch.as_tensor(leak / 256).float(),
        )
        expected = signed(theirs.encode(torch.as_tensor(x).float()))
        golden = FixedLIF(
            LIFParameters(format=Fixed(12, 0), channels=channels, leak_bits=8),
            {"threshold": threshold, "leak": leak},
            profile="compat",
        )
        given = x if channels > 1 else x[0]
        spikes = golden.encode(given).reshape(channels, time)
        assert torch.equal(spikes.float(), expected), f"case {seed}"
        bypassed = LIF(
            torch.as_tensor(threshold),
            torch.as_tensor(leak / 256),
            profile="compat",
            normalise=False,
        )
        assert torch.equal(bypassed(torch.as_tensor(x).float()), expected), f"case {seed}"
        compared += x.size
    assert compared > 90_000


def test_its_default_constructor_fails_and_ours_does_not():
    """README of the package: seven leaks, never cut to the number of channels."""
    x = torch.randn(3, 50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError):
            package.LIFBasedEncoding().encode(x)
    assert LIF(0.5, 0.9, profile="compat")(x).any()
