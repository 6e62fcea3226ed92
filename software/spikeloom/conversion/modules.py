"""Operations of torch's modules."""

from __future__ import annotations

import math
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
    PadOp,
    Pair,
    Rectify,
)
from spikeloom.conversion.unsupported import UnsupportedError
from spikeloom.neuron import SpikePack

__all__ = ["MODULES", "adaptive", "avg_pool", "clamp", "max_pool", "zero_pad"]


def _pair(value: Any, what: str, dims: int = 2, other: int = 1) -> tuple[Any, Any]:
    """(vertical, horizontal) of one number or a list; of one axis it is the vertical one."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value,) * dims
    if len(pair) == 1:
        pair *= dims
    if len(pair) != dims or not all(isinstance(v, int) for v in pair):
        count = "one number or two" if dims == 2 else "one number"
        raise UnsupportedError(f"{what} is {value!r}", f"use {count} for {what}")
    return pair if dims == 2 else (pair[0], other)  # type: ignore[return-value]


def _linear(path: str, m: nn.Linear) -> Operation:
    weight = m.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if m.bias is None else m.bias.detach().double()
    return Linear(path, weight, bias)


def _conv(path: str, m: nn.Conv1d | nn.Conv2d) -> list[Operation]:
    dims = 1 if isinstance(m, nn.Conv1d) else 2
    if m.padding_mode != "zeros":
        raise UnsupportedError(f"padding_mode is {m.padding_mode!r}", "use zeros")
    kernel, dilation = (
        _pair(v, name, dims)
        for v, name in ((m.kernel_size, "kernel_size"), (m.dilation, "dilation"))
    )
    spans = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    if m.padding == "valid":
        sides = [(0, 0), (0, 0)]
    elif m.padding == "same":
        sides = [(span // 2, span - span // 2) for span in spans]
    else:
        sides = [(p, p) for p in _pair(m.padding, "padding", dims, 0)]
    weight = m.weight.detach().double()
    weight = weight.unsqueeze(-1) if dims == 1 else weight
    bias = weight.new_zeros(len(weight)) if m.bias is None else m.bias.detach().double()
    fits = all(a == b <= span for (a, b), span in zip(sides, spans, strict=True))
    own: Pair = (sides[0][0], sides[1][0]) if fits else (0, 0)
    stride = _pair(m.stride, "stride", dims)
    conv = Convolution(path, weight, bias, stride, own, m.groups, dilation, dims=dims)
    if fits:
        return [conv]
    # gates pad evenly, and by less than a kernel; the rest is a frame in front
    return [PadOp(f"{path}.pad", tuple(n for side in sides[dims - 1 :: -1] for n in side)), conv]


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


def clamp(path: str, least: Any, most: Any = None) -> Operation:
    """Cut below 0, and above a bound if there is one: ReLU6, Hardtanh, clamp."""
    bound = math.inf if most is None else most
    numbers = isinstance(least, (int, float)) and isinstance(bound, (int, float))
    if not numbers or least != 0 or not bound > 0:
        raise UnsupportedError(
            f"it cuts to {least}..{most}", "unsigned words start at 0: cut to 0..a, a above 0"
        )
    return Rectify(path, bound=float(bound))


def zero_pad(path: str, sides: Any, mode: str = "constant", value: float | None = None) -> PadOp:
    """Pad with zeros, with the arguments of torch's ``pad``."""
    if mode != "constant" or value not in (None, 0):
        raise UnsupportedError(f"it pads with {value or mode!r}", "pad with zeros")
    sides = tuple(sides) if isinstance(sides, (tuple, list)) else (sides,)
    if not all(isinstance(n, int) and n >= 0 for n in sides) or len(sides) % 2:
        raise UnsupportedError(f"it pads by {sides}", "use two whole numbers from 0 an axis")
    return PadOp(path, sides)


