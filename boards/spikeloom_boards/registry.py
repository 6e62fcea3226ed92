"""The boards that are supported, by name."""

from __future__ import annotations

from spikeloom.errors import BuildError

from spikeloom_boards.board import Board
from spikeloom_boards.icebreaker import ICEBREAKER
from spikeloom_boards.ulx3s import ULX3S_BOARDS

__all__ = ["board", "names"]

_BOARDS: dict[str, Board] = {b.name: b for b in (*ULX3S_BOARDS, ICEBREAKER)}


def names() -> tuple[str, ...]:
    """Return the names of all boards."""
    return tuple(_BOARDS)


def board(name: str) -> Board:
    """Return the board called ``name``; BuildError lists the names there are."""
    try:
        return _BOARDS[name]
    except KeyError:
        raise BuildError(f"unknown board {name!r}: one of {', '.join(_BOARDS)}") from None
