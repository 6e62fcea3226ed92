"""A base-2 logarithm with the same bits in torch, in numba and on every machine.

Library functions differ in the last bit between engines, and between the middle and the end of a
vector. This one consists of additions, multiplications and divisions only, which IEEE 754 defines.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["ATANH", "LN2", "SQRT_HALF", "log2"]

LN2 = math.log(2)
SQRT_HALF = math.sqrt(0.5)
#: ln((1 + f) / (1 - f)) = f * (2 + 2 f^2 / 3 + 2 f^4 / 5 + ...); |f| < 0.1716 needs 12 terms.
ATANH = tuple(2 / (2 * k + 1) for k in reversed(range(12)))


def log2(x: Tensor) -> Tensor:
    """Return the logarithm of finite x > 0, in the dtype of x; exact for powers of two.

    Computed in float64, with an error below 4 units in the last place there.
    """
    m, e = torch.frexp(x.double())
    small = m < SQRT_HALF
    m, e = torch.where(small, m + m, m), torch.where(small, e - 1, e)
    f = (m - 1) / (m + 1)
    square = f * f
    total = torch.zeros_like(f)
    for c in ATANH:
        total = total * square + c
    return (e + (f * total) / LN2).to(x.dtype)
