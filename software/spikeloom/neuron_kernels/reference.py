"""The neuron in plain torch: what the other engines are held against.

Tensors are (outer, channels, inner), contiguous; theta is (channels,), of the same dtype, float32
or float64. With y = theta * word, and "inside" where 0 <= v <= theta * (2^T - 1):

    dL/dv     = dL/dy                                 inside, else 0
    dL/dtheta = sum of dL/dy * (y - v) / theta        inside
              + sum of dL/dy * y / theta              elsewhere

Straight-through on the rounding as in SpikePack Eq. 10 (arXiv 2501.14484v2). The paper does not say
what happens outside the range: zero here, the usual clipped estimator. The gradient of a threshold
is that of learned step sizes (Esser et al., LSQ, ICLR 2020, Eq. 3).

v is the potential as it came: half a threshold that rounding adds is not in it. Outside, dL/dv is 0
even where dL/dy is infinite or NaN, as ReLU's is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikeloom.neuron_kernels.rule import BINS, GOLDEN, Rule

__all__ = ["back", "fire", "parallel_words"]


def parallel_words(v: Tensor, theta: Tensor, steps: int) -> Tensor:
    """Words as floats: floor(v / theta), exact, clipped; theta broadcasts against v."""
    # clipping first keeps infinities out; theta * 2^T is exact
    v = torch.minimum(v.clamp(min=0), theta * 2.0**steps)
    if v.dtype == torch.float64:
        # fmod is exact, so v - fmod is within one rounding of a whole number of thresholds
        word = torch.round((v - torch.fmod(v, theta)) / theta)
    else:
        word = torch.floor(v / theta)
        # the division may have rounded up to the next word; this product is exact in float64
        word = word - (word.double() * theta.double() > v.double()).to(word.dtype)
    return word.clamp(0, 2**steps - 1)


def fire(v: Tensor, theta: Tensor, rule: Rule) -> tuple[Tensor, Tensor | None]:
    """Threshold * word, and what ``back`` needs: here a byte an element, for bits and codes."""
    level = theta.view(1, -1, 1)
    y = parallel_words(v + level * rule.half, level, rule.steps) * level
    if rule.save == "bits":
        return y, (v >= 0) & (v <= level * rule.top)
    if rule.save == "codes":
        at = ((v - y) / level + rule.half) * BINS + _dither(v)
        code = at.clamp(0, BINS).nan_to_num().to(torch.uint8) + 1
        code = torch.where(v > level * rule.top, 15, code)
        return y, torch.where(v >= 0, code, 0)
    return y, None


def back(
    grad: Tensor, saved: Tensor | None, exact: tuple[Tensor, Tensor, Tensor] | None, rule: Rule
) -> tuple[Tensor, Tensor | None]:
    """Gradients of potentials, and of thresholds (channels,). exact: v, y and theta."""
    if exact is not None:
        v, y, theta = exact
        level = theta.view(1, -1, 1)
        inside = (v >= 0) & (v <= level * rule.top)
        slope = torch.where(inside, y - v, y) / level
    elif rule.save == "bits":
        assert saved is not None
        return torch.where(saved, grad, 0), None
    else:
        assert saved is not None
        inside = (saved > 0) & (saved < 15)
        # the middle of a bin, or a word: 0 or 2^T - 1
        slope = rule.half - (saved - 0.5 - _dither(grad)) / BINS
        slope = torch.where(inside, slope, torch.where(saved == 0, 0.0, float(rule.top)))
    return torch.where(inside, grad, 0), (grad * slope).double().sum((0, 2)).to(grad.dtype)


def _dither(x: Tensor) -> Tensor:
    """Offsets of :mod:`spikeloom.neuron_kernels.rule`, shape and dtype of x."""
    at = torch.arange(x.numel(), device=x.device).view(x.shape)
    return (((at * GOLDEN >> 24) & 255).to(x.dtype) + 0.5) / 256
