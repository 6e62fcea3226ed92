"""Step-forward, row by row."""

from __future__ import annotations

import numpy as np
from numba import njit

from spikeloom.encoders.kernels.finite import all_finite, first_bad


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
            for k in range(r, r + 4):
                if not all_finite(x[k]):
                    return first_bad(x)
            _four(x[r : r + 4], p[r : r + 4], real[r : r + 4], out[r : r + 4], begin)
    for r in range(done, rows):
        if not all_finite(x[r]):
            return first_bad(x)
        if levels == 0:
            _one(x[r], p[r], real[r], out[r], begin)
        else:
            _adaptive(x[r], p[r], real[r], count[r], out[r], levels, begin)
    return -1


@njit(nogil=True, cache=True)
def _step(z, base, threshold, plus, none, minus):
    """Base after a sample, and its spike; without branches, since spikes are hard to predict.

    plus, none, minus: 1, 0, -1 in the type of z. Their product with the threshold is exact.
    """
    spike = plus if z > base + threshold else none
    spike = minus if z < base - threshold else spike
    return base + threshold * spike, spike


@njit(nogil=True, cache=True)
def _one(x, p, real, out, begin):
    offset, scale, threshold = p[0], p[1], p[2]
    kind = x.dtype.type
    plus, none, minus = kind(1), kind(0), kind(-1)
    base = real[0]
    for t in range(begin, len(x)):
        base, out[t] = _step((x[t] - offset) * scale, base, threshold, plus, none, minus)
    real[0] = base


@njit(nogil=True, cache=True)
def _four(x, p, real, out, begin):
    oa, ob, oc, od = p[0, 0], p[1, 0], p[2, 0], p[3, 0]
    sa, sb, sc, sd = p[0, 1], p[1, 1], p[2, 1], p[3, 1]
    ta, tb, tc, td = p[0, 2], p[1, 2], p[2, 2], p[3, 2]
    a, b, c, d = real[0, 0], real[1, 0], real[2, 0], real[3, 0]
    kind = x.dtype.type
    plus, none, minus = kind(1), kind(0), kind(-1)
    for t in range(begin, x.shape[1]):
        a, out[0, t] = _step((x[0, t] - oa) * sa, a, ta, plus, none, minus)
        b, out[1, t] = _step((x[1, t] - ob) * sb, b, tb, plus, none, minus)
        c, out[2, t] = _step((x[2, t] - oc) * sc, c, tc, plus, none, minus)
        d, out[3, t] = _step((x[3, t] - od) * sd, d, td, plus, none, minus)
    real[0, 0], real[1, 0], real[2, 0], real[3, 0] = a, b, c, d


@njit(nogil=True, cache=True)
def _adaptive(x, p, real, count, out, levels, begin):
    offset, scale, threshold = p[0], p[1], p[2]
    base, level, last = real[0], count[1], count[2]
    theta = threshold
    for _ in range(level):
        theta = theta + theta
    for t in range(begin, len(x)):
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


@njit(nogil=True, cache=True)
def decode(s, p, out, levels, side_band):
    """Decode rows of float spikes; p: threshold, initial. See ``StepForward._decode``."""
    rows = len(s)
    begin = int(side_band)
    if side_band:
        out[:, 0] = p[:, 1]
    done = 0
    if levels == 0:
        done = rows // 4 * 4
        for r in range(0, done, 4):
            _decode_four(s[r : r + 4], p[r : r + 4], out[r : r + 4], begin)
    for r in range(done, rows):
        _decode_one(s[r], p[r], out[r], levels, begin)
    return -1


@njit(nogil=True, cache=True)
def _decode_four(s, p, out, begin):
    ta, tb, tc, td = p[0, 0], p[1, 0], p[2, 0], p[3, 0]
    a, b, c, d = p[0, 1], p[1, 1], p[2, 1], p[3, 1]
    for t in range(begin, s.shape[1]):
        a = a + ta * s[0, t]
        b = b + tb * s[1, t]
        c = c + tc * s[2, t]
        d = d + td * s[3, t]
        out[0, t], out[1, t], out[2, t], out[3, t] = a, b, c, d


@njit(nogil=True, cache=True)
def _decode_one(s, p, out, levels, begin):
    threshold, base = p[0], p[1]
    level, last = 0, s.dtype.type(0)
    for t in range(begin, len(s)):
        theta = threshold
        for _ in range(level):
            theta = theta + theta
        base = base + theta * s[t]
        out[t] = base
        if levels:
            level = min(level + 1, levels) if s[t] != 0 and s[t] == last else max(level - 1, 0)
            last = s[t]
