"""An entry of the catalogue: a core that can be written alone, its settings, its manual."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.lib import wiring
from spikeloom.errors import InputError

__all__ = ["Core", "make_core", "read_settings"]


@dataclass(frozen=True)
class Core:
    """A core that can be written alone.

    title: one line. defaults: its settings, whose types say what is allowed: integers, switches
    (True or False), words, or tuples of integers. make: from settings to the component. notes:
    formats, rates, latency, rules: what the header of its Verilog says. whole: what the markers
    ``first`` and ``last`` enclose.
    """

    title: str
    defaults: Mapping[str, Any]
    make: Callable[[dict[str, Any]], wiring.Component]
    notes: Callable[[Any], list[str]]
    whole: str = "sample"


_SWITCH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _number(text: str) -> int:
    return int(text, 0)


def read_settings(name: str, core: Core, options: Sequence[str]) -> dict[str, Any]:
    """Read ``name=value`` options over a core's defaults; InputError on a wrong one.

    A tuple is written as numbers with commas: 255,170,85,0. Rows of one are separated by ``/``.
    """
    settings, given = dict(core.defaults), dict[str, str]()
    for option in options:
        key, mark, text = option.partition("=")
        if not mark or key not in settings:
            known = ", ".join(f"{k}={_text(v)}" for k, v in settings.items())
            raise InputError(f"{name} has no setting {option!r}; it has {known}")
        if given.setdefault(key, text) != text:
            raise InputError(f"{name}: {key} is given twice, {given[key]} and {text}; give it once")
        default = core.defaults[key]
        try:
            settings[key] = _value(text, default)
        except (ValueError, KeyError):
            kind = {bool: "true or false", int: "a whole number"}.get(
                type(default), "whole numbers with commas between, rows with / between"
            )
            raise InputError(f"{name}: {key} takes {kind}, not {text!r}") from None
    return settings


def _value(text: str, default: Any) -> Any:
    if isinstance(default, bool):
        return _SWITCH[text.lower()]
    if isinstance(default, int):
        return _number(text)
    if isinstance(default, tuple):
        rows = [tuple(_number(item) for item in row.split(",") if item) for row in text.split("/")]
        return tuple(rows) if len(rows) > 1 else rows[0]
    return text


def _text(value: Any) -> str:
    """A setting as it is written on the command line."""
    if isinstance(value, tuple):
        rows = value if value and isinstance(value[0], tuple) else (value,)
        return "/".join(",".join(str(item) for item in row) for row in rows)
    return str(value).lower() if isinstance(value, bool) else str(value)


def make_core(name: str, core: Core, options: Sequence[str]) -> tuple[wiring.Component, str]:
    """Make the component of a core; also its settings as a line of text.

    Raises InputError for an unknown setting, or a value that the core refuses.
    """
    settings = read_settings(name, core, options)
    try:
        component = core.make(settings)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: {error}") from error
    shown = {key: _text(value) for key, value in settings.items()}
    return component, ", ".join(f"{k}={v}" for k, v in shown.items() if len(v) <= 200)
