"""Observations in integers: see ObservationParameters."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.quantise import FixedSignal
from spikeloom.hardware.encoders import ObservationParameters

__all__ = ["FixedObservation"]


class FixedObservation(FixedSignal):
    """Golden model of the observation core: samples of a format in, values out."""

    parameters: ObservationParameters

    def encode(self, samples: Tensor | ArrayLike) -> Tensor:
        """Values, int64 (..., channels * outputs, count), of samples (..., [channels,] count).

        Channel c * outputs + j of the result is value j of channel c.
        """
        x = self._in_format(samples)
        full = (1 << self.parameters.bits) - 1
        low, gain = (self._column(name).unsqueeze(-1) for name in ("low", "gain"))
        p = (((x - low) * gain + (1 << 15)) >> 16).clamp(0, full)
        values = [(2 * p - full).clamp(min=0), (full - 2 * p).clamp(min=0)]
        if not self.parameters.split:
            values = [p]
        if self.parameters.inverted:
            values += [full - value for value in values]
        return torch.stack(values, -2).flatten(-3, -2)
