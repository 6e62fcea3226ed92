"""Pulse width modulation in integers: see PWMParameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders import pwm_compat
from spikeloom.encoders.base import column
from spikeloom.encoders.golden.quantise import FixedSignal, shift_half_even
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import PWMParameters

__all__ = ["FixedPWM"]


class FixedPWM(FixedSignal):
    """Golden model of the PWM core.

    package_frequency: the compat profile, in the place of ``step``: spike-encoding 1.8.2 without
    its normalisation, with frequencies, one or one a channel, of its carrier table. This has no
    core: the package's carrier is a float32 table.
    """

    parameters: PWMParameters

    def __init__(
        self,
        parameters: PWMParameters,
        settings: Mapping[str, ArrayLike] | None = None,
        *,
        package_frequency: float | Tensor | None = None,
        **common: Any,
    ):
        super().__init__(parameters, settings, **common)
        self.package_frequency: Tensor | None = None
        if package_frequency is None:
            return
        if settings or not parameters.bipolar or parameters.carrier != "restart":
            raise InputError(
                "package_frequency takes the place of settings, and needs bipolar=True and"
                " carrier='restart', as the package is"
            )
        given = column("package_frequency", package_frequency, low=0.0).reshape(-1)
        if len(given) not in (1, parameters.channels):
            raise InputError(
                f"package_frequency is for {len(given)} channels, not {parameters.channels}"
            )
        self.package_frequency = given.expand(parameters.channels)

    def encode(self, samples: Tensor | ArrayLike) -> Tensor:
        """Spikes, int8, of one frame: int64 samples (..., [channels,] time) of the format."""
        x = self._in_format(samples)
        if self.package_frequency is not None:
            return self._shaped(self._encode_compat(x, self.package_frequency))
        full = 1 << self.parameters.phase_bits
        signal = x.clamp(min=0) << (self.parameters.phase_bits - self.parameters.format.fraction)
        step = self._column("step").expand(x.shape[:-1])
        phase, last = torch.zeros_like(step), torch.zeros_like(step)
        out = torch.zeros(x.shape, dtype=torch.int8)
        for t in range(x.shape[-1]):
            level = (signal[..., t] < phase).to(torch.int64)
            if self.parameters.bipolar:
                level = torch.where(signal[..., t] > full - phase, -1, level)
            out[..., t] = torch.where(level != last, level, 0)
            last = level
            phase = phase + step
            restart = self.parameters.carrier == "restart"
            phase = torch.where(phase >= full, 0 if restart else phase - full, phase)
        return self._shaped(out)

    def decode(self, spikes: Tensor | ArrayLike, start: Tensor | ArrayLike | None = None) -> Tensor:
        """Samples, int64, of spikes (..., [channels,] time): each spike's value until the next.

        The value of an ON spike is round_half_even((phase + max(phase - step, 0)) / 2) in LSB of a
        sample, that of an OFF spike mirrored, 2^fraction - that, clipped to the format. Before the
        first spike: start, int64 (..., [channels]), or 2^fraction / 2. InputError in the compat
        profile, whose decoder is not for integers.
        """
        if self.package_frequency is not None:
            raise InputError("the package's linear decoder has no integers: use PWM.decode")
        s = self._samples(spikes, "spike")
        f, full = self.parameters.format, 1 << self.parameters.phase_bits
        step = self._column("step").expand(s.shape[:-1])
        phase = torch.zeros_like(step)
        value = torch.full_like(step, 1 << (f.fraction - 1))
        if start is not None:
            given = torch.as_tensor(start).to(torch.int64)
            given = given.unsqueeze(-1) if self.parameters.channels == 1 else given
            value = given.expand(s.shape[:-1])
        out = torch.zeros(s.shape, dtype=torch.int64)
        for t in range(s.shape[-1]):
            twice = phase + (phase - step).clamp(min=0)
            on = shift_half_even(twice, self.parameters.phase_bits + 1 - f.fraction)
            meant = torch.where(s[..., t] > 0, on, (1 << f.fraction) - on)
            value = torch.where(s[..., t] != 0, meant, value).clamp(f.low, f.high)
            out[..., t] = value
            phase = phase + step
            restart = self.parameters.carrier == "restart"
            phase = torch.where(phase >= full, 0 if restart else phase - full, phase)
        return self._shaped(out)

    def _encode_compat(self, x: Tensor, frequency: Tensor) -> Tensor:
        saw = pwm_compat.carrier(frequency)
        period = pwm_compat.periods(saw)
        one = 2.0**self.parameters.format.fraction
        # integer x < y is x < ceil(y), x > y is x > floor(y); 1 - saw is rounded to float32
        rising = (saw.double() * one).ceil().long()
        falling = ((1 - saw).double() * one).floor().long()
        row = torch.arange(len(saw))
        last = torch.zeros(x.shape[:-1], dtype=torch.int64)
        out = torch.zeros(x.shape, dtype=torch.int8)
        for t in range(1, x.shape[-1]):
            place = (t - 1) % period
            level = (x[..., t] < rising[row, place]).to(torch.int64)
            level = torch.where(x[..., t] > falling[row, place], -1, level)
            out[..., t] = torch.where(level != last, level, 0)
            last = level
        return out
