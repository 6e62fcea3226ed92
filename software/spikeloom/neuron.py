"""The SpikePack neuron as a torch module: a drop-in for ReLU whose output is T packed spikes.

At tau = 2 this is the arithmetic of a T-bit quantised ReLU, executed spike plane by spike plane; no
state survives a sample. The integer functions behind the gates are in :mod:`spikeloom.spikepack`.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, cast

import torch
from torch import Tensor, nn

from spikeloom.spikepack import pack_spikes

__all__ = ["SpikePack"]


class _StraightThrough(torch.autograd.Function):
    """Pass the fired value on; let the gradient through where the potential did not saturate.

    Straight-through on the rounding as in SpikePack Eq. 10 (arXiv 2501.14484v2). The paper does not
    say what happens outside the range: zero here, the usual clipped estimator. The gradient of a
    trained threshold is that of learned step sizes (Esser et al., LSQ, ICLR 2020, Eq. 3).
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, theta: Tensor, y: Tensor, top: float) -> Tensor:
        ctx.save_for_backward(v, theta, y)
        ctx.top = top
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        v, theta, y = ctx.saved_tensors
        (grad,) = grads
        inside = (v >= 0) & (v <= theta * ctx.top)
        grad_v = grad_theta = None
        if ctx.needs_input_grad[0]:
            grad_v = grad * inside
        if ctx.needs_input_grad[1]:
            slope = torch.where(inside, y - v, y) / theta
            grad_theta = (grad * slope).sum_to_size(theta.shape).to(theta.dtype)
        return grad_v, grad_theta, None, None


class SpikePack(nn.Module):
    """Fires T spikes at once: forward returns threshold * packed word, shape and dtype of v.

    steps: T, 1..16. threshold: a float above 0, or one a channel, shape (channels,).
    channel_dim: the axis of v that holds the channels of a per-channel threshold.
    tau: weight ratio of neighbouring steps. 2 is exact and what hardware runs; (1, 2) works, with a
    warning, without it; above 2 the code has gaps and is refused unless ``allow_gaps``.
    rounding: add half a threshold to v, so that the word is v rounded half up and not its floor.
    A lowered network carries that half in its integer bias.
    trainable: make the threshold a parameter.

    Raises ValueError on a parameter out of its range. The serial form, T compare-and-subtract
    steps, is the definition; the parallel form divides and corrects near-ties, to the same bits.
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
        self.channel_dim = channel_dim
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

    def _work(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """v with the rounding offset, and theta shaped to it, both in one precise dtype."""
        if not v.is_floating_point():
            raise TypeError(f"v must be floating point, not {v.dtype}")
        dtype = torch.float64 if v.dtype == torch.float64 else torch.float32
        theta = self.threshold.to(dtype)
        if theta.ndim:
            dim = self.channel_dim
            if not -v.ndim <= dim < v.ndim or v.shape[dim] != theta.numel():
                raise ValueError(
                    f"v of shape {tuple(v.shape)} has not {theta.numel()} channels in axis {dim}"
                )
            shape = [1] * v.ndim
            shape[dim] = -1
            theta = theta.view(shape)
        v = v.to(dtype)
        return (v + theta / 2 if self.rounding else v), theta

    def _parallel(self, v: Tensor, theta: Tensor) -> Tensor:
        """Words as floats, tau = 2: floor(v / theta), exact, clipped."""
        # clipping first keeps infinities out; theta * 2^T is exact
        v = torch.minimum(v.clamp(min=0), theta * 2.0**self.steps)
        if v.dtype == torch.float64:
            # fmod is exact, so v - fmod is within one rounding of a whole number of thresholds
            word = torch.round((v - torch.fmod(v, theta)) / theta)
        else:
            word = torch.floor(v / theta)
            # the division may have rounded up to the next word; this product is exact in float64
            word = word - (word.double() * theta.double() > v.double()).to(word.dtype)
        return word.clamp(0, 2**self.steps - 1)

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
            return self._parallel(*self._work(v)).to(torch.int64)
        return pack_spikes(self.spikes(v))

    def forward(self, v: Tensor) -> Tensor:
        """Return threshold * packed word, shape and dtype of v; see the class for the gradient."""
        work, theta = self._work(v)
        with torch.no_grad():
            if self.tau == 2.0:
                value = self._parallel(work, theta)
            else:
                weights = self.tau ** torch.arange(
                    self.steps - 1, -1, -1, device=v.device, dtype=work.dtype
                )
                value = torch.tensordot(weights, self._serial(work, theta).to(work.dtype), dims=1)
            y = value * theta
        if torch.is_grad_enabled() and (work.requires_grad or theta.requires_grad):
            # the offset of rounding belongs to the quantiser, not to the slope
            plain = work - theta / 2 if self.rounding else work
            y = cast(Tensor, _StraightThrough.apply(plain, theta, y, self.top))
        return y.to(v.dtype)
