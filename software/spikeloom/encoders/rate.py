"""Deterministic rate: evenly spread spikes, as many as the value says."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from spikeloom.encoders.golden.rate import FixedRate
from spikeloom.encoders.value import ValueEncoder, core_parameters
from spikeloom.hardware.encoders import RateParameters

__all__ = ["Rate"]


class Rate(ValueEncoder):
    """Deterministic rate code: a first-order sigma-delta accumulator that starts at one half.

    Spike at step k = 0 .. steps - 1: floor((k + 1) u + 1/2) - floor(k u + 1/2), so that a word has
    floor(steps * u + 1/2) spikes, evenly spread. With ``bits`` the accumulator is that of the core:
    u = t / 2^bits, see RateParameters.

    Straight-through gradient: each spike has gradient 1 after u, and so has their mean, the rate;
    0 where u is clipped. decode: the mean.
    """

    NAME: ClassVar[str] = "rate"
    STRAIGHT_THROUGH: ClassVar[bool] = True

    def _encode(self, u: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        k = torch.arange(self.steps + 1, dtype=torch.float64, device=u.device)
        total = torch.floor(k * self._probability(u).unsqueeze(-1) + 0.5)
        return total.diff(dim=-1) > 0, state

    def _decode(self, s: Tensor) -> Tensor:
        return s.mean(-1)

    def fixed(self, *, bits: int | None = None, channels: int | None = None) -> FixedRate:
        """Integer golden model; see ValueEncoder.fixed."""
        parameters = core_parameters(RateParameters, **self._core(bits, channels))
        return FixedRate(parameters, offset=self.offset, scale=self.scale)
