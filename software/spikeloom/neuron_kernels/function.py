"""The neuron as a function with a gradient: any shape, any order of memory, any engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikeloom.encoders.base import engine_for
from spikeloom.neuron_kernels import reference
from spikeloom.neuron_kernels.rule import Rule

__all__ = ["spike"]


def spike(
    v: Tensor,
    theta: Tensor,
    steps: int,
    *,
    rounding: bool = False,
    channel_dim: int = 1,
    lean: bool = True,
) -> Tensor:
    """Return threshold * packed word, shape and dtype of v, tau = 2.

    v: floats of any shape. theta: () or (channels,), above 0. lean: for a threshold with a gradient
    save 4 bits an element instead of v; its gradient is then that of potentials dithered to a 13th
    of a threshold, without bias. That of v is the same. For a threshold without a gradient a bit an
    element is all that is saved.

    Not supported: second derivatives (torch says so), ``torch.func``, forward-mode gradients.
    """
    needs_v = torch.is_grad_enabled() and v.requires_grad
    needs_theta = torch.is_grad_enabled() and theta.requires_grad
    save = "nothing"
    if needs_theta:
        save = "codes" if lean else "exact"
    elif needs_v:
        save = "bits"
    return cast(Tensor, _Spike.apply(v, theta, channel_dim, Rule(steps, rounding, save)))


class _Spike(torch.autograd.Function):
    """See :mod:`reference` for the gradients."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, theta: Tensor, channel_dim: int, rule: Rule) -> Tensor:
        order = _order(v)
        channels = theta.numel()
        axis = order.index(channel_dim % v.ndim) if channels > 1 else 0
        work = torch.float64 if v.dtype == torch.float64 else torch.float32
        ctx.rule, ctx.order, ctx.dtype, ctx.theta = rule, order, v.dtype, (theta.shape, theta.dtype)
        ctx.inner = math.prod(v.shape[d] for d in order[axis + 1 :]) if channels > 1 else v.numel()
        ctx.shape = (-1, channels, ctx.inner)
        level = theta.detach().to(work).reshape(-1)
        if v.numel() == 0:
            ctx.engine = reference
            ctx.shape = (0, channels, 1)
        else:
            ctx.engine = _engine(v)
        potentials = _arranged(v, order).to(work).reshape(ctx.shape)
        y, saved = ctx.engine.fire(potentials, level, rule)
        out = _restored(y.to(v.dtype), v.shape, order)
        if rule.save == "exact":
            ctx.save_for_backward(v, theta)
        elif saved is not None:
            ctx.save_for_backward(saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), rule = grads, ctx.rule
        work = torch.float64 if ctx.dtype == torch.float64 else torch.float32

        def arranged(x: Tensor) -> Tensor:
            return _arranged(x, ctx.order).to(work).reshape(ctx.shape)

        saved, exact = None, None
        if rule.save == "exact":
            v, level = arranged(ctx.saved_tensors[0]), ctx.saved_tensors[1].detach()
            level = level.to(work).reshape(-1)
            # fired again: cheaper than to keep y, which may have been rounded to half precision
            y, _ = ctx.engine.fire(v, level, replace(rule, save="nothing"))
            exact = (v, y, level)
        else:
            (saved,) = ctx.saved_tensors
        grad_v, grad_theta = ctx.engine.back(arranged(grad), saved, exact, rule)
        grad_v = _restored(grad_v.to(ctx.dtype), grad.shape, ctx.order)
        if grad_theta is not None:
            shape, dtype = ctx.theta
            grad_theta = grad_theta.reshape(shape).to(dtype)
        return grad_v, grad_theta, None, None


def _engine(v: Tensor) -> ModuleType:
    name = "torch" if torch.compiler.is_compiling() else engine_for(v, triton=True)
    if name == "numba":
        from spikeloom.neuron_kernels import cpu

        return cpu
    if name == "triton":
        from spikeloom.neuron_kernels import triton_fire

        return triton_fire
    return reference


def _order(v: Tensor) -> list[int]:
    """Axes in the order of memory, if v is dense; else as they are."""
    order = sorted(range(v.ndim), key=lambda d: (-v.stride(d), d))
    return order if v.permute(order).is_contiguous() else list(range(v.ndim))


def _arranged(x: Tensor, order: Sequence[int]) -> Tensor:
    """Contiguous, axes in the given order: a view where memory is so already."""
    return x.permute(*order).contiguous() if order else x


def _restored(x: Tensor, shape: torch.Size, order: Sequence[int]) -> Tensor:
    """Undo ``_arranged`` on a contiguous tensor with as many elements."""
    if not order:
        return x.reshape(shape)
    return x.reshape([shape[d] for d in order]).permute(
        *(order.index(d) for d in range(len(order)))
    )
