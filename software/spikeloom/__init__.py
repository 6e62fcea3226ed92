"""Spikeloom: spiking neural networks from PyTorch to FPGA gates, with the same bits.

The public names load on first use (PEP 562), so that plain data (a network file, a register map)
can be read without importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.0.1"

#: Public name -> module that defines it.
_HOME = {
    "Fixed": "spikeloom.fixed",
    "SpikePack": "spikeloom.neuron",
    "Network": "spikeloom.network",
    "convert": "spikeloom.conversion",
    "lower": "spikeloom.conversion",
    "Device": "spikeloom.device",
    "encoders": "spikeloom.encoders",
    "fine_tune": "spikeloom.conversion",
    "LIF": "spikeloom.lif",
    "Classification": "spikeloom.conversion",
    "Detection": "spikeloom.conversion",
    "RateCoding": "spikeloom.conversion",
    "SpikeloomError": "spikeloom.errors",
}

__all__ = [
    "LIF",
    "Classification",
    "Detection",
    "Device",
    "Fixed",
    "Network",
    "RateCoding",
    "SpikePack",
    "SpikeloomError",
    "convert",
    "encoders",
    "fine_tune",
    "lower",
]

if TYPE_CHECKING:
    from spikeloom import encoders as encoders
    from spikeloom.conversion import Classification as Classification
    from spikeloom.conversion import Detection as Detection
    from spikeloom.conversion import RateCoding as RateCoding
    from spikeloom.conversion import convert as convert
    from spikeloom.conversion import fine_tune as fine_tune
    from spikeloom.conversion import lower as lower
    from spikeloom.device import Device as Device
    from spikeloom.errors import SpikeloomError as SpikeloomError
    from spikeloom.fixed import Fixed as Fixed
    from spikeloom.lif import LIF as LIF
    from spikeloom.network import Network as Network
    from spikeloom.neuron import SpikePack as SpikePack


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name in _HOME:
        module = importlib.import_module(_HOME[name])
        value = module if _HOME[name] == f"{__name__}.{name}" else getattr(module, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'spikeloom' has no attribute {name!r}; it has {sorted(__all__)}")


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted([*globals(), *__all__])
