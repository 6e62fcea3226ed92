"""Pulse width modulation: the carrier of a block once for all rows that share it, then each row.

Levels first, as bytes, then their changes: vector loops without a branch that depends on the
signal.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from spikeloom.encoders.kernels.finite import first_bad
from spikeloom.encoders.pwm_compat import TIMES as _TIMES

#: One period of the carrier in units of its phase.
_FULL = np.int64(1 << 32)

#: Samples at a time: what the innermost cache holds.
_BLOCK = 2048


@njit(nogil=True, cache=True)
def encode(x, p, real, count, out, restart, bipolar):
    """Encode rows; p: offset, scale. See ``PWM._reference``."""
    rows, time = x.shape
    saw, mirror = np.empty(_BLOCK), np.full(_BLOCK, np.inf)
    levels = np.empty(_BLOCK + 1, np.int8)
    for begin in range(0, time, _BLOCK):
        length = min(_BLOCK, time - begin)
        made_for, phase = np.int64(0), np.int64(0)
        for r in range(rows):
            step = count[r, 0]
            if step != made_for:  # rows started together
                made_for, phase = step, count[r, 1]
                for t in range(length):
                    saw[t] = phase * 2.0**-32
                    phase += step
                    phase = phase * np.int64(phase < _FULL) if restart else phase & (_FULL - 1)
                if bipolar:
                    mirror[:] = 1.0 - saw
            levels[0] = count[r, 2]
            row = x[r, begin : begin + length]
            if not _levels(row, p[r, 0], p[r, 1], 0.0, saw, mirror, levels):
                return first_bad(x)
            _changes(levels, out[r, begin : begin + length])
            count[r, 1], count[r, 2] = phase, levels[length]
    return -1


@njit(nogil=True, cache=True)
def encode_compat(x, p, real, count, out, by_record):
    """Encode rows; p: offset, scale, frequency. See ``pwm_compat.encode``.

    by_record: x was checked and is normalised; NaN is then a constant record, and has no spikes.
    """
    rows, time = x.shape
    table, period = np.empty(len(_TIMES), np.float32), len(_TIMES)
    saw, mirror = np.empty(_BLOCK), np.empty(_BLOCK)
    levels = np.empty(_BLOCK + 1, np.int8)
    for begin in range(0, time, _BLOCK):
        length = min(_BLOCK, time - begin)
        made_for, place = np.float32(-1), np.int64(0)
        for r in range(rows):
            frequency = np.float32(p[r, 2])
            if frequency != made_for:  # rows started together
                period = _fill(table, frequency)
                made_for, place = frequency, count[r, 1]
                for t in range(length):
                    if t == 0 and count[r, 0] == 0:  # the very first sample: no level
                        saw[t], mirror[t] = -np.inf, np.inf
                        continue
                    saw[t] = table[place]
                    mirror[t] = np.float32(1) - table[place]
                    place = place + 1 if place + 1 < period else 0
            levels[0] = count[r, 2]
            row = x[r, begin : begin + length]
            finite = _levels(row, p[r, 0], p[r, 1], -np.inf, saw, mirror, levels)
            if not finite and not by_record:
                return first_bad(x)
            _changes(levels, out[r, begin : begin + length])
            count[r, 0], count[r, 1], count[r, 2] = 1, place, levels[length]
    return -1


@njit(nogil=True, cache=True)
def _fill(table, frequency):
    """Fill one period of the package's carrier, and return its length."""
    for c in range(len(_TIMES)):
        cycles = np.float32(frequency * _TIMES[c])
        table[c] = cycles - np.floor(cycles)
        if c and table[c] < table[c - 1]:
            return c
    return len(_TIMES)


@njit(nogil=True, cache=True)
def _levels(x, offset, scale, floor, saw, mirror, levels):
    """Levels of x, to levels[1:]; whether all of x is finite."""
    bad = False
    for t in range(len(x)):
        raw = x[t]
        bad |= not (abs(raw) < np.inf)
        z = np.float64((raw - offset) * scale)
        z = floor if z < floor else z
        up, down = np.int8(z < saw[t]), np.int8(z > mirror[t])
        levels[t + 1] = up - down * (1 + up)
    return not bad


@njit(nogil=True, cache=True)
def _changes(levels, out):
    for t in range(len(out)):
        before, now = levels[t], levels[t + 1]
        out[t] = now if now != before else 0


@njit(nogil=True, cache=True)
def decode(s, steps, initial, out, restart, hold):
    """Decode rows: straight lines between what the spikes say; see ``PWM._decode``.

    steps: int64 (rows,). initial: (rows,) or (0,). hold: keep what a spike said until the next.
    """
    rows, time = s.shape
    kind = s.dtype.type
    for r in range(rows):
        step, phase = steps[r], np.int64(0)
        before, value = np.int64(-1), kind(0.5)
        for t in range(time):
            knot = s[r, t] != 0
            now = value
            if knot:
                middle = np.float64(phase + max(phase - step, 0)) / (2.0 * _FULL)
                now = kind(middle) if s[r, t] > 0 else kind(1.0 - middle)
            if t == 0 and len(initial):
                knot, now = True, initial[r]
            if knot and not hold:
                if before < 0:
                    for k in range(t):
                        out[r, k] = now
                else:
                    rise, width = now - value, kind(t - before)
                    for k in range(before + 1, t):
                        out[r, k] = value + rise * (kind(k - before) / width)
            out[r, t] = now
            if knot:
                before, value = np.int64(t), now
            phase += step
            if phase >= _FULL:
                phase = np.int64(0) if restart else phase - _FULL
