"""Leaky integrate and fire over T steps, with a surrogate gradient: the baseline for SpikePack.

For a current x_t and t = 1..T, from v_0 = 0 and s_0 = 0:

    v_t = leak * v_(t-1) + x_t - threshold * s_(t-1)       soft reset, one step delayed
    s_t = 1 if v_t > threshold, else 0

This is Eq. 1 and 2 of SpikePack (arXiv 2501.14484v2) with leak = 1 / tau, and snnTorch's ``Leaky``
with ``reset_mechanism="subtract"``. A step has no derivative; the backward pass takes

    ds/dv = (alpha / 2) / (1 + (pi / 2 * alpha * (v - threshold))^2)

the arc tangent of Fang et al. (ICCV 2021, PLIF), alpha = 2, and by default none through the reset
(Zenke & Vogels, Neural Computation 2021). Time and memory grow with T: all T potentials are kept.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["LIF"]


class _LIF(torch.autograd.Function):
    """All steps by hand: a graph over time would keep several tensors a step, this keeps one."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, leak: float, threshold: float, alpha: float, through_reset: bool
    ) -> Tensor:
        potentials, spikes = torch.empty_like(x), torch.empty_like(x)
        v, s = torch.zeros_like(x[0]), torch.zeros_like(x[0])
        for t in range(len(x)):
            v = torch.add(leak * v + x[t], s, alpha=-threshold, out=potentials[t])
            s = spikes[t].copy_(v > threshold)
        ctx.constants = leak, threshold, alpha, through_reset
        ctx.save_for_backward(potentials)
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (potentials,), (grad,) = ctx.saved_tensors, grads
        leak, threshold, alpha, through_reset = ctx.constants
        out, later = torch.empty_like(potentials), torch.zeros_like(potentials[0])
        for t in range(len(grad) - 1, -1, -1):
            far = (potentials[t] - threshold).mul_(math.pi / 2 * alpha)
            slope = far.square_().add_(1).reciprocal_().mul_(alpha / 2)
            above = grad[t] - threshold * later if through_reset else grad[t]
            later = torch.addcmul(leak * later, above, slope, out=out[t])
        return out, None, None, None, None


class LIF(nn.Module):
    """Currents (T, n, ...) to spikes of the same shape and dtype, 0 and 1; no state is kept.

    leak: share of the potential that is left after a step, 0..1. threshold: above 0. alpha: how
    steep the surrogate gradient is. through_reset: let the gradient pass the reset too.

    Raises ValueError on a parameter out of its range. It cannot be differentiated twice.
    """

    def __init__(
        self,
        leak: float = 0.5,
        threshold: float = 1.0,
        *,
        alpha: float = 2.0,
        through_reset: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= leak <= 1:
            raise ValueError(f"leak must be in 0..1, not {leak}")
        for name, value in (("threshold", threshold), ("alpha", alpha)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be finite and above 0, not {value}")
        self.leak, self.threshold = float(leak), float(threshold)
        self.alpha, self.through_reset = float(alpha), through_reset

    def extra_repr(self) -> str:
        """Parameters, for ``print(model)``."""
        return f"leak={self.leak:g}, threshold={self.threshold:g}, alpha={self.alpha:g}"

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes; TypeError if x is not floating point, ValueError without steps."""
        if not x.is_floating_point():
            raise TypeError(f"x must be floating point, not {x.dtype}")
        if x.ndim < 1 or len(x) == 0:
            raise ValueError(f"x must be (T, ...) with T > 0, not {tuple(x.shape)}")
        arguments = (x, self.leak, self.threshold, self.alpha, self.through_reset)
        return cast(Tensor, _LIF.apply(*arguments))
