"""PWM(profile="compat") against spike-encoding 1.8.2: spikes and reconstructions, bit for bit."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
import torch
from spikeloom import Fixed
from spikeloom.encoders import PWM, engine
from spikeloom.encoders.golden.pwm import FixedPWM
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import PWMParameters
from torch import Tensor

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from cases import rows_of_all_kinds

package = pytest.importorskip("spike_encoding.pulse_width_modulation")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")

#: Where a period of the carrier is a whole number of samples, or nearly, or none at all.
AWKWARD = [0.25, 0.999, 1.0, 2.0, 3.0, 9.0, 37.0, 50.0, 100.0, 111.0, 249.75, 333.0, 499.5]
AWKWARD += [500.0, 666.0, 998.0, 999.0, 1000.0, 1500.0, 5000.0]


def signed(spikes: Tensor) -> Tensor:
    """Signed train (channels, time) of the package's up and down planes."""
    return spikes[0] + spikes[1]


def random_frequencies(rng: np.random.Generator, channels: int) -> list[float]:
    """What its optimiser searches, and what is awkward."""
    found = np.where(
        rng.random(channels) < 0.7, rng.uniform(1, 750, channels), rng.choice(AWKWARD, channels)
    )
    return found.astype(np.float32).astype(float).tolist()


def random_case(seed: int) -> tuple[Tensor, list[float]]:
    """Signal float32 (channels, time) with rows of all kinds, and a frequency a channel."""
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 4 if seed % 3 else 10))  # 0.4 ms a sample: mostly short
    time = int(rng.integers(max(2, channels), 301 if seed % 30 == 0 else 31))
    x = rows_of_all_kinds(rng, channels, time)
    return x, random_frequencies(rng, channels)


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
        x, frequency = random_case(seed)
        theirs = package.PulseWidthModulation(frequency=frequency)
        their_spikes = theirs.encode(x.clone())
        ours = PWM(frequency, profile="compat")
        with engine("numba" if seed % 10 else "torch"):
            spikes = ours(x)
            signal = ours.decode(spikes, record=ours.record(x))
        assert equal(spikes, signed(their_spikes)), f"spikes of case {seed}"
        assert equal(signal, theirs.decode(their_spikes)), f"reconstruction of case {seed}"
        spiking += int(spikes.any())
    assert spiking > 70


def grid_case(seed: int) -> tuple[Fixed, Tensor, Tensor, list[float]]:
    """Integers of a format (channels, time), the same as float32, and a frequency a channel."""
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 4 if seed % 3 else 10))  # 0.4 ms a sample: mostly short
    time = int(rng.integers(2, 301 if seed % 50 == 0 else 31))
    width = int(rng.choice([6, 8, 12, 16]))
    format = Fixed(width, width - 1)
    x = torch.as_tensor(rng.integers(format.low // 8, format.high + 1, (channels, time)))
    x[rng.random((channels, time)) < 0.1] = int(format.high)
    floats = torch.as_tensor(format.to_real(x.numpy())).float()
    return format, x, floats, random_frequencies(rng, channels)


def test_golden_equals_the_package_on_the_integer_grid():
    compared = 0
    for seed in range(500):
        format, x, floats, frequency = grid_case(seed)
        theirs = package.PulseWidthModulation(frequency=frequency)
        expected = signed(theirs.encode(floats.clone(), isNormed=True))
        expected = expected.reshape(x.shape)
        ours = PWM(frequency, profile="compat", normalise=False)
        assert torch.equal(ours(floats), expected), f"case {seed}"
        golden = ours.fixed(format).encode(x if len(x) > 1 else x[0])
        assert torch.equal(golden.float().reshape(x.shape), expected), f"case {seed}"
        compared += x.numel()
    assert compared > 20_000


def test_a_core_that_restarts_gives_the_package_one_sample_later():
    """The package starts its carrier at its second sample; its table is a ramp of f / 999."""
    compared = 0
    for seed in range(100):
        format, x, floats, _ = grid_case(seed)
        rng = np.random.default_rng(seed)
        if x.shape[1] < 3:
            continue
        x, floats = x.clamp(min=0), floats.clamp(min=0)  # what is below is taken for 0
        frequency = rng.uniform(1, 750, len(x)).astype(np.float32)
        theirs = package.PulseWidthModulation(frequency=torch.as_tensor(frequency))
        expected = signed(theirs.encode(floats.clone(), isNormed=True)).reshape(x.shape)
        parameters = PWMParameters(format=format, channels=len(x), carrier="restart")
        step = np.rint(frequency.astype(np.float64) / 999 * 2**32).astype(np.int64)
        core = FixedPWM(parameters, {"step": step}).encode(x[:, 1:] if len(x) > 1 else x[0, 1:])
        assert torch.equal(core.float().reshape(len(x), -1), expected[:, 1:]), f"case {seed}"
        compared += x.numel()
    assert compared > 5_000


def test_its_frequency_can_be_told_in_cycles_a_sample():
    x = torch.rand(200)
    expected = PWM(50.0, profile="compat")(x)
    assert torch.equal(PWM(50.0 / 999, rate=1.0, profile="compat")(x), expected)


def test_reading_of_a_record_names_the_packages_quirk():
    x = torch.rand(5, 9)
    encoder = PWM(50.0, profile="compat")
    assert torch.equal(encoder.record(x).start, x[0, :5])  # not x[:, 0]
    theirs = package.PulseWidthModulation(frequency=[50.0] * 5)
    theirs.encode(x[:, :3].clone())
    with pytest.raises(IndexError):
        theirs.decode(torch.zeros(2, 5, 3))
    with pytest.raises(InputError, match="needs at least 5 samples for 5 channels, not 3"):
        encoder.record(x[:, :3])


def test_a_stream_has_no_record():
    with pytest.raises(InputError, match="needs the minimum and maximum of the whole record"):
        PWM(50.0, profile="compat").step(torch.rand(9))
    with pytest.raises(InputError, match=r"decode\(spikes, record=encoder.record\(x\)\)"):
        PWM(50.0, profile="compat").decode(torch.zeros(9))
