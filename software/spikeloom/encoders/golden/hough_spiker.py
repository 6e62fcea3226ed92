"""Hough's spiker algorithm in integers: see HoughSpikerParameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.bsa import FixedBSA
from spikeloom.hardware.encoders import HoughSpikerParameters

__all__ = ["FixedHoughSpiker"]


class FixedHoughSpiker(FixedBSA):
    """Golden model of the core of Hough's spiker algorithm; :meth:`decode` as of BSA.

    taps: the filter, as many integers as the parameters say, in LSB of a sample; None for the one
    after reset. InputError for taps that a core cannot have, see ``checked_taps``.
    """

    parameters: HoughSpikerParameters

    def __init__(
        self,
        parameters: HoughSpikerParameters,
        settings: Mapping[str, ArrayLike] | None = None,
        *,
        taps: Sequence[int] | None = None,
        **common: Any,
    ):
        super().__init__(parameters, settings, taps=taps, profile="textbook", **common)

    def encode(self, samples: Tensor | ArrayLike) -> Tensor:
        """Spikes, int8, of one frame: int64 samples (..., [channels,] time) of the format."""
        residual = self._in_format(samples).clone()
        threshold = self._column("threshold").expand(residual.shape[:-1])
        taps = torch.tensor(self.taps)
        out = torch.zeros(residual.shape, dtype=torch.int8)
        for t in range(residual.shape[-1] - len(taps) + 1):
            window = residual[..., t : t + len(taps)]
            rest = window - taps
            spike = rest.clamp(max=0).sum(-1) >= -threshold
            window.copy_(torch.where(spike[..., None], rest, window))
            out[..., t] = spike
        return self._shaped(out)
