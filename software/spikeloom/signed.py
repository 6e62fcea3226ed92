"""SpikePack for values below zero: words less a zero point, or two's complement.

For values that may be negative: linear bottlenecks, residual sums, LeakyReLU, GELU and the like. A
neuron adds z thresholds to the potential and fires as :class:`SpikePack` does; its word p stands
for p - z: clip(floor(v / theta), -z, 2^T - 1 - z). With z = 2^(T-1), and the first spike inverted,
that is two's complement; another z spends the codes where the values are, and costs the layer that
reads the words a term of its bias: -z theta times the sum of its weights. The zeros that a
convolution pads with are the word z where 0 <= z < 2^T; other z cost biases at its borders.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from spikeloom.neuron import SpikePack
from spikeloom.neuron_kernels.clipped import Clipped
from spikeloom.neuron_kernels.reference import parallel_words

__all__ = ["OffsetSpikePack", "SignedSpikePack"]


class _Shifted(SpikePack):
    """What both have in common: arguments of SpikePack that make sense, and the zero point z."""

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

    def _zero(self, like: Tensor) -> Tensor:
        """z in the shape and dtype that a shaped threshold has."""
        raise NotImplementedError

    def _work(self, v: Tensor) -> tuple[Tensor, Tensor]:
        v, theta = super()._work(v)
        return v + theta * self._zero(theta), theta

    @torch.no_grad()
    def pack(self, v: Tensor) -> Tensor:
        """Words less z, int64, shape of v."""
        _, theta = super()._work(v)
        return super().pack(v) - self._zero(theta).to(torch.int64)

    def forward(self, v: Tensor) -> Tensor:
        """Return threshold * (packed word - z), shape and dtype of v."""
        work, theta = self._work(v)
        zero = self._zero(theta)
        with torch.no_grad():
            y = (parallel_words(work, theta, self.steps) - zero) * theta
        if torch.is_grad_enabled() and (work.requires_grad or theta.requires_grad):
            plain = v.to(work.dtype)  # no offset belongs to the slope
            full = (1 << self.steps) - 1
            y = cast(Tensor, Clipped.apply(plain, theta, y, -zero, full - zero))
        return y.to(v.dtype)


class OffsetSpikePack(_Shifted):
    """SpikePack whose words stand for p - z, z = ``zero``: one whole number, or one a channel.

    ValueError where zero is none of these. The other arguments are those of SpikePack. tau is 2.
    ``spikes`` gives those of p, all of positive weight.
    """

    zero: Tensor

    def __init__(
        self,
        steps: int = 4,
        threshold: float | Tensor = 0.25,
        zero: int | Tensor = 1,
        *,
        rounding: bool = False,
        channel_dim: int = 1,
        trainable: bool = False,
    ) -> None:
        super().__init__(
            steps, threshold, rounding=rounding, channel_dim=channel_dim, trainable=trainable
        )
        given = torch.as_tensor(zero, device=self.threshold.device).detach().clone()
        if given.is_floating_point() or given.is_complex():
            raise ValueError(f"zero must be a whole number, or one a threshold, not {zero}")
        if given.ndim and given.shape != self.threshold.shape:
            raise ValueError(
                f"zero must be one number, or one a threshold: it is {tuple(given.shape)}, the"
                f" threshold {tuple(self.threshold.shape)}"
            )
        self.register_buffer("zero", given)

    @property
    def top(self) -> float:
        """Greatest value, in thresholds; of the channel that reaches furthest."""
        return float((1 << self.steps) - 1 - int(self.zero.min()))

    def _zero(self, like: Tensor) -> Tensor:
        zero = self.zero.to(like.dtype)
        return zero.view_as(like) if zero.ndim else zero

    def extra_repr(self) -> str:
        """Parameters, for ``print(model)``."""
        low, high = int(self.zero.min()), int(self.zero.max())
        return f"{super().extra_repr()}, zero={low if low == high else f'{low}..{high}'}"


class SignedSpikePack(_Shifted):
    """SpikePack whose words lie in -2^(T-1) .. 2^(T-1) - 1; the arguments are those of SpikePack.

    Two's complement, the first spike negative. tau is 2: hardware's. With T = 1 the words are -1
    and 0.
    """

    @property
    def half(self) -> int:
        """Weight of the first spike, 2^(T-1), in thresholds."""
        return 1 << (self.steps - 1)

    @property
    def top(self) -> float:
        """Greatest value, in thresholds."""
        return float(self.half - 1)

    def _zero(self, like: Tensor) -> Tensor:
        return like.new_full((), self.half)

    def extra_repr(self) -> str:
        """Parameters, for ``print(model)``."""
        return f"{super().extra_repr()}, signed"

    @torch.no_grad()
    def spikes(self, v: Tensor) -> Tensor:
        """Spikes, uint8 (T, *v.shape); the first has the weight -2^(T-1)."""
        s = super().spikes(v)
        s[0] = 1 - s[0]
        return s
