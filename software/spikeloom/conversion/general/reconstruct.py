"""Weights fitted to the words that really reach them: on calibration data, without labels.

For a layer that gets x from the spikes so far, where the original network has the potentials t: the
weights become those of the linear regression of t on x, held back towards the trained ones. How
much is chosen a layer, on a quarter of the calibration data that the regression does not see; the
trained weights are among the choices. (The integer path does the same on its integer words:
:mod:`spikeloom.conversion.reconstruct`.)
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikeloom.conversion.general.columns import columns, fan_in
from spikeloom.conversion.general.data import split
from spikeloom.conversion.general.weights import rows_of, unrows

__all__ = ["Moments", "fitted", "moments_of", "total"]

#: Fan-in above which a layer keeps its weights: the moments would take gigabytes.
MOST_INPUTS = 2560
#: Positions that a layer is fitted to: so many for each input, and within these bounds.
_EACH, _LEAST, _MOST = 16, 1 << 13, 1 << 16
#: Least variance of an input that is fitted to, as a share of its mean square.
_VARIES = 1e-5
#: How strongly weights are held back: noise on every input, as a share of its own variance.
HOLDS = (1e-3, 1e-2, 0.1, 1.0)


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over positions, float64: of inputs x (groups, fan-in), wanted t (groups, outputs)."""

    count: int
    x: Tensor
    t: Tensor
    xx: Tensor
    tx: Tensor
    tt: Tensor

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count, self.x + other.x, self.t + other.t, self.xx + other.xx,
            self.tx + other.tx, self.tt + other.tt,
        )  # fmt: skip

    @functools.cached_property
    def gram(self) -> Tensor:
        """Covariances of the inputs (groups, fan-in, fan-in)."""
        mean = self.x / self.count
        return self.xx / self.count - mean[..., :, None] * mean[..., None, :]

    @functools.cached_property
    def cross(self) -> Tensor:
        """Covariances of what is wanted with the inputs (groups, outputs, fan-in)."""
        return self.tx / self.count - (
            (self.t / self.count)[..., :, None] * (self.x / self.count)[..., None, :]
        )

    def error(self, V: Tensor) -> float:
        """Mean square of t - V x, summed over outputs, after the best bias."""
        wanted = float((self.tt / self.count - (self.t / self.count).square()).sum())
        return wanted + float(((V @ self.gram - 2 * self.cross) * V).sum())


def total(moments: Sequence[Moments]) -> Moments:
    """Moments of all batches together."""
    return functools.reduce(operator.add, moments)


def moments_of(layer: Any, pairs: Sequence[tuple[Tensor, Tensor]]) -> list[Moments] | None:
    """Moments of each batch (input from the spikes, potentials of the original).

    None for a layer of too many inputs (``MOST_INPUTS``).
    """
    if fan_in(layer) > MOST_INPUTS:
        return None
    most = -(-min(max(_EACH * fan_in(layer), _LEAST), _MOST) // len(pairs))
    found, generator = [], torch.Generator().manual_seed(0)
    for value, target in pairs:
        x, t = columns(layer, value, target, most, generator)
        found.append(_sums(x, t))
    return found


def _sums(x: Tensor, t: Tensor) -> Moments:
    """Sums of one batch; float32 about the mean, or inputs that hardly vary would be all noise."""
    n, mx, mt = x.shape[-1], x.mean(-1), t.mean(-1)
    x, t = x - mx[..., None], t - mt[..., None]
    mx, mt = mx.double(), mt.double()
    return Moments(
        n, n * mx, n * mt,
        (x @ x.mT).double() + n * mx[..., :, None] * mx[..., None, :],
        (t @ x.mT).double() + n * mt[..., :, None] * mx[..., None, :],
        t.square().sum(-1).double() + n * mt.square(),
    )  # fmt: skip


def fitted(layer: Any, moments: Sequence[Moments]) -> Tensor:
    """Weights of a layer, fitted; shape and dtype of them."""
    weight = layer.weight.detach()
    V = rows_of(layer, weight.double()).unflatten(0, (len(moments[0].x), -1))
    fit, held = (total(part) for part in split(moments))
    best, least = None, held.error(V)
    for hold in HOLDS:
        error = held.error(_solved(V, fit, hold))
        if error < least:
            best, least = hold, error
    if best is None:
        return weight
    V = _solved(V, total(moments), best)
    return unrows(layer, V.flatten(0, 1)).to(weight.dtype)


def _solved(V: Tensor, moments: Moments, hold: float) -> Tensor:
    """Rows (groups, outputs, fan-in) that lose least, with noise on every input."""
    gram = moments.gram
    size = gram.diagonal(dim1=-2, dim2=-1)
    # what hardly varies keeps its weight: nothing can be said about it
    varies = size > _VARIES * moments.xx.diagonal(dim1=-2, dim2=-1) / moments.count
    both = varies[..., :, None] & varies[..., None, :]
    damped = torch.where(both, gram, 0.0) + torch.diag_embed(torch.where(varies, hold * size, 1.0))
    off = torch.where(varies[..., None, :], moments.cross - V @ gram, 0.0)
    return V + torch.linalg.solve(damped, off.mT).mT
