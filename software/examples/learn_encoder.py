"""Learn a spike encoder together with the classifier behind it, and compare with a frozen encoder.

    python software/examples/learn_encoder.py            # 3 seeds, a few minutes
    python software/examples/learn_encoder.py --quick    # does it run? numbers mean nothing

A smartwatch's six motion sensors (accelerometer and gyroscope, 50 Hz; 10 subjects doing 7 shoulder
exercises), cut into windows of 2 s, become ON and OFF spikes of a LIF encoder; a small perceptron
sees only how many there are in each fifth of a second. Thresholds and leaks, one an axis, start
where ``LIF.fit`` reconstructs the signals best. In the frozen run they stay there; in the learned
run they train along, through surrogate gradients. All else is the same: data, initial weights,
order of batches, number of updates. Three subjects, other ones for each seed, are held out. How
fast the encoder learns is chosen on two of the others, before the held-out ones are looked at.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from spikeloom.encoders import LIF
from spikeloom.errors import SpikeloomError
from spikeloom.study.signals import AXES, EXERCISES, smartwatch, windows
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

WINDOW, STRIDE, BIN = 100, 50, 10  # samples
HELD_OUT = 3  # subjects
BATCH = 128
RATE = 4e-3  # learning rate of the perceptron, at its peak
ENCODER_RATES = (0.01, 0.02, 0.04)  # of the encoder, whose steps are relative: one is chosen


@dataclass(frozen=True)
class Split:
    """Windows (n, 6, time) and exercises (n,) to train on, and of the held-out subjects.

    subjects: (n,), of the windows to train on.
    """

    signals: Tensor
    labels: Tensor
    subjects: Tensor
    test_signals: Tensor
    test_labels: Tensor

    def within(self, seed: int, count: int = 2) -> Split:
        """Hold out some of the training subjects; the held-out ones play no part."""
        order = np.random.default_rng(seed).permutation(np.unique(self.subjects.numpy()))
        apart = torch.isin(self.subjects, torch.from_numpy(order[:count]))
        train = (self.signals[~apart], self.labels[~apart], self.subjects[~apart])
        return Split(*train, self.signals[apart], self.labels[apart])


@dataclass(frozen=True)
class Outcome:
    """accuracy: on held-out subjects. density: spikes a sample there. The encoder it ended with."""

    accuracy: float
    density: float
    encoder: LIF


class Classifier(nn.Module):
    """Spikes of all axes, counted in bins, into a perceptron: (n, 6, time) to (n, 7)."""

    def __init__(self, encoder: LIF):
        super().__init__()
        self.encoder = encoder
        counts = 2 * len(AXES) * (WINDOW // BIN)
        self.perceptron = nn.Sequential(
            nn.Dropout(0.3),
            nn.Linear(counts, 64),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(64, len(EXERCISES)),
        )

    def forward(self, signals: Tensor) -> Tensor:
        """Logits."""
        spikes = self.encoder.on_off(signals)
        counts = spikes.unflatten(-1, (-1, BIN)).sum(-1)
        return self.perceptron(counts.flatten(1) / 3)


def split(seed: int, every: int) -> Split:
    """Hold out some subjects, chosen by the seed; keep every n-th window."""
    signals, labels, subjects = windows(smartwatch(), WINDOW, STRIDE)
    chosen = np.random.default_rng(seed).permutation(np.unique(subjects))[:HELD_OUT]
    held_out = np.isin(subjects, chosen)
    parts = [torch.from_numpy(a[~held_out][::every]) for a in (signals, labels, subjects)]
    parts += [torch.from_numpy(a[held_out][::every]) for a in (signals, labels)]
    return Split(*parts)


def chosen_rate(data: Split, fitted: LIF, *, epochs: int, seed: int) -> float:
    """Encoder's learning rate that is best on subjects within the training set."""
    inner = data.within(seed)
    found = [train(inner, fitted, rate=r, epochs=epochs, seed=seed) for r in ENCODER_RATES]
    return ENCODER_RATES[int(np.argmax([outcome.accuracy for outcome in found]))]


