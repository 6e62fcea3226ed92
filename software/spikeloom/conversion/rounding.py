"""Rounding weights to integers: each by itself, or each making up for those rounded before it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Moments", "best_scale", "round_rows", "row_error"]

Array = NDArray[np.float64]

#: Clips tried for a weight row, as shares of its greatest magnitude.
_CLIPS = np.linspace(0.3, 1.0, 71)
#: Fewer of them where each takes a pass over all columns.
_FEW_CLIPS = _CLIPS[::5]
#: Added to the diagonal of the moments, as a share of its mean: few samples say nothing about
#: inputs that hardly vary.
_RIDGE = 0.01


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of what the weights see, about its mean.

    gram: (fan-in, fan-in), or (rows, fan-in, fan-in), one a row of weights.
    """

    gram: Array

    @cached_property
    def damped(self) -> Array:
        """With a ridge: it can be inverted."""
        n = self.gram.shape[-1]
        size = np.trace(self.gram, axis1=-2, axis2=-1) / n
        return self.gram + (_RIDGE * size + 1e-12)[..., None, None] * np.eye(n)

    @cached_property
    def spread(self) -> tuple[NDArray[np.intp], Array]:
        """Order of the columns, and U with U' U = damped^-1: row j says where j's error goes."""
        gram = self.damped
        order = np.argsort(-np.diagonal(gram, axis1=-2, axis2=-1), axis=-1, kind="stable")
        sorted_ = np.take_along_axis(gram, order[..., :, None], -2)
        sorted_ = np.take_along_axis(sorted_, order[..., None, :], -1)
        return order, np.swapaxes(np.linalg.cholesky(np.linalg.inv(sorted_)), -1, -2).astype(
            np.float64
        )

    def error(self, lost: Array) -> Array:
        """Mean square of lost @ x for every row of ``lost`` (rows, fan-in)."""
        product = (
            np.einsum("ri,rij->rj", lost, self.gram) if self.gram.ndim == 3 else lost @ self.gram
        )
        return (product * lost).sum(1)


def round_rows(V: Array, S: Array, top: int, moments: Moments | None = None) -> Array:
    """Codes within +-top of rows V (rows, fan-in) in steps S (rows,).

    moments: spread the error of a code over the columns that are still free, so that V @ x, not V,
    is kept best (Frantar et al., GPTQ, ICLR 2023, section 3, after the optimal brain surgeon).
    """
    if moments is None:
        return np.clip(np.rint(V / S[:, None]), -top, top)
    order, U = moments.spread
    order = np.broadcast_to(order, V.shape)
    left, codes = np.take_along_axis(V, order, 1), np.empty_like(V)
    for j in range(V.shape[1]):
        codes[:, j] = np.clip(np.rint(left[:, j] / S), -top, top)
        lost = (left[:, j] - S * codes[:, j]) / U[..., j, j]
        left[:, j + 1 :] -= lost[:, None] * U[..., j, j + 1 :]
    back = np.empty_like(codes)
    np.put_along_axis(back, order, codes, 1)
    return back


def row_error(
    V: Array, importance: Array, scale: Array, top: int, moments: Moments | None = None
) -> Array:
    """Squared error of each row rounded to codes of its scale.

    importance: weighs the errors of the columns; moments: count the error of V @ x instead.
    """
    lost = V - scale[:, None] * round_rows(V, scale, top, moments)
    return (lost**2 * importance).sum(1) if moments is None else moments.error(lost)


def best_scale(
    V: Array, importance: Array, top: int, moments: Moments | None = None, *, common: bool = False
) -> Array:
    """Scale (rows,) of each row of V (rows, inputs) whose rounded, clipped codes err least.

    importance, moments: as of :func:`row_error`. common: one scale for all rows.
    """
    peak = np.abs(V).max(1)
    if common:
        peak = np.full(len(V), peak.max())
    peak = np.where(peak > 0, peak, 1.0)
    best, least = peak / top, np.full(len(V), np.inf)
    for clip in _CLIPS if moments is None else _FEW_CLIPS:
        scale = clip * peak / top
        error = row_error(V, importance, scale, top, moments)
        if common:
            error = np.full(len(V), error.sum())
        best = np.where(error <= least, scale, best)  # on equality the wider clip
        least = np.minimum(error, least)
    return best
