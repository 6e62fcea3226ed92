"""Train a spiking network from scratch, and fine-tune a converted one, for T = 1, 2 and 4.

    python software/examples/train_snn.py                       # Fashion-MNIST; needs `make data`
    python software/examples/train_snn.py --updates 8000 --seeds 3 --steps 4

Trains a small convolutional network with ReLU (the ANN) and the same with SpikePack neurons in its
place; takes the second as it is, and the first through ``convert``; trains both a little more with
weights on the integers of the gates; lowers them, and checks on the test set that integers and
floats decide alike, every time. Prints accuracies, their means over the seeds, and whether
training from scratch loses at most 0.3 point against the ANN at T = 4 (1.5 at T = 1, a stretch goal
that does not count); writes nothing. Exit code 1 when the bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import spikeloom as sl
import torch
from numpy.typing import NDArray
from spikeloom.conversion import FINE_TUNE, SpikingNetwork, fine_tune, spiking
from spikeloom.data import Images, idx_folder, with_channels
from spikeloom.errors import SpikeloomError
from spikeloom.training import FlipShift, Recipe, accuracy, predict, train
from torch import nn

SHAPE = (1, 28, 28)
_BATCH = 500
#: Points that training from scratch may lose against the ANN, by T, and whether a miss counts.
BARS = {4: (0.3, True), 1: (1.5, False)}


def network(activation: Callable[[], nn.Module]) -> nn.Sequential:
    """12c3-mp2-24c3-mp2-48c3-mp2-10 with batch norms: (n, 1, 28, 28) to (n, 10)."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 12), (12, 24), (24, 48)):
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), activation(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(48 * 3 * 3, 10))


def neuron(steps: int) -> sl.SpikePack:
    """Return a neuron that learns one threshold, for potentials behind a batch norm."""
    # the start of learned step sizes: 2 mean |v| / sqrt(top), of a normal v
    threshold = 1.6 / ((1 << steps) - 1) ** 0.5
    return sl.SpikePack(steps, threshold, rounding=True, trainable=True)


class Study:
    """The parts of the data, and what is done to every network."""

    def __init__(self, data: Images, recipe: Recipe, tune: Recipe, weight_bits: int, seed: int):
        self.data, self.recipe, self.tune = data, recipe, tune
        self.weight_bits, self.seed = weight_bits, seed

    def train(self, activation: Callable[[], nn.Module]) -> nn.Module:
        """Train the network with an activation, from scratch."""
        data = self.data
        return train(
            lambda: network(activation), data.train_images, data.train_labels, self.recipe,
            seed=self.seed,
        )  # fmt: skip

    def right(self, model: nn.Module) -> float:
        """Accuracy on the test part, per cent."""
        return 100 * accuracy(predict(model, self.data.test_images), self.data.test_labels)

    def tuned(self, snn: SpikingNetwork) -> float:
        """Fine-tune, lower, and return the accuracy of the integers; they must be the floats'."""
        data = self.data
        tuned = fine_tune(
            snn, data.train_images, data.train_labels, self.tune,
            weight_bits=self.weight_bits, seed=self.seed,
        )  # fmt: skip
        decisions = integers(sl.lower(tuned, self.weight_bits), data.test_images)
        differ = int((decisions != predict(tuned, data.test_images)).sum())
        if differ:
            raise SpikeloomError(f"{differ} decisions of integers and floats differ")
        return 100 * accuracy(decisions, data.test_labels)


def integers(lowered: sl.Network, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Classes (n,) that the integer network decides."""
    parts = [images[i : i + _BATCH] for i in range(0, len(images), _BATCH)]
    return np.concatenate([lowered.run(part).argmax(1) for part in parts])


def verdict(rows: dict[int, list[list[float]]]) -> bool:
    """Print the means of accuracies over seeds by T, and each bar; return whether bars are met."""
    met = True
    for steps, seeds in rows.items():
        ann, scratch, *rest = np.mean(seeds, 0)
        print(f"mean {steps:>2}" + _cells([ann, scratch, *rest]))
        if steps in BARS:
            most, counts = BARS[steps]
            good = bool(ann - scratch <= most)
            met &= good or not counts
            print(
                f"{'bar' if counts else 'stretch'}: T = {steps} from scratch loses"
                f" {ann - scratch:.2f} point against the ANN (mean of {len(seeds)} seeds), at most"
                f" {most}: {'met' if good else 'MISSED'}"
            )
    return met


def _cells(shares: Sequence[float]) -> str:
    return "".join(f"{x:>{n}.2f}" for x, n in zip(shares, (8, 9, 10, 11, 10), strict=True))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train and fine-tune spiking networks.")
    parser.add_argument("--data", type=Path, default=Path("data/fashion-mnist"))
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--updates", type=int, default=2400, help="from scratch, batches of 128")
    parser.add_argument("--tune", type=int, default=600, help="updates of fine-tuning")
    parser.add_argument("--weight-bits", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = Recipe(arguments.updates, 128, 4e-3, augmentation=FlipShift(1))
    tune = replace(FINE_TUNE, updates=arguments.tune, augmentation=FlipShift(1))
    try:
        data = with_channels(idx_folder(arguments.data))
        print(
            f"{data.name}, {len(data.test_images)} test images; {arguments.updates} updates from"
            f" scratch, {arguments.tune} of fine-tuning, {arguments.weight_bits}-bit weights"
        )
        print(f"{'seed':>4} {'T':>2} {'ANN':>7} {'scratch':>8} {'integers':>9}"
              f" {'converted':>10} {'integers':>9}")  # fmt: skip
        rows: dict[int, list[list[float]]] = {steps: [] for steps in arguments.steps}
        for seed in range(arguments.seeds):
            study = Study(data, recipe, tune, arguments.weight_bits, seed)
            ann = study.train(nn.ReLU)
            for steps in arguments.steps:
                scratch = spiking(study.train(lambda steps=steps: neuron(steps)), SHAPE)
                converted = sl.convert(ann, data.train_images[:1000], steps=steps, integers=True)
                assert isinstance(converted, SpikingNetwork)
                row = [
                    study.right(ann), study.right(scratch), study.tuned(scratch),
                    study.right(converted), study.tuned(converted),
                ]  # fmt: skip
                rows[steps].append(row)
                print(f"{seed:>4} {steps:>2}{_cells(row)}", flush=True)
        return 0 if verdict(rows) else 1
    except SpikeloomError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