def train(data: Split, fitted: LIF, *, rate: float | None, epochs: int, seed: int) -> Outcome:
    """Train a classifier, and the encoder along with it if it has a learning rate."""
    learn = rate is not None
    encoder = LIF(
        fitted.threshold, fitted.leak, offset=fitted.offset, scale=fitted.scale, trainable=learn
    )
    torch.manual_seed(seed)
    model = Classifier(encoder)
    groups = [{"params": [*model.perceptron.parameters()], "lr": RATE}]
    if rate is not None:
        groups.append({"params": [*encoder.parameters()], "lr": rate, "weight_decay": 0})
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
    batches = len(data.labels) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in groups], total_steps=epochs * batches
    )
    for _ in range(epochs):
        order = torch.randperm(len(data.labels))
        for rows in order.split(BATCH)[:batches]:
            loss = cross_entropy(model(data.signals[rows]), data.labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        right = model(data.test_signals).argmax(1) == data.test_labels
        density = encoder(data.test_signals).abs().mean()
    return Outcome(float(right.float().mean()), float(density), encoder)


def main() -> int:
    """Run the command line; 1 if learning did not help."""
    parser = argparse.ArgumentParser(description="Learn an encoder and a classifier together.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="one seed, a tenth of the work")
    given = parser.parse_args()
    seeds, epochs, every = (1, 3, 4) if given.quick else (given.seeds, given.epochs, 1)
    torch.set_num_threads(1)  # the tensors are small
    screen = Console(width=100)
    begin = time.perf_counter()

    table = Table(box=SIMPLE, title=f"accuracy on {HELD_OUT} held-out subjects (spikes a sample)")
    for heading in ("seed", "learning rate", "frozen", "learned", "margin"):
        table.add_column(heading, justify="right")
    results: list[tuple[Outcome, Outcome]] = []
    for seed in range(seeds):
        data = split(seed, every)
        record = torch.cat(data.signals[::10].unbind(), -1)  # of the subjects to train on
        fitted = LIF.fit(record, trials=256, seed=seed)
        rate = chosen_rate(data, fitted, epochs=epochs, seed=seed)
        frozen, learned = (
            train(data, fitted, rate=r, epochs=epochs, seed=seed) for r in (None, rate)
        )
        results.append((frozen, learned))
        table.add_row(
            str(seed),
            f"{rate:g}",
            *(f"{r.accuracy:.2%} ({r.density:.3f})" for r in (frozen, learned)),
            f"{100 * (learned.accuracy - frozen.accuracy):+.2f} points",
        )
    means = np.array([[(r.accuracy, r.density) for r in pair] for pair in results]).mean(0)
    margin = 100 * (means[1, 0] - means[0, 0])
    table.add_section()
    table.add_row(
        "mean",
        "",
        *(f"{accuracy:.2%} ({density:.3f})" for accuracy, density in means),
        f"{margin:+.2f} points",
    )
    screen.print(table)

    axes = Table(box=SIMPLE, title="what was learned, last seed: threshold, leak")
    axes.add_column("")
    for axis in AXES:
        axes.add_column(axis, justify="right")
    for name, result in zip(("fitted", "learned"), results[-1], strict=True):
        pairs = zip(result.encoder.threshold.tolist(), result.encoder.leak.tolist(), strict=True)
        axes.add_row(name, *(f"{threshold:.2f}, {leak:.2f}" for threshold, leak in pairs))
    screen.print(axes)
    screen.print(
        f"learned beats frozen by {margin:.2f} points, mean of {seeds} seeds;"
        f" {time.perf_counter() - begin:.0f} s"
        if margin > 0
        else f"learned does not beat frozen: {margin:.2f} points, mean of {seeds} seeds",
        highlight=False,
    )
    return 0 if margin > 0 or given.quick else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SpikeloomError as error:
        sys.exit(f"learn_encoder: {error}")
