"""Fashion-MNIST's 10,000 test images through the gates: every potential equals the golden one.

Usage: python benchmarks/dataset_harness.py [--board ulx3s-85f] [--net fashion-mlp] [--data FOLDER]
Prints a table and writes build/bench/dataset_harness.json; exit code 1 when a potential differs
or it takes too long.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from spikeloom.data import idx_folder
from spikeloom.errors import SpikeloomError
from spikeloom.hardware.memory_image import memory_image
from spikeloom.shipped import open_network
from spikeloom_boards.registry import board
from spikeloom_sim.harness import CoreHarness

#: The bar.
IMAGES, SECONDS = 10_000, 120


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", default="ulx3s-85f", help="whose folding the core has")
    parser.add_argument("--net", default="fashion-mlp")
    parser.add_argument("--data", default="data/fashion-mnist", help="folder of IDX files")
    parser.add_argument("--out", type=Path, default=Path("build", "bench"))
    given = parser.parse_args()
    torch.set_num_threads(1)  # the bar is for one core
    network = open_network(given.net)
    data = idx_folder(given.data)
    chosen = board(given.board)
    parameters = network.parameters(chosen.fold(network))
    image = memory_image(network, parameters)

    start = time.monotonic()
    golden = network.trace(data.test_images)
    golden_seconds = time.monotonic() - start
    start = time.monotonic()
    harness = CoreHarness(parameters, name=f"core-{chosen.name}")
    build_seconds = time.monotonic() - start
    start = time.monotonic()
    result = harness.run(image, network.encode(data.test_images))
    run_seconds = time.monotonic() - start

    images = len(data.test_images)
    table = Table(title=f"{data.name}: {images} images, {given.net} on {chosen.title}")
    for column in ("layer", "potentials compared", "differing"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    differing = 0
    for trace, found in zip(golden, result.potentials, strict=True):
        wrong = int((trace.potentials != found).sum())
        differing += wrong
        table.add_row(trace.name, f"{found.size:,}", f"{wrong:,}")
    wrong = int((golden[-1].potentials != result.logits).sum())
    differing += wrong
    table.add_row("logits", f"{result.logits.size:,}", f"{wrong:,}")
    screen = Console()
    screen.print(table)
    accuracy = float((result.logits.argmax(1) == data.test_labels).mean())
    summary = {
        "board": chosen.name,
        "network": given.net,
        "images": images,
        "differing": differing,
        "accuracy": round(accuracy, 4),
        "cycles_per_image": round(result.interval, 2),
        "latency_cycles": round(result.latency, 2),
        "simulated_cycles_per_second": round(result.total_cycles / result.seconds),
        "golden_seconds": round(golden_seconds, 2),
        "build_seconds": round(build_seconds, 2),
        "run_seconds": round(run_seconds, 2),
        "total_seconds": round(golden_seconds + build_seconds + run_seconds, 2),
    }
    for name, value in summary.items():
        screen.print(f"{name:>28}: {value}", highlight=False)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "dataset_harness.json").write_text(json.dumps(summary, indent=2) + "\n")
    met = not differing and images >= IMAGES and summary["total_seconds"] <= SECONDS
    screen.print(
        f"bar: {IMAGES:,} images, every potential equal, at most {SECONDS} s with golden model and"
        f" compilation: {'met' if met else 'MISSED'}",
        highlight=False,
    )
    return 0 if met else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SpikeloomError as error:
        sys.exit(f"dataset_harness: {error}")
