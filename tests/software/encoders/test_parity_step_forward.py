"""StepForward(profile="compat") against spike-encoding 1.8.2: bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from spikeloom import Fixed
from spikeloom.encoders import StepForward, engine
from spikeloom.encoders.golden.step_forward import FixedStepForward
from spikeloom.hardware.encoders import StepForwardParameters
from torch import Tensor

package = pytest.importorskip("spike_encoding.step_forward_converter")


def signed(spikes: Tensor) -> Tensor:
    """Signed train (channels, time) of the package's up and down planes."""
    return spikes[0] + spikes[1]


def random_case(seed: int) -> tuple[Tensor, Tensor]:
    """Signal float32 (channels, time) and thresholds: rows of all kinds."""
    rng = np.random.default_rng(seed)
    channels, time = int(rng.integers(1, 10)), int(rng.integers(2, 61 if seed % 4 else 301))
    x, threshold = np.empty((channels, time)), np.empty(channels)
    for c, row in enumerate(x):
        t = np.arange(time)
        row[:] = [
            rng.normal(size=time),
            rng.normal(size=time).cumsum(),
            np.sin(t / rng.uniform(1, 50)) + rng.normal(size=time) * 0.1,
            np.full(time, rng.normal()),
            (t > rng.integers(0, time)) * rng.normal(),
            (-1.0) ** t,
        ][rng.integers(0, 6)]
        size = 10.0 ** rng.choice([-42, -38, -3, 0, 0, 0, 2, 30, 38])
        row *= size
        row += rng.choice([0.0, 0.0, 100.0])
        threshold[c] = size * rng.uniform(0.01, 1.0)
    x = np.clip(x, -3.4e38, 3.4e38)
    threshold = np.maximum(threshold.astype(np.float32), np.finfo(np.float32).tiny)
    return torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(threshold)


@pytest.mark.parametrize("block", range(6))
def test_spikes_and_reconstruction_equal_the_package(block):
    spiking = 0
    for seed in range(block * 100, block * 100 + 100):
        x, threshold = random_case(seed)
        theirs = package.StepForwardConverter(threshold=threshold)
        their_spikes = theirs.encode(x.clone())
        ours = StepForward(threshold, profile="compat")
        with engine("numba" if seed % 10 else "torch"):
            spikes = ours(x)
            signal = ours.decode(spikes, initial=x[:, 0])
            blind = ours.decode(spikes)
        assert torch.equal(spikes, signed(their_spikes)), f"spikes of case {seed}"
        told = theirs.decode(their_spikes, initial_value=x[:, 0])
        assert torch.equal(signal, told), f"reconstruction of case {seed}"
        assert torch.equal(blind, theirs.decode(their_spikes)), f"reconstruction of case {seed}"
        spiking += int(spikes.any())
    assert spiking > 70


def test_golden_equals_the_package_on_the_integer_grid():
    for seed in range(500):
        rng = np.random.default_rng(seed)
        channels, time = int(rng.integers(1, 10)), int(rng.integers(2, 61 if seed % 8 else 301))
        x = rng.integers(-32768, 32768, (channels, time))
        if seed % 3 == 0:
            walk = rng.normal(size=(channels, time)).cumsum(-1) * 1000
            x = np.clip(walk, -32768, 32767).astype(int)
        threshold = rng.integers(1, 65536 if seed % 2 else 2048, channels)
        theirs = package.StepForwardConverter(threshold=torch.as_tensor(threshold).float())
        expected = theirs.encode(torch.as_tensor(x).float())
        golden = FixedStepForward(
            StepForwardParameters(format=Fixed(16, 0), channels=channels),
            {"threshold": threshold},
            profile="compat",
        )
        spikes = golden.encode(x if channels > 1 else x[0])
        assert torch.equal(spikes.reshape(channels, time).float(), signed(expected)), f"case {seed}"
        start = x[:, 0] if channels > 1 else x[0, 0]
        told = theirs.decode(expected, initial_value=torch.as_tensor(x[:, 0]).float())
        signal = golden.decode(spikes, start=start).reshape(channels, time)
        assert torch.equal(signal.float(), told), f"case {seed}"


def test_package_drops_the_first_sample_and_compat_lets_you_give_it():
    """Without x[0] the reconstruction starts at 0, in the package and in the compat profile."""
    x = torch.tensor([5.0, 5.6, 6.2])
    encoder = StepForward(0.5, profile="compat")
    spikes = encoder(x)
    assert spikes.tolist() == [0, 1, 1]
    assert encoder.decode(spikes).tolist() == [0, 0.5, 1]
    assert encoder.decode(spikes, initial=5.0).tolist() == [5, 5.5, 6]
