"""The burst code: golden model against the rule, float against golden model, and back."""

from math import ceil

import pytest
import torch
from spikeloom.encoders import Burst
from spikeloom.encoders.golden.burst import FixedBurst
from spikeloom.errors import InputError
from spikeloom.hardware.encoders.more import BurstParameters


def word(v, full, steps, spikes, gap):
    """The rule in fractions of integers, spike by spike."""
    n = ceil(v * spikes / full)
    d = gap if n <= 1 else gap - (v * (gap - 1)) // full
    at = {k * d for k in range(n)}
    return sum(1 << (steps - 1 - k) for k in at if k < steps)


@pytest.mark.parametrize(
    ("bits", "steps", "spikes", "gap"),
    [(8, 15, 5, 3), (4, 8, 8, 1), (1, 1, 1, 1), (10, 12, 4, 6), (6, 32, 7, 9)],
)
def test_every_value(bits, steps, spikes, gap):
    golden = FixedBurst(BurstParameters(bits=bits, steps=steps, spikes=spikes, gap=gap))
    values = torch.arange(1 << bits)
    wanted = [word(int(v), golden.full, steps, spikes, gap) for v in values]
    assert golden.encode(values).tolist() == wanted
    encoder = Burst(steps, spikes=spikes, gap=gap)
    for dtype in (torch.float64, torch.float32):
        grid = Burst(steps, spikes=spikes, gap=gap, bits=bits)
        assert torch.equal(grid.spikes((values / golden.full).to(dtype)), golden.spikes(values))
    assert torch.equal(encoder.spikes(values.double() / golden.full), golden.spikes(values))


def test_by_hand():
    encoder = Burst(7, spikes=3, gap=3)
    assert encoder(torch.tensor([0.0, 0.2, 0.5, 1.0])).tolist() == [
        [0, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
    ]


def test_decoding_gives_the_middle_of_a_word():
    encoder = Burst(15, spikes=5, gap=3)
    u = torch.linspace(0, 1, 500, dtype=torch.float64)
    back = encoder.decode(encoder(u))
    assert float((back - u).abs().max()) <= 0.1 + 1e-3
    assert torch.equal(encoder.spikes(back), encoder.spikes(u))
    noisy = encoder(torch.tensor([1.0]))
    noisy[0, 14] = 1
    assert float(encoder.decode(noisy)) == pytest.approx(1.0, abs=0.1)


def test_bad_parameters():
    with pytest.raises(InputError, match=r"gap must be an integer in 1\.\.4, not 5"):
        Burst(4, spikes=2, gap=5)
    with pytest.raises(InputError, match="no burst core like this encoder: steps"):
        Burst(40).fixed()
