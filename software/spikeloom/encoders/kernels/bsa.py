"""Ben's spiker algorithm, row by row: one decision a sample, on the residual in place."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def decode(s, taps, out):
    """Filter rows of spikes, a tap after the other; see ``BSA._decode``."""
    rows, time = s.shape
    for r in range(rows):
        y, train = out[r], s[r]
        y[:] = 0
        for k in range(min(taps.shape[1], time)):
            h = taps[r, k]
            for t in range(k, time):
                y[t] += h * train[t - k]
    return -1


@njit(nogil=True, cache=True)
def load(x, offset, scale, real, waiting, work, checked):
    """Lay out a row: residuals that wait, then its samples; index of one not finite, or -1.

    checked: x is known to be finite, or became NaN by its normalisation.
    """
    for t in range(waiting):
        work[t] = real[t]
    for t in range(len(x)):
        raw = x[t]
        if not checked and not np.isfinite(raw):
            return t
        work[waiting + t] = (raw - offset) * scale
    return -1


@njit(nogil=True, cache=True)
def encode(x, p, taps, lengths, real, count, out, compat, by_record):
    """Encode rows; p: offset, scale, threshold. See ``BSA._reference``.

    taps: (rows, n), of which row r has the first lengths[r]. real: residuals that wait for samples
    to come. out: as many columns as there are decisions; windows end with the samples there are.
    compat: the first sample of a stream has no spike. by_record: x was checked and is normalised.
    """
    rows, time = x.shape
    latency, decisions = real.shape[1], out.shape[1]
    zero = x.dtype.type(0)
    work = np.empty(latency + time, x.dtype)
    h = np.empty(taps.shape[1], x.dtype)
    for r in range(rows):
        threshold = p[r, 2]
        width = lengths[r]
        for k in range(width):
            h[k] = taps[r, k]
        seen = count[r, 0]
        waiting = min(seen, latency)
        total = waiting + time
        bad = load(x[r], p[r, 0], p[r, 1], real[r], waiting, work, by_record)
        if bad >= 0:
            return r * time + bad
        begin = min(1, decisions) if compat and seen == waiting else 0
        for t in range(begin):
            out[r, t] = 0
        for t in range(begin, decisions):
            window = work[t : min(t + width, total)]
            without, with_spike = zero, zero
            for k in range(len(window)):
                without += abs(window[k])
                with_spike += abs(window[k] - h[k])
            if with_spike <= without - threshold:
                for k in range(len(window)):
                    window[k] -= h[k]
                out[r, t] = 1
            else:
                out[r, t] = 0
        for t in range(decisions, total):
            real[r, t - decisions] = work[t]
        count[r, 0] = seen + time
    return -1
