"""Fashion-MNIST: what conversion costs, against the iso-bit quantised network and spiking rivals.

    python benchmarks/fashion.py [FOLDER] [--seeds 5] [--nets mlp avg-cnn max-cnn] [--jobs 1]

Trains an MLP and two small CNNs (average and max pooling), several seeds each, converts them
without retraining, and measures integers (8-bit weights) at T = 1..8 on the 10,000 test pictures,
paired with the ANN: points lost with their 95 % interval over the seeds, and decisions that differ.
Beside them: 4-bit weights after reconstruction, T = 2 after fine-tuning, the same network with
T-bit activations quantised by torch.ao, and spikingjelly's and sinabs's conversions, at equal T and
at equal adds. Every piece is kept under build/bench/fashion, and a stopped run goes on where it
was. Prints tables, writes JSON, and fails when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fashion_cases import FITTED, FITTED_STEPS, RIVAL_STEPS, STEPS, TUNE, Arrays, Protocol, run
from fashion_models import NETS, Net, pictures
from fashion_rivals import RIVALS, missing
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from spikeloom.errors import SpikeloomError
from spikeloom.study.paired import Interval, at_equal_cost, paired_interval

#: Most points lost after fine-tuning at T = 2, and with 4-bit weights at T = 4.
TUNED_BAR, W4_BAR = 1.0, 0.7
#: Points that the iso-bit network may be ahead.
ISO_BAR = 0.1
RIVALS_HELP = (
    "not installed: make .venv/.rivals (or pip install loguru pbr requests, and with --no-deps"
    " spikingjelly==2.0.0 sinabs==3.1.3 nirtorch==2.6)"
)


@dataclass(frozen=True)
class Row:
    """A configuration of a network over all seeds, in per cent and points."""

    name: str
    accuracy: float
    lost: Interval
    differ: float

    def cells(self) -> tuple[str, str, str]:
        """Three cells of a table."""
        return f"{self.accuracy:.2f}", str(self.lost), f"{self.differ:.2f}"


@dataclass(frozen=True)
class Bar:
    """Something measured, and the most that it may be.

    fitted: the same after the weights were fitted to the ANN's potentials, where that was done.
    Without labels and training, it meets a bar too.
    """

    name: str
    found: float
    most: float
    fitted: float | None = None

    @property
    def verdict(self) -> str:
        """Whether it is met, and by which."""
        if self.found <= self.most:
            return "met"
        return "MISSED" if self.fitted is None or self.fitted > self.most else "met when fitted"


class Figures:
    """Pieces of a network for each seed, and figures of them."""

    def __init__(self, net: Net, pieces: Sequence[dict[str, Arrays]], labels: NDArray[np.int64]):
        self.net, self.pieces, self.labels = net, pieces, labels

    def right(self, name: str, count: int | None = None) -> list[float]:
        """Accuracy of each seed that has a piece; of the first pictures alone if count is given."""
        labels = self.labels[:count]
        return [
            100 * float((p[name]["decisions"][:count] == labels).mean())
            for p in self.pieces
            if name in p
        ]

    def row(self, name: str) -> Row:
        """A piece against the ANN, seed by seed."""
        right = self.right(name)
        lost = [ann - r for ann, r in zip(self.right("ann"), right, strict=True)]
        differ = [
            100 * float((p[name]["decisions"] != p["ann"]["decisions"]).mean()) for p in self.pieces
        ]
        return Row(name, float(np.mean(right)), paired_interval(lost), float(np.mean(differ)))

    def adds(self, name: str, seeds: int) -> tuple[float, float]:
        """Adds a picture of a piece: all layers but the first, and the first."""
        few = self.pieces[:seeds]
        return tuple(float(np.mean([p[name][k] for p in few])) for k in ("adds", "first"))  # type: ignore[return-value]

    def bars(self) -> list[Bar]:
        """Every bar of the network."""
        bars, name = [], self.net.name
        rows = {t: self.row(f"T{t}") for t in STEPS}
        fitted = {t: self.row(f"T{t} fitted") for t in FITTED_STEPS}
        for t, most in self.net.loss.items():
            after = fitted[t].lost.mean if t in fitted else None
            bars.append(Bar(f"{name}, T = {t}: points lost", rows[t].lost.mean, most, after))
        bars.append(Bar(f"{name}, T = 4: % of decisions", rows[4].differ, self.net.differ))
        tuned, few_bits = self.row("T2 tuned"), self.row("T4 W4")
        bars.append(Bar(f"{name}, T = 2 fine-tuned: points lost", tuned.lost.mean, TUNED_BAR))
        bars.append(Bar(f"{name}, T = 4, W4: points lost", few_bits.lost.mean, W4_BAR))
        for t in STEPS:
            iso = self.row(f"iso{t}").accuracy
            after = iso - fitted[t].accuracy if t in fitted else None
            behind = f"{name}, T = {t}: points behind iso-bit"
            bars.append(Bar(behind, iso - rows[t].accuracy, ISO_BAR, after))
        return bars


def accuracy_table(figures: Figures) -> Table:
    """Integers and the iso-bit network at every T."""
    net = figures.net
    ann = float(np.mean(figures.right("ann")))
    table = Table(
        box=SIMPLE, title=f"{net.name}: ANN {ann:.2f} %, mean of {len(figures.pieces)} seeds"
    )
    columns = ("SpikePack", "points lost [95 %]", "differ %")
    for column in ("T", *columns, "iso-bit", "points lost [95 %]", "differ %"):
        table.add_column(column, justify="right")
    for t in STEPS:
        ours, iso = figures.row(f"T{t}"), figures.row(f"iso{t}")
        table.add_row(str(t), *ours.cells(), *iso.cells())
    others = {f"T{t} fitted": f"{t}, weights fitted" for t in FITTED_STEPS}
    others |= {"T2 tuned": "2, fine-tuned", "T4 W4": "4, W4 reconstructed"}
    for name, label in others.items():
        table.add_row(label, *figures.row(name).cells())
    return table


def _cell(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def rival_tables(figures: Figures, protocol: Protocol, results: dict[str, Any]) -> list[Table]:
    """SpikePack and the rivals at equal T, and at equal adds."""
    seeds = min(protocol.rival_seeds, len(figures.pieces))
    count = protocol.rival_pictures
    names = [name for name in RIVALS if all(name in p for p in figures.pieces[:seeds])]
    ours = {t: float(np.mean(figures.right(f"T{t}", count)[:seeds])) for t in STEPS}
    cost = {t: figures.adds(f"T{t}", seeds) for t in STEPS}
    results["spikepack"] = {t: (ours[t], *cost[t]) for t in STEPS}
    labels = figures.labels[:count]
    right: dict[str, list[float]] = {}
    adds: dict[str, list[float]] = {}
    first: dict[str, list[float]] = {}
    for name in names:
        few = [p[name] for p in figures.pieces[:seeds]]
        hits = [(r["decisions"] == labels).mean(1) for r in few]
        right[name] = (100 * np.mean(hits, 0)).tolist()
        adds[name] = np.mean([r["adds"] for r in few], 0).tolist()
        first[name] = np.mean([r["first"] for r in few], 0).tolist()
        results[name] = dict(
            zip(RIVAL_STEPS, zip(right[name], adds[name], first[name], strict=True), strict=True)
        )
    what = f"{figures.net.name}: first {count:,} pictures, {seeds} seeds"
    equal_t = Table(
        box=SIMPLE, title=f"{what}; %, and thousands of adds a picture (first layer apart)"
    )
    for column in (
        "T",
        "SpikePack",
        "adds",
        "first",
        *(c for n in names for c in (n, "adds", "first")),
    ):
        equal_t.add_column(column, justify="right")
    for t in sorted({*STEPS, *RIVAL_STEPS}):
        cells = [_cell(ours.get(t)), *(_cell(c / 1000, 1) for c in cost.get(t, ()))]
        cells += ["-"] * (3 - len(cells))
        for name in names:
            if t in RIVAL_STEPS:
                i = RIVAL_STEPS.index(t)
                cells += [_cell(right[name][i])]
                cells += [_cell(c[name][i] / 1000, 1) for c in (adds, first)]
            else:
                cells += ["-"] * 3
        equal_t.add_row(str(t), *cells)
    equal_adds = Table(box=SIMPLE, title=f"{what}; % at equal adds, first layer apart")
    for column in ("adds (thousands)", "SpikePack", "its T", *names):
        equal_adds.add_column(column, justify="right")
    for t in STEPS:
        at = [_cell(at_equal_cost(cost[t][0], adds[n], right[n])) for n in names]
        equal_adds.add_row(_cell(cost[t][0] / 1000, 1), _cell(ours[t]), str(t), *at)
    return [equal_t, equal_adds]


def bar_table(bars: Sequence[Bar]) -> Table:
    """Every bar, and whether it is met."""
    table = Table(box=SIMPLE, title="bars")
    for column in ("", "found", "weights fitted", "at most", "verdict"):
        table.add_column(column, justify="right" if column else "left")
    for bar in bars:
        table.add_row(
            bar.name, f"{bar.found:.2f}", _cell(bar.fitted), f"{bar.most:.2f}", bar.verdict
        )
    return table


def measure(
    protocol: Protocol, nets: Sequence[str], seeds: int, jobs: int
) -> dict[str, list[dict[str, Arrays]]]:
    """Pieces of every network and seed; seed by seed, in processes of their own if jobs > 1."""
    cases = [(name, seed) for seed in range(seeds) for name in nets]
    if jobs == 1:
        done = [run(protocol, *case) for case in cases]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, context) as pool:
            done = list(pool.map(run, [protocol] * len(cases), *zip(*cases, strict=True)))
    return {name: [d for (n, _), d in zip(cases, done, strict=True) if n == name] for name in nets}


def report(
    protocol: Protocol, pieces: dict[str, list[dict[str, Arrays]]], say: Callable[..., None]
) -> dict[str, Any]:
    """Print every table; return what goes into the JSON."""
    data = pictures(protocol.folder)[protocol.held_out]
    bars: list[Bar] = []
    networks: dict[str, Any] = {}
    for name, found in pieces.items():
        figures = Figures(NETS[name], found, data.test_labels)
        say(accuracy_table(figures))
        rows = [figures.row(n) for n in found[0] if n not in ("ann", *RIVALS)]
        results: dict[str, Any] = {
            "ann": figures.right("ann"), "rows": [asdict(row) for row in rows]
        }  # fmt: skip
        if protocol.rival_seeds:
            for table in rival_tables(figures, protocol, results):
                say(table)
        bars += figures.bars()
        networks[name] = results
    say(bar_table(bars))
    met = all(bar.verdict != "MISSED" for bar in bars)
    return {
        "data": data.name,
        "pictures": len(data.test_images),
        "protocol": asdict(protocol) | {"build": str(protocol.build)},
        "networks": networks,
        "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in bars],
        "met": met,
    }


def main() -> int:
    """Run the command line; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description="Conversion of small networks on Fashion-MNIST.")
    parser.add_argument("folder", nargs="?", default="data/fashion-mnist", help="IDX files")
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rival-seeds", type=int, default=2, help="seeds that rivals convert")
    parser.add_argument("--calibration", type=int, default=1000, help="training pictures")
    parser.add_argument("--updates", type=int, help="of training, instead of the recipes'")
    parser.add_argument(
        "--held-out", action="store_true", help="measure on 5,000 training pictures"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=Path("build/bench/fashion.json"))
    arguments = parser.parse_args()
    protocol = Protocol(
        arguments.folder, arguments.out.parent / "fashion", arguments.calibration,
        arguments.rival_seeds, held_out=arguments.held_out, updates=arguments.updates,
    )  # fmt: skip
    started = time.monotonic()
    screen = Console(width=max(120, Console().width))
    try:
        data = pictures(arguments.folder)[arguments.held_out]
        print(
            f"{data.name}: {len(data.train_images)} training pictures, {len(data.test_images)} to"
            f" measure on, {arguments.calibration} calibrate, weights are fitted to {FITTED};"
            f" 8-bit weights, {TUNE.updates} updates of fine-tuning"
        )
        for name, (recipe, _) in RIVALS.items():
            print(f"{name}: {RIVALS_HELP if name in missing() else recipe}")
        pieces = measure(protocol, arguments.nets, arguments.seeds, arguments.jobs)
        result = report(protocol, pieces, screen.print)
    except SpikeloomError as error:
        print(error, file=sys.stderr)
        return 1
    verdict = "met" if result["met"] else "MISSED"
    print(f"bars: {verdict}, {time.monotonic() - started:.0f} s")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if result["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
