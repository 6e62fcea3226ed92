"""Threshold-based representation in integers: see ThresholdBasedParameters."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.quantise import FixedSignal
from spikeloom.hardware.encoders.more import ThresholdBasedParameters

__all__ = ["FixedThresholdBased"]


class FixedThresholdBased(FixedSignal):
    """Golden model of the threshold-based core."""

    parameters: ThresholdBasedParameters

    def encode(self, samples: Tensor | ArrayLike) -> Tensor:
        """Spikes, int8, of one frame: int64 samples (..., [channels,] time) of the format."""
        x = self._in_format(samples)
        d = torch.cat((torch.zeros_like(x[..., :1]), x.diff(dim=-1)), -1)
        threshold = self._column("threshold")[:, None]
        out = (d > threshold).to(torch.int8) - (d < -threshold).to(torch.int8)
        return self._shaped(out)
