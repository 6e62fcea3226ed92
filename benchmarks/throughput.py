"""Cycles and microseconds an image from the core's own counters, input never starved.

Every shipped network on the plans that come with it and at the PLL clocks of the boards: the MNIST
test images of the demo's split, scnn5's 2,000 held-out digits, Fashion-MNIST's test images.

Usage: python benchmarks/throughput.py [--only scnn5 ...] [--data FOLDER] [--digits FOLDER]
       [--images N]
Prints a table and writes build/bench/throughput.json; exit code 1 when a logit differs or a bar is
missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from spikeloom.data import as_rgb32, digits_10k, idx_folder, mnist_5k
from spikeloom.errors import InputError, SpikeloomError
from spikeloom.hardware.memory_image import memory_image
from spikeloom.network import Network
from spikeloom.shipped import open_network
from spikeloom_boards.registry import board
from spikeloom_sim.harness import CoreHarness


@dataclass(frozen=True)
class Case:
    """A network on a board, and its bar in microseconds an image.

    interval, latency: most microseconds between images in a stream (over ENOUGH of them), and of
    one image that has the core to itself; 0: no bar. alone: images for the latter.
    """

    board: str
    network: str
    data: str
    interval: float = 0.0
    latency: float = 0.0
    alone: int = 20


CASES = (
    Case("ulx3s-85f", "mnist-mlp", "mnist", interval=4.0),
    Case("ulx3s-85f", "fashion-mlp", "fashion"),
    Case("icebreaker", "mnist-mlp", "mnist", interval=150.0),
    Case("icebreaker", "fashion-mlp", "fashion"),
    # FireFly-S runs 10,047 images a second of this network
    Case("ulx3s-85f", "scnn5", "digits", interval=1e6 / 10_047),
    Case("ulx3s-25f", "lenet", "fashion"),
    Case("ulx3s-85f", "resnet8", "rgb", latency=800.0),
)
ENOUGH = 1000


def load(data: str, fashion: str, digits: str) -> np.ndarray:
    """Return test images; InputError when they are not there."""
    if data == "mnist":
        return mnist_5k().test_images
    if data == "digits":
        return digits_10k(digits).test_images
    images = idx_folder(fashion)
    return (as_rgb32(images) if data == "rgb" else images).test_images


def measure(case: Case, network: Network, images: np.ndarray) -> dict[str, Any]:
    """Run images on a board's folding; latency and interval from the counters of the core."""
    chosen = board(case.board)
    parameters = network.parameters(chosen.fold(network))
    harness = CoreHarness(parameters, name=f"core-{chosen.name}")
    result = harness.run(memory_image(network, parameters), network.encode(images))
    counters = result.counters
    # by Little's law the mean number of samples inside, over the rate, is the mean latency
    interval = counters["cycles"] / counters["samples"]
    latency = counters["occupancy"] / counters["samples"]
    to_us = 1e6 / chosen.clock_hz
    alone = _alone(harness, network, images, case.alone)
    return {
        "board": chosen.name,
        "network": case.network,
        "images": len(images),
        "clock_mhz": chosen.clock_hz / 1e6,
        "interval_cycles": round(interval, 1),
        "interval_us": round(interval * to_us, 3),
        "latency_cycles": round(latency, 1),
        "latency_us": round(latency * to_us, 3),
        "alone_cycles": round(alone, 1),
        "alone_us": round(alone * to_us, 3),
        "events_per_image": round(counters["events_0"] / counters["samples"], 1),
        "spikes_per_image": round(counters["spikes_0"] / counters["samples"], 1),
        "starved_cycles": counters["starved"],
        "differing_logits": int((result.logits != network.run(images)).sum()),
        "counters": counters,
    }


def _alone(harness: CoreHarness, network: Network, images: np.ndarray, count: int) -> float:
    """Mean latency in cycles of images that have the core to themselves."""
    parameters = harness.parameters
    image = memory_image(network, parameters)
    words = network.encode(images[:count])
    return float(np.mean([harness.run(image, words[k : k + 1]).latency for k in range(count)]))


def main() -> int:
    """Measure every board and data set, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", help="networks")
    parser.add_argument("--data", default="data/fashion-mnist", help="folder of Fashion-MNIST")
    parser.add_argument("--digits", default="data/mnist-10k", help="folder of scnn5's digits")
    parser.add_argument("--images", type=int, default=ENOUGH)
    parser.add_argument("--out", type=Path, default=Path("build", "bench"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    screen = Console(width=100)
    rows, cases = [], []
    for case in CASES:
        if given.only and case.network not in given.only:
            continue
        screen.print(f"{case.board}: {case.network}", highlight=False)
        try:
            images = load(case.data, given.data, given.digits)
        except InputError as error:
            screen.print(f"  left out: {error}", highlight=False)
            continue
        rows.append(measure(case, open_network(case.network), images[: given.images]))
        cases.append(case)
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
    for case, row in zip(cases, rows, strict=True):
        for what, bar, value in (
            ("in a stream", case.interval, row["interval_us"]),
            ("alone", case.latency, row["alone_us"]),
        ):
            if not bar:
                continue
            # only the tail, when the last image is inside and no other follows, may be starved
            fed = row["starved_cycles"] <= 2 * row["latency_cycles"]
            met = value <= bar and (what == "alone" or (fed and row["images"] >= ENOUGH))
            failed |= not met
            screen.print(
                f"{case.board}, {case.network}: {value} us an image {what}"
                f" ({1e6 / row['interval_us']:,.0f} images a second over {row['images']} images,"
                f" starved {row['starved_cycles']} cycles); bar {bar:.4g} us:"
                f" {'met' if met else 'MISSED'}",
                highlight=False,
            )
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "throughput.json").write_text(json.dumps(rows, indent=2) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SpikeloomError as error:
        sys.exit(f"throughput: {error}")
