"""Hough's spiker algorithm, row by row: one decision a sample, on the residual in place."""

from __future__ import annotations

import numpy as np
from numba import njit

from spikeloom.encoders.kernels.bsa import load


@njit(nogil=True, cache=True)
def encode(x, p, taps, lengths, real, count, out):
    """Encode rows; arguments as for ``encode`` of BSA. See ``HoughSpiker._reference``.

    A sum that is above the threshold stays so, as no term is below zero: there a window ends early.
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
        waiting = min(count[r, 0], latency)
        total = waiting + time
        bad = load(x[r], p[r, 0], p[r, 1], real[r], waiting, work, 0)
        if bad >= 0:
            return r * time + bad
        for t in range(decisions):
            window = work[t : t + width]
            spike = t + width <= total
            if spike:
                shortfall = zero
                for k in range(width):
                    missing = h[k] - window[k]
                    if missing > zero:
                        shortfall += missing
                        if shortfall > threshold:
                            spike = False
                            break
            if spike:
                for k in range(width):
                    window[k] -= h[k]
            out[r, t] = spike
        for t in range(decisions, total):
            real[r, t - decisions] = work[t]
        count[r, 0] += time
    return -1
