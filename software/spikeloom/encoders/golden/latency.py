"""Time to first spike in integers: see LatencyParameters."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.value import FixedValue
from spikeloom.hardware.encoders import LatencyParameters

__all__ = ["FixedLatency"]


class FixedLatency(FixedValue):
    """Golden model of the latency core."""

    parameters: LatencyParameters

    def encode(self, values: Tensor | ArrayLike) -> Tensor:
        """Words, int64, of values of any shape: one bit set, or none."""
        v = self._values(values)
        # boundaries never rise, so that the number above v is the first step that is not
        step = (v.unsqueeze(-1) < torch.tensor(self.parameters.boundaries)).sum(-1)
        # 2^steps >> (steps + 1) is 0: no step, no spike
        return (1 << self.parameters.steps) >> (step + 1)
