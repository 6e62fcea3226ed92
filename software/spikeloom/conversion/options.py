"""Checks of options that several passes of a conversion take: one text each."""

from __future__ import annotations

from typing import Any, get_args

__all__ = ["check_choice", "check_integer"]


def check_integer(name: str, value: object, low: int, high: int, *, none: bool = False) -> None:
    """ValueError unless a value is an integer in low..high, or None where that is allowed."""
    if none and value is None:
        return
    if isinstance(value, bool) or not (isinstance(value, int) and low <= value <= high):
        allowed = f"None or an integer in {low}..{high}" if none else f"an integer in {low}..{high}"
        raise ValueError(f"{name} must be {allowed}, not {value!r}")


def check_choice(name: str, value: object, allowed: Any) -> None:
    """ValueError unless a value is one of a Literal's."""
    if value not in get_args(allowed):
        raise ValueError(f"{name} must be one of {get_args(allowed)}, not {value!r}")
