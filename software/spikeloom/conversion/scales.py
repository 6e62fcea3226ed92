"""Accumulator scales: real units per LSB of the potentials, and the integers that follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeloom.conversion.rounding import Array, Moments, best_scale, round_rows, row_error
from spikeloom.fixed import round_half_even

__all__ = [
    "MIN_THRESHOLD",
    "THRESHOLD_BITS",
    "Folded",
    "Integers",
    "fired_scales",
    "given_scales",
    "skip_scales",
    "sum_scales",
]

#: Below this a threshold is too coarse for its rounding; the output scale is raised instead. Twice
#: as much coarsens words more than it saves: 4-bit weights of a depthwise network lose 13 points.
MIN_THRESHOLD = 4
THRESHOLD_BITS = 16
_MOST_THRESHOLD = (1 << THRESHOLD_BITS) - 1
#: Greatest weight of a skip or an Add.
_MOST_SKIP = (1 << 15) - 1
#: A channel without weights gets a threshold of this many LSB per LSB of its words.
_PLAIN_THRESHOLD = 256


@dataclass(frozen=True, eq=False)
class Integers:
    """Rows rounded to integers. bias: real, with the mean of what rounding took from v.

    clipped: codes that were clipped. error: root mean square rounding error, relative.
    """

    weight: NDArray[np.int64]
    bias: Array
    clipped: int
    error: float


@dataclass(frozen=True, eq=False)
class Folded:
    """A layer with its input scales folded in: v = V @ p + bias, in real units.

    V: (outputs, fan-in). mean, square: of the input words, (fan-in,) or like V. moments: of the
    words, where rounding is to make up for itself.
    """

    name: str
    V: Array
    bias: Array
    alive: NDArray[np.bool_]
    mean: Array
    square: Array
    input_bits: int
    weight_bits: int
    moments: Moments | None = None

    @property
    def top(self) -> int:
        """Greatest weight code."""
        return (1 << (self.weight_bits - 1)) - 1

    @property
    def importance(self) -> Array:
        """Weigh rounding errors by the data where codes are few."""
        return self.square if self.weight_bits <= 4 else np.ones_like(self.square)

    @property
    def live(self) -> NDArray[np.bool_]:
        """Rows with a weight that is not zero."""
        return np.abs(self.V).max(1) > 0

    def best_scale(self) -> Array:
        """Scale of each row that errs least."""
        return best_scale(self.V, self.importance, self.top, self.moments)

    def common_scale(self) -> Array:
        """One scale for all rows, which errs least; (outputs,)."""
        importance = np.broadcast_to(self.importance, self.V.shape)
        return best_scale(self.V, importance, self.top, self.moments, common=True)

    def row_error(self, S: Array) -> Array:
        """Squared error of each row rounded in steps S (outputs,)."""
        return row_error(self.V, self.importance, S, self.top, self.moments)

    def integers(self, S: Array) -> Integers:
        """Round to integers of scale S (outputs,)."""
        w = round_rows(self.V, S, self.top, self.moments).astype(np.int64)
        lost = self.V - S[:, None] * w
        norm = float((self.V**2).mean())
        error = float((lost**2).mean() / norm) ** 0.5 if norm else 0.0
        shift = lost @ self.mean if self.mean.ndim == 1 else (lost * self.mean).sum(1)
        clipped = np.abs(np.rint(self.V / S[:, None])) > self.top
        return Integers(w, self.bias + shift, int(clipped.sum()), error)


@dataclass(frozen=True, eq=False)
class Fired:
    """Scales of a layer that fires. theta * S = output: (outputs,) each.

    raised: channels whose output scale was raised to reach the least threshold.
    """

    theta: NDArray[np.int64]
    S: Array
    output: Array
    raised: int


def fired_scales(S0: Array, s_out: Array, alive: NDArray[np.bool_]) -> Fired:
    """Make thresholds integers: the output scale stays, the accumulator's is moved a little."""
    # without the raise, round(s_out / S0) would be a coarse threshold
    raised = alive & (np.rint(s_out / S0) < MIN_THRESHOLD)
    s_out = np.where(raised, MIN_THRESHOLD * S0, s_out)
    theta = round_half_even(s_out / S0).clip(1, _MOST_THRESHOLD)
    return Fired(theta, s_out / theta, s_out, int(raised.sum()))


