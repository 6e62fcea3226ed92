"""Offset words: the neuron against its definition, the search, and what they do for GELU."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.conversion import convert_general
from spikeloom.conversion.general.offset import search_offset
from spikeloom.conversion.general.plan import Firing
from spikeloom.conversion.general.search import gather
from spikeloom.conversion.thresholds import Choice
from spikeloom.signed import OffsetSpikePack, SignedSpikePack
from torch import nn
from torch.nn import functional


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(1, 8),
    theta=st.sampled_from([0.25, 1.0, 3.0, 0.75]),
    place=st.floats(-1, 2),
    seed=st.integers(0, 10**6),
)
def test_words_are_those_of_the_definition(steps, theta, place, seed):
    top = (1 << steps) - 1
    zero = round(place * top)
    generator = torch.Generator().manual_seed(seed)
    near = theta * torch.randint(-2 * top - 2, 2 * top + 2, (30,), generator=generator).double()
    v = torch.cat([near, torch.randn(30, generator=generator, dtype=torch.float64) * theta * top])
    neuron = OffsetSpikePack(steps, theta, zero)
    for x, word in zip(v.tolist(), neuron.pack(v).tolist(), strict=True):
        assert word == min(max(math.floor(Fraction(x) / Fraction(theta)), -zero), top - zero)
    weights = torch.tensor([1 << (steps - t - 1) for t in range(steps)])
    spikes = neuron.spikes(v).to(torch.int64)
    assert torch.equal((spikes * weights[:, None]).sum(0) - zero, neuron.pack(v))
    assert torch.equal(neuron(v), neuron.pack(v) * theta)


def test_half_the_codes_is_twos_complement():
    v = torch.linspace(-9, 9, 181, dtype=torch.float64)
    for steps in (1, 3, 5):
        offset = OffsetSpikePack(steps, 0.5, 1 << (steps - 1), rounding=True)
        assert torch.equal(offset(v), SignedSpikePack(steps, 0.5, rounding=True)(v))


def test_zero_point_a_channel_and_rounding():
    neuron = OffsetSpikePack(
        2, torch.tensor([1.0, 2.0]), torch.tensor([0, 3]), rounding=True, channel_dim=-1
    )
    v = torch.tensor([[-0.6, -0.6], [0.0, 0.0], [9.0, 9.0], [1.5, -3.1], [-9.0, -9.0]])
    assert neuron.pack(v).tolist() == [[0, 0], [0, 0], [3, 0], [2, -2], [0, -3]]
    assert neuron(v).tolist() == [[0.0, 0.0], [0.0, 0.0], [3.0, 0.0], [2.0, -4.0], [0.0, -6.0]]
    assert (neuron.top, "zero=0..3" in repr(neuron)) == (3.0, True)


def test_gradient_passes_inside_the_range():
    neuron = OffsetSpikePack(2, 0.5, 1, rounding=True, trainable=True)
    v = torch.tensor([-0.7, -0.5, 0.0, 1.0, 1.2], requires_grad=True)
    neuron(v).sum().backward()
    assert v.grad is not None
    assert v.grad.tolist() == [0, 1, 1, 1, 0]
    torch.testing.assert_close(neuron.threshold.grad, torch.tensor(-1.0 + 2.0))


@pytest.mark.parametrize("zero", [1.5, torch.tensor([1, 2, 3])])
def test_zero_points_are_checked(zero):
    with pytest.raises(ValueError, match="zero must be"):
        OffsetSpikePack(4, torch.tensor([1.0, 2.0]), zero)


@pytest.mark.parametrize("granularity", ["tensor", "floor", "channel"])
def test_the_best_of_those_tried(granularity):
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(5000, 3, generator=generator, dtype=torch.float64)
    v = v * torch.tensor([1.0, 2.0, 0.1]) + torch.tensor([0.0, 1.5, -0.7])
    firing = Firing(3, True, 1)
    data = gather([(v, v)], firing)

    def error(theta, zero):
        words = OffsetSpikePack(3, theta, zero, rounding=True)
        words.threshold = theta  # in float64
        return (words(v) - v).square().sum(0)

    theta, zero = search_offset(data, firing, Choice(granularity, "mse"))
    found = error(theta, zero)
    assert (granularity == "tensor") == bool((theta == theta[0]).all())
    signed = OffsetSpikePack(3, 0.6, 4, rounding=True)(v)
    assert float(found.sum()) < float((signed - v).square().sum())
    if granularity == "channel":
        full = (v.amax(0) - v.amin(0)) / 7
        for clip in (0.3, 0.5, 0.8, 1.0):
            for z in range(-4, 60):
                best = error(clip * full, torch.full((3,), z))
                assert (found <= best * 1.05).all()  # not every z is tried
    if granularity == "floor":
        assert float(theta.min()) >= float(theta.max()) / 8


def test_bounds_of_the_other_rules():
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(9000, 2, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 3.0])
    v[:, 1] += 20
    v = torch.cat([v, torch.zeros(9000, 1, dtype=torch.float64)], 1)  # a silent channel
    firing = Firing(4, True, 1)
    data = gather([(v, v)], firing)
    theta, zero = search_offset(data, firing, Choice("channel", "max"))
    low, high = -zero * theta, (15 - zero) * theta
    reached = (low - theta / 2 <= v.amin(0)) & (high + theta / 2 >= v.amax(0))
    assert reached.all()
    less, _ = search_offset(data, firing, Choice("channel", "percentile"))
    assert (less[:2] < theta[:2]).all()
    capped = Firing(4, True, 1, cap=0.5)
    limited, zero = search_offset(data, capped, Choice("channel", "max"))
    assert float(limited[0]) == pytest.approx((0.5 - float(v[:, 0].min())) / 15)


class Padded(nn.Module):
    """A convolution that pads what GELU gives."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Conv2d(1, 6, 3), nn.GELU(), nn.Conv2d(6, 4, 3, 1, 1)

    def forward(self, x):
        return self.second(self.act(self.first(x)))


