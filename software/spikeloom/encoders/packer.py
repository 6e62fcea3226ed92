"""From spikes to the packed words of a SpikePack network, and back where there is a way back."""

from __future__ import annotations

import warnings
from typing import ClassVar, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from spikeloom.encoders.golden.packer import FixedPacker, words_of
from spikeloom.encoders.golden.value import unpack
from spikeloom.encoders.value import core_parameters, integer
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import PackerMode, PackerParameters

__all__ = ["Packer"]

#: Spikes of a larger magnitude are no spikes: Delta has 15 quanta at most.
GREATEST = 15


class Packer(nn.Module):
    """Spikes (..., channels, time) to words (..., channels * outputs, windows).

    Every ``window`` samples become one word of each channel, without overlap; steps missing in the
    last window count as 0. A plain train (time,) is one channel. The rule, and that of the order of
    the channels, is in PackerParameters.

    mode: ``count``: the sum of the spikes, at most 2^bits - 1; for codes whose spikes weigh the
    same: StepForward, LIF, PWM, BSA, Delta, Rate, Poisson. ``bits``: each step a channel of one
    bit, c * window + k. ``weighted``: the first spike is the most significant bit; only for Phase,
    whose spikes mean that (measured on smartwatch data with SF: weighted 65.6 %, bits 68.5 %,
    count 72.0 % right); spikes below 0, which Phase never makes, give a warning.
    window: 1..255, for ``bits`` and ``weighted`` 1..16. bits: 1..16, width of a count; None: as
    many as the window needs. bipolar: spikes below 0 go to channels of their own: 2c ON, 2c + 1
    OFF; without it they are lost.

    Words are in the dtype of the spikes if that is float, else int64. No gradient.
    """

    NAME: ClassVar[str] = "packer"

    def __init__(
        self,
        mode: PackerMode = "count",
        *,
        window: int = 16,
        bits: int | None = None,
        bipolar: bool = True,
    ):
        super().__init__()
        if mode not in get_args(PackerMode):
            raise InputError(f"mode must be one of {get_args(PackerMode)}, not {mode!r}")
        integer("window", window, 1, 255 if mode == "count" else 16)
        bits = window.bit_length() if bits is None else integer("bits", bits, 1, 16)
        self.structure = PackerParameters(
            mode=mode, window=window, word_bits=bits, bipolar=bool(bipolar)
        )

    def forward(self, spikes: Tensor | ArrayLike) -> Tensor:
        """Words of spikes -15..15, of any number type.

        Raises InputError for fractions, other numbers, an empty tensor.
        """
        given = spikes if isinstance(spikes, Tensor) else torch.as_tensor(np.asarray(spikes))
        s = _integers(given, "spikes", GREATEST)
        p = self.structure
        if p.mode == "weighted" and p.bipolar and bool((s < 0).any()):
            warnings.warn(
                "weighted words of signed spikes: their order has no weight in any code with OFF"
                " spikes; mode='count' keeps more",
                stacklevel=2,
            )
        words = words_of(s.unsqueeze(0) if s.ndim == 1 else s, p)
        return words.to(given.dtype) if given.dtype.is_floating_point else words

    def unpack(self, words: Tensor | ArrayLike, *, time: int | None = None) -> Tensor:
        """Spikes (..., channels, time) of words (..., channels * outputs, windows).

        time: samples, default windows * window. The inverse of ``forward`` for spikes -1, 0, 1 (0
        and 1 unless bipolar). Dtype as in ``forward``, int8 for integers. Raises InputError in mode
        ``count``, which keeps no times, and for words of another packer.
        """
        p = self.structure
        if p.mode == "count":
            raise InputError("counts do not say when the spikes were: mode 'bits' can be unpacked")
        given = words if isinstance(words, Tensor) else torch.as_tensor(np.asarray(words))
        w = _integers(given, "words", (1 << p.output_bits) - 1)
        if w.ndim < 2 or w.shape[-2] % p.outputs or bool((w < 0).any()):
            raise InputError(
                f"words must be (..., channels * {p.outputs}, windows) and not below 0, not"
                f" {tuple(w.shape)}"
            )
        if p.mode == "weighted":
            s = unpack(w, p.window).to(torch.int64)  # (..., q, windows, window)
        else:
            s = w.unflatten(-2, (-1, p.window)).movedim(-2, -1)
        s = s.flatten(-2)
        if p.bipolar:
            s = s[..., 0::2, :] - s[..., 1::2, :]
        if time is not None and not s.shape[-1] - p.window < time <= s.shape[-1]:
            raise InputError(f"{time} samples do not fill {w.shape[-1]} windows of {p.window}")
        s = s[..., :time]
        return s.to(given.dtype if given.dtype.is_floating_point else torch.int8)

    def fixed(self, *, channels: int = 1, spike_bits: int = 2) -> FixedPacker:
        """Integer golden model, for spikes of ``spike_bits`` bits, of the core."""
        p = self.structure
        return FixedPacker(
            core_parameters(
                PackerParameters,
                mode=p.mode,
                window=p.window,
                word_bits=p.word_bits,
                bipolar=p.bipolar,
                channels=channels,
                spike_bits=spike_bits,
            )
        )

    def extra_repr(self) -> str:
        """Parameters, short."""
        p = self.structure
        width = f", bits={p.word_bits}" if p.mode == "count" else ""
        return f"{p.mode!r}, window={p.window}{width}, bipolar={p.bipolar}"


def _integers(x: Tensor, what: str, greatest: int) -> Tensor:
    """Return x as int64; InputError unless it holds integers of a magnitude up to ``greatest``."""
    if x.ndim == 0 or x.numel() == 0:
        raise InputError(f"{what} must have a time axis, and not be empty, not {tuple(x.shape)}")
    wide = x.double() if x.dtype.is_floating_point else x.to(torch.int64)
    wrong = ~(wide.abs() <= greatest)  # also a NaN
    if x.dtype.is_floating_point:
        wrong |= wide != wide.round()
    if bool(wrong.any()):
        flat = int(torch.nonzero(wrong.reshape(-1))[0])
        index = [int(k) for k in np.unravel_index(flat, tuple(x.shape))]
        value = x.reshape(-1)[flat].item()
        raise InputError(
            f"{what}{index} is {value}: {what} are integers, of a magnitude up to {greatest}"
        )
    return wide.to(torch.int64)
