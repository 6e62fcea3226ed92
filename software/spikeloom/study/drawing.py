"""What the pictures share: colours, and a number beside a bar."""

from __future__ import annotations

from typing import Any

__all__ = ["FAINT", "GRID", "INK", "note"]

INK, GRID, FAINT = "#1d2433", "#e3e7ee", "#c9d1de"


def note(axis: Any, text: str, x: float, row: int) -> None:
    """A number to the right of a bar, over whatever line goes through it."""
    axis.annotate(
        text,
        (x, row),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=INK,
        zorder=6,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    )
