"""Random rate in integers: see PoissonParameters."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.value import FixedValue, centred
from spikeloom.hardware.encoders import PoissonParameters

__all__ = ["FixedPoisson", "xorshift32"]


def xorshift32(x: Tensor) -> Tensor:
    """Next state of the generator (Marsaglia 2003, triple 13, 17, 5), int64 below 2^32, not 0."""
    x = x ^ ((x << 13) & 0xFFFFFFFF)
    x = x ^ (x >> 17)
    return x ^ ((x << 5) & 0xFFFFFFFF)


class FixedPoisson(FixedValue):
    """Golden model of the Poisson core."""

    parameters: PoissonParameters

    def encode(self, values: Tensor | ArrayLike) -> Tensor:
        """Words, int64, of values (..., [channels,] count), from reset.

        The generator of a channel runs on along the last axis; each leading index starts anew.
        """
        given = self._values(values)
        v = self._channelled(given)
        t = centred(v, self.parameters.bits)
        words = torch.zeros_like(v)
        x = torch.as_tensor(self.settings["seed"]).expand(v.shape[:-1])
        for n in range(v.shape[-1]):
            for _ in range(self.parameters.steps):
                x = xorshift32(x)
                spike = (x >> (32 - self.parameters.bits)) < t[..., n]
                words[..., n] = (words[..., n] << 1) | spike
        return words.reshape(given.shape)
