"""Accuracy of one small network under every neuron of ``neuron.py``, for T = 1 .. 16.

    python benchmarks/neuron_accuracy.py [--steps 1 2 4 8 16] [--seeds 2] [--without-lif]

Fashion-MNIST, pictures averaged to 14x14, two convolutions with batch norm, one recipe and one
learning rate for every neuron and T; nothing is tuned for any of them. Shows the mean of the seeds
on the 10,000 test images. Short training, to compare neurons and not to set a record.

Runs on one thread of a CPU. Every training is kept in build/bench/neuron/accuracy.json as soon as
it is done: a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from neuron_cases import FLAT, STEPPED, Plan, build, installed
from numpy.typing import NDArray
from spikeloom.data import idx_folder
from spikeloom.training import Recipe, accuracy, predict, train

PLAN: Plan = ((16, 2), (32, 1))
RECIPE = Recipe(updates=300, batch=64, rate=2e-2, label_smoothing=0.0)
SEEDS = 2
DATA, CACHE = Path("data/fashion-mnist"), Path("build/bench/neuron/accuracy.json")


class Sweep:
    """The data, and test accuracies, per cent, by neuron, T and seed."""

    def __init__(self, data: Path = DATA, cache: Path = CACHE) -> None:
        images = idx_folder(data)
        self.train = halved(images.train_images), images.train_labels
        self.test = halved(images.test_images), images.test_labels
        self.cache = cache
        self.settings = json.loads(json.dumps([PLAN, asdict(RECIPE)]))
        self.results: dict[str, float] = {}
        if cache.exists():
            kept = json.loads(cache.read_text())
            if kept["settings"] == self.settings:
                self.results = kept["results"]

    def accuracy(self, name: str, steps: int, seed: int) -> float:
        """Return a result, trained now if it is not kept."""
        key = f"{name}, T = {steps}, seed {seed}"
        if key not in self.results:
            began = time.process_time()
            model = train(lambda: build(name, steps, 1, PLAN), *self.train, RECIPE, seed=seed)
            images, labels = self.test
            self.results[key] = 100 * accuracy(predict(model, images), labels)
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            kept: dict[str, Any] = {"settings": self.settings, "results": self.results}
            self.cache.with_suffix(".new").write_text(json.dumps(kept, indent=1) + "\n")
            self.cache.with_suffix(".new").replace(self.cache)
            seconds = time.process_time() - began
            print(f"  {key}: {self.results[key]:.2f} %, {seconds:.0f} s of CPU time", flush=True)
        return self.results[key]


def halved(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of 2x2 pixels, uint8 (n, 1, h / 2, w / 2)."""
    n, h, w = images.shape
    blocks = images.reshape(n, h // 2, 2, w // 2, 2).astype(np.uint16)
    return ((blocks.sum((2, 4)) + 2) // 4).astype(np.uint8)[:, None]


def table(
    names: Sequence[str], steps: Sequence[int], seeds: int = SEEDS
) -> dict[tuple[str, int], float]:
    """Print and return mean test accuracies, per cent, by neuron and T; ReLU has one, as T = 1."""
    sweep, found = Sweep(), {}
    plan = [("ReLU", 1), *((name, t) for t in steps for name in names)]  # the dear ones last
    for seed in range(seeds):
        for case in plan:
            found[case] = found.get(case, 0.0) + sweep.accuracy(*case, seed) / seeds
    print(
        f"accuracy in % on Fashion-MNIST at 14x14, {RECIPE.updates} updates of {RECIPE.batch}, mean"
        f" of {seeds} seeds; ReLU: {found['ReLU', 1]:.2f}"
    )
    print(f"{'':26}" + "".join(f"{f'T = {t}':>9}" for t in steps))
    for name in names:
        print(f"{name:26}" + "".join(f"{found[name, t]:>9.2f}" for t in steps))
    return found


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Accuracy of a small network by its neuron.")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--without-lif", action="store_true", help="leave multi-step neurons out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    stepped = [] if arguments.without_lif else installed("cpu")
    table([*FLAT, *(name for name in STEPPED if name in stepped)], arguments.steps, arguments.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
