"""Finished builds, kept under a hash of everything that went into them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from spikeloom_boards.report import BuildReport

__all__ = ["default_cache", "fetch", "store"]


def default_cache() -> Path:
    """Return the folder of finished builds: in ``SPIKELOOM_CACHE``, or ``build/.cache`` here."""
    return Path(os.environ.get("SPIKELOOM_CACHE") or Path("build", ".cache")) / "bitstreams"


def store(work: Path, stored: Path, products: Sequence[str]) -> None:
    """Copy products of a build into the cache in one step: an interrupted build leaves nothing."""
    stored.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=stored.parent, prefix=".partial-") as folder:
        partial = Path(folder) / "build"
        partial.mkdir()
        digests = {}
        for name in products:
            shutil.copy(work / name, partial / name)
            digests[name] = hashlib.blake2s((partial / name).read_bytes()).hexdigest()
        (partial / "digests.json").write_text(json.dumps(digests))
        if stored.exists():  # damaged, or made by somebody else meanwhile
            shutil.rmtree(stored)
        os.replace(partial, stored)


def fetch(stored: Path, out: Path) -> BuildReport | None:
    """Copy a stored build to ``out``; None when there is none or it is damaged."""
    try:
        digests = json.loads((stored / "digests.json").read_text())
        contents = {name: (stored / name).read_bytes() for name in digests}
        for name, content in contents.items():
            if hashlib.blake2s(content).hexdigest() != digests[name]:
                return None
        report = BuildReport.from_json(contents["report.json"].decode())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    out.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (out / name).write_bytes(content)
    return report
