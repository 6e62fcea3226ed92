"""Threshold-based, moving window and sigma-delta, row by row."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def threshold_based(x, p, real, count, out):
    """Encode rows; p: offset, scale, threshold. See ``ThresholdBased._reference``."""
    rows, time = x.shape
    for r in range(rows):
        offset, scale, threshold = p[r, 0], p[r, 1], p[r, 2]
        previous = real[r, 0] if count[r, 0] else (x[r, 0] - offset) * scale
        count[r, 0] = 1
        for t in range(time):
            raw = x[r, t]
            if not np.isfinite(raw):
                return r * time + t
            z = (raw - offset) * scale
            d = z - previous
            out[r, t] = np.int64(d > threshold) - np.int64(d < -threshold)
            previous = z
        real[r, 0] = previous
    return -1


@njit(nogil=True, cache=True)
def moving_window(x, p, real, count, out, window):
    """Encode rows; p: offset, scale, threshold. See ``MovingWindow._reference``."""
    rows, time = x.shape
    size = 1 << window
    part = x.dtype.type(1.0 / size)
    for r in range(rows):
        offset, scale, threshold = p[r, 0], p[r, 1], p[r, 2]
        seen = count[r, 0]
        if seen == 0:
            z = (x[r, 0] - offset) * scale
            real[r, 0] = z * x.dtype.type(size)
            real[r, 1:] = z
        total = real[r, 0]
        for t in range(time):
            raw = x[r, t]
            if not np.isfinite(raw):
                return r * time + t
            z = (raw - offset) * scale
            mean = total * part
            spike = np.int64(z > mean + threshold) - np.int64(z < mean - threshold)
            out[r, t] = spike if seen > 0 else 0
            place = 1 + seen % size
            total = total + (z - real[r, place])
            real[r, place] = z
            seen += 1
        real[r, 0], count[r, 0] = total, seen
    return -1


@njit(nogil=True, cache=True)
def sigma_delta(x, p, real, count, out):
    """Encode rows; p: offset, scale, threshold. See ``SigmaDelta._reference``."""
    rows, time = x.shape
    four, zero = x.dtype.type(4.0), x.dtype.type(0.0)
    for r in range(rows):
        offset, scale, threshold = p[r, 0], p[r, 1], p[r, 2]
        a, b = real[r, 0], real[r, 1]
        limit = threshold * four
        for t in range(time):
            raw = x[r, t]
            if not np.isfinite(raw):
                return r * time + t
            twice = b + b
            spike = np.int64(twice >= threshold) - np.int64(twice <= -threshold)
            fed = threshold if spike > 0 else (-threshold if spike < 0 else zero)
            overloaded = abs(a) >= limit or abs(b) >= limit
            b = zero if overloaded else b + a - (fed + fed)
            a = zero if overloaded else a + (raw - offset) * scale - fed
            out[r, t] = spike
        real[r, 0], real[r, 1] = a, b
    return -1
