"""Every encoder and decoder core against its golden model, a million samples and more each.

Usage: python benchmarks/encoder_bits.py [--core step-forward] [--samples 1000000] [--seed 1]
Prints a table and writes build/bench/encoder_bits.json; exit code 1 when a bit differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from spikeloom.errors import InputError, SpikeloomError
from spikeloom_sim.encoder_traffic import compare, make_traffic
from spikeloom_sim.encoder_variants import VARIANTS, make_components, variant_parameters
from spikeloom_sim.harness import Stalls
from spikeloom_sim.stream_harness import StreamHarness

#: The bar: samples of every core, without a difference.
SAMPLES = 1_000_000


def measure(core: str, samples: int, seed: int, screen: Console) -> list[dict]:
    """Run the variants of a core, each with its share of the samples."""
    variants = variant_parameters(core)
    with screen.status(f"{core}: compiling {len(variants)} variants"):
        harnesses = StreamHarness.bundle(make_components(core))
    rows = []
    for k, (name, parameters) in enumerate(variants.items()):
        with screen.status(name):
            traffic = make_traffic(parameters, -(-samples // len(variants)), seed=seed + k)
            stalls = None if k % 4 == 2 else Stalls(seed + k, 0.2 * (k % 3), 0.3)
            start = time.monotonic()
            result = harnesses[name].run(
                traffic.inputs, writes=traffic.writes, stalls=stalls, expect=len(traffic)
            )
            seconds = time.monotonic() - start
            found = compare(traffic, result.outputs)
        rows.append(
            {
                "core": core,
                "variant": name.partition("/")[2],
                "samples": traffic.samples,
                "outputs": len(traffic),
                "cycles": result.cycles,
                "seconds": round(seconds, 2),
                "mismatches": found.count,
                "first": found.text if found.count else "",
            }
        )
    return rows


def main() -> int:
    """Run, print, compare with the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", help="only this one")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="of each core")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build", "bench"))
    given = parser.parse_args()
    if given.core is not None and given.core not in VARIANTS:
        raise InputError(f"no core {given.core!r}: one of {', '.join(VARIANTS)}")
    torch.set_num_threads(1)
    screen, rows = Console(width=110), []
    for core in [given.core] if given.core else VARIANTS:
        found = measure(core, given.samples, given.seed, screen)
        wrong, total = (sum(row[key] for row in found) for key in ("mismatches", "samples"))
        screen.print(f"{core}: {total:,} samples, {wrong:,} mismatches", highlight=False)
        rows += found
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("core", "variant", "samples", "outputs", "cycles", "seconds", "mismatches"):
        left = heading in ("core", "variant")
        table.add_column(heading, justify="left" if left else "right", no_wrap=not left)
    for row in rows:
        numbers = (f"{row[key]:,}" for key in ("samples", "outputs", "cycles"))
        table.add_row(
            row["core"], row["variant"], *numbers, f"{row['seconds']}", f"{row['mismatches']:,}"
        )
    screen.print(table)
    for row in rows:
        if row["first"]:
            screen.print(row["first"], highlight=False, markup=False)
    total, wrong = sum(r["samples"] for r in rows), sum(r["mismatches"] for r in rows)
    screen.print(f"{total:,} samples, {wrong:,} mismatches", highlight=False)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "encoder_bits.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SpikeloomError as error:
        sys.exit(f"encoder_bits: {error}")
