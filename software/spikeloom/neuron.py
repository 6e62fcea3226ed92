"""The SpikePack neuron as a torch module: a drop-in for ReLU whose output is T packed spikes.

At tau = 2 this is the arithmetic of a T-bit quantised ReLU, executed spike plane by spike plane; no
state survives a sample. The integer functions behind the gates are in :mod:`spikeloom.spikepack`.
"""

from __future__ import annotations

import math
import warnings
from typing import cast

import torch
from torch import Tensor, nn

from spikeloom.neuron_kernels.clipped import Clipped
from spikeloom.neuron_kernels.function import spike
from spikeloom.neuron_kernels.reference import parallel_words
from spikeloom.spikepack import pack_spikes

__all__ = ["SpikePack"]


class SpikePack(nn.Module):
    """Fires T spikes at once: forward returns threshold * packed word, shape and dtype of v.

    steps: T, 1..16. threshold: a float above 0, or one a channel, shape (channels,).
    channel_dim: the axis of v that holds the channels of a per-channel threshold.
    tau: weight ratio of neighbouring steps. 2 is exact and what hardware runs; (1, 2) works, with a
    warning, without it; above 2 the code has gaps and is refused unless ``allow_gaps``.
    rounding: add half a threshold to v, so that the word is v rounded half up and not its floor.
    A lowered network carries that half in its integer bias.
    trainable: make the threshold a parameter.
    lean: let a trained threshold remember 4 bits an element for its gradient, which is then that of
    potentials dithered to a 13th of a threshold: without bias; False keeps all potentials, for the
    exact gradient. A threshold that is not trained remembers one bit an element, either way.

    Raises ValueError on a parameter out of its range. The serial form, T compare-and-subtract
    steps, is the definition; the parallel form divides and corrects near-ties, to the same bits.
    Straight-through on the rounding: the gradient passes where 0 <= v <= threshold * (2^T - 1); see
    :mod:`spikeloom.neuron_kernels`. It cannot be differentiated twice.
    """

    threshold: Tensor

    def __init__(
        self,
        steps: int = 4,
        threshold: float | Tensor = 0.25,
        *,
        tau: float = 2.0,
        rounding: bool = False,
        channel_dim: int = 1,
        trainable: bool = False,
        allow_gaps: bool = False,
        lean: bool = True,
    ) -> None:
        super().__init__()
        if not (isinstance(steps, int) and 1 <= steps <= 16):
            raise ValueError(f"steps must be an integer in 1..16, not {steps!r}")
        if not (1 < tau and math.isfinite(tau)):
            raise ValueError(f"tau must be in (1, 2], not {tau}")
        if tau > 2 and not allow_gaps:
            raise ValueError(
                f"tau = {tau} leaves gaps between the codes: use tau in (1, 2],"
                " or allow_gaps=True to study it"
            )
        if tau < 2:
            warnings.warn(f"tau = {tau}: hardware runs tau = 2 only", UserWarning, stacklevel=2)
        theta = torch.as_tensor(threshold, dtype=torch.get_default_dtype()).detach().clone()
        if theta.ndim > 1 or theta.numel() == 0:
            raise ValueError(f"threshold must be one number or (channels,), not {theta.shape}")
        if not bool((torch.isfinite(theta) & (theta > 0)).all()):
            raise ValueError("threshold must be finite and above 0")
        self.steps, self.tau, self.rounding = steps, float(tau), rounding
        self.channel_dim, self.lean = channel_dim, lean
        if trainable:
            self.threshold = nn.Parameter(theta)
        else:
            self.register_buffer("threshold", theta)

    def extra_repr(self) -> str:
        """Parameters, for ``print(model)``."""
        theta = self.threshold
        shown = f"{float(theta):g}" if theta.ndim == 0 else f"<{theta.numel()} channels>"
        return f"steps={self.steps}, threshold={shown}, tau={self.tau:g}, rounding={self.rounding}"

    @property
    def top(self) -> float:
        """Value of a word whose spikes all fired, in thresholds: 2^T - 1 at tau = 2."""
        return sum(self.tau**k for k in range(self.steps))

    def _check(self, v: Tensor) -> None:
        if not v.is_floating_point():
            raise TypeError(f"v must be floating point, not {v.dtype}")
        dim, channels = self.channel_dim, self.threshold.numel()
        if self.threshold.ndim and (not -v.ndim <= dim < v.ndim or v.shape[dim] != channels):
            raise ValueError(
                f"v of shape {tuple(v.shape)} has not {channels} channels in axis {dim}"
            )

    def _work(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """v with the rounding offset, and theta shaped to it, both in one precise dtype."""
        self._check(v)
        dtype = torch.float64 if v.dtype == torch.float64 else torch.float32
        theta = self.threshold.to(dtype)
        if theta.ndim:
            shape = [1] * v.ndim
            shape[self.channel_dim] = -1
            theta = theta.view(shape)
        v = v.to(dtype)
        return (v + theta / 2 if self.rounding else v), theta

    def _serial(self, v: Tensor, theta: Tensor) -> Tensor:
        spikes = []
        for t in range(1, self.steps + 1):
            level = theta * self.tau ** (self.steps - t)
            s = v >= level
            # exact at tau = 2: below saturation v lies in level .. 2 level (Sterbenz)
            v = v - torch.where(s, level, torch.zeros_like(level))
            spikes.append(s)
        return torch.stack(spikes)

    @torch.no_grad()
    def spikes(self, v: Tensor) -> Tensor:
        """Spikes, uint8 (T, *v.shape), first step first: the serial form, the definition."""
        return self._serial(*self._work(v)).to(torch.uint8)

    @torch.no_grad()
    def pack(self, v: Tensor) -> Tensor:
        """Packed words, int64, shape of v; the first step is the most significant bit."""
        if self.tau == 2.0:
            return parallel_words(*self._work(v), self.steps).to(torch.int64)
        return pack_spikes(self.spikes(v))

    def forward(self, v: Tensor) -> Tensor:
        """Return threshold * packed word, shape and dtype of v; see the class for the gradient."""
        if self.tau == 2.0:
            self._check(v)
            return spike(
                v,
                self.threshold,
                self.steps,
                rounding=self.rounding,
                channel_dim=self.channel_dim,
                lean=self.lean,
            )
        work, theta = self._work(v)
        with torch.no_grad():
            exponents = torch.arange(self.steps - 1, -1, -1, device=v.device, dtype=work.dtype)
            spikes = self._serial(work, theta).to(work.dtype)
            y = torch.tensordot(self.tau**exponents, spikes, dims=1) * theta
        # the offset of rounding belongs to the quantiser, not to the slope
        plain = v.to(work.dtype)
        return cast(Tensor, Clipped.apply(plain, theta, y, 0.0, self.top)).to(v.dtype)
