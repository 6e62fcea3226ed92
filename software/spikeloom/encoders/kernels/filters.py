"""Cascades of biquads, row by row."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def cascade(x, memory, out, sections):
    """Filter rows; see ``filters._reference``."""
    rows, time = x.shape
    bands, depth, _ = sections.shape
    for r in range(rows):
        for b in range(bands):
            for k in range(depth):
                b0, b1, b2 = sections[b, k, 0], sections[b, k, 1], sections[b, k, 2]
                a1, a2 = sections[b, k, 3], sections[b, k, 4]
                near, far = memory[r, b, k, 0], memory[r, b, k, 1]
                for t in range(time):
                    v = np.float64(x[r, t]) if k == 0 else out[r, b, t]
                    y = b0 * v + near
                    near = (b1 * v - a1 * y) + far
                    far = b2 * v - a2 * y
                    out[r, b, t] = y
                memory[r, b, k, 0], memory[r, b, k, 1] = near, far
    return -1
