"""Area and clock of every encoder core on ECP5 and iCE40 UP5K, synthesised, placed and routed.

Usage: python benchmarks/encoder_area.py [--write]
       python benchmarks/encoder_area.py --core step-forward [--set channels=64 --set width=12]
Prints a table and writes build/bench/encoder_area.json; exit code 1 when a bar is missed. --write
updates the table that comes with the package, and the one in docs/encoders.md. What has not changed
since it was last measured is taken from build/.cache.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from spikeloom.errors import BuildError, InputError, SpikeloomError
from spikeloom.study.encoder_area import (
    AreaTable,
    EncoderArea,
    area_table,
    default_path,
    insert_table,
)
from spikeloom_boards.core_area import TARGETS, measure_core
from spikeloom_boards.toolchain import find_tool
from spikeloom_hdl.catalogue import CORES
from spikeloom_hdl.catalogue.core import read_settings
from spikeloom_hdl.catalogue.encoders import ENCODER_CORES

DOCUMENT = Path(__file__).parent.parent / "docs" / "encoders.md"

#: The bars: Fmax is that of the target. BSA parallel may run slower clocks: it is printed.
SF_LUT4 = 120
MAY_BE_SLOW = {"bsa (parallel)", "hough-spiker (parallel)"}


@dataclass(frozen=True)
class Row:
    """A core with settings, ``name=value``; all have 8 channels unless they say otherwise."""

    core: str
    variant: str = ""
    settings: tuple[str, ...] = ()
    channels: int = 8
    all_settings: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        given = (f"channels={self.channels}", *self.settings)
        object.__setattr__(self, "all_settings", given)

    @property
    def name(self) -> str:
        """Core and variant."""
        return f"{self.core} ({self.variant})" if self.variant else self.core


ROWS = (
    Row("step-forward"),
    Row("step-forward", "1 channel", channels=1),
    Row("step-forward", "64 channels", channels=64),
    Row("step-forward", "adaptive", ("levels=3",)),
    Row("step-forward", "events", ("output=events",)),
    Row("lif"),
    Row("lif", "subtract, refractory", ("reset=subtract", "refractory=15")),
    Row("lif", "shift", ("leak=shift",)),
    Row("pwm"),
    Row("bsa", "parallel", ("form=parallel",)),
    Row("bsa", "interleaved", ("form=interleaved",), channels=16),
    Row("bsa", "serial", ("form=serial",)),
    Row("hough-spiker", "parallel", ("form=parallel",)),
    Row("hough-spiker", "interleaved", ("form=interleaved",), channels=16),
    Row("hough-spiker", "serial", ("form=serial",)),
    Row("delta"),
    Row("delta", "4 quanta", ("quanta=4",)),
    Row("delta", "log", ("log=true",)),
    Row("rate"),
    Row("poisson"),
    Row("latency"),
    Row("phase"),
    Row("burst"),
    Row("threshold-based"),
    Row("moving-window"),
    Row("sigma-delta"),
    Row("population"),
    Row("observation"),
    Row("step-forward-decoder"),
    Row("lif-decoder"),
    Row("lif-decoder", "shift", ("leak=shift",)),
    Row("bsa-decoder"),
    Row("packer"),
)


def measure(row: Row, targets: list[str], say) -> EncoderArea:
    """Measure a core on some targets; one that it does not fit is left out."""
    core = CORES[row.core]
    settings = read_settings(row.core, core, row.all_settings)
    on, latency, interval = {}, 0, 0
    for target in targets:
        try:
            component = core.make(settings)  # a component can be elaborated once
        except (ValueError, TypeError) as error:
            raise InputError(f"{row.name}: {error}") from error
        latency, interval = component.latency, component.interval
        try:
            on[target] = measure_core(
                component, TARGETS[target], progress=lambda line, t=target: say(f"{t}: {line}")
            )
        except BuildError as error:
            say(f"{target}: {error}")
    given = dict(option.split("=", 1) for option in row.all_settings)
    return EncoderArea(row.core, row.variant, given, latency, interval, on)


def missed(area: EncoderArea, targets: list[str]) -> list[str]:
    """Bars that a core misses."""
    found = []
    for target in targets:
        bar = TARGETS[target].fmax_mhz
        if area.name in MAY_BE_SLOW:
            continue
        if target not in area.on:
            found.append(f"{area.name} does not fit {TARGETS[target].device}")
        elif area.on[target].fmax_mhz < bar:
            mhz = area.on[target].fmax_mhz
            found.append(f"{area.name}: {mhz:g} MHz on {TARGETS[target].device}, bar {bar:g}")
    if area.name == "step-forward" and "ecp5" in area.on and area.on["ecp5"].lut4 > SF_LUT4:
        found.append(f"{area.name}: {area.on['ecp5'].lut4} LUT4 on ECP5, bar {SF_LUT4}")
    return found


def show(rows: list[EncoderArea], targets: list[str], screen: Console) -> None:
    """Print the table."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("core", no_wrap=True)
    for heading in ("latency", "cycles/\nsample"):
        table.add_column(heading, justify="right")
    for target in targets:
        for heading in (f"{target}\nLUT4", "RAM\nLUT", "FF", "BRAM", "DSP", "MHz"):
            table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = [row.name, str(row.latency), str(row.interval)]
        for target in targets:
            a = row.on.get(target)
            counts = (a.lut4, a.lut_ram, a.flip_flops, a.block_ram, a.dsp) if a else ("-",) * 5
            cells += [*(str(n) for n in counts), f"{a.fmax_mhz:.1f}" if a else "no fit"]
        table.add_row(*cells)
    screen.print(table)


