"""The neuron on a CPU, in one pass: threshold * word out, and one bit an element for the backward.

Arrays are flat, in the order of memory; element i has threshold ``theta[i // inner % len(theta)]``.
Blocks of thresholds and of flags stay in the first-level cache, so that the loops over elements are
free of branches and calls, and become vector instructions. Parts of an array may run in threads:
``begin`` is a multiple of 8, ``end`` too or the end of the array.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from spikeloom.neuron_kernels.rule import BINS, GOLDEN

_BLOCK = 1024  # elements; a multiple of 8
_SPLIT = np.int64(-(1 << 27))  # keeps the upper 26 bits of a float64's significand
#: Times 8 bytes of 0 or 1, its highest byte has byte k as bit k.
_GATHER = np.uint64(0x0102040810204080)
#: Times a byte, each of 8 bytes has it; the second keeps bit k in byte k.
_SPREAD, _SELECT = np.uint64(0x0101010101010101), np.uint64(0x8040201008040201)
_GOLDEN = np.uint64(GOLDEN)
#: What ``fire32`` and ``fire64`` are to save.
NOTHING, BITS, CODES = 0, 1, 2


@njit(nogil=True, cache=True, error_model="numpy")
def _thresholds(theta, inner, first, levels):
    """Write the threshold of each element of the block that starts at ``first``."""
    done = 0
    while done < len(levels):
        at = first + done
        if inner == 1:  # channels last: whole rows of thresholds
            c = at % len(theta)
            n = min(len(theta) - c, len(levels) - done)
            part, source = levels[done : done + n], theta[c : c + n]
            for i in range(n):
                part[i] = source[i]
        else:
            value = theta[at // inner % len(theta)]
            n = min(inner - at % inner, len(levels) - done)
            part = levels[done : done + n]
            for i in range(n):
                part[i] = value
        done += n


@njit(nogil=True, cache=True, error_model="numpy")
def _values32(v, levels, y, cap, top, half):
    """Fire a block of float32: y = threshold * word. NaN stays NaN."""
    zero, one = np.float32(0), np.float32(1)
    for i in range(len(v)):
        level = levels[i]
        a = v[i] + half * level
        a = zero if a <= zero else a
        most = level * cap
        a = most if a > most else a
        word = np.floor(a / level)
        # the division may have rounded up to the next word; this product is exact in float64
        word = word - (one if np.float64(word) * np.float64(level) > np.float64(a) else zero)
        word = top if word > top else word
        y[i] = word * level


@njit(nogil=True, cache=True, error_model="numpy")
def _values64(v, levels, highs, y, cap, top, half):
    """Fire a block of float64, as ``_values32``. highs: thresholds without their lower half."""
    for i in range(len(v)):
        level, high = levels[i], highs[i]
        a = v[i] + half * level
        a = 0.0 if a <= 0.0 else a
        most = level * cap
        a = most if a > most else a
        word = np.floor(a / level)
        # each half of the threshold times a word of 17 bits is exact, and near a tie the difference
        word = word - (1.0 if a - word * high < word * (level - high) else 0.0)
        word = top if word > top else word
        y[i] = word * level


@njit(nogil=True, cache=True, error_model="numpy")
def _flags(v, levels, top, flags):
    """1 where the gradient passes: 0 <= v <= threshold * top."""
    for i in range(len(v)):
        flags[i] = (v[i] >= 0) & (v[i] <= levels[i] * top)


@njit(nogil=True, cache=True, error_model="numpy")
def _dither(first, offsets):
    """Write the offset of each element of the block that starts at ``first``; see ``rule``."""
    kind = offsets.dtype.type
    for i in range(len(offsets)):
        turn = (np.uint64(first) + np.uint64(i)) * _GOLDEN
        byte = np.int32((turn >> np.uint64(24)) & np.uint64(255))
        offsets[i] = (kind(byte) + kind(0.5)) / kind(256)


@njit(nogil=True, cache=True, error_model="numpy")
def _codes(v, levels, y, top, half, offsets, flags):
    """Codes of ``rule.BINS``."""
    kind = v.dtype.type
    bins, zero, most = kind(BINS), kind(0), kind(BINS)
    for i in range(len(v)):
        at = ((v[i] - y[i]) / levels[i] + half) * bins + offsets[i]
        at = at if at > zero else zero
        code = np.uint8(most if at > most else at) + np.uint8(1)
        code = np.uint8(15) if v[i] > levels[i] * top else code
        flags[i] = code if v[i] >= zero else np.uint8(0)


@njit(nogil=True, cache=True, error_model="numpy")
def _save(v, levels, y, top, half, flags, saved, first, kind):
    """Pack bits or codes of a block; flags: room for one byte an element of a whole block."""
    n = len(v)
    if kind == BITS:
        _flags(v, levels, top, flags[:n])
        flags[n:] = 0
        eight = flags.view(np.uint64)
        out = saved[first // 8 : (first + n + 7) // 8]
        for j in range(len(out)):
            out[j] = np.uint8((eight[j] * _GATHER) >> np.uint64(56))
    else:
        offsets = np.empty(n, v.dtype)
        _dither(first, offsets)
        _codes(v, levels, y, top, half, offsets, flags[:n])
        flags[n:] = 0
        two = flags.view(np.uint16)
        out = saved[first // 2 : (first + n + 1) // 2]
        for j in range(len(out)):
            out[j] = np.uint8((two[j] | (two[j] >> np.uint16(4))) & np.uint16(255))


@njit(nogil=True, cache=True, error_model="numpy")
def fire32(v, theta, inner, begin, end, y, saved, kind, cap, top, half):
    """Fire elements begin..end of float32, and save bits or codes. cap: 2^T; top: 2^T - 1."""
    levels, flags = np.empty(_BLOCK, v.dtype), np.zeros(_BLOCK, np.uint8)
    for first in range(begin, end, _BLOCK):
        last = min(first + _BLOCK, end)
        n = last - first
        if len(theta) > 1 or first == begin:
            _thresholds(theta, inner, first, levels)
        _values32(v[first:last], levels[:n], y[first:last], cap, top, half)
        if kind != NOTHING:
            _save(v[first:last], levels[:n], y[first:last], top, half, flags, saved, first, kind)


@njit(nogil=True, cache=True, error_model="numpy")
def fire64(v, theta, inner, begin, end, y, saved, kind, cap, top, half):
    """Fire elements begin..end of float64, as ``fire32``."""
    levels, flags = np.empty(_BLOCK, v.dtype), np.zeros(_BLOCK, np.uint8)
    highs = np.empty(_BLOCK, v.dtype)
    bits, high_bits = levels.view(np.int64), highs.view(np.int64)
    for first in range(begin, end, _BLOCK):
        last = min(first + _BLOCK, end)
        n = last - first
        if len(theta) > 1 or first == begin:
            _thresholds(theta, inner, first, levels)
            for i in range(_BLOCK):
                high_bits[i] = bits[i] & _SPLIT
        _values64(v[first:last], levels[:n], highs[:n], y[first:last], cap, top, half)
        if kind != NOTHING:
            _save(v[first:last], levels[:n], y[first:last], top, half, flags, saved, first, kind)


@njit(nogil=True, cache=True, error_model="numpy")
def back_bits(grad, saved, begin, end, out):
    """Gradient of the potential: that of the output where its bit is set."""
    zero = grad.dtype.type(0)
    flags = np.empty(_BLOCK, np.uint8)
    eight = flags.view(np.uint64)
    for first in range(begin, end, _BLOCK):
        last = min(first + _BLOCK, end)
        n = last - first
        bits = saved[first // 8 : (last + 7) // 8]
        for j in range(len(bits)):
            eight[j] = (np.uint64(bits[j]) * _SPREAD) & _SELECT
        g, o = grad[first:last], out[first:last]
        for i in range(n):
            o[i] = g[i] if flags[i] != 0 else zero


@njit(nogil=True, cache=True, error_model="numpy")
def back_codes(grad, saved, inner, begin, end, out, sums, top, half):
    """As ``back_bits``, and sums (channels,) of the gradients of the thresholds, from codes."""
    kind = grad.dtype.type
    zero, step, center = kind(0), kind(1) / kind(BINS), half + kind(0.5) / kind(BINS)
    flags, slopes = np.empty(_BLOCK, np.uint8), np.empty(_BLOCK, grad.dtype)
    offsets = np.empty(_BLOCK, grad.dtype)
    two = flags.view(np.uint16)
    for first in range(begin, end, _BLOCK):
        last = min(first + _BLOCK, end)
        n = last - first
        codes = saved[first // 2 : (last + 1) // 2]
        for j in range(len(codes)):
            pair = np.uint16(codes[j])
            two[j] = (pair & np.uint16(15)) | ((pair & np.uint16(240)) << np.uint16(4))
        g, o = grad[first:last], out[first:last]
        _dither(first, offsets)
        for i in range(n):
            code = flags[i]
            o[i] = g[i] if (code != 0) & (code != 15) else zero
            slope = center - (kind(code) - offsets[i]) * step
            slope = top if code == 15 else slope
            slopes[i] = g[i] * (zero if code == 0 else slope)
        _add_up(slopes[:n], inner, first, sums)


@njit(nogil=True, cache=True, error_model="numpy")
def back_exact(grad, v, y, theta, inner, begin, end, out, sums, top):
    """As ``back_codes``, from the potentials and values themselves."""
    zero = grad.dtype.type(0)
    levels, slopes = np.empty(_BLOCK, v.dtype), np.empty(_BLOCK, grad.dtype)
    for first in range(begin, end, _BLOCK):
        last = min(first + _BLOCK, end)
        n = last - first
        if len(theta) > 1 or first == begin:
            _thresholds(theta, inner, first, levels)
        g, o, x, z = grad[first:last], out[first:last], v[first:last], y[first:last]
        for i in range(n):
            inside = (x[i] >= zero) & (x[i] <= levels[i] * top)
            o[i] = g[i] if inside else zero
            slopes[i] = g[i] * ((z[i] - x[i] if inside else z[i]) / levels[i])
        _add_up(slopes[:n], inner, first, sums)


@njit(nogil=True, cache=True, error_model="numpy")
def _add_up(slopes, inner, first, sums):
    """Add a block's elements to the sums of their channels."""
    done = 0
    while done < len(slopes):
        at = first + done
        if inner == 1:
            c = at % len(sums)
            n = min(len(sums) - c, len(slopes) - done)
            part, target = slopes[done : done + n], sums[c : c + n]
            for i in range(n):
                target[i] += part[i]
        else:
            n = min(inner - at % inner, len(slopes) - done)
            sums[at // inner % len(sums)] += _total(slopes[done : done + n])
        done += n


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def _total(x):
    """Sum in float64; the order is free, which lets it be vectorised."""
    total = 0.0
    for i in range(len(x)):
        total += x[i]
    return total
