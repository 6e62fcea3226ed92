"""Convolutions as gates hold them: dilation and groups written out, with weights that are zero.

Gates know kernels without holes, and one group or depthwise. The enlarged kernel computes the same;
its zeros are stored as any weight, and looked up where words come in. Calibration and rounding
keep them; ``fine_tune`` and ``lower(reconstruct=...)`` use them, as they are there anyway.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from spikeloom.conversion.operations import Convolution
from spikeloom.conversion.sums import Problem, Term

__all__ = ["dense", "plain"]

#: Most weights of a layer that holds zeros of its own: no board here keeps as many on chip.
MOST_WEIGHTS = 1 << 20


def plain(op: Convolution) -> tuple[Convolution, int]:
    """Write out the dilation, and the groups if they are neither one nor depthwise.

    Returns the convolution and how many weights are zeros for it. Raises Problem where these make
    more than 2^20 weights.
    """
    outputs, inputs, *_ = op.weight.shape
    zeros = 0
    if op.dilation != (1, 1):
        weight = _dilated(op.weight, op.dilation, f"dilation {op.dilation}")
        zeros = weight.numel() - op.weight.numel()
        op = replace(op, weight=weight, dilation=(1, 1))
    if op.groups > 1 and not op.groups == outputs == op.groups * inputs:
        weight = _dense(op.weight, op.groups, f"{op.groups} groups")
        zeros += weight.numel() - op.weight.numel()
        op = replace(op, weight=weight, groups=1)
    return op, zeros


def dense(term: Term) -> Term:
    """Write out the groups of a depthwise convolution, which then takes a skip."""
    if term.groups == 1:
        return term
    assert term.weight is not None
    weight = _dense(term.weight, term.groups, "a depthwise convolution with a skip")
    zeros = term.zeros + weight.numel() - term.weight.numel()
    return replace(term, weight=weight, groups=1, zeros=zeros)


def _check(count: int, what: str) -> None:
    if count > MOST_WEIGHTS:
        raise Problem(
            f"{what} are {count} weights in gates, which hold the zeros too, {MOST_WEIGHTS} at"
            " most; use fewer channels, a smaller kernel, or another layer"
        )


def _dilated(weight: Tensor, dilation: tuple[int, int], what: str) -> Tensor:
    down, across = dilation
    *channels, height, width = weight.shape
    shape = (*channels, (height - 1) * down + 1, (width - 1) * across + 1)
    _check(math.prod(shape), what)
    large = weight.new_zeros(shape)
    large[..., ::down, ::across] = weight
    return large


def _dense(weight: Tensor, groups: int, what: str) -> Tensor:
    outputs, inputs, *kernel = weight.shape
    _check(outputs * inputs * groups * math.prod(kernel), what)
    parts = weight.view(groups, outputs // groups, inputs, *kernel)
    large = weight.new_zeros(groups, outputs // groups, groups, inputs, *kernel)
    each = torch.arange(groups)
    large[each, :, each] = parts
    return large.view(outputs, groups * inputs, *kernel)
