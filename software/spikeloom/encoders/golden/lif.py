"""Leaky integrate and fire in integers: see LIFParameters and LIFDecoderParameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.quantise import FixedSignal, shift_half_even
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import LIFDecoderParameters, LIFParameters
from spikeloom.hardware.encoders.signal import GUARD_BITS, MAX_LEAK_SHIFT

__all__ = ["FixedLIF"]


class FixedLIF(FixedSignal):
    """Golden model of the LIF core and of its decoder.

    decoder: settings ``leak`` and ``gain`` of the decoder, see LIFDecoderParameters. Default: the
    leak of the encoder and, with one = 2^leak_bits, the gain of 1 at frequency 0,
    round_half_even((threshold << GUARD_BITS) * (one - leak) / one); with what a leak by shifting
    stands for where it is one.

    profile: ``"compat"`` is spike-encoding 1.8.2 on integers, without its normalisation: the first
    sample is ignored, and until the first spike v - x[1] is compared instead of v. The cores do not
    have it. Its decoder adds one threshold a spike, by default, and ignores the first.
    """

    parameters: LIFParameters

    def __init__(
        self,
        parameters: LIFParameters,
        settings: Mapping[str, ArrayLike] | None = None,
        *,
        decoder: Mapping[str, ArrayLike] | None = None,
        profile: str = "textbook",
        **common: Any,
    ):
        super().__init__(parameters, settings, **common)
        if profile not in ("textbook", "compat"):
            raise InputError(f"profile must be 'textbook' or 'compat', not {profile!r}")
        if profile == "compat" and (parameters.refractory or parameters.reset != "zero"):
            raise InputError("profile='compat' resets to zero and has no refractory period")
        self.profile = profile
        self.decoder_parameters = LIFDecoderParameters(
            format=parameters.format,
            channels=parameters.channels,
            leak=parameters.leak,
            leak_bits=parameters.leak_bits,
        )
        factor, bits = self._factor(self._column("leak"))
        gain = self._column("threshold") << GUARD_BITS
        if profile == "textbook":
            gain = shift_half_even(gain * ((1 << bits) - factor), bits)
        defaults = {"leak": self.settings["leak"], "gain": gain.numpy()}
        self.decoder_settings = self.decoder_parameters.settings({**defaults, **(decoder or {})})

    def _factor(self, leak: Tensor) -> tuple[Tensor, int]:
        """Return the leak as an integer, and how many bits it has below 1."""
        if self.parameters.leak == "multiply":
            return leak, self.parameters.leak_bits
        one = 1 << MAX_LEAK_SHIFT
        # every 2^-k is a whole number of units, so that the product is exact
        return one - torch.where(leak == 0, 0, one >> leak), MAX_LEAK_SHIFT

    def encode(self, samples: Tensor | ArrayLike) -> Tensor:
        """Spikes, int8, of one frame: int64 samples (..., [channels,] time) of the format."""
        x = self._in_format(samples) << GUARD_BITS
        theta = (self._column("threshold") << GUARD_BITS).expand(x.shape[:-1])
        leak, leak_bits = self._factor(self._column("leak"))
        out = torch.zeros(x.shape, dtype=torch.int8)
        compat = self.profile == "compat"
        rest = self._column("refractory") if self.parameters.refractory else torch.tensor(0)
        v, wait, base = (torch.zeros_like(theta) for _ in range(3))
        for t in range(int(compat), x.shape[-1]):
            awake = wait == 0
            u = v + x[..., t]
            if compat and t == 1:
                base = u
            up, down = awake & (u - base > theta), awake & (u - base < -theta)
            spike = up.to(torch.int64) - down.to(torch.int64)
            if self.parameters.reset == "subtract":
                reset = (u - spike * theta).clamp(-theta, theta)
            else:
                reset = torch.zeros_like(u)
            fired = spike != 0
            u, base = torch.where(fired, reset, u), base.masked_fill(fired, 0)
            v = torch.where(awake, shift_half_even(u * leak, leak_bits), v)
            wait = torch.where(fired, rest, (wait - 1).clamp(min=0))
            out[..., t] = spike
        return self._shaped(out)

    def decode(self, spikes: Tensor | ArrayLike, start: Tensor | ArrayLike | None = None) -> Tensor:
        """Samples, int64, of spikes (..., [channels,] time); ``start`` must be None: no side-band.

        Raises InputError if there is one.
        """
        if start is not None:
            raise InputError("lif decodes without a side-band: its sum starts at 0")
        s = self._samples(spikes, "spike")
        f = self.parameters.format
        low, high = f.low << GUARD_BITS, ((f.high + 1) << GUARD_BITS) - 1
        leak, gain = (torch.as_tensor(self.decoder_settings[name]) for name in ("leak", "gain"))
        leak, leak_bits = self._factor(leak)
        out = torch.zeros(s.shape, dtype=torch.int64)
        y = torch.zeros(s.shape[:-1], dtype=torch.int64)
        for t in range(int(self.profile == "compat"), s.shape[-1]):
            y = shift_half_even(y * leak, leak_bits) + s[..., t] * gain
            y = y.clamp(low, high)
            out[..., t] = shift_half_even(y, GUARD_BITS).clamp(f.low, f.high)
        return self._shaped(out)
