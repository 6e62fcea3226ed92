"""Rules of torch's modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from spikeloom.conversion.general.attention import Masked
from spikeloom.conversion.general.rules import Rule, Sign
from spikeloom.conversion.operations import Normalise
from spikeloom.conversion.unsupported import UnsupportedError

__all__ = ["CONVOLUTIONS", "MODULE_RULES", "NORMS", "TRANSPOSED", "WEIGHTED", "module_rule", "taps"]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
WEIGHTED = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

_RECURRENT = "write its steps out with nn.Linear, or use a convolution over time"
_ADVICE = {
    "GRU": _RECURRENT,
    "LSTM": _RECURRENT,
    "RNN": _RECURRENT,
    "GRUCell": _RECURRENT,
    "LSTMCell": _RECURRENT,
    "Transformer": "use nn.TransformerEncoder, or write the blocks out",
    "TransformerDecoderLayer": "write it out: LayerNorm, MultiheadAttention, Linear",
    "Conv3d": "use nn.Conv2d on slices",
    "EmbeddingBag": "use nn.Embedding and a mean",
}


def taps(kernel: Any, dims: int) -> int:
    """Elements of a window."""
    sizes = tuple(kernel) if isinstance(kernel, (tuple, list)) else (kernel,) * dims
    sizes = sizes * dims if len(sizes) == 1 else sizes
    if not all(isinstance(size, int) for size in sizes):
        return 0  # the size of the tensor decides: looked up where it runs
    product = 1
    for size in sizes:
        product *= size
    return product


def _weighted(m: nn.Module) -> Rule:
    return Rule("weighted", type(m).__name__)


def _keep(m: nn.Module) -> Rule:
    return Rule("keep", type(m).__name__, "inherit")


def _maxed(m: Any) -> Rule:
    if m.return_indices:
        raise UnsupportedError("it returns indices", "use return_indices=False")
    return _keep(m)


def _averaged(dims: int) -> Callable[[Any], Rule]:
    def rule(m: Any) -> Rule:
        if getattr(m, "divisor_override", None) is not None:
            raise UnsupportedError("divisor_override is set", "leave it out")
        return Rule("wide", type(m).__name__, "inherit", taps=taps(m.kernel_size, dims))

    return rule


def _adaptive(m: Any) -> Rule:
    return Rule("wide", type(m).__name__, "inherit", taps=0)  # sizes are known where it runs


def _norm(m: Any) -> Rule:
    if m.running_mean is None or m.running_var is None:
        raise UnsupportedError(
            "it normalises by each batch, not by running statistics", "use track_running_stats=True"
        )
    return Rule("affine", type(m).__name__, shifts=True)


def _upsample(m: Any) -> Rule:
    return upsampling(str(m.mode), type(m).__name__)


def upsampling(mode: str, label: str) -> Rule:
    """Interpolation: nearest keeps words, others mix them."""
    if mode in ("nearest", "nearest-exact"):
        return Rule("keep", label, "inherit")
    return Rule("float", f"{label} {mode}", "signed" if mode == "bicubic" else "inherit")


def _hardtanh(m: Any) -> Rule:
    return clamped(m.min_val, m.max_val, type(m).__name__)


def clamped(low: Any, high: Any, label: str) -> Rule:
    """Clip to a range; from zero up it is a ReLU with a bound."""
    cap = float(high) if isinstance(high, (int, float)) and high > 0 else None
    if isinstance(low, (int, float)) and low >= 0:
        return Rule("relu" if low == 0 and high is None else "activation", label, "unsigned", cap)
    if cap is not None and isinstance(low, (int, float)):
        return Rule("activation", label, "signed", max(cap, -float(low)))
    return Rule("activation", label, "signed")  # no bound below zero


def softplus(threshold: Any, label: str) -> Rule:
    """Softplus: from its threshold up it is the identity, which may be below zero."""
    return Rule("activation", label, "unsigned" if threshold >= 0 else "signed")


def _active(sign: Sign, cap: float | None = None) -> Callable[[nn.Module], Rule]:
    return lambda m: Rule("activation", type(m).__name__, sign, cap)


def _constant_pad(m: Any) -> Rule:
    return padding("constant", m.value, type(m).__name__)


def padding(mode: str, value: Any, label: str) -> Rule:
    """Pad: zeros and copies of elements are words."""
    if mode == "constant" and value not in (None, 0):
        return Rule("float", f"{label} with {value}")
    return Rule("keep", label, "inherit")


def _float(sign: Sign = "signed") -> Callable[[nn.Module], Rule]:
    return lambda m: Rule("float", type(m).__name__, sign)


MODULE_RULES: dict[type[nn.Module], Callable[[Any], Rule]] = {
    **dict.fromkeys(WEIGHTED, _weighted),
    **dict.fromkeys(NORMS, _norm),
    Normalise: lambda m: Rule("affine", "Normalise", shifts=True),
    Masked: _float(),
    nn.ReLU: lambda m: Rule("relu", "ReLU", "unsigned"),
    nn.ReLU6: _active("unsigned", 6.0),
    nn.Hardtanh: _hardtanh,
    nn.Sigmoid: _active("unsigned", 1.0),
    nn.Hardsigmoid: _active("unsigned", 1.0),
    nn.Softplus: lambda m: softplus(m.threshold, "Softplus"),
    nn.Tanh: _active("signed", 1.0),
    **dict.fromkeys(
        (nn.LeakyReLU, nn.PReLU, nn.SiLU, nn.GELU, nn.Hardswish, nn.ELU, nn.SELU, nn.CELU, nn.Mish),
        _active("signed"),
    ),
    **dict.fromkeys((nn.Softmax, nn.Softmax2d), _float("unsigned")),
    **dict.fromkeys((nn.LogSoftmax, nn.LayerNorm, nn.GroupNorm, nn.Embedding), _float()),
    **dict.fromkeys(
        (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d), _maxed
    ),
    nn.AvgPool1d: _averaged(1),
    nn.AvgPool2d: _averaged(2),
    **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d), _adaptive),
    **dict.fromkeys((nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d), _upsample),
    **dict.fromkeys((nn.ConstantPad1d, nn.ConstantPad2d), _constant_pad),
    **dict.fromkeys(
        (
            nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d,
            nn.AlphaDropout, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.ZeroPad1d,
            nn.ZeroPad2d, nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReplicationPad1d,
            nn.ReplicationPad2d, nn.Unfold,
        ),
        _keep,
    ),
}  # fmt: skip


def module_rule(module: nn.Module) -> Rule:
    """Rule of a module; UnsupportedError where it has none."""
    make = MODULE_RULES.get(type(module))
    if make is None:
        kind = type(module).__name__
        raise UnsupportedError(
            f"{kind} has no spiking form",
            _ADVICE.get(kind, "write it with layers that have one, see docs/conversion.md"),
        )
    return make(module)
