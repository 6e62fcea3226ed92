"""How well a spike train stands for its signal: error, delay, bits."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["correlation", "group_delay", "normalised_error", "snr_db"]

_LONGEST_DELAY = 512
_LONGEST_LOOK = 1 << 14


def normalised_error(signal: NDArray[np.float64], estimate: NDArray[np.float64]) -> float:
    """Mean squared error over the variance of the signal, averaged over channels.

    signal, estimate: (channels, time). A constant channel counts with its plain squared error.
    """
    variance = signal.var(axis=-1)
    error = ((signal - estimate) ** 2).mean(axis=-1)
    return float((error / np.where(variance > 0, variance, 1.0)).mean())


def snr_db(signal: NDArray[np.float64], estimate: NDArray[np.float64]) -> float:
    """Variance of the signal over mean squared error, in dB; infinity without an error."""
    error = normalised_error(signal, estimate)
    return math.inf if error == 0 else -10 * math.log10(error)


def correlation(signal: NDArray[np.float64], estimate: NDArray[np.float64]) -> float:
    """Pearson correlation, averaged over channels; 0 for a constant one."""
    a = signal - signal.mean(axis=-1, keepdims=True)
    b = estimate - estimate.mean(axis=-1, keepdims=True)
    norm = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return float(np.where(norm > 0, (a * b).sum(axis=-1) / np.where(norm > 0, norm, 1), 0).mean())


def group_delay(signal: NDArray[np.float64], estimate: NDArray[np.float64]) -> float:
    """Samples by which the estimate lags behind: the shift with the least squared difference.

    Both are centred and scaled to unit variance first. A parabola through the least value and its
    neighbours gives fractions of a sample. Delays up to a quarter of the signal, 512 samples at
    most, are looked at, in the first 16384 samples; NaN if a signal is constant, or if the two are
    nowhere more alike than a correlation of 1/2.
    """
    a, b = (x[..., :_LONGEST_LOOK] for x in (signal, estimate))
    alive = (a.std(axis=-1) > 0) & (b.std(axis=-1) > 0)
    if not alive.any():
        return math.nan
    a, b = (_standard(x[alive]) for x in (a, b))
    time = a.shape[-1]
    reach = max(1, min(_LONGEST_DELAY, time // 4))
    lags = range(-reach, reach + 1)
    errors = np.array([_shifted_error(a, b, k) for k in lags])
    # of the equal shifts of a periodic signal, the shortest
    best = int(np.argmin(errors + 0.02 * np.abs(np.arange(-reach, reach + 1)) / reach))
    if errors[best] > 1.0:  # of unit variances: 2 (1 - correlation)
        return math.nan
    if best in (0, len(errors) - 1):
        return float(lags[best])
    left, low, right = errors[best - 1 : best + 2]
    bend = left - 2 * low + right
    return float(lags[best] + (0.5 * (left - right) / bend if bend > 0 else 0.0))


def _shifted_error(a: NDArray[np.float64], b: NDArray[np.float64], lag: int) -> float:
    late = b[:, lag:] if lag >= 0 else b[:, :lag]
    early = a[:, : a.shape[-1] - lag] if lag >= 0 else a[:, -lag:]
    return float(np.square(early - late).mean())


def _standard(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return (x - x.mean(axis=-1, keepdims=True)) / x.std(axis=-1, keepdims=True)
