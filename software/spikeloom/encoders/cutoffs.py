"""Cut-offs that learn: Butterworth sections with a gradient, and a filter with one for both.

The same filters as :mod:`spikeloom.encoders.biquads`, in differentiable torch, float64.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.encoders.relax import replace

__all__ = ["CutOffs", "cascade"]


class CutOffs(nn.Module):
    """Cut-offs of a bank of Butterworth filters, as parameters.

    An optimiser moves ``steps``, (bands, 2), which start at 0: the logarithms of the warped low
    cut-off, tan(pi f / rate), and of the high one, or of the distance between the two where there
    are two. So 0 < low < high < rate / 2 whatever it does, and steps are relative.
    """

    start: Tensor  #: float64 (bands, 2): warped low; high, or its distance; 1 if there is none

    def __init__(self, bands: Sequence[tuple[float | None, float | None]], rate: float, order: int):
        super().__init__()
        self.kinds = [(low is not None, high is not None) for low, high in bands]
        self.rate, self.order = rate, order
        rows = []
        for low, high in bands:
            w1, w2 = (1.0 if f is None else math.tan(math.pi * f / rate) for f in (low, high))
            rows.append((w1, w2 if low is None or high is None else w2 / w1 - 1))
        self.register_buffer("start", torch.tensor(rows, dtype=torch.float64))
        self.steps = nn.Parameter(torch.zeros_like(self.start))

    def warped(self) -> list[tuple[Tensor | None, Tensor | None]]:
        """Current cut-offs as tan(pi f / rate), low and high of each band."""
        found: list[tuple[Tensor | None, Tensor | None]] = []
        for (low, high), (first, second) in zip(
            self.kinds, self.start * self.steps.exp(), strict=True
        ):
            above = first * (1 + second) if low else second
            found.append((first if low else None, above if high else None))
        return found

    def hertz(self) -> list[tuple[float | None, float | None]]:
        """Return the cut-offs as they are now, as given to ``FilterBank``."""

        def plain(w: Tensor | None) -> float | None:
            return None if w is None else math.atan(float(w.detach())) * self.rate / math.pi

        return [(plain(low), plain(high)) for low, high in self.warped()]

    def forward(self) -> list[Tensor]:
        """Sections (n, 5) of each band: b0, b1, b2, a1, a2."""
        return [_butterworth(low, high, self.order) for low, high in self.warped()]


def cascade(x: Tensor, bands: Sequence[Tensor], value: Tensor) -> Tensor:
    """``value`` (rows, bands, time), with the gradient over x (rows, time) and over sections."""
    each = []
    for sections in bands:
        v = x.double()
        for b0, b1, b2, a1, a2 in sections:
            w = nn.functional.pad(_all_pole(v, a1, a2), (2, 0))
            v = b0 * w[:, 2:] + b1 * w[:, 1:-1] + b2 * w[:, :-2]
        each.append(v)
    return replace(torch.stack(each, 1).to(value.dtype), value)


class _AllPole(torch.autograd.Function):
    """y_t = x_t - a1 y_(t-1) - a2 y_(t-2); the gradient over x is the same filter, backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a1: Tensor, a2: Tensor) -> Tensor:
        y = _recursion(x, a1, a2)
        ctx.save_for_backward(y, a1, a2)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, a1, a2 = ctx.saved_tensors
        of_x = _recursion(gradients[0].flip(1), a1, a2).flip(1)
        return of_x, -(of_x[:, 1:] * y[:, :-1]).sum(), -(of_x[:, 2:] * y[:, :-2]).sum()


def _all_pole(x: Tensor, a1: Tensor, a2: Tensor) -> Tensor:
    result: Any = _AllPole.apply(x, a1, a2)
    return result


def _recursion(x: Tensor, a1: Tensor, a2: Tensor) -> Tensor:
    from spikeloom.encoders.filters import run

    zero, one = torch.zeros_like(a1), torch.ones_like(a1)
    return run(x, torch.stack((one, zero, zero, a1, a2)).reshape(1, 1, 5))[:, 0]


def _butterworth(w1: Tensor | None, w2: Tensor | None, order: int) -> Tensor:
    """Sections of warped cut-offs, see ``biquads.butterworth``."""
    poles = [
        cmath.exp(1j * math.pi * (2 * k + order + 1) / (2 * order)) for k in range((order + 1) // 2)
    ]
    if order % 2:
        poles[-1] = -1.0 + 0j
    rows = []
    if w1 is not None and w2 is not None:
        bandwidth, centre = w2 - w1, (w1 * w2).sqrt()
        at = torch.complex(torch.ones_like(centre), centre)
        at = at / at.conj()
        for p in poles:
            q = p * bandwidth
            root = (q**2 - 4 * centre**2).sqrt()
            two = (q + root) / 2, (q - root) / 2
            pairs = [two] if p.imag == 0 else [(s, s.conj()) for s in two]
            rows += [_section((1.0, 0.0, -1.0), pair, at) for pair in pairs]
        return torch.stack(rows)
    sign = 1.0 if w1 is None else -1.0
    for p in poles:
        s = p * w2 if w2 is not None else w1 / p  # pyright: ignore[reportOptionalOperand]
        at = torch.full_like(s, sign)
        if p.imag == 0:
            nothing = -torch.ones_like(s)  # of which the digital pole is 0
            rows.append(_section((1.0, sign, 0.0), (s, nothing), at))
        else:
            rows.append(_section((1.0, 2 * sign, 1.0), (s, s.conj()), at))
    return torch.stack(rows)


def _section(
    zeros: tuple[float, float, float], analogue: tuple[Tensor, Tensor], at: Tensor
) -> Tensor:
    """Biquad of a numerator and two poles, with gain 1 at a point of the unit circle."""
    first, second = ((1 + s) / (1 - s) for s in analogue)
    a1, a2 = -(first + second).real, (first * second).real
    above = zeros[0] + zeros[1] / at + zeros[2] / at**2
    gain = ((1 + a1 / at + a2 / at**2) / above).abs()
    return torch.stack((*(gain * b for b in zeros), a1, a2))