def rows_of(core: str | None, settings: list[str]) -> list[Row]:
    """Rows that were asked for."""
    if core is None:
        if settings:
            raise InputError("--set needs --core")
        return list(ROWS)
    if core not in ENCODER_CORES:
        raise InputError(f"no encoder core {core!r}: one of {', '.join(ENCODER_CORES)}")
    if settings:
        return [Row(core, ", ".join(settings), tuple(settings))]
    return [row for row in ROWS if row.core == core]


def write(rows: list[EncoderArea]) -> None:
    """Update the table in the package and in the documents."""
    path = default_path()
    old = area_table(path) if path.exists() else AreaTable({}, ())
    tools = {name: find_tool(name).version for name in ("yosys", "nextpnr-ecp5", "nextpnr-ice40")}
    table = AreaTable(tools, old.rows).replaced(rows, [row.name for row in ROWS])
    path.write_text(table.to_json())
    DOCUMENT.write_text(insert_table(DOCUMENT.read_text(), table))


def main() -> int:
    """Measure, print, compare with the bars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", help="only this one")
    parser.add_argument("--set", action="append", default=[], help="a setting: name=value")
    parser.add_argument("--device", action="append", choices=TARGETS, help="ecp5 and up5k without")
    parser.add_argument("--write", action="store_true", help="update the checked-in table")
    parser.add_argument("--out", type=Path, default=Path("build", "bench"))
    given = parser.parse_args()
    rows, targets = rows_of(given.core, given.set), given.device or ["ecp5", "up5k"]
    if given.write and (given.set or targets != ["ecp5", "up5k"]):
        raise InputError("--write is for the settings and devices of the table")
    screen, areas, bad = Console(width=120), [], []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=screen, transient=True) as progress:
        task = progress.add_task("", total=len(rows))
        for row in rows:

            def say(line: str, name: str = row.name) -> None:
                progress.update(task, description=f"{name}, {line}")

            say("elaborating")
            try:
                areas.append(measure(row, targets, say))
                bad += missed(areas[-1], targets)
            except (SpikeloomError, ImportError) as error:
                bad.append(f"{row.name}: {error}")
            progress.advance(task)
    show(areas, targets, screen)
    for line in bad:
        screen.print(f"MISSED {line}", highlight=False, markup=False, soft_wrap=True)
    if not bad:
        screen.print("every bar met", highlight=False)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "encoder_area.json").write_text(AreaTable({}, tuple(areas)).to_json())
    if given.write:
        write(areas)
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SpikeloomError as error:
        sys.exit(f"encoder_area: {error}")
