"""Burst: the greater the value, the more spikes, and the closer together."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeloom.encoders.golden.burst import FixedBurst
from spikeloom.encoders.value import ValueEncoder, core_parameters, integer
from spikeloom.hardware.encoders.more import BurstParameters

__all__ = ["Burst"]

#: Values on the grid of a core differ from the edge of a step by 1 / 2^16 or not at all.
_SNAP = 1e-9
_TABLE = 1 << 12


class Burst(ValueEncoder):
    """Burst code (Guo et al. 2021).

    n = ceil(u * spikes) spikes at steps 0, d, 2 d, ... with the distance d = ceil(gap - u * (gap -
    1)), or gap if n <= 1; those beyond the last step are left out.

    steps: of a word. spikes: most spikes of a burst, 1..steps. gap: longest distance, 1..steps.

    No gradient: the result is detached. decode: the middle of the values that give the word, or the
    word that differs in the fewest steps.
    """

    NAME: ClassVar[str] = "burst"

    words: Tensor
    middles: Tensor

    def __init__(self, steps: int = 15, *, spikes: int = 5, gap: int = 3, **common: Any):
        super().__init__(steps, **common)
        # the attribute `spikes` is the method
        self.most = integer("spikes", spikes, 1, steps)
        self.gap = integer("gap", gap, 1, steps)
        u = torch.linspace(0.0, 1.0, _TABLE + 1, dtype=torch.float64)
        words, which = torch.unique(self._encode(u, None)[0], dim=0, return_inverse=True)
        low = torch.full((len(words),), 2.0, dtype=torch.float64)
        high = torch.full((len(words),), -1.0, dtype=torch.float64)
        low = low.scatter_reduce(0, which, u, "amin")
        high = high.scatter_reduce(0, which, u, "amax")
        self.register_buffer("words", words.double(), persistent=False)
        self.register_buffer("middles", (low + high) / 2, persistent=False)

    def _encode(self, u: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        count = torch.ceil(u * self.most - _SNAP)
        distance = torch.ceil(self.gap - u * (self.gap - 1) - _SNAP)
        distance = torch.where(count > 1, distance, self.gap).unsqueeze(-1)
        step = torch.arange(self.steps, device=u.device)
        return (step % distance == 0) & (step < distance * count.unsqueeze(-1)), state

    def _decode(self, s: Tensor) -> Tensor:
        words = self.words.to(s.device)
        fired = (s != 0).double()
        # squared distance, but for the part that all words share
        away = words.sum(-1) - 2 * fired @ words.T
        return self.middles.to(s.device)[away.argmin(-1)]

    def fixed(self, *, bits: int | None = None, channels: int | None = None) -> FixedBurst:
        """Integer golden model; see ValueEncoder.fixed."""
        parameters = core_parameters(
            BurstParameters, **self._core(bits, channels), spikes=self.most, gap=self.gap
        )
        return FixedBurst(parameters, offset=self.offset, scale=self.scale)

    def extra_repr(self) -> str:
        """Parameters, short."""
        return f"{super().extra_repr()}, spikes={self.most}, gap={self.gap}"
