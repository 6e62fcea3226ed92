"""Deterministic rate in integers: see RateParameters."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.value import FixedValue, centred, pack
from spikeloom.hardware.encoders import RateParameters

__all__ = ["FixedRate"]


class FixedRate(FixedValue):
    """Golden model of the rate core."""

    parameters: RateParameters

    def encode(self, values: Tensor | ArrayLike) -> Tensor:
        """Words, int64, of values of any shape."""
        bits, steps = self.parameters.bits, self.parameters.steps
        t = centred(self._values(values), bits).unsqueeze(-1)
        total = (torch.arange(steps + 1) * t + (1 << (bits - 1))) >> bits
        return pack(total.diff(dim=-1))
