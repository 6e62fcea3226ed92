"""Checks that the constructors of operations share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["check_int", "check_name", "check_scale", "integers", "pair", "require"]


def require(condition: object, message: str) -> None:
    """Raise ValueError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


def check_name(name: object) -> None:
    """Refuse an op without a name, or with the name of the network's input."""
    require(isinstance(name, str) and name, f"an op needs a name, not {name!r}")
    require(name != "input", "an op cannot be named 'input': that is the network's input")


def check_int(where: str, name: str, value: object, low: int, high: int) -> None:
    """Refuse anything but an int in low..high."""
    good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    require(good, f"{where}: {name} must be an integer in {low}..{high}, not {value!r}")


def integers(
    where: str, name: str, value: ArrayLike, shape: tuple[int, ...], low: int, high: int, dtype: Any
) -> NDArray[Any]:
    """Return a read-only copy as ``dtype``; ValueError on a wrong kind, shape or range."""
    array = np.asarray(value)
    require(array.dtype.kind in "iu", f"{where}: {name} must be integers, not {array.dtype}")
    require(array.shape == shape, f"{where}: {name} has shape {array.shape}, expected {shape}")
    if array.size:
        least, most = int(array.min()), int(array.max())
        require(
            low <= least and most <= high,
            f"{where}: {name} holds {least}..{most}, allowed are {low}..{high}",
        )
    array = array.astype(dtype)
    array.setflags(write=False)
    return array


def check_scale(where: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a read-only copy of real scales; ValueError unless finite and above 0."""
    scale = np.asarray(value)
    require(
        scale.dtype.kind == "f" and scale.shape == shape,
        f"{where}: output_scale is {scale.dtype} {scale.shape}, expected floats {shape}",
    )
    scale = scale.astype(np.float64)
    require(
        bool(np.isfinite(scale).all() and (scale > 0).all()),
        f"{where}: output_scale must be finite and above 0",
    )
    scale.setflags(write=False)
    return scale


def pair(where: str, name: str, value: object, low: int, high: int) -> tuple[int, int]:
    """Return (vertical, horizontal) as given, or one number twice; ValueError out of range."""
    values = (value, value) if isinstance(value, int) else value
    good = (
        isinstance(values, (tuple, list))
        and len(values) == 2
        and all(isinstance(n, int) and not isinstance(n, bool) and low <= n <= high for n in values)
    )
    require(good, f"{where}: {name} must be one or two integers in {low}..{high}, not {value!r}")
    return (values[0], values[1])  # type: ignore[index]
