"""Moving window in integers: see MovingWindowParameters."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.quantise import FixedSignal
from spikeloom.hardware.encoders.more import MovingWindowParameters

__all__ = ["FixedMovingWindow"]


class FixedMovingWindow(FixedSignal):
    """Golden model of the moving-window core."""

    parameters: MovingWindowParameters

    def encode(self, samples: Tensor | ArrayLike) -> Tensor:
        """Spikes, int8, of one frame: int64 samples (..., [channels,] time) of the format."""
        x = self._in_format(samples)
        window = self.parameters.window
        size = 1 << window
        past = torch.cat((x[..., :1].expand(*x.shape[:-1], size), x), -1)
        total = past.unfold(-1, size, 1).sum(-1)[..., :-1]  # of the samples before each
        threshold = self._column("threshold")[:, None] << window
        d = (x << window) - total
        out = (d > threshold).to(torch.int8) - (d < -threshold).to(torch.int8)
        return self._shaped(out)
