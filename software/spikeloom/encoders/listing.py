"""The encoders by name, for the command line and for tests that hold all of them to one rule."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from torch import nn

from spikeloom import encoders
from spikeloom.encoders.signal import SignalEncoder
from spikeloom.encoders.value import ValueEncoder

__all__ = ["Listed", "classes", "listing"]


@dataclass(frozen=True)
class Listed:
    """One line of the list. core: name of its gates, "" if there are none."""

    name: str
    core: str
    title: str
    parameters: str
    decodes: str


def classes() -> dict[str, type[nn.Module]]:
    """Public encoder classes by their ``NAME``."""
    found = {}
    for public in encoders.__all__:
        thing = getattr(encoders, public)
        if isinstance(thing, type) and issubclass(thing, nn.Module):
            name = getattr(thing, "NAME", None)
            if isinstance(name, str):
                found[name] = thing
    return found


def _default(value: Any) -> str:
    return "" if value is inspect.Parameter.empty else f"={value!r}"


def _parameters(make: type[nn.Module]) -> str:
    parts = []
    for parameter in inspect.signature(make.__init__).parameters.values():
        if parameter.name == "self" or parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        parts.append(parameter.name + _default(parameter.default))
    return ", ".join(parts)


def listing() -> list[Listed]:
    """Return all encoders, in the order of ``spikeloom.encoders.__all__``."""
    rows = []
    for name, make in classes().items():
        code = [c for c in make.__mro__ if c not in (SignalEncoder, ValueEncoder)]
        own = any("_decode" in c.__dict__ or "decode" in c.__dict__ for c in code)
        title = (make.__doc__ or "").strip().splitlines()[0].rstrip(".")
        core = name if hasattr(make, "fixed") else ""
        rows.append(Listed(make.__name__, core, title, _parameters(make), "yes" if own else "no"))
    return rows
