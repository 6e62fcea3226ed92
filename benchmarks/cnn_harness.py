"""The shipped convolutional networks through the gates: every potential equals the golden one.

lenet and scnn5 on Fashion-MNIST's 10,000 test images, resnet8 on 1,000 of them (grey, in the shape
of CIFAR), imu-cnn on the windows of its test subjects; on a board's folding.

Usage: python benchmarks/cnn_harness.py [--board ulx3s-85f] [--nets scnn5 ...] [--images N]
       [--data FOLDER] [--jobs 2]
Prints a table and writes build/bench/cnn_harness.json; exit code 1 when a value differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from spikeloom.data import Images, as_rgb32, idx_folder, motion_windows
from spikeloom.errors import SpikeloomError
from spikeloom.shipped import open_network
from spikeloom.study.trace_table import layer_table
from spikeloom_boards.board import Board
from spikeloom_boards.registry import board
from spikeloom_sim.harness import CoreHarness
from spikeloom_sim.trace import run_trace

#: The bar: images of each network; 0 means all that there are.
BARS = {"lenet": 10_000, "scnn5": 10_000, "resnet8": 1_000, "imu-cnn": 0}


def data_of(name: str, folder: str) -> Images:
    """Return the data set of a shipped network."""
    if name == "imu-cnn":
        return motion_windows()
    images = idx_folder(folder)
    return as_rgb32(images) if name == "resnet8" else images


def measure(name: str, chosen: Board, given: argparse.Namespace, screen: Console) -> dict[str, Any]:
    """Run one network."""
    network, data = open_network(name), data_of(name, given.data)
    wanted = given.images or BARS[name] or len(data.test_images)
    images, labels = data.test_images[:wanted], data.test_labels[:wanted]
    parameters = network.parameters(chosen.fold(network))
    start = time.monotonic()
    harness = CoreHarness(parameters, name=f"core-{name}")
    built = time.monotonic() - start
    start = time.monotonic()
    words = network.encode(images)
    with screen.status(f"{name}: running") as status:
        record = run_trace(
            network,
            parameters,
            words,
            harness=harness,
            jobs=given.jobs,
            batch=given.batch,
            progress=lambda done: status.update(f"{name}: {done:,} of {len(words):,} images"),
        )
    seconds = time.monotonic() - start
    screen.print(layer_table(record, f"{name} on {data.name}, as on {chosen.title}"))
    screen.print(f"{name}: {record.verdict()}", highlight=False, soft_wrap=True)
    spikes = sum(int(layer.steps.sum()) for layer in record.layers[1:])
    golden = network.run(images).argmax(1)
    return {
        "network": name,
        "data": data.name,
        "board": chosen.name,
        "images": len(images),
        "enough": len(images) >= (BARS[name] or len(data.test_images)),
        "compared": record.compared,
        "differing": record.differing,
        "verdict": record.verdict(),
        "accuracy": round(float(np.mean(golden == labels)), 4),
        "cycles_per_image": round(record.interval, 1),
        "us_per_image": round(1e6 * record.interval / chosen.clock_hz, 2),
        "latency_cycles": round(record.latency, 1),
        "spikes_per_image": round(spikes / len(images), 1),
        "input_spikes_per_image": round(int(record.layers[0].steps.sum()) / len(images), 1),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "compared": layer.compared,
                "differing": layer.differing,
                "density": round(layer.density, 4),
                "spikes_per_image": round(float(layer.steps.sum()) / len(images), 1),
                "busy_cycles": round((layer.busy or 0) / len(images), 1),
            }
            for layer in record.layers[1:]
        ],
        "simulated_cycles_per_second": round(record.cycles / seconds),
        "build_seconds": round(built, 1),
        "run_seconds": round(seconds, 1),
    }


def main() -> int:
    """Run the networks, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", default="ulx3s-85f", help="whose folding the core has")
    parser.add_argument("--nets", nargs="+", default=list(BARS), choices=list(BARS))
    parser.add_argument("--images", type=int, default=0, help="fewer: a short run")
    parser.add_argument("--data", default="data/fashion-mnist", help="folder of Fashion-MNIST")
    parser.add_argument("--jobs", type=int, default=2, help="simulations at once")
    parser.add_argument("--batch", type=int, default=0, help="images of one simulation")
    parser.add_argument("--out", type=Path, default=Path("build", "bench"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    screen, chosen = Console(width=120), board(given.board)
    rows = [measure(name, chosen, given, screen) for name in given.nets]
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    columns = {
        "network": "network", "data": "data", "images": "images",
        "compared": "values\ncompared", "differing": "differ", "accuracy": "accuracy",
        "cycles_per_image": "cycles\nan image", "us_per_image": "us\nan image",
        "latency_cycles": "latency\ncycles", "spikes_per_image": "spikes\nan image",
    }  # fmt: skip
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(f"{v:,}" if isinstance(v := row[k], int) else f"{v}" for k in columns))
    screen.print(table)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "cnn_harness.json").write_text(json.dumps(rows, indent=2) + "\n")
    equal = not any(row["differing"] for row in rows)
    enough = all(row["enough"] for row in rows) and len(rows) == len(BARS)
    what = "all networks, all images" if enough else "a short run"
    screen.print(
        f"bar: every potential, word and logit equal ({what}): {'met' if equal else 'MISSED'}",
        highlight=False,
    )
    return 0 if equal else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SpikeloomError as error:
        sys.exit(f"cnn_harness: {error}")
