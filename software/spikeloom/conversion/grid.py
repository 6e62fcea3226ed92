"""Weights, biases and thresholds on the integers of hardware while they are trained.

A layer's potentials are integers of a scale S (outputs,), real units per LSB. With the real values
a_i of its input words, theta of its threshold, and top = 2^(W-1) - 1:

    w_ci = clip(round(W_ci * a_i / S_c), -top, top)     weights of the gates
    W'_ci = S_c * w_ci / a_i                            what the forward pass multiplies with
    b'_c = S_c * round(b_c / S_c)
    theta_c = S_c * (an odd integer)

That integer is odd, so that potentials plus half a threshold never meet a multiple of it: the
nearest ones are half an LSB away. Floats then decide like integers, as long as their sums err by
less: in float32 while sums of magnitudes stay below some 2^22 LSBs, in float64 always.

Gradients are straight-through: that of W' reaches W where its code is not clipped. S learns as a
step size does (Esser et al., LSQ, ICLR 2020, Eq. 3).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["MOST_THRESHOLD", "odd", "on_grid", "quantised_weights"]

MOST_THRESHOLD = (1 << 16) - 1
_LEAST_THRESHOLD = 3


def odd(x: Tensor) -> Tensor:
    """Return the nearest odd integers that thresholds may be."""
    return (2 * torch.floor(x / 2) + 1).clamp(_LEAST_THRESHOLD, MOST_THRESHOLD)


def on_grid(x: Tensor, scale: Tensor) -> Tensor:
    """Round x to whole numbers of a scale; the gradient passes."""
    exact = (scale.double() * torch.round(x.detach().double() / scale.double())).to(x.dtype)
    # x - x is 0 in value and one in gradient: x + (exact - x) would round once more
    return exact + (x - x.detach())


class _Weights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, inputs: Tensor, top: int) -> Tensor:
        per_row = scale.detach().double().view(-1, *[1] * (weight.ndim - 1))
        units = weight.double() * inputs / per_row
        codes = torch.round(units).clamp(-top, top)
        ctx.save_for_backward(weight, scale, inputs)
        ctx.top = top
        return (codes * per_row / inputs).to(weight.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight, scale, inputs = ctx.saved_tensors
        per_row = scale.double().view(-1, *[1] * (weight.ndim - 1))
        units = weight.double() * inputs / per_row
        codes = torch.round(units).clamp(-ctx.top, ctx.top)
        inside = units.abs() <= ctx.top + 0.5
        slope = torch.where(inside, codes - units, codes) / inputs
        step = (grads[0].double() * slope).flatten(1).sum(1)
        step = step.sum_to_size(scale.shape).to(scale.dtype)
        return torch.where(inside, grads[0], 0), step, None, None


def quantised_weights(weight: Tensor, scale: Tensor, inputs: Tensor, top: int) -> Tensor:
    """W' of weights W (outputs, ...). scale: S, (outputs,) or (1,). inputs: a, broadcasts."""
    return cast(Tensor, _Weights.apply(weight, scale, inputs, top))
