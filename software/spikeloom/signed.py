"""SpikePack with signed words: two's complement, the first spike negative.

For values that may be negative: linear bottlenecks, residual sums, LeakyReLU, GELU and the like. A
neuron adds half its range to the potential, fires as :class:`SpikePack` does, and inverts the first
spike: clip(floor(v / theta), -2^(T-1), 2^(T-1) - 1).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from spikeloom.neuron import SpikePack
from spikeloom.neuron_kernels.clipped import Clipped
from spikeloom.neuron_kernels.reference import parallel_words

__all__ = ["SignedSpikePack"]


class SignedSpikePack(SpikePack):
    """SpikePack whose words lie in -2^(T-1) .. 2^(T-1) - 1; the arguments are those of SpikePack.

    tau is 2: hardware's. With T = 1 the words are -1 and 0.
    """

    def __init__(
        self,
        steps: int = 4,
        threshold: float | Tensor = 0.25,
        *,
        rounding: bool = False,
        channel_dim: int = 1,
        trainable: bool = False,
    ) -> None:
        super().__init__(
            steps, threshold, rounding=rounding, channel_dim=channel_dim, trainable=trainable
        )

    @property
    def half(self) -> int:
        """Weight of the first spike, 2^(T-1), in thresholds."""
        return 1 << (self.steps - 1)

    @property
    def top(self) -> float:
        """Greatest value, in thresholds."""
        return float(self.half - 1)

    def _work(self, v: Tensor) -> tuple[Tensor, Tensor]:
        v, theta = super()._work(v)
        return v + theta * self.half, theta

    def extra_repr(self) -> str:
        """Parameters, for ``print(model)``."""
        return f"{super().extra_repr()}, signed"

    @torch.no_grad()
    def spikes(self, v: Tensor) -> Tensor:
        """Spikes, uint8 (T, *v.shape); the first has the weight -2^(T-1)."""
        s = super().spikes(v)
        s[0] = 1 - s[0]
        return s

    @torch.no_grad()
    def pack(self, v: Tensor) -> Tensor:
        """Packed words, int64, shape of v."""
        return super().pack(v) - self.half

    def forward(self, v: Tensor) -> Tensor:
        """Return threshold * packed word, shape and dtype of v."""
        work, theta = self._work(v)
        with torch.no_grad():
            y = (parallel_words(work, theta, self.steps) - self.half) * theta
        if torch.is_grad_enabled() and (work.requires_grad or theta.requires_grad):
            plain = v.to(work.dtype)  # no offset belongs to the slope
            y = cast(Tensor, Clipped.apply(plain, theta, y, -float(self.half), self.top))
        return y.to(v.dtype)
