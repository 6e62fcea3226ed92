"""Record normalisation of spike-encoding, row by row."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")  # 1 / 0 is infinite
def normalise(x, z, record, symmetric):
    """Normalise rows of x to z, float32; record: minimum, scale. See ``record_normalise``."""
    rows, time = x.shape
    one = x.dtype.type(1)
    for r in range(rows):
        low, high = x[r, 0], x[r, 0]
        for t in range(time):
            raw = x[r, t]
            if not np.isfinite(raw):
                return r * time + t
            low = raw if raw < low else low
            high = raw if raw > high else high
        scale = one / (high - low)
        if symmetric:
            for t in range(time):
                unit = scale * (x[r, t] - low)
                z[r, t] = (unit + unit) - one
        else:
            for t in range(time):
                z[r, t] = scale * (x[r, t] - low)
        record[r, 0], record[r, 1] = low, scale
    return -1
