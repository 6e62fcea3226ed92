"""``make sim``: runs the cocotb benches and prints one table.

Every failure comes with the seed that reproduces it.
"""

from __future__ import annotations

import argparse
import importlib
import secrets
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from spikeloom.errors import SpikeloomError

from spikeloom_sim.runner import Design, Outcome, run_design
from spikeloom_sim.verilator import waves_format

__all__ = ["BENCHES", "find_designs", "main", "simulate"]

#: Modules of :mod:`spikeloom_sim.benches`.
BENCHES = ("fire", "layers", "uart", "encoders")


def find_designs(core: str | None = None) -> list[Design]:
    """Return the designs of the benches whose name contains ``core`` (all without).

    Raises SpikeloomError, with the names there are, when none does.
    """
    found: list[Design] = []
    known: list[str] = []
    for name in BENCHES:
        module = importlib.import_module(f"spikeloom_sim.benches.{name}")
        known += module.VARIANTS
        found += module.designs([v for v in module.VARIANTS if core is None or core in v])
    if not found:
        raise SpikeloomError(f"no bench matches {core!r}: there are {', '.join(known)}")
    return found


def simulate(
    core: str | None = None,
    *,
    seed: int | None = None,
    waves: bool = False,
    out_dir: Path = Path("build", "sim"),
    console: Console | None = None,
) -> list[Outcome]:
    """Run benches, printing a line for each as it ends and a table in the end."""
    screen = console or Console()
    chosen = secrets.randbelow(2**31) if seed is None else seed
    outcomes: list[Outcome] = []
    for design in find_designs(core):
        with screen.status(f"{design.name}: building and running"):
            found = run_design(design, seed=chosen, out_dir=out_dir, waves=waves)
        outcomes += found
        failed = [outcome.test for outcome in found if not outcome.passed]
        took = sum(outcome.seconds for outcome in found)
        screen.print(
            f"{design.name}: {len(found) - len(failed)} of {len(found)} tests passed, {took:.1f} s"
        )
    screen.print(_table(outcomes, chosen))
    for outcome in outcomes:
        if not outcome.passed:
            again = f"make sim CORE={outcome.design} SEED={chosen}"
            screen.print(f"FAILED {outcome.design} {outcome.test}: {outcome.detail}", markup=False)
            screen.print(f"  reproduce: {again}", markup=False)
    if waves:
        screen.print(f"waveforms: {out_dir}/<core>/waves.{waves_format()}", markup=False)
    return outcomes


def _table(outcomes: list[Outcome], seed: int) -> Table:
    table = Table(title=f"simulation, seed {seed}")
    for column in ("design", "test", "result", "seconds", "note"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for outcome in outcomes:
        result = "[green]passed[/]" if outcome.passed else "[red]FAILED[/]"
        seconds = f"{outcome.seconds:.1f}"
        table.add_row(outcome.design, outcome.test, result, seconds, outcome.report)
    return table


def main(arguments: list[str] | None = None) -> int:
    """Run the benches; 0 when all passed, 1 when one failed, 2 when none could be chosen."""
    parser = argparse.ArgumentParser(prog="python -m spikeloom_sim.simulate", description=__doc__)
    parser.add_argument("--core", help="only benches whose name contains this")
    parser.add_argument("--seed", type=int, help="of every random choice; a new one without it")
    parser.add_argument("--waves", action="store_true", help="write waveforms")
    parser.add_argument("--out", type=Path, default=Path("build", "sim"))
    given = parser.parse_args(arguments)
    try:
        outcomes = simulate(
            given.core or None, seed=given.seed, waves=given.waves, out_dir=given.out
        )
    except SpikeloomError as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if outcomes and all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
