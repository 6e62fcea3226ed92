"""Which thresholds lose least: rules and granularities, fixed and chosen, on held-out pictures.

    python benchmarks/thresholds.py [lenet scnn5 resnet8 imu-cnn] [--steps 1,2,4,8]

Converts the shipped networks with every rule and granularity, calibrated on training pictures, and
prints how many decisions of the integers are not those of the trained network, and how far their
logits are off, on other training pictures. The test sets are not touched. Writes JSON, resumes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import spikeloom as sl
import torch
from numpy.typing import NDArray
from spikeloom.checkpoint import load_checkpoint
from spikeloom.data import spread
from spikeloom.errors import SpikeloomError
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "software" / "examples"))
from convert_cnn import DATA

RULES, GRANULARITIES = ("mse", "percentile", "max"), ("tensor", "floor", "channel")
#: Rule and granularity of every row.
WAYS = [(r, g) for r in RULES for g in GRANULARITIES] + [("mse", "auto"), ("auto", "auto")]
CALIBRATION, HELD_OUT = 1000, 2000
_BATCH = 250


@torch.no_grad()
def measure(
    model: nn.Module, calibration: NDArray[np.uint8], held: NDArray[np.uint8], steps: int,
    way: tuple[str, str], weight_bits: int,
) -> dict[str, float]:  # fmt: skip
    """Decisions changed and logits' error of the integers, in per cent of the trained network's."""
    started = time.monotonic()
    snn = sl.convert(
        model,
        calibration,
        steps,
        rule=way[0],
        granularity=way[1],
        weight_bits=weight_bits,
        integers=True,
    )
    took = time.monotonic() - started
    net = sl.lower(snn, weight_bits)
    exact, ours = [], []
    for k in range(0, len(held), _BATCH):
        part = held[k : k + _BATCH]
        exact.append(model(torch.from_numpy(part).float() / 255).numpy())
        ours.append(net.run(part) * net.layers[-1].logit_scale)
    a, b = np.concatenate(exact), np.concatenate(ours)
    return {
        "changed": 100 * float((a.argmax(1) != b.argmax(1)).mean()),
        "off": 100 * float(np.linalg.norm(a - b) / np.linalg.norm(a)),
        "seconds": took,
    }


def table(
    name: str,
    model: nn.Module,
    pictures: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    steps: Sequence[int],
    weight_bits: int,
    cache: Path,
    ways: Sequence[tuple[str, str]] = WAYS,
) -> dict[str, dict[str, float]]:
    """Print one network's table; rows in the JSON file ``cache`` are not computed again."""
    rows = json.loads(cache.read_text()) if cache.is_file() else {}
    print(f"{name}, {weight_bits}-bit weights, {len(pictures[0])} pictures to calibrate on,")
    print(f"{len(pictures[1])} held out: decisions changed, logits off (both %)")
    print(f"{'rule, granularity':<22}" + "".join(f"{f'T = {t}':>16}" for t in steps))
    for way in ways:
        line = f"{', '.join(way):<22}"
        for t in steps:
            key = " ".join((name, *way, str(t), str(weight_bits)))
            if key not in rows:
                rows[key] = measure(model, *pictures, t, way, weight_bits)
                cache.parent.mkdir(parents=True, exist_ok=True)
                cache.write_text(json.dumps(rows, indent=1))
            line += f"{rows[key]['changed']:>8.2f}{rows[key]['off']:>8.2f}"
        print(line, flush=True)
    return rows


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Which thresholds lose least, on held-out data.")
    parser.add_argument("nets", nargs="*", default=["lenet"], metavar="NET", help=f"{sorted(DATA)}")
    parser.add_argument("--steps", default="1,2,4,8")
    parser.add_argument("--weight-bits", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("build/bench/thresholds.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    steps = [int(t) for t in arguments.steps.split(",")]
    try:
        for net in arguments.nets:
            train = DATA[net]().train_images
            pictures = spread(train, CALIBRATION + HELD_OUT)
            held = np.arange(len(pictures)) % 3 != 0
            model = load_checkpoint(net)
            table(
                net, model, (pictures[~held], pictures[held]), steps, arguments.weight_bits,
                arguments.out,
            )  # fmt: skip
    except SpikeloomError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
