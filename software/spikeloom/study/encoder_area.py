"""What the encoder cores take on FPGAs, as measured by ``make bench``: plain data from a table.

``encoder_area.json`` beside this file is written by ``benchmarks/encoder_area.py --write``.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spikeloom.errors import InputError

__all__ = ["AreaTable", "CoreArea", "EncoderArea", "area_table", "default_path", "insert_table"]

#: Of the file's layout.
SCHEMA = 1

_BEGIN, _END = "<!-- encoder area: begin -->", "<!-- encoder area: end -->"


@dataclass(frozen=True)
class CoreArea:
    """What a core takes on a device.

    lut4, flip_flops, block_ram, dsp: cells of the core alone after synthesis (a carry cell of ECP5
    has two LUT4). lut_ram: LUT4 that hold state as small RAM, beside ``lut4``. fmax_mhz: what
    nextpnr guarantees after routing with ``seed``. netlist: hash of the core and of the tools.
    """

    device: str
    lut4: int
    lut_ram: int
    flip_flops: int
    block_ram: int
    dsp: int
    fmax_mhz: float
    seed: int
    netlist: str


@dataclass(frozen=True)
class EncoderArea:
    """A core with settings, measured.

    core: its name in the catalogue. variant: what differs from the default, "" if nothing does.
    settings: those given, by name. latency: cycles from a transfer in to its transfer out.
    interval: cycles between samples. on: by target, ``ecp5`` and ``up5k``; a device it does not fit
    is missing.
    """

    core: str
    variant: str
    settings: dict[str, Any]
    latency: int
    interval: int
    on: dict[str, CoreArea]

    @property
    def name(self) -> str:
        """Core and variant."""
        return f"{self.core} ({self.variant})" if self.variant else self.core


@dataclass(frozen=True)
class AreaTable:
    """All rows, and the versions of the tools that made them."""

    tools: dict[str, str]
    rows: tuple[EncoderArea, ...]

    def row(self, core: str, variant: str = "") -> EncoderArea:
        """Return the row of a core; InputError if it was not measured."""
        for row in self.rows:
            if (row.core, row.variant) == (core, variant):
                return row
        known = ", ".join(row.name for row in self.rows)
        raise InputError(f"no area of {core} {variant}".rstrip() + f": there are {known}")

    def replaced(self, rows: Iterable[EncoderArea], order: Sequence[str]) -> AreaTable:
        """Return a table with rows added or replaced, in an order of names."""
        merged = {row.name: row for row in (*self.rows, *rows)}
        known = {name: place for place, name in enumerate(order)}
        kept = sorted((n for n in merged if n in known), key=lambda name: known[name])
        return AreaTable(self.tools, tuple(merged[name] for name in kept))

    def to_json(self) -> str:
        """Serialise to JSON text."""
        rows = [asdict(row) for row in self.rows]
        return json.dumps({"schema": SCHEMA, "tools": self.tools, "rows": rows}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> AreaTable:
        """Read :meth:`to_json` back; InputError if it is something else."""
        try:
            found = json.loads(text)
            if found["schema"] != SCHEMA:
                raise InputError(f"an area table of schema {found['schema']}, not {SCHEMA}")
            rows = []
            for row in found["rows"]:
                on = {target: CoreArea(**area) for target, area in row.pop("on").items()}
                rows.append(EncoderArea(**row, on=on))
            return cls(found["tools"], tuple(rows))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"not a table of encoder areas: {error!r}") from error

    def to_markdown(self) -> str:
        """Return the table for documents."""
        lines = [
            "| core | latency | cycles a sample | ECP5 LUT4 | FF | BRAM | DSP | MHz"
            " | UP5K LUT4 | FF | BRAM | DSP | MHz |",
            "|---|" + "---:|" * 12,
        ]
        for row in self.rows:
            cells = [row.name, str(row.latency), str(row.interval)]
            for target in ("ecp5", "up5k"):
                area = row.on.get(target)
                if area is None:
                    cells += ["does not fit", "", "", "", ""]
                    continue
                luts = f"{area.lut4}" + (f" + {area.lut_ram} RAM" if area.lut_ram else "")
                counts = (area.flip_flops, area.block_ram, area.dsp)
                cells += [luts, *(str(n) for n in counts), f"{area.fmax_mhz:.0f}"]
            lines.append(f"| {' | '.join(cells)} |")
        tools = ", ".join(f"{name} {version}" for name, version in self.tools.items())
        return "\n".join([*lines, "", f"Tools: {tools}.", ""])


def default_path() -> Path:
    """Return where the table is kept."""
    return Path(str(importlib.resources.files("spikeloom.study"))) / "encoder_area.json"


def area_table(path: Path | None = None) -> AreaTable:
    """Read the table that comes with the package, or another; InputError if it is damaged."""
    return AreaTable.from_json((path or default_path()).read_text())


def insert_table(document: str, table: AreaTable) -> str:
    """Return a document with the table between its two marks; InputError if they are missing."""
    head, begin, rest = document.partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not begin or not end:
        raise InputError(f"the document needs the lines {_BEGIN} and {_END}")
    return f"{head}{_BEGIN}\n{table.to_markdown()}{_END}{tail}"
