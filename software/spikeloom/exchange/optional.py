"""Packages that only exchange needs: imported when used, or one line that says what to install."""

from __future__ import annotations

import importlib
from types import ModuleType

from spikeloom.errors import ToolError

__all__ = ["need"]


def need(package: str, purpose: str) -> ModuleType:
    """Import an optional package; ToolError, one line, where it is missing or broken.

    purpose: what needs it, for the message.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        missing = error.name or package
        raise ToolError(
            f"{purpose} needs the package {missing}: pip install 'spikeloom[exchange]'"
        ) from None
    except Exception as error:  # a package that fails to import may raise anything
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ToolError(
            f"{purpose} needs the package {package}, which does not import ({first}):"
            " pip install --upgrade 'spikeloom[exchange]'"
        ) from error