def test_gelu_is_worth_a_bit_more():
    torch.manual_seed(0)
    model, x = Padded().eval(), torch.randn(64, 1, 8, 8)
    made = {k: convert_general(model, x, 4, below_zero=k) for k in ("signed", "offset")}
    edge = {k: next(e for e in snn.report() if e.name == "act") for k, snn in made.items()}
    assert [edge[k].form for k in made] == ["signed words", "offset words"]
    assert edge["offset"].error < 0.7 * edge["signed"].error
    off = {k: next(iter(snn.report().output_error.values())) for k, snn in made.items()}
    assert off["offset"] < 0.8 * off["signed"]


def test_layers_read_unsigned_words_exactly():
    torch.manual_seed(0)
    model = Padded().double().eval()
    x = torch.randn(64, 1, 8, 8, dtype=torch.float64)
    snn = convert_general(model, x, 4, below_zero="offset")
    neuron = snn.body.spikes.act
    layer = snn.body.second
    words = []
    neuron.register_forward_hook(lambda m, given, _: words.append(m.pack(given[0])))
    y = snn(x)
    zero = neuron.zero.view(1, -1, 1, 1)
    p = words[0] + zero
    assert int(p.min()) == 0 or int(neuron.zero.max()) == 0
    assert int(zero.max()) > 0
    # what gates would do: unsigned words, zero points where the layer pads, a constant in the bias
    padded = (
        functional.pad(p, (1, 1, 1, 1))
        + functional.pad(torch.zeros_like(p), (1, 1, 1, 1), value=1) * zero
    )
    folded = layer.weight.detach() * neuron.threshold.double().view(1, -1, 1, 1)
    bias = layer.bias.detach() - (folded * zero).sum((1, 2, 3))
    torch.testing.assert_close(functional.conv2d(padded.double(), folded, bias), y)
