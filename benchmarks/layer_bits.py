"""Every kind of layer in gates, twelve shapes each, a million words each, under random pauses.

Twelve networks hold the shapes. Both ends of the network, and every stream inside it, pause at
random; every potential and every word of every layer must equal the golden model's.

Usage: python benchmarks/layer_bits.py [--words 1000000] [--jobs 2] [--only TEXT] [--seed 1]
Prints a table and writes build/bench/layer_bits.json; exit code 1 when a value differs, or when a
shape, or words of one, are missing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from spikeloom.errors import SpikeloomError
from spikeloom_sim.harness import CoreHarness, Stalls
from spikeloom_sim.layer_cases import Case, describe, kind_of
from spikeloom_sim.layer_shapes import CASES
from spikeloom_sim.random_network import random_words
from spikeloom_sim.trace import run_trace

#: The bar: shapes of each kind, words that each gives out.
KINDS = ("conv", "maxpool", "avgpool", "depthwise", "add", "fire", "pad")
SHAPES, WORDS = 12, 1_000_000
#: samples of a run between two resets: pauses get another seed
BATCH = 1000


def measure(case: Case, words: int, seed: int) -> dict[str, Any]:
    """Run one network until its quietest layer has given so many words."""
    network, parameters = case.build()
    start = time.monotonic()
    harness = CoreHarness(parameters, name="layers")
    built = time.monotonic() - start
    least = min(network.edges[op.name].size for op in network.layers[:-1])
    samples = max(5, -(-words // least))
    start = time.monotonic()
    record = run_trace(
        network,
        parameters,
        random_words(network, samples, seed=seed),
        harness=harness,
        stalls=Stalls(seed, inside=0.25),
        batch=BATCH,
    )
    layers = []
    for op, layer, seen in zip(network.layers, parameters.layers, record.layers[1:], strict=True):
        layers.append(
            {
                "kind": kind_of(op),
                "shape": describe(network, op, layer.folding),
                "words": samples * network.edges[op.name].size,
                "compared": seen.compared,
                "differing": seen.differing,
            }
        )
    return {
        "network": case.name,
        "samples": samples,
        "cycles": record.cycles,
        "differing": record.differing,
        "verdict": record.verdict(),
        "build_seconds": round(built, 1),
        "run_seconds": round(time.monotonic() - start, 1),
        "layers": layers,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """For each kind: shapes, values compared, those that differ, least words of a shape."""
    result = {}
    for kind in KINDS:
        found = [layer for row in rows for layer in row["layers"] if layer["kind"] == kind]
        result[kind] = {
            "shapes": len({layer["shape"] for layer in found}),
            "least_words": min((layer["words"] for layer in found), default=0),
            "compared": sum(layer["compared"] for layer in found),
            "differing": sum(layer["differing"] for layer in found),
        }
    return result


def main() -> int:
    """Run all networks, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=WORDS, help="of every layer, at least")
    parser.add_argument("--jobs", type=int, default=2, help="networks at once")
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build", "bench"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    screen = Console(width=110)
    chosen = [case for case in CASES if given.only in case.name]
    rows = []
    with ThreadPoolExecutor(given.jobs) as pool:
        for row in pool.map(lambda case: measure(case, given.words, given.seed), chosen):
            rows.append(row)
            screen.print(f"{row['network']}: {row['verdict']}", highlight=False)
    screen.print(_networks(rows))
    kinds = summary(rows)
    screen.print(_kinds(kinds))
    met = all(
        row["shapes"] >= SHAPES and row["least_words"] >= WORDS and not row["differing"]
        for row in kinds.values()
    ) and not any(row["differing"] for row in rows)
    given.out.mkdir(parents=True, exist_ok=True)
    content = {"words": given.words, "seed": given.seed, "met": met, "kinds": kinds, "runs": rows}
    (given.out / "layer_bits.json").write_text(json.dumps(content, indent=2) + "\n")
    screen.print(
        f"bar: {SHAPES} shapes of every kind, {WORDS:,} words of each, 0 differ:"
        f" {'met' if met else 'MISSED'}",
        highlight=False,
    )
    short = given.words < WORDS or given.only  # a short run cannot meet the bar: only bits count
    wrong = any(row["differing"] for row in rows)
    return int(wrong if short else not met)


def _networks(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="networks", box=SIMPLE_HEAD)
    heads = ("network", "layers", "samples", "cycles", "values compared", "differ", "build", "run")
    for head in heads:
        table.add_column(head, justify="left" if head == "network" else "right", no_wrap=True)
    for row in rows:
        compared = sum(layer["compared"] for layer in row["layers"])
        table.add_row(
            row["network"], str(len(row["layers"])), f"{row['samples']:,}", f"{row['cycles']:,}",
            f"{compared:,}", f"{row['differing']:,}", f"{row['build_seconds']:.0f} s",
            f"{row['run_seconds']:.0f} s",
        )  # fmt: skip
    return table


def _kinds(kinds: dict[str, dict[str, int]]) -> Table:
    table = Table(title="kinds of layers", box=SIMPLE_HEAD)
    for head in ("kind", "shapes", "least words", "values compared", "differ"):
        table.add_column(head, justify="left" if head == "kind" else "right", no_wrap=True)
    for kind, row in kinds.items():
        table.add_row(
            kind, *(f"{row[k]:,}" for k in ("shapes", "least_words", "compared", "differing"))
        )
    return table


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SpikeloomError as error:
        sys.exit(f"layer_bits: {error}")
