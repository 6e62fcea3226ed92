"""Butterworth filters as cascades of biquads, by bilinear transform; plain numpy."""

from __future__ import annotations

import cmath
import math

import numpy as np
from numpy.typing import NDArray

from spikeloom.errors import InputError

__all__ = ["butterworth"]


def butterworth(
    low: float | None, high: float | None, rate: float, order: int
) -> NDArray[np.float64]:
    """Sections (order, 5): b0, b1, b2, a1, a2, of a band-pass; a low-pass or high-pass has fewer.

    low, high: -3 dB cut-offs, in Hz, 0 < low < high < rate / 2; low None: low-pass, high None:
    high-pass. order: of the prototype; a band-pass has 2 * order poles. Gain 1 at 0, at rate / 2,
    or at the (warped) centre of the band. Raises InputError for anything else.
    """
    for name, cut in (("low", low), ("high", high)):
        if cut is not None and not 0 < cut < rate / 2:
            raise InputError(
                f"the {name} cut-off must be above 0 and below half the sampling rate, {rate / 2:g}"
                f" Hz, not {cut:g} Hz"
            )
    if low is not None and high is not None and not low < high:
        raise InputError(f"the low cut-off, {low:g} Hz, must be below the high one, {high:g} Hz")
    # analogue frequencies with s = (z - 1) / (z + 1)
    w1, w2 = (None if cut is None else math.tan(math.pi * cut / rate) for cut in (low, high))
    # poles of the prototype on the left half of the unit circle, one of each conjugate pair
    poles = [
        cmath.exp(1j * math.pi * (2 * k + order + 1) / (2 * order)) for k in range((order + 1) // 2)
    ]
    if order % 2:
        poles[-1] = -1.0 + 0j
    if w1 is not None and w2 is not None:
        bandwidth, centre = w2 - w1, math.sqrt(w1 * w2)
        at = (1 + 1j * centre) / (1 - 1j * centre)
        pairs = []
        for p in poles:
            root = cmath.sqrt((p * bandwidth) ** 2 - 4 * centre**2)
            two = (p * bandwidth + root) / 2, (p * bandwidth - root) / 2
            # a complex pole of the prototype gives two pairs, with the conjugates of both
            pairs += [two] if p.imag == 0 else [(s, s.conjugate()) for s in two]
        zeros = (1.0, 0.0, -1.0)
        return np.array([_section(zeros, [_digital(s) for s in pair], at) for pair in pairs])
    if w2 is not None:
        sign, at = 1.0, 1 + 0j
        scaled = [w2 * p for p in poles]
    elif w1 is not None:
        sign, at = -1.0, -1 + 0j
        scaled = [w1 / p for p in poles]
    else:
        raise InputError("a filter needs a low or a high cut-off")
    rows = []
    for s in scaled:
        if s.imag == 0:
            rows.append(_section((1.0, sign, 0.0), [_digital(s), 0j], at))
        else:
            rows.append(_section((1.0, 2 * sign, 1.0), [_digital(s), _digital(s.conjugate())], at))
    return np.array(rows)


def _digital(s: complex) -> complex:
    return (1 + s) / (1 - s)


def _section(
    zeros: tuple[float, float, float], poles: list[complex], at: complex
) -> tuple[float, ...]:
    """Biquad of a numerator and two poles, with gain 1 at a point of the unit circle."""
    a1, a2 = -(poles[0] + poles[1]).real, (poles[0] * poles[1]).real
    above = zeros[0] + zeros[1] / at + zeros[2] / at**2
    gain = abs((1 + a1 / at + a2 / at**2) / above)
    return (*(gain * b for b in zeros), a1, a2)
