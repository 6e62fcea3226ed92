"""Gaussian receptive fields in integers: see PopulationParameters."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.value import FixedValue
from spikeloom.hardware.encoders import PopulationParameters

__all__ = ["FixedPopulation"]


class FixedPopulation(FixedValue):
    """Golden model of the population core: values in, more values out."""

    parameters: PopulationParameters

    def encode(self, values: Tensor | ArrayLike) -> Tensor:
        """Responses, int64 (..., channels * neurons, count), of values (..., [channels,] count).

        Channel c * neurons + n of the result is neuron n of channel c.
        """
        v = self._channelled(self._values(values))
        table = torch.tensor(self.parameters.table)  # (neurons, 2^bits)
        return table[:, v].movedim(0, -2).flatten(-3, -2)
