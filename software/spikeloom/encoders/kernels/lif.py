"""Leaky integrate and fire, row by row."""

from __future__ import annotations

import numpy as np
from numba import njit

# Branches, not selects: they take the reset off the chain from sample to sample. A loop for each
# kind of reset, since the compiler does not take the choice out of it.


@njit(nogil=True, cache=True)
def encode(x, p, real, count, out, subtract, refracts):
    """Encode rows; p: offset, scale, threshold, leak, refractory. See ``LIF._reference``."""
    rows, time = x.shape
    zero = x.dtype.type(0)
    for r in range(rows):
        offset, scale, threshold, leak = p[r, 0], p[r, 1], p[r, 2], p[r, 3]
        rest, wait = np.int64(p[r, 4]), count[r, 1]
        v = real[r, 0]
        if refracts:
            for t in range(time):
                raw = x[r, t]
                if not np.isfinite(raw):
                    return r * time + t
                out[r, t] = 0
                if wait > 0:
                    wait -= 1
                    continue
                v = v + (raw - offset) * scale
                if v > threshold:
                    v = min(v - threshold, threshold) if subtract else zero
                    wait = rest
                    out[r, t] = 1
                elif v < -threshold:
                    v = max(v + threshold, -threshold) if subtract else zero
                    wait = rest
                    out[r, t] = -1
                v = v * leak
        elif subtract:
            for t in range(time):
                raw = x[r, t]
                if not np.isfinite(raw):
                    return r * time + t
                v = v + (raw - offset) * scale
                if v > threshold:
                    v = min(v - threshold, threshold)
                    out[r, t] = 1
                elif v < -threshold:
                    v = max(v + threshold, -threshold)
                    out[r, t] = -1
                else:
                    out[r, t] = 0
                v = v * leak
        else:
            for t in range(time):
                raw = x[r, t]
                if not np.isfinite(raw):
                    return r * time + t
                v = v + (raw - offset) * scale
                if v > threshold:
                    v = zero
                    out[r, t] = 1
                elif v < -threshold:
                    v = zero
                    out[r, t] = -1
                else:
                    out[r, t] = 0
                v = v * leak
        real[r, 0], count[r, 0], count[r, 1] = v, 1, wait
    return -1


@njit(nogil=True, cache=True)
def decode(s, p, out):
    """Decode rows of float spikes; p: leak, gain. See ``LIF._decode``."""
    rows, time = s.shape
    zero = s.dtype.type(0)
    for r in range(rows):
        leak, gain = p[r, 0], p[r, 1]
        y = zero
        for t in range(time):
            y = y * leak + s[r, t] * gain
            out[r, t] = y


@njit(nogil=True, cache=True)
def encode_compat(x, p, real, count, out, checked):
    """Encode rows as spike-encoding does; p as in encode. See ``LIF._reference_compat``.

    checked: x is known to be finite, and may have become NaN by its normalisation.
    """
    rows, time = x.shape
    zero = x.dtype.type(0)
    for r in range(rows):
        offset, scale, threshold, leak = p[r, 0], p[r, 1], p[r, 2], p[r, 3]
        v, base, seen = real[r, 0], real[r, 1], count[r, 0]
        for t in range(time):
            raw = x[r, t]
            if not checked and not np.isfinite(raw):
                return r * time + t
            if seen == 0:
                seen = 1
                out[r, t] = 0
                continue
            v = v + (raw - offset) * scale
            if seen == 1:
                seen = 2
                base = v
            d = v - base
            if d > threshold:
                v = base = zero
                out[r, t] = 1
            elif d < -threshold:
                v = base = zero
                out[r, t] = -1
            else:
                out[r, t] = 0
            v = v * leak
        real[r, 0], real[r, 1], count[r, 0] = v, base, seen
    return -1


@njit(nogil=True, cache=True)
def decode_compat(s, p, out):
    """Decode rows as spike-encoding does, in units of z; p: leak, threshold."""
    rows, time = s.shape
    zero = s.dtype.type(0)
    for r in range(rows):
        leak, threshold = p[r, 0], p[r, 1]
        y = zero
        out[r, 0] = y
        for t in range(1, time):
            y = y * leak + threshold * s[r, t]
            out[r, t] = y
