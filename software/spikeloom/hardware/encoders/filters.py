"""Integer FIR filters for BSA and its decoder: a low-pass design, and the check of given taps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spikeloom.fixed import Fixed, round_half_even
from spikeloom.hardware.encoders.common import require, require_integer

__all__ = ["DEFAULT_CUTOFF", "checked_taps", "low_pass", "low_pass_taps"]

#: Cutoff of the filter after reset, in cycles a sample.
DEFAULT_CUTOFF = 0.2


def low_pass(taps: int, cutoff: float) -> NDArray[np.float64]:
    """Low-pass filter with gain 1 at frequency 0: a sinc in a Hamming window.

    h[n] = A sinc(2 cutoff (n - (taps-1)/2)) (0.54 - 0.46 cos(2 pi n / (taps-1))), A such that the
    sum is 1: the window method (Oppenheim & Schafer, Discrete-Time Signal Processing, section
    7.5). The order of the operations is that of ``scipy.signal.firwin``, so that the bits are too.

    taps: length, at least 1. cutoff: cycles a sample, above 0 and below 0.5. Raises ValueError
    otherwise.
    """
    require(
        isinstance(taps, int) and not isinstance(taps, bool) and taps > 0,
        f"taps must be an integer above 0, not {taps!r}",
    )
    require(
        0 < cutoff < 0.5, f"cutoff must be above 0 and below 0.5 cycles a sample, not {cutoff!r}"
    )
    edge = cutoff / 0.5
    shape = edge * np.sinc(edge * (np.arange(taps) - 0.5 * (taps - 1)))
    if taps > 1:
        shape = shape * (0.54 + (1.0 - 0.54) * np.cos(np.linspace(-np.pi, np.pi, taps)))
    return shape / np.sum(shape)


def low_pass_taps(taps: int, cutoff: float, format: Fixed) -> tuple[int, ...]:
    """Return :func:`low_pass` as integers: rounded half to even to multiples of 2^-fraction.

    taps: length, 1..128. cutoff: cycles a sample, above 0 and below 0.5. format: its fraction
    scales the taps. Raises ValueError otherwise.
    """
    require_integer("taps", taps, 1, 128)
    return tuple(int(h) for h in round_half_even(np.ldexp(low_pass(taps, cutoff), format.fraction)))


def checked_taps(
    values: Sequence[int] | None, *, taps: int, format: Fixed, bounded: bool = True
) -> tuple[int, ...]:
    """Return the taps of a filter if BSA (bounded) or its decoder can use them.

    values: ``taps`` integers in LSB of a sample, or None for a low-pass at DEFAULT_CUTOFF, with
    sum 1, or the greatest power of two below it that a bounded filter can have. Each must fit in
    width + 1 bits, two's complement. bounded: also sum |h| <= 2^width, which bounds a residual to
    width + 2 bits. Raises ValueError otherwise.
    """
    top = 1 << format.width
    if values is None:
        # magnitudes of long ones add up to more than 2, which 16 bits with 15 of fraction lack
        scale = format
        while sum(map(abs, low_pass_taps(taps, DEFAULT_CUTOFF, scale))) >= top:
            scale = Fixed(scale.width, scale.fraction - 1)
        values = low_pass_taps(taps, DEFAULT_CUTOFF, scale)
    require(len(values) == taps, f"the filter has {taps} taps, not {len(values)}")
    for k, value in enumerate(values):
        require_integer(f"tap {k}", value, -top, top - 1)
    total = sum(abs(value) for value in values)
    require(
        not bounded or total <= top,
        f"the taps' magnitudes add up to {total}, at most 2^{format.width} = {top} is allowed:"
        " scale them down",
    )
    return tuple(values)
