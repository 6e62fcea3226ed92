"""Step-forward, row by row."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def encode(x, p, real, count, out, levels, side_band):
    """Encode rows; p: offset, scale, threshold, initial. See ``StepForward._reference``."""
    rows = len(x)
    begin = 0
    if count[0, 0] == 0:  # rows start together
        begin = int(side_band)
        for r in range(rows):
            count[r, 0] = 1
            real[r, 0] = p[r, 3]
            if side_band:
                if not np.isfinite(x[r, 0]):
                    return first_bad(x)
                real[r, 0] = (x[r, 0] - p[r, 0]) * p[r, 1]
                out[r, 0] = 0
    done = 0
    if levels == 0:
        # a row waits for itself: four at a time keep the arithmetic busy
        done = rows // 4 * 4
        for r in range(0, done, 4):
            if _four(x[r : r + 4], p[r : r + 4], real[r : r + 4], out[r : r + 4], begin):
                return first_bad(x)
    for r in range(done, rows):
        if levels == 0:
            bad = _one(x[r], p[r], real[r], out[r], begin)
        else:
            bad = _adaptive(x[r], p[r], real[r], count[r], out[r], levels, begin)
        if bad:
            return first_bad(x)
    return -1


@njit(nogil=True, cache=True)
def first_bad(x):
    """Flat index of the first number that is not finite, or -1."""
    rows, time = x.shape
    for r in range(rows):
        for t in range(time):
            if not np.isfinite(x[r, t]):
                return r * time + t
    return -1


@njit(nogil=True, cache=True)
def _step(z, base, threshold, plus, none, minus):
    """Base after a sample, and its spike; without branches, since spikes are hard to predict.

    plus, none, minus: 1, 0, -1 in the type of the spikes: to convert them would take longer than
    everything else.
    """
    above, below = base + threshold, base - threshold
    up, down = z > above, z < below
    spike = plus if up else (minus if down else none)
    return (above if up else (below if down else base)), spike


@njit(nogil=True, cache=True)
def _one(x, p, real, out, begin):
    offset, scale, threshold = p[0], p[1], p[2]
    kind = out.dtype.type
    plus, none, minus = kind(1), kind(0), kind(-1)
    base, check = real[0], x.dtype.type(0)
    for t in range(begin, len(x)):
        check += x[t] - x[t]  # 0, or NaN
        base, out[t] = _step((x[t] - offset) * scale, base, threshold, plus, none, minus)
    real[0] = base
    return check != 0


@njit(nogil=True, cache=True)
def _four(x, p, real, out, begin):
    oa, ob, oc, od = p[0, 0], p[1, 0], p[2, 0], p[3, 0]
    sa, sb, sc, sd = p[0, 1], p[1, 1], p[2, 1], p[3, 1]
    ta, tb, tc, td = p[0, 2], p[1, 2], p[2, 2], p[3, 2]
    a, b, c, d = real[0, 0], real[1, 0], real[2, 0], real[3, 0]
    kind = out.dtype.type
    plus, none, minus = kind(1), kind(0), kind(-1)
    check = x.dtype.type(0)
    for t in range(begin, x.shape[1]):
        xa, xb, xc, xd = x[0, t], x[1, t], x[2, t], x[3, t]
        check += ((xa - xa) + (xb - xb)) + ((xc - xc) + (xd - xd))  # 0, or NaN
        a, out[0, t] = _step((xa - oa) * sa, a, ta, plus, none, minus)
        b, out[1, t] = _step((xb - ob) * sb, b, tb, plus, none, minus)
        c, out[2, t] = _step((xc - oc) * sc, c, tc, plus, none, minus)
        d, out[3, t] = _step((xd - od) * sd, d, td, plus, none, minus)
    real[0, 0], real[1, 0], real[2, 0], real[3, 0] = a, b, c, d
    return check != 0


@njit(nogil=True, cache=True)
def _adaptive(x, p, real, count, out, levels, begin):
    offset, scale, threshold = p[0], p[1], p[2]
    base, level, last = real[0], count[1], count[2]
    theta = threshold
    for _ in range(level):
        theta = theta + theta
    for t in range(begin, len(x)):
        if not np.isfinite(x[t]):
            return True
        z = (x[t] - offset) * scale
        above, below = base + theta, base - theta
        up, down = z > above, z < below
        base = above if up else (below if down else base)
        spike = np.int64(up) - np.int64(down)
        level = min(level + 1, levels) if spike != 0 and spike == last else max(level - 1, 0)
        theta = threshold
        for _ in range(level):
            theta = theta + theta
        last = spike
        out[t] = spike
    real[0], count[1], count[2] = base, level, last
    return False


@njit(nogil=True, cache=True)
def decode(s, p, out, levels, side_band):
    """Decode rows of float spikes; p: threshold, initial. See ``StepForward._decode``."""
    rows, time = s.shape
    for r in range(rows):
        threshold, base = p[r, 0], p[r, 1]
        level, last, begin = 0, s.dtype.type(0), 0
        if side_band:
            out[r, 0] = base
            begin = 1
        for t in range(begin, time):
            theta = threshold
            for _ in range(level):
                theta = theta + theta
            base = base + theta * s[r, t]
            out[r, t] = base
            if levels:
                if s[r, t] != 0 and s[r, t] == last:
                    level = min(level + 1, levels)
                else:
                    level = max(level - 1, 0)
                last = s[r, t]
