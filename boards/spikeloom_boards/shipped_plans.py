"""Plans that come with the shipped networks: what ``spikeloom build`` uses when none is given."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from spikeloom.errors import BuildError

if TYPE_CHECKING:
    from spikeloom.hardware.parameters import Folding
    from spikeloom.network import Network

    from spikeloom_boards.board import Board

__all__ = ["shipped_foldings"]

_FOLDER = "plans"


def shipped_foldings(network: Network, board: Board) -> tuple[Folding, ...] | None:
    """Return the foldings of the first plan NAME.BOARD.toml that fits; None when there is none."""
    from spikeloom_boards.plan_file import read_plan

    folder = resources.files("spikeloom_boards") / _FOLDER
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(f".{board.name}.toml"):
            plan = read_plan(Path(str(entry)))
            try:
                plan.parameters(network)
            except BuildError:  # of another network
                continue
            return plan.foldings
    return None
