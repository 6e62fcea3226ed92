"""Cycles and microseconds an image from the core's own counters, input never starved.

The 1,000 MNIST test images of the demo's split, and Fashion-MNIST where its files are, on the
foldings and at the PLL clocks of the boards.

Usage: python benchmarks/throughput.py [--boards ulx3s-85f icebreaker] [--data FOLDER] [--images N]
Prints a table and writes build/bench/throughput.json; exit code 1 when a logit differs or a bar is
missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from spikeloom.data import idx_folder, mnist_5k
from spikeloom.errors import InputError, SpikeloomError
from spikeloom.hardware.memory_image import memory_image
from spikeloom.network import Network
from spikeloom.shipped import open_network
from spikeloom_boards.board import Board
from spikeloom_boards.registry import board
from spikeloom_sim.harness import CoreHarness

#: Most microseconds an image that the MNIST network may take on a board.
BARS = {"ulx3s-85f": 4.0, "icebreaker": 150.0}
ENOUGH = 1000


def measure(chosen: Board, name: str, network: Network, images: np.ndarray) -> dict[str, Any]:
    """Run images on a board's folding; latency and interval from the counters of the core."""
    parameters = network.parameters(chosen.fold(network))
    harness = CoreHarness(parameters, name=f"core-{chosen.name}")
    result = harness.run(memory_image(network, parameters), network.encode(images))
    counters = result.counters
    # by Little's law the mean number of samples inside, over the rate, is the mean latency
    interval = counters["cycles"] / counters["samples"]
    latency = counters["occupancy"] / counters["samples"]
    to_us = 1e6 / chosen.clock_hz
    return {
        "board": chosen.name,
        "network": name,
        "images": len(images),
        "clock_mhz": chosen.clock_hz / 1e6,
        "interval_cycles": round(interval, 1),
        "interval_us": round(interval * to_us, 3),
        "latency_cycles": round(latency, 1),
        "latency_us": round(latency * to_us, 3),
        "alone_cycles": round(_alone(harness, network, images), 1),
        "events_per_image": round(counters["events_0"] / counters["samples"], 1),
        "spikes_per_image": round(counters["spikes_0"] / counters["samples"], 1),
        "starved_cycles": counters["starved"],
        "differing_logits": int((result.logits != network.run(images)).sum()),
        "counters": counters,
    }


def _alone(harness: CoreHarness, network: Network, images: np.ndarray, count: int = 20) -> float:
    """Mean latency in cycles of images that have the core to themselves."""
    parameters = harness.parameters
    image = memory_image(network, parameters)
    words = network.encode(images[:count])
    return float(np.mean([harness.run(image, words[k : k + 1]).latency for k in range(count)]))


def main() -> int:
    """Measure every board and data set, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boards", nargs="+", default=list(BARS))
    parser.add_argument("--data", default="data/fashion-mnist", help="folder of Fashion-MNIST")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("build", "bench"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    screen = Console(width=100)
    jobs = [("mnist-mlp", mnist_5k().test_images)]
    try:
        jobs.append(("fashion-mlp", idx_folder(given.data).test_images))
    except InputError as error:
        screen.print(f"without Fashion-MNIST: {error}", highlight=False)
    rows = []
    for name in given.boards:
        for network_name, images in jobs:
            screen.print(f"{name}: {network_name}", highlight=False)
            network = open_network(network_name)
            rows.append(measure(board(name), network_name, network, images[: given.images]))
    title = f"{given.images} images, input never starved: in the stream, and alone"
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, title=title)
    columns = {
        "board": "board", "network": "network", "clock_mhz": "MHz",
        "interval_cycles": "interval\ncycles", "interval_us": "us",
        "latency_cycles": "latency\ncycles", "latency_us": "us",
        "alone_cycles": "alone\ncycles", "differing_logits": "logits\ndiffer",
    }  # fmt: skip
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    failed = False
    for row in rows:
        table.add_row(*(f"{row[key]}" for key in columns))
        failed |= row["differing_logits"] > 0
    screen.print(table)
    for row in rows:
        bar = BARS.get(row["board"])
        if bar is not None and row["network"] == "mnist-mlp":
            # only the tail, when the last image is inside and no other follows, may be starved
            fed = row["starved_cycles"] <= 2 * row["latency_cycles"]
            met = row["interval_us"] <= bar and fed and row["images"] >= ENOUGH
            failed |= not met
            screen.print(
                f"{row['board']}: {row['interval_us']} us an image over {row['images']} images,"
                f" starved {row['starved_cycles']} cycles; bar {bar:g} us over {ENOUGH} images:"
                f" {'met' if met else 'MISSED'}", highlight=False,
            )  # fmt: skip
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "throughput.json").write_text(json.dumps(rows, indent=2) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SpikeloomError as error:
        sys.exit(f"throughput: {error}")
