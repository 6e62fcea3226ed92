"""Second-order sigma-delta in integers: see SigmaDeltaParameters."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.quantise import FixedSignal
from spikeloom.hardware.encoders.more import SigmaDeltaParameters

__all__ = ["FixedSigmaDelta"]


class FixedSigmaDelta(FixedSignal):
    """Golden model of the sigma-delta core."""

    parameters: SigmaDeltaParameters

    def encode(self, samples: Tensor | ArrayLike) -> Tensor:
        """Spikes, int8, of one frame: int64 samples (..., [channels,] time) of the format."""
        x = self._in_format(samples)
        threshold = self._column("threshold").expand(x.shape[:-1])
        high = 1 << (self.parameters.format.width + 2)
        a = b = torch.zeros_like(threshold)
        out = torch.zeros(x.shape, dtype=torch.int8)
        for t in range(x.shape[-1]):
            s = (2 * b >= threshold).to(torch.int64) - (2 * b <= -threshold).to(torch.int64)
            fed = s * threshold
            held = ((a >= -high) & (a < high) & (b >= -high) & (b < high)).to(torch.int64)
            a, b = held * (a + x[..., t] - fed), held * (b + a - 2 * fed)
            out[..., t] = s
        return self._shaped(out)
