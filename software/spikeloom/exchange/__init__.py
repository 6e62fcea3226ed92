"""Networks in and out in the formats of others: NIR, ONNX, torch.export.

NIR and ONNX need ``pip install 'spikeloom[exchange]'``. Names load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

#: Public name -> module that defines it.
_HOME = {
    "from_nir": "spikeloom.exchange.nir",
    "load_exported": "spikeloom.exchange.exported",
    "load_nir": "spikeloom.exchange.nir",
    "load_onnx": "spikeloom.exchange.onnx",
    "save_nir": "spikeloom.exchange.nir",
    "to_nir": "spikeloom.exchange.nir",
}

__all__ = ["from_nir", "load_exported", "load_nir", "load_onnx", "save_nir", "to_nir"]

if TYPE_CHECKING:
    from spikeloom.exchange.exported import load_exported as load_exported
    from spikeloom.exchange.nir import from_nir as from_nir
    from spikeloom.exchange.nir import load_nir as load_nir
    from spikeloom.exchange.nir import save_nir as save_nir
    from spikeloom.exchange.nir import to_nir as to_nir
    from spikeloom.exchange.onnx import load_onnx as load_onnx


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")
