"""Networks that come with Spikeloom, by name; anything else is a file."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from spikeloom.errors import NetworkFileError

if TYPE_CHECKING:
    from spikeloom.network import Network

_FOLDER = "shipped_networks"


def names() -> list[str]:
    """List the shipped networks."""
    folder = resources.files("spikeloom") / _FOLDER
    return sorted(
        Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".spikeloom")
    )


def open_network(name: str, *, others: Sequence[str] = ()) -> Network:
    """Open a shipped network or a .spikeloom file.

    others: further names that would have been right where this one was given, for the message.
    Raises NetworkFileError when there is neither.
    """
    from spikeloom.network import Network

    if name in names():
        with resources.as_file(
            resources.files("spikeloom") / _FOLDER / f"{name}.spikeloom"
        ) as path:
            return Network.load(path)
    path = Path(name)
    if not path.exists():
        known = ", ".join([*names(), *others])
        raise NetworkFileError(f"no network {name!r}: give a .spikeloom file, or one of {known}")
    return Network.load(path)
