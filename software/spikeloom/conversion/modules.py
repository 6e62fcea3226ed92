"""Operations of torch's modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from spikeloom.conversion.operations import (
    Affine,
    AvgPoolOp,
    Convolution,
    FlattenOp,
    Linear,
    MaxPoolOp,
    Normalise,
    Nothing,
    Operation,
    Pair,
    Rectify,
)
from spikeloom.conversion.unsupported import UnsupportedError
from spikeloom.neuron import SpikePack

__all__ = ["MODULES", "adaptive", "avg_pool", "max_pool"]


def _pair(value: Any, what: str) -> Pair:
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) == 1:
        pair *= 2
    if len(pair) != 2 or not all(isinstance(v, int) for v in pair):
        raise UnsupportedError(f"{what} is {value!r}", f"use one number or two for {what}")
    return pair  # type: ignore[return-value]


def _linear(path: str, m: nn.Linear) -> Operation:
    weight = m.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if m.bias is None else m.bias.detach().double()
    return Linear(path, weight, bias)


def _conv(path: str, m: nn.Conv2d) -> Operation:
    if m.padding_mode != "zeros":
        raise UnsupportedError(f"padding_mode is {m.padding_mode!r}", "use zeros")
    if _pair(m.dilation, "dilation") != (1, 1):
        raise UnsupportedError(f"dilation is {m.dilation}", "use 1, with a larger kernel")
    kernel = _pair(m.kernel_size, "kernel_size")
    if m.padding == "valid":
        padding = (0, 0)
    elif m.padding == "same":
        padding = (kernel[0] // 2, kernel[1] // 2)
        if not (kernel[0] % 2 and kernel[1] % 2):
            raise UnsupportedError(
                f"padding='same' of a kernel {kernel} is not symmetric", "use an odd kernel"
            )
    else:
        padding = _pair(m.padding, "padding")
    if any(p >= k for p, k in zip(padding, kernel, strict=True)):
        raise UnsupportedError(
            f"padding {padding} is not smaller than the kernel {kernel}", "use less padding"
        )
    if m.groups != 1 and not m.groups == m.in_channels == m.out_channels:
        raise UnsupportedError(
            f"{m.groups} groups of {m.in_channels} channels in and {m.out_channels} out",
            "use groups=1, or depthwise: groups, in_channels and out_channels all the same",
        )
    weight = m.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if m.bias is None else m.bias.detach().double()
    return Convolution(path, weight, bias, _pair(m.stride, "stride"), padding, m.groups)


def _batch_norm(path: str, m: nn.BatchNorm1d | nn.BatchNorm2d) -> Operation:
    if m.running_mean is None or m.running_var is None:
        raise UnsupportedError(
            "it normalises by each batch, not by running statistics", "use track_running_stats=True"
        )
    scale = (m.running_var.double() + m.eps).rsqrt()
    if m.weight is not None:
        scale = scale * m.weight.detach().double()
    shift = -m.running_mean.double() * scale
    if m.bias is not None:
        shift = shift + m.bias.detach().double()
    return Affine(path, scale, shift)


def _flatten(path: str, m: nn.Flatten) -> Operation:
    if (m.start_dim, m.end_dim) != (1, -1):
        raise UnsupportedError("it keeps some axes", "use nn.Flatten() with its defaults")
    return FlattenOp(path)


def _normalise(path: str, m: Normalise) -> Operation:
    scale = 1 / m.std.double()
    return Affine(path, scale, -m.mean.double() * scale)


def _neuron(path: str, m: SpikePack) -> Operation:
    if m.tau != 2:
        raise UnsupportedError(f"tau is {m.tau:g}", "integers and hardware run tau = 2 only")
    if m.channel_dim != 1 and m.threshold.ndim:
        raise UnsupportedError(f"channel_dim is {m.channel_dim}", "use 1, as torch's layers do")
    if m.steps > 8:
        raise UnsupportedError(f"it has {m.steps} steps", "hardware runs 8 at most")
    return Rectify(path, m)


def max_pool(
    path: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Operation:
    """Max pooling with the arguments of torch's."""
    if ceil_mode:
        raise UnsupportedError("ceil_mode is on", "use ceil_mode=False, and padding if needed")
    if _pair(dilation, "dilation") != (1, 1):
        raise UnsupportedError(f"dilation is {dilation}", "use dilation=1")
    if return_indices:
        raise UnsupportedError("it returns indices", "use return_indices=False")
    kernel = _pair(kernel_size, "kernel_size")
    stride = _pair(stride, "stride") if stride not in (None, [], ()) else kernel
    return MaxPoolOp(path, kernel, stride, _pair(padding, "padding"))


def avg_pool(
    path: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Operation:
    """Average pooling with the arguments of torch's."""
    if ceil_mode:
        raise UnsupportedError("ceil_mode is on", "use ceil_mode=False, and padding if needed")
    if divisor_override is not None:
        raise UnsupportedError("divisor_override is set", "leave it out")
    padding = _pair(padding, "padding")
    if padding != (0, 0) and not count_include_pad:
        raise UnsupportedError(
            "count_include_pad=False with padding divides border pixels by less",
            "use count_include_pad=True or padding=0",
        )
    kernel = _pair(kernel_size, "kernel_size")
    stride = _pair(stride, "stride") if stride not in (None, [], ()) else kernel
    return AvgPoolOp(path, kernel, stride, padding)


def adaptive(path: str, output_size: Any) -> Operation:
    """Average pooling to a number of pixels."""
    return AvgPoolOp(path, None, size=_pair(output_size, "output_size"))


MODULES: dict[type[nn.Module], Callable[[str, Any], Operation]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.ReLU: lambda path, m: Rectify(path),
    SpikePack: _neuron,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: lambda path, m: max_pool(
        path, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices
    ),
    nn.AvgPool2d: lambda path, m: avg_pool(
        path,
        m.kernel_size,
        m.stride,
        m.padding,
        m.ceil_mode,
        m.count_include_pad,
        m.divisor_override,
    ),
    nn.AdaptiveAvgPool2d: lambda path, m: adaptive(path, m.output_size),
    nn.Flatten: _flatten,
    nn.Dropout: lambda path, m: Nothing(path),
    nn.Dropout2d: lambda path, m: Nothing(path),
    nn.Identity: lambda path, m: Nothing(path),
    Normalise: _normalise,
}
