"""Step-forward, row by row."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def encode(x, p, real, count, out, levels, side_band):
    """Encode rows; p: offset, scale, threshold, initial. See ``StepForward._reference``."""
    rows, time = x.shape
    for r in range(rows):
        offset, scale, threshold = p[r, 0], p[r, 1], p[r, 2]
        base = real[r, 0]
        level, last = count[r, 1], count[r, 2]
        begin = 0
        if count[r, 0] == 0:
            count[r, 0] = 1
            base = p[r, 3]
            if side_band:
                if not np.isfinite(x[r, 0]):
                    return r * time
                base = (x[r, 0] - offset) * scale
                out[r, 0] = 0
                begin = 1
        if levels == 0:
            for t in range(begin, time):
                raw = x[r, t]
                if not np.isfinite(raw):
                    return r * time + t
                z = (raw - offset) * scale
                above, below = base + threshold, base - threshold
                up, down = z > above, z < below
                base = above if up else (below if down else base)
                last = np.int64(up) - np.int64(down)
                out[r, t] = last
        else:
            theta = threshold
            for _ in range(level):
                theta = theta + theta
            for t in range(begin, time):
                raw = x[r, t]
                if not np.isfinite(raw):
                    return r * time + t
                z = (raw - offset) * scale
                above, below = base + theta, base - theta
                up, down = z > above, z < below
                base = above if up else (below if down else base)
                spike = np.int64(up) - np.int64(down)
                if spike != 0 and spike == last:
                    level = min(level + 1, levels)
                else:
                    level = max(level - 1, 0)
                theta = threshold
                for _ in range(level):
                    theta = theta + theta
                last = spike
                out[r, t] = spike
        real[r, 0] = base
        count[r, 1], count[r, 2] = level, last
    return -1


@njit(nogil=True, cache=True)
def decode(s, p, out, levels):
    """Decode rows of float spikes; p: threshold, initial. See ``StepForward._decode``."""
    rows, time = s.shape
    for r in range(rows):
        threshold, base = p[r, 0], p[r, 1]
        level, last = 0, s[r, 0] * 0
        for t in range(time):
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
