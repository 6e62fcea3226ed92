"""Send on delta, row by row."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from spikeloom.encoders.logarithm import ATANH, LN2, SQRT_HALF


@njit(nogil=True, cache=True)
def _log2(x):
    """Base-2 logarithm in float64; see ``spikeloom.encoders.logarithm.log2``."""
    m, e = math.frexp(x)
    if m < SQRT_HALF:
        m, e = m + m, e - 1
    f = (m - 1.0) / (m + 1.0)
    square = f * f
    total = 0.0
    for c in ATANH:
        total = total * square + c
    return e + (f * total) / LN2


@njit(nogil=True, cache=True)
def _quanta(m, threshold, quanta, one):
    """Greatest n in 1..quanta with n * threshold <= m, as a float; m >= threshold."""
    n = one
    while n < quanta and (n + one) * threshold <= m:
        n = n + one
    return n


@njit(nogil=True, cache=True)
def encode(x, p, real, count, out, quanta, side_band, log):
    """Encode rows; p: offset, scale, threshold, hysteresis, initial. See ``Delta._reference``.

    With log, the index of a sample that is not above 0 is returned too.
    """
    rows, time = x.shape
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for r in range(rows):
        offset, scale, threshold, hysteresis = p[r, 0], p[r, 1], p[r, 2], p[r, 3]
        ref, started, last = real[r, 0], count[r, 0], count[r, 1]
        # what a change up, or down, has to overcome
        above, below = hysteresis if last < 0 else zero, hysteresis if last > 0 else zero
        for t in range(time):
            raw = x[r, t]
            if not np.isfinite(raw):
                return r * time + t
            z = (raw - offset) * scale
            if log:
                if not z > 0:
                    return r * time + t
                z = x.dtype.type(_log2(np.float64(z)))
            if started == 0:
                started = 1
                ref = z if side_band else p[r, 4]
                if side_band:
                    out[r, t] = 0
                    continue
            d = z - ref
            if d - above >= threshold:
                n = _quanta(d - above, threshold, quanta, one)
                ref = ref + n * threshold
                above, below, last = zero, hysteresis, 1
                out[r, t] = n
            elif -d - below >= threshold:
                n = _quanta(-d - below, threshold, quanta, one)
                ref = ref - n * threshold
                above, below, last = hysteresis, zero, -1
                out[r, t] = -n
            else:
                out[r, t] = 0
        real[r, 0], count[r, 0], count[r, 1] = ref, started, last
    return -1


@njit(nogil=True, cache=True)
def decode(s, p, out):
    """Sum rows of float spikes; p: threshold, initial. See ``Delta._decode``."""
    rows, time = s.shape
    for r in range(rows):
        threshold, ref = p[r, 0], p[r, 1]
        for t in range(time):
            ref = ref + s[r, t] * threshold
            out[r, t] = ref