def max_pool(
    path: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    dims: int = 2,
) -> Operation:
    """Max pooling with the arguments of torch's."""
    if _pair(dilation, "dilation", dims) != (1, 1):
        raise UnsupportedError(f"dilation is {dilation}", "use dilation=1")
    if return_indices:
        raise UnsupportedError("it returns indices", "use return_indices=False")
    kernel = _pair(kernel_size, "kernel_size", dims)
    stride = _pair(stride, "stride", dims) if stride not in (None, [], ()) else kernel
    sides = _pair(padding, "padding", dims, 0)
    return MaxPoolOp(path, kernel, stride, sides, ceil=ceil_mode, dims=dims)


def avg_pool(
    path: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dims: int = 2,
) -> Operation:
    """Average pooling with the arguments of torch's."""
    if divisor_override is not None:
        raise UnsupportedError("divisor_override is set", "leave it out")
    padding = _pair(padding, "padding", dims, 0)
    if padding != (0, 0) and not count_include_pad:
        raise UnsupportedError(
            "count_include_pad=False with padding divides border pixels by less",
            "use count_include_pad=True or padding=0",
        )
    kernel = _pair(kernel_size, "kernel_size", dims)
    stride = _pair(stride, "stride", dims) if stride not in (None, [], ()) else kernel
    return AvgPoolOp(path, kernel, stride, padding, ceil=ceil_mode, dims=dims)


def adaptive(
    path: str,
    output_size: Any,
    return_indices: bool = False,
    *,
    kind: type[AvgPoolOp] | type[MaxPoolOp] = AvgPoolOp,
    dims: int = 2,
) -> Operation:
    """Pooling to a number of pixels; None keeps an axis as it is."""
    if return_indices:
        raise UnsupportedError("it returns indices", "use return_indices=False")
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * dims
    numbers = _pair([0 if n is None else n for n in sizes], "output_size", dims)
    return kind(path, None, size=(numbers[0] or None, numbers[1] or None), dims=dims)


def _max(dims: int) -> Callable[[str, Any], Operation]:
    return lambda path, m: max_pool(
        path, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices,
        dims=dims,
    )  # fmt: skip


def _average(dims: int) -> Callable[[str, Any], Operation]:
    return lambda path, m: avg_pool(
        path, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad,
        getattr(m, "divisor_override", None), dims=dims,
    )  # fmt: skip


def _adaptive(
    kind: type[AvgPoolOp] | type[MaxPoolOp], dims: int
) -> Callable[[str, Any], Operation]:
    return lambda path, m: adaptive(
        path, m.output_size, getattr(m, "return_indices", False), kind=kind, dims=dims
    )


def _nothing(path: str, m: nn.Module) -> Operation:
    return Nothing(path)


def _zeros(path: str, m: Any) -> Operation:
    return zero_pad(path, m.padding, value=getattr(m, "value", 0))


MODULES: dict[type[nn.Module], Callable[[str, Any], Operation | list[Operation]]] = {
    nn.Linear: _linear,
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.ReLU: lambda path, m: Rectify(path),
    nn.ReLU6: lambda path, m: clamp(path, 0, 6),
    nn.Hardtanh: lambda path, m: clamp(path, m.min_val, m.max_val),
    SpikePack: _neuron,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool1d: _max(1),
    nn.MaxPool2d: _max(2),
    nn.AvgPool1d: _average(1),
    nn.AvgPool2d: _average(2),
    nn.AdaptiveAvgPool1d: _adaptive(AvgPoolOp, 1),
    nn.AdaptiveAvgPool2d: _adaptive(AvgPoolOp, 2),
    nn.AdaptiveMaxPool1d: _adaptive(MaxPoolOp, 1),
    nn.AdaptiveMaxPool2d: _adaptive(MaxPoolOp, 2),
    nn.ZeroPad1d: _zeros,
    nn.ZeroPad2d: _zeros,
    nn.ConstantPad1d: _zeros,
    nn.ConstantPad2d: _zeros,
    nn.Flatten: _flatten,
    nn.Dropout: _nothing,
    nn.Dropout1d: _nothing,
    nn.Dropout2d: _nothing,
    nn.AlphaDropout: _nothing,
    nn.Identity: _nothing,
    Normalise: _normalise,
}
