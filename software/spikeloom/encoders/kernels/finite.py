"""Where an array is not finite: one pass, without a second array, in one thread."""

from __future__ import annotations

import numpy as np
from numba import njit

_BLOCK = 4096


@njit(nogil=True, cache=True)
def first_non_finite(bits, exponent):
    """Flat index of the first NaN or infinity, or -1.

    bits: the floats as integers of their size, one axis. exponent: its bits, all 1 in those only.
    """
    for begin in range(0, len(bits), _BLOCK):
        end = min(begin + _BLOCK, len(bits))
        found = False
        for k in range(begin, end):  # without an exit, so that it is vectorised
            found |= (bits[k] & exponent) == exponent
        if found:
            for k in range(begin, end):
                if (bits[k] & exponent) == exponent:
                    return k
    return -1


def find(array: np.ndarray) -> int:
    """Flat index of the first NaN or infinity of contiguous float32 or float64, or -1."""
    if array.dtype == np.float32:
        return int(first_non_finite(array.view(np.int32).reshape(-1), np.int32(0x7F800000)))
    return int(first_non_finite(array.view(np.int64).reshape(-1), np.int64(0x7FF << 52)))
