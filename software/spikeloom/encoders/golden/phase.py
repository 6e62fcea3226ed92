"""Bit planes in integers: see PhaseParameters."""

from __future__ import annotations

from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.value import FixedValue
from spikeloom.hardware.encoders import PhaseParameters

__all__ = ["FixedPhase"]


class FixedPhase(FixedValue):
    """Golden model of the phase core."""

    parameters: PhaseParameters

    def encode(self, values: Tensor | ArrayLike) -> Tensor:
        """Words, int64, of values of any shape."""
        top = (1 << self.parameters.steps) - 1
        return (2 * self._values(values) * top + self.full) // (2 * self.full)
