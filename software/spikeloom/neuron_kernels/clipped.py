"""The gradient of a neuron whose value is computed already: straight through in its range."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Clipped"]


class Clipped(torch.autograd.Function):
    """Pass y on; gradients of v and theta as in :mod:`spikeloom.neuron_kernels.reference`.

    The range is theta * low .. theta * high; both numbers, or shaped as theta is.
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, theta: Tensor, y: Tensor, low: Any, high: Any) -> Tensor:
        """Return y."""
        ctx.save_for_backward(v, theta, y)
        ctx.range = low, high
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of v and theta; none of y."""
        v, theta, y = ctx.saved_tensors
        (grad,), (low, high) = grads, ctx.range
        inside = (v >= theta * low) & (v <= theta * high)
        grad_theta = None
        if ctx.needs_input_grad[1]:
            slope = torch.where(inside, y - v, y) / theta
            grad_theta = (grad * slope).sum_to_size(theta.shape).to(theta.dtype)
        return torch.where(inside, grad, 0), grad_theta, None, None, None