def given_scales(S: Array, s_out: Array) -> Fired:
    """Accumulator scales of a layer that lies on its grid already."""
    theta = round_half_even(s_out / S).clip(1, _MOST_THRESHOLD)
    return Fired(theta, S, s_out, 0)


def plain_scale(S0: Array, s_out: Array, live: NDArray[np.bool_]) -> Array:
    """S0, or for channels without weights one that makes their threshold fine enough."""
    return np.where(live, S0, s_out / _PLAIN_THRESHOLD)


def _on_grid(S: Array, s_out: Array, alive: NDArray[np.bool_]) -> Fired:
    """Fixed accumulator scales: thresholds are whole numbers of S, the output scale follows."""
    theta = round_half_even(s_out / S)
    raised = alive & (theta < MIN_THRESHOLD)
    theta = np.where(alive, theta.clip(MIN_THRESHOLD, _MOST_THRESHOLD), theta.clip(1))
    theta = theta.clip(1, _MOST_THRESHOLD)
    return Fired(theta, S, theta * S, int(raised.sum()))


def skip_scales(
    f: Folded, G: Array, s_out: Array, alive: NDArray[np.bool_]
) -> tuple[Fired, NDArray[np.int64], float]:
    """Scales of a layer with a skip of words: real value G (outputs,) a word of the skip.

    The skip's weight k is chosen first and S = |G| / k follows, so that k has no rounding error;
    of the two k around the scale that fits the weights best, the one whose weights err less. Only
    where one word of the skip is worth less than half an LSB of well scaled weights, k is rounded.

    Returns the scales, k, and the greatest error of k relative to it.
    """
    size = np.abs(G)
    live = alive & (size > 0)
    S0 = f.best_scale()
    # a skip alone is its own scale: fine enough for its threshold
    S0 = np.where(live & ~f.live, np.minimum(size, s_out / 64), plain_scale(S0, s_out, f.live))
    S0 = np.maximum(S0, s_out / _MOST_THRESHOLD)
    wanted = np.where(live, size / S0, 1.0)
    exact = live & (wanted >= 0.5)
    best, least = S0.copy(), np.full(len(S0), np.inf)
    k = np.where(live, np.rint(wanted), 0).astype(np.int64)
    for rounding in (np.floor, np.ceil):
        candidate = rounding(wanted).clip(1, _MOST_SKIP)
        S = np.where(exact, size / candidate, S0)
        error = f.row_error(S)
        better = exact & (error < least)
        best, k = np.where(better, S, best), np.where(better, candidate, k).astype(np.int64)
        least = np.where(better, error, least)
    fired = _on_grid(best, s_out, alive)
    off = np.abs(k * fired.S - size)[live] / size[live]
    return fired, k * np.sign(G).astype(np.int64), float(off.max(initial=0.0))


def sum_scales(
    G: Array, s_out: Array, alive: NDArray[np.bool_]
) -> tuple[Fired, NDArray[np.int64], float]:
    """Scales of a sum of two words: real values G (2, outputs) of a word of each.

    The greater weight is exact, S = |G| / k; k of 8 to 10 bits is the one that rounds the other
    best. Returns the scales, the weights (2, outputs), and the greatest relative error of one.
    """
    size = np.abs(G)
    great, small = size.max(0), size.min(0)
    S = np.where(great > 0, great, s_out) / _PLAIN_THRESHOLD
    least = np.full(len(S), np.inf)
    for k in range(_PLAIN_THRESHOLD, 4 * _PLAIN_THRESHOLD):
        S_k = great / k
        exact = small / np.where(great > 0, S_k, 1.0)
        error = np.abs(np.rint(exact) - exact) / k
        better = (great > 0) & (error < least - 1e-12)
        S, least = np.where(better, S_k, S), np.where(better, error, least)
    S = np.maximum(S, s_out / _MOST_THRESHOLD)
    fired = _on_grid(S, s_out, alive)
    k = round_half_even(G / fired.S).clip(-_MOST_SKIP, _MOST_SKIP)
    off = np.abs(k * fired.S - G)[:, alive] / np.where(size > 0, size, 1.0)[:, alive]
    return fired, k, float(off.max(initial=0.0))
