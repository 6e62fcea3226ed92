"""Two-state simulation models of vendor cells, by device family."""

from __future__ import annotations

import importlib.resources

__all__ = ["cell_sources"]


def cell_sources(*families: str) -> dict[str, str]:
    """Return the Verilog of the models, by file name, for ``build_model``.

    families: ``ecp5``, ``ice40``. Raises FileNotFoundError for a family without models.
    """
    folder = importlib.resources.files(__name__)
    return {f"cells_{name}.v": (folder / f"{name}.v").read_text() for name in families}
