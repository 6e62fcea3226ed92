"""Every attribute of a layer counts: changed in the model, it changes the conversion likewise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import spikeloom as sl
import torch
from spikeloom.conversion import convert_general
from torch import nn
from torch.nn import functional


class Called(nn.Module):
    """A function as a layer, with one weight and one bias that it may use."""

    def __init__(self, function: Callable[..., Any], inputs: int = 8, **arguments: Any) -> None:
        super().__init__()
        self.function, self.arguments = function, arguments
        self.weight = nn.Parameter(torch.randn(8, inputs, 3, 3) * 0.2)
        self.bias = nn.Parameter(torch.randn(8))
        self.register_buffer("mean", torch.rand(8))
        self.register_buffer("variance", torch.rand(8) * 0.1)

    def forward(self, x):
        return self.function(self, x, **self.arguments)


def calls(function, **arguments):
    """A call whose tensors, numbers given by position or by name, come from the layer."""
    inputs = 8 // arguments.get("groups", 1)
    return Called(lambda m, x, **given: function(m, x, **given), inputs, **arguments)


def conv(**k):
    return nn.Conv2d(8, 8, 3, **k)


def up(**k):
    return nn.ConvTranspose2d(8, 8, 3, **k)


def norm(**k):
    layer = nn.BatchNorm2d(8, **k)
    layer.running_var.uniform_(0.01, 0.1)
    layer.running_mean.uniform_(0, 1)
    return layer


def f_conv(**k):
    return calls(lambda m, x, **g: functional.conv2d(x, m.weight, m.bias, **g), **k)


def f_up(**k):
    return calls(lambda m, x, **g: functional.conv_transpose2d(x, m.weight, m.bias, **g), **k)


def f_norm(**k):
    return calls(lambda m, x, **g: functional.batch_norm(x, m.mean, m.variance, **g), **k)


def f(function):
    return lambda **k: calls(lambda m, x, **g: function(x, **g), **k)


def positional(function, *names):
    return lambda **k: calls(lambda m, x, **g: function(x, *(g[n] for n in names)), **k)


#: How to make the layer, its arguments, and one of them changed.
CHANGES = [
    (conv, {}, {"stride": 2}), (conv, {}, {"padding": 1}), (conv, {}, {"padding": "same"}),
    (conv, {}, {"dilation": 2}), (conv, {"padding": 1}, {"padding_mode": "reflect"}),
    (conv, {"padding": 2}, {"padding_mode": "circular"}),
    (conv, {"padding": 2}, {"padding_mode": "replicate"}),
    (conv, {}, {"groups": 2}), (conv, {}, {"groups": 8}), (conv, {}, {"bias": False}),
    (up, {}, {"stride": 2}), (up, {}, {"padding": 2}), (up, {"stride": 2}, {"output_padding": 1}),
    (up, {}, {"dilation": 2}), (up, {}, {"groups": 4}), (up, {}, {"bias": False}),
    (norm, {}, {"eps": 0.3}), (norm, {"affine": False}, {"eps": 0.3}),
    (nn.MaxPool2d, {"kernel_size": 3}, {"stride": 1}),
    (nn.MaxPool2d, {"kernel_size": 3}, {"padding": 1}),
    (nn.MaxPool2d, {"kernel_size": 2, "stride": 1}, {"dilation": 3}),
    (nn.MaxPool2d, {"kernel_size": 3, "stride": 2}, {"ceil_mode": True}),
    (nn.AvgPool2d, {"kernel_size": 3}, {"stride": 1}),
    (nn.AvgPool2d, {"kernel_size": 3}, {"padding": 1}),
    (nn.AvgPool2d, {"kernel_size": 3, "padding": 1}, {"count_include_pad": False}),
    (nn.AvgPool2d, {"kernel_size": 3, "stride": 2}, {"ceil_mode": True}),
    (nn.AdaptiveAvgPool2d, {"output_size": 2}, {"output_size": (1, 5)}),
    (nn.AdaptiveMaxPool2d, {"output_size": 2}, {"output_size": 5}),
    (nn.LeakyReLU, {}, {"negative_slope": 0.5}), (nn.LeakyReLU, {}, {"negative_slope": -0.5}),
    (nn.PReLU, {}, {"init": 0.8}), (nn.ELU, {}, {"alpha": 3.0}), (nn.CELU, {}, {"alpha": 4.0}),
    (nn.Softplus, {}, {"beta": 3.0}), (nn.Softplus, {}, {"threshold": -5.0}),
    (nn.Hardtanh, {}, {"max_val": 0.3}), (nn.Hardtanh, {}, {"min_val": -4.0}),
    (nn.Hardtanh, {"max_val": 0.2}, {"min_val": 0.0}),
    (nn.GroupNorm, {"num_channels": 8, "num_groups": 1}, {"num_groups": 4}),
    (nn.GroupNorm, {"num_channels": 8, "num_groups": 2}, {"eps": 1.0}),
    (nn.LayerNorm, {"normalized_shape": 10}, {"eps": 1.0}),
    (nn.Upsample, {"size": 17}, {"mode": "bilinear"}),
    (nn.Upsample, {"size": 17, "mode": "bilinear"}, {"align_corners": True}),
    (nn.Upsample, {"size": 17, "mode": "bilinear"}, {"mode": "bicubic"}),
    (nn.Upsample, {"scale_factor": 1.2}, {"mode": "nearest-exact"}),
    (nn.ChannelShuffle, {"groups": 2}, {"groups": 4}),
    (nn.ConstantPad2d, {"padding": 2, "value": 0.0}, {"value": 1.5}),
    (nn.ConstantPad2d, {"padding": 1, "value": 0.0}, {"padding": (3, 0, 0, 0)}),
    (nn.Softmax, {"dim": 1}, {"dim": -1}),
    (f_conv, {}, {"stride": 2}), (f_conv, {}, {"padding": 1}), (f_conv, {}, {"padding": "same"}),
    (f_conv, {}, {"dilation": 2}), (f_conv, {}, {"groups": 2}),
    (f_up, {}, {"stride": 2}), (f_up, {}, {"padding": 2}), (f_up, {}, {"dilation": 2}),
    (f_up, {"stride": 2}, {"output_padding": 1}), (f_norm, {}, {"eps": 0.3}),
    (f(functional.leaky_relu), {}, {"negative_slope": 0.5}),
    (positional(functional.leaky_relu, "slope"), {"slope": 0.01}, {"slope": 0.5}),
    (positional(functional.hardtanh, "low", "high"), {"low": -1.0, "high": 1.0}, {"low": -4.0}),
    (positional(functional.avg_pool2d, "kernel", "stride", "padding", "ceil", "count"),
     {"kernel": 3, "stride": 2, "padding": 1, "ceil": False, "count": True}, {"count": False}),
    (positional(functional.avg_pool2d, "kernel", "stride", "padding", "ceil"),
     {"kernel": 3, "stride": 2, "padding": 0, "ceil": False}, {"ceil": True}),
    (positional(functional.max_pool2d, "kernel", "stride", "padding", "dilation"),
     {"kernel": 2, "stride": 1, "padding": 0, "dilation": 1}, {"dilation": 3}),
    (f(functional.softplus), {}, {"threshold": -5.0}),
    (f(functional.interpolate), {"size": 17, "mode": "bilinear"}, {"align_corners": True}),
    (f(functional.pad), {"pad": (2, 2, 2, 2)}, {"mode": "reflect"}),
    (f(functional.pad), {"pad": (2, 2, 2, 2)}, {"value": -1.0}),
    (f(torch.clamp), {"min": 0.0}, {"max": 0.3}), (f(torch.clamp), {"max": 0.3}, {"min": -0.2}),
    (f(functional.softmax), {"dim": 1}, {"dim": 3}),
    (f(lambda x, alpha: torch.add(x.relu(), (-x).relu(), alpha=alpha)), {"alpha": 1},
     {"alpha": -1}),
    (f(lambda x, alpha: x.sub(x.sigmoid(), alpha=alpha)), {"alpha": 1}, {"alpha": -1}),
    (f(lambda x, shift: 1 / (x.relu() + shift)), {"shift": 1}, {"shift": 3}),
    (f(lambda x, over: over / (x.relu() + 1)), {"over": 1}, {"over": -1}),
]  # fmt: skip


def network(make, arguments):
    """The layer between others whose weights are always the same; potentials come in."""
    torch.manual_seed(0)
    front, back = nn.Conv2d(3, 8, 3), nn.Linear(128, 5)
    nn.init.normal_(front.weight, 0, 0.5)
    layer = make(**arguments)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
    behind = nn.ReLU() if make is conv else nn.Identity()
    between = nn.ReLU() if make in (conv, nn.MaxPool2d, nn.AvgPool2d) else nn.Identity()
    return nn.Sequential(front, between, layer, behind, pooled, back).eval()


def name_of(change):
    make, _, after = change
    place = CHANGES.index(change)
    return f"{place} {getattr(make, '__name__', 'call')} {after}"


@pytest.mark.parametrize("change", CHANGES, ids=name_of)
def test_a_changed_attribute_changes_the_conversion(change):
    make, before, after = change
    with torch.random.fork_rng():
        model, other = network(make, before | after), network(make, before)
        x = torch.rand(48, 3, 12, 12)
        with torch.no_grad():
            exact, others = model(x), other(x)
            off = float((exact - others).norm() / exact.norm())
            assert off > 0.02  # or this test would show nothing
            for convert in (sl.convert, convert_general):
                y = convert(model, x, 8, granularity="tensor", input_bits=8)(x)
                assert float((y - exact).norm() / exact.norm()) < min(0.02, off / 4)
