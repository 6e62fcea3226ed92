"""Burst code in integers: see BurstParameters."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.value import FixedValue, pack
from spikeloom.hardware.encoders.more import BurstParameters

__all__ = ["FixedBurst"]


class FixedBurst(FixedValue):
    """Golden model of the burst core."""

    parameters: BurstParameters

    def encode(self, values: Tensor | ArrayLike) -> Tensor:
        """Words, int64, of values of any shape."""
        p = self.parameters
        v = self._values(values).unsqueeze(-1)
        count = -(-v * p.spikes // p.full)
        distance = p.gap - v * (p.gap - 1) // p.full
        distance = torch.where(count > 1, distance, p.gap)
        step = torch.arange(p.steps)
        return pack((step % distance == 0) & (step < distance * count))
