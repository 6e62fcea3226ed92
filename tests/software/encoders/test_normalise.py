"""Offset and scale from calibration data."""

from __future__ import annotations

import pytest
import torch
from spikeloom.encoders import Rate, StepForward, normalise
from spikeloom.errors import InputError


def test_by_hand():
    x = torch.tensor([[2.0, 6.0, 4.0], [-1.0, -1.5, 0.0]])
    offset, scale = normalise(x)
    assert offset.tolist() == [4.0, -0.75]
    assert scale.tolist() == [0.5, 2 / 1.5]
    offset, scale = normalise(x, to=(0.0, 1.0))
    assert offset.tolist() == [2.0, -1.5]
    assert scale.tolist() == [0.25, 1 / 1.5]
    assert offset.dtype == scale.dtype == torch.float64
    offset, scale = normalise(x[0])
    assert (offset.shape, float(offset), float(scale)) == ((), 4.0, 0.5)


@pytest.mark.parametrize("to", [(-1.0, 1.0), (0.0, 1.0), (2.0, 10.0), (-7.0, -3.0)])
def test_spans_the_range(to):
    x = torch.randn(4, 3, 50, dtype=torch.float64) * torch.tensor([1.0, 1e-6, 1e9])[:, None] + 5
    offset, scale = normalise(x, to=to)
    z = (x - offset[:, None]) * scale[:, None]
    assert torch.allclose(z.amin((0, 2)), torch.tensor(to[0], dtype=torch.float64), atol=1e-6)
    assert torch.allclose(z.amax((0, 2)), torch.tensor(to[1], dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("to", [(-1.0, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize("value", [0.0, -3.0, 1e300, 1e-310])
def test_a_constant_channel_comes_to_the_middle(to, value):
    x = torch.stack((torch.full((9,), value, dtype=torch.float64), torch.arange(9).double()))
    offset, scale = normalise(x, to=to)
    assert scale[0] == 1.0
    if abs(value) < 1e16:
        assert float(value - offset[0]) == pytest.approx(sum(to) / 2, abs=1e-300)
    assert bool(torch.isfinite(offset).all())
    assert (x[1, 8] - offset[1]) * scale[1] == to[1]


def test_axes():
    x = torch.randn(4, 3, 50)
    offset, scale = normalise(x, channel_axis=None)
    assert offset.shape == scale.shape == ()
    assert float((x.max() - offset) * scale) == pytest.approx(1.0)
    values = torch.rand(20, 5) * torch.arange(1.0, 6.0)
    offset, scale = normalise(values, to=(0.0, 1.0), channel_axis=-1)
    assert torch.allclose(offset.float(), values.amin(0))
    enc = Rate(8, offset=offset, scale=scale)
    assert enc.clipped(values) == 0
    assert enc(values).shape == (20, 5, 8)


def test_feeds_an_encoder():
    x = torch.randn(2, 3, 100).cumsum(-1) * 40 + 7
    offset, scale = normalise(x)
    enc = StepForward(0.1, offset=offset, scale=scale)
    rebuilt = enc.decode(enc(x))
    assert rebuilt.shape == x.shape


def test_bad_input():
    with pytest.raises(InputError, match=r"signal\[1\] is nan"):
        normalise(torch.tensor([0.0, float("nan")]))
    with pytest.raises(InputError, match="empty"):
        normalise(torch.zeros(2, 0))
    with pytest.raises(InputError, match="float32 or float64"):
        normalise(torch.arange(4))
    for to in ((1.0, 1.0), (1.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(InputError, match="to must be two numbers"):
            normalise(torch.rand(4), to=to)
