"""Fixed-point formats, rounding and saturation: the one place that defines them.

Rounding is to nearest, ties to even, everywhere. Plain numpy, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Fixed", "Saturated", "round_half_even", "shift_half_even"]


def round_half_even(x: ArrayLike) -> NDArray[np.int64]:
    """Round finite floats to the nearest integer, ties to even; ValueError on NaN or overflow."""
    rounded = np.rint(np.asarray(x, dtype=np.float64))
    if not np.isfinite(rounded).all() or (np.abs(rounded) >= 2.0**63).any():
        raise ValueError("cannot round NaN, infinity or values beyond 64 bits to an integer")
    return rounded.astype(np.int64)


def shift_half_even(x: ArrayLike, bits: int) -> NDArray[np.int64]:
    """Divide integers by 2^bits, rounding to nearest, ties to even, in integers only.

    bits: 0..62. Exact for every int64, where float division would not be.
    """
    if not 0 <= bits <= 62:
        raise ValueError(f"bits must be in 0..62, not {bits}")
    value = np.asarray(x)
    if value.dtype.kind not in "iu":
        raise TypeError(f"expected integers, not {value.dtype}")
    value = value.astype(np.int64)
    if bits == 0:
        return value
    down = value >> bits  # floor
    rest = value - (down << bits)  # 0 .. 2^bits - 1
    half = 1 << (bits - 1)
    up = (rest > half) | ((rest == half) & (down & 1 == 1))
    return down + up


@dataclass(frozen=True, eq=False)
class Saturated:
    """Integers within a format, and how many values had to be saturated to get there."""

    values: NDArray[np.int64]
    count: int


@dataclass(frozen=True)
class Fixed:
    """A two's complement format: ``width`` bits, of which ``fraction`` follow the binary point.

    An integer n stands for n * 2^-fraction. width: 2..64. fraction: any integer, also negative or
    above the width. Raises TypeError or ValueError otherwise.
    """

    width: int
    fraction: int

    def __post_init__(self) -> None:
        for name in ("width", "fraction"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an integer, not {value!r}")
        if not 2 <= self.width <= 64:
            raise ValueError(f"width must be in 2..64, not {self.width}")

    @property
    def low(self) -> int:
        """Least integer of the format."""
        return -(1 << (self.width - 1))

    @property
    def high(self) -> int:
        """Greatest integer of the format."""
        return (1 << (self.width - 1)) - 1

    @property
    def step(self) -> float:
        """Real value of one LSB."""
        return 2.0**-self.fraction

    def saturate(self, values: ArrayLike) -> Saturated:
        """Clip integers of any shape to the format, counting those outside."""
        n = np.asarray(values)
        if n.dtype.kind not in "iu":
            raise TypeError(f"expected integers, not {n.dtype}")
        clipped = np.clip(n, self.low, self.high) if self.width < 64 else n
        return Saturated(clipped.astype(np.int64), int((clipped != n).sum()))

    def quantise(self, x: ArrayLike) -> Saturated:
        """Turn reals of any shape into integers of the format: round half even, then saturate.

        Infinities saturate; ValueError on NaN.
        """
        real = np.asarray(x, dtype=np.float64)
        if np.isnan(real).any():
            raise ValueError("cannot quantise NaN")
        rounded = np.rint(np.ldexp(real, self.fraction))
        over, under = rounded > float(self.high), rounded < float(self.low)
        # float(high) of a wide format may round up to 2^(width-1), which int64 cannot hold
        over |= rounded >= 2.0 ** (self.width - 1)
        inside: NDArray[Any] = np.where(over | under, 0.0, rounded).astype(np.int64)
        values = np.where(over, self.high, np.where(under, self.low, inside))
        return Saturated(values.astype(np.int64), int((over | under).sum()))

    def to_real(self, values: ArrayLike) -> NDArray[np.float64]:
        """Real values of integers of the format."""
        return np.ldexp(np.asarray(values, dtype=np.float64), -self.fraction)
