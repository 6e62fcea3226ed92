"""Poisson, value by value."""

from __future__ import annotations

from numba import njit


@njit(nogil=True, cache=True)
def encode(fired, limit, state):
    """Draw a word of spikes for each value; see ``Poisson._encode``."""
    rows, steps = fired.shape
    for r in range(rows):
        x = state[r]
        for k in range(steps):
            x ^= (x << 13) & 0xFFFFFFFF
            x ^= x >> 17
            x ^= (x << 5) & 0xFFFFFFFF
            fired[r, k] = x < limit[r]
        state[r] = x
    return -1
