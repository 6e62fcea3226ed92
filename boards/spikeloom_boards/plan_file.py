"""Plans in files: TOML that people read and change, beside the network."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from spikeloom.errors import BuildError, InputError
from spikeloom.hardware.parameters import Folding

from spikeloom_boards.cost import Cost
from spikeloom_boards.plan import Goal, LayerPlan, Plan

if TYPE_CHECKING:
    from spikeloom.hardware.parameters import NetworkParameters
    from spikeloom.network import Network

    from spikeloom_boards.board import Board

__all__ = ["planned", "read_plan", "to_toml", "write_plan"]

FORMAT = 1
_HEAD = """\
# How a network is laid onto a board: spikeloom build NETWORK --plan THIS
# Foldings may be changed by hand: build_id is then that of the new structure, which the refusal of
# the old one says. Cycles and costs are what the planner expected.
"""


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(round(value, 4))
    text = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text) + '"'


def _table(item: Any, name: str, *, many: bool = False) -> list[str]:
    """Lines of a frozen dataclass as a table: plain fields first, then the tables inside."""
    lines = [f"[[{name}]]" if many else f"[{name}]"] if name else []
    inner = []
    for f in dataclasses.fields(item):
        value = getattr(item, f.name)
        inside = f"{name}.{f.name}" if name else f.name
        if value is False:  # a flag is there only where it is set
            continue
        if dataclasses.is_dataclass(value):
            inner += ["", *_table(value, inside)]
        elif isinstance(value, tuple):
            for one in value:
                inner += ["", *_table(one, inside, many=True)]
        else:
            lines.append(f"{f.name} = {_value(value)}")
    return lines + inner


def to_toml(plan: Plan) -> str:
    """Return a plan as TOML."""
    return "\n".join([f"{_HEAD}format = {FORMAT}", *_table(plan, ""), ""])


def write_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan."""
    Path(path).write_text(to_toml(plan))


def read_plan(path: str | Path) -> Plan:
    """Read a plan; InputError, one line, when the file is none."""
    try:
        content = tomllib.loads(Path(path).read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML: {error}") from error
    except OSError as error:
        raise InputError(f"no plan at {path}: {error.strerror}") from error
    version = content.pop("format", None)
    if version != FORMAT:
        raise InputError(f"{path}: format {version!r}, this Spikeloom reads plans of {FORMAT}")
    try:
        return _read(Plan, content, "the plan")
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def planned(
    network: Network, board: Board, path: str | Path | None, *, fixed: bool = False
) -> NetworkParameters:
    """Return a network's structure as a plan's file folds it, or as the board does without one.

    fixed: for weights in the bitstream.
    Raises InputError for a file that is no plan, BuildError for one of another board or network.
    """
    if path is None:
        return network.parameters(board.fold(network, fixed=fixed))
    plan = read_plan(path)
    if plan.board != board.name:
        raise BuildError(f"{path} is a plan for {plan.board}, not for {board.name}")
    return plan.parameters(network)


def _read(cls: type, table: Any, where: str) -> Any:
    """Build a frozen dataclass from a table; ValueError says what is wrong where."""
    if not isinstance(table, Mapping):
        raise ValueError(f"{where} must be a table, not {table!r}")
    hints = get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    unknown = sorted(set(table) - set(names))
    if unknown:
        raise ValueError(f"{where} has unknown entries {', '.join(unknown)}")
    values = {}
    for name in names:
        if name not in table and hints[name] is bool:
            continue
        if name not in table:
            raise ValueError(f"{where} has no {name}")
        values[name] = _entry(hints[name], table[name], f"{name} of {where}")
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _entry(hint: Any, value: Any, where: str) -> Any:
    if hint in (Goal, Cost, Folding, LayerPlan):
        return _read(hint, value, where)
    if get_origin(hint) is tuple:
        if not isinstance(value, list) or not value:
            raise ValueError(f"{where} must be a list of tables")
        inner = get_args(hint)[0]
        return tuple(_entry(inner, one, f"{where} {k}") for k, one in enumerate(value))
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{where} must be a number, not {value!r}")
        if not math.isfinite(value):
            raise ValueError(f"{where} must be finite")
        return float(value)
    if hint is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{where} must be true or false, not {value!r}")
        return value
    kind = hint if hint in (int, str) else str
    if isinstance(value, bool) or not isinstance(value, kind):
        raise ValueError(
            f"{where} must be {'an integer' if kind is int else 'text'}, not {value!r}"
        )
    return value
