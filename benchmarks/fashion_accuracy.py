"""Accuracy lost from ANN to integers on the 10,000 Fashion-MNIST test images, without retraining.

    python benchmarks/fashion_accuracy.py [FOLDER] [--seeds 5] [--out build/bench/fashion.json]

Trains 784-128-10 once a seed, converts and lowers it, and compares decisions. Prints a table,
writes JSON, and fails when a bar is missed: mean accuracy of the integer network minus ANN at least
-0.1 point, decisions agree on at least 98.5 % (T = 4, 8-bit weights).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import spikeloom as sl
import torch
from spikeloom.checkpoint import mlp
from spikeloom.data import Images, idx_folder
from spikeloom.errors import SpikeloomError
from spikeloom.training import Recipe, accuracy, predict, train

#: Bars: points of accuracy, and per cent of decisions.
LOSS_BAR, AGREEMENT_BAR = -0.1, 98.5
CALIBRATION = 2000
RECIPE = Recipe(updates=4000, label_smoothing=0.0)
COLUMNS = ("ann", "snn", "integers", "difference", "agreement")


def measure(data: Images, seed: int, steps: int, weight_bits: int) -> dict[str, float]:
    """Train, convert and lower once; everything in per cent and points."""
    model = train(mlp, data.train_images, data.train_labels, RECIPE, seed=seed)
    snn = sl.convert(model, data.train_images[:CALIBRATION], steps=steps)
    network = sl.lower(snn, weight_bits=weight_bits)
    network.check_accumulators()
    ann, spiking = predict(model, data.test_images), predict(snn, data.test_images)
    integers = network.run(data.test_images).argmax(1)
    right = {
        name: 100 * accuracy(decisions, data.test_labels)
        for name, decisions in (("ann", ann), ("snn", spiking), ("integers", integers))
    }
    difference = right["integers"] - right["ann"]
    agreement = 100 * accuracy(ann, integers)
    return {"seed": seed, **right, "difference": difference, "agreement": agreement}


def main() -> int:
    """Run the command line; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(
        description="Accuracy lost from ANN to integers on Fashion-MNIST."
    )
    parser.add_argument("folder", nargs="?", default="data/fashion-mnist", help="IDX files")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--weight-bits", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("build/bench/fashion_accuracy.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    try:
        data = idx_folder(arguments.folder)
    except SpikeloomError as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"{data.name}: {len(data.train_images)} training and {len(data.test_images)} test images,"
        f" 784-128-10, T = {arguments.steps}, {arguments.weight_bits}-bit weights, no retraining"
    )
    print(f"{'seed':>6}" + "".join(f"{name:>12}" for name in COLUMNS))
    rows = []
    for seed in range(arguments.seeds):
        row = measure(data, seed, arguments.steps, arguments.weight_bits)
        rows.append(row)
        print(f"{seed:>6}" + "".join(f"{row[name]:>12.2f}" for name in COLUMNS), flush=True)
    mean = {name: statistics.fmean(row[name] for row in rows) for name in COLUMNS}
    print(f"{'mean':>6}" + "".join(f"{mean[name]:>12.3f}" for name in COLUMNS))
    met = mean["difference"] >= LOSS_BAR and mean["agreement"] >= AGREEMENT_BAR
    print(
        f"bars: difference >= {LOSS_BAR} point, agreement >= {AGREEMENT_BAR} %:"
        f" {'met' if met else 'MISSED'}, {time.monotonic() - started:.0f} s"
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "data": data.name,
        "test_images": len(data.test_images),
        "steps": arguments.steps,
        "weight_bits": arguments.weight_bits,
        "runs": rows,
        "mean": mean,
        "bars": {"difference": LOSS_BAR, "agreement": AGREEMENT_BAR, "met": met},
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
