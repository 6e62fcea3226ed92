"""Step-forward in integers: see StepForwardParameters and StepForwardDecoderParameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.quantise import FixedSignal
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import StepForwardParameters

__all__ = ["FixedStepForward"]


class FixedStepForward(FixedSignal):
    """Golden model of the step-forward core and of its decoder.

    profile: ``"compat"`` is spike-encoding 1.8.2 on integers: the rule with ``initial="first"``,
    but its decoder starts at 0 unless told.
    """

    parameters: StepForwardParameters

    def __init__(
        self,
        parameters: StepForwardParameters,
        settings: Mapping[str, ArrayLike] | None = None,
        *,
        profile: str = "textbook",
        **common: Any,
    ):
        super().__init__(parameters, settings, **common)
        if profile not in ("textbook", "compat"):
            raise InputError(f"profile must be 'textbook' or 'compat', not {profile!r}")
        if profile == "compat" and (parameters.levels or parameters.initial != "first"):
            raise InputError("profile='compat' is initial='first' with levels=0")
        self.profile = profile

    def encode(self, samples: Tensor | ArrayLike) -> Tensor:
        """Spikes, int8, of one frame: int64 samples (..., [channels,] time) of the format."""
        x = self._in_format(samples)
        threshold = self._column("threshold").expand(x.shape[:-1])
        out = torch.zeros(x.shape, dtype=torch.int8)
        level, last = torch.zeros_like(threshold), torch.zeros_like(threshold)
        first = self.parameters.initial == "first"
        base = x[..., 0] if first else self._column("initial").expand(x.shape[:-1])
        for t in range(int(first), x.shape[-1]):
            theta = threshold << level
            up, down = x[..., t] > base + theta, x[..., t] < base - theta
            spike = up.to(torch.int64) - down.to(torch.int64)
            base = base + spike * theta
            out[..., t] = spike
            level, last = self._adapt(level, last, spike), spike
        return self._shaped(out)

    def decode(self, spikes: Tensor | ArrayLike, start: Tensor | ArrayLike | None = None) -> Tensor:
        """Samples, int64, of spikes (..., [channels,] time).

        start: the side-band, int64 (..., [channels]); InputError if it is needed and missing.
        """
        s = self._samples(spikes, "spike")
        f = self.parameters.format
        threshold = self._column("threshold").expand(s.shape[:-1])
        out = torch.zeros(s.shape, dtype=torch.int64)
        level, last = torch.zeros_like(threshold), torch.zeros_like(threshold)
        first = self.parameters.initial == "first"
        if first:
            if start is None and self.profile == "textbook":
                raise InputError("decoding needs the side-band: start=samples[..., 0]")
            base = torch.as_tensor(0 if start is None else start).to(torch.int64)
            if base.ndim and self.parameters.channels == 1:
                base = base.unsqueeze(-1)
            base = base.expand(s.shape[:-1])
            out[..., 0] = base
        else:
            base = self._column("initial").expand(s.shape[:-1])
        for t in range(int(first), s.shape[-1]):
            base = (base + s[..., t] * (threshold << level)).clamp(f.low, f.high)
            out[..., t] = base
            level, last = self._adapt(level, last, s[..., t]), s[..., t]
        return self._shaped(out)

    def _adapt(self, level: Tensor, last: Tensor, spike: Tensor) -> Tensor:
        again = (spike == last) & (spike != 0)
        return torch.where(again, level + 1, level - 1).clamp(0, self.parameters.levels)
