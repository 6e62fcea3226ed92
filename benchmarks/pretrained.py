"""Real pretrained networks as SpikePack networks, nothing removed by hand and nothing retrained.

    python benchmarks/pretrained.py [--tasks mobilenet centerface unet vit minilm] [--steps 2 4 6 8]
        [--weights float 8] [--choose [--recipes auto ...]] [--again]
        [--out build/bench/pretrained.json]

MobileNetV2 (classification), CenterFace (detection), a pupil U-Net (segmentation), a small ViT and
MiniLM (sentences) are converted to float spiking networks and held against the original, task by
task, on pictures and texts that were not in the calibration set. Prints a table, writes JSON after
every row, and fails when a bar at T = 8 is missed. A row whose recipe and calibration samples are
those of the file is taken from it; --again runs it anew (the file does not know of changes to the
converter).

--choose prints what every recipe gives on pictures for the choice alone: they calibrate nothing
and test nothing. The recipes of the tasks are those that win there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pretrained_pictures as pictures
import torch
from pretrained_models import centerface, mobilenet_v2, pupil_unet
from pretrained_transformers import TASKS as TRANSFORMERS
from spikeloom.conversion import convert_general
from spikeloom.conversion.general.tree import leaves
from spikeloom.errors import SpikeloomError
from torch import Tensor, nn

#: Margin (probability of the first class minus the second) of the crops that decisions count on.
MARGIN = 0.1
CROPS = 200


@dataclass(frozen=True)
class Task:
    """A network, what calibrates it, how it is converted, how it is measured and its bars.

    recipe: options of convert_general. choice: smaller samples that calibrate, and others that
    recipes are chosen on; apart: what outputs differ by there, less is better.
    """

    model: Callable[[], nn.Module]
    calibration: Callable[[], Any]
    recipe: dict[str, Any]
    prepare: Callable[[nn.Module], Any]
    measure: Callable[[nn.Module, Any], dict[str, float]]
    bars: dict[str, float]
    choice: Callable[[], tuple[Tensor, Tensor]] | None = None
    apart: Callable[[Any, Any], float] | None = None


def batched(model: nn.Module, x: Tensor, size: int = 20) -> Tensor:
    """Outputs of a model, some pictures at a time."""
    return torch.cat([model(part) for part in x.split(size)])


# ------------------------------------------------------------------------------------------ tasks


def mobilenet_data(model: nn.Module) -> dict[str, Tensor]:
    """foolbox's pictures and the crops that the network is sure enough of."""
    images, labels = pictures.imagenet_pictures()
    crops, logits, seed = [], [], 1
    while sum(map(len, crops)) < CROPS:
        x = pictures.imagenet_crops(100, seed)
        y = batched(model, x)
        best = y.softmax(1).topk(2).values
        sure = best[:, 0] - best[:, 1] >= MARGIN
        crops.append(x[sure])
        logits.append(y[sure])
        seed += 1
    x = torch.stack([pictures.centred(image) for image in images])
    return {
        "pictures": x, "labels": torch.tensor(labels), "crops": torch.cat(crops)[:CROPS],
        "crop_logits": torch.cat(logits)[:CROPS], "logits": batched(model, x),
    }  # fmt: skip


def mobilenet_measure(snn: nn.Module, data: dict[str, Tensor]) -> dict[str, float]:
    """Top-1 of 20, agreement on the crops, cosine of all logits."""
    y, z = batched(snn, data["pictures"]), batched(snn, data["crops"])
    exact = torch.cat([data["logits"], data["crop_logits"]])
    cosine = torch.nn.functional.cosine_similarity(torch.cat([y, z]), exact)
    return {
        "top1": float((y.argmax(1) == data["labels"]).sum()),
        "ann_top1": float((data["logits"].argmax(1) == data["labels"]).sum()),
        "agreement": float((z.argmax(1) == data["crop_logits"].argmax(1)).double().mean()),
        "cosine": float(cosine.mean()),
        "least_cosine": float(cosine.min()),
    }


def centerface_data(model: nn.Module) -> list[tuple[Tensor, tuple[Tensor, ...]]]:
    """The astronaut, 512 x 512, as it is and mirrored."""
    x = 255 * pictures.tensor(pictures.picture("astronaut.png")).unsqueeze(0)
    return [(image, model(image)) for image in (x, x.flip(-1))]


def box(outputs: tuple[Tensor, ...]) -> Tensor:
    """The best face: left, top, right, bottom."""
    heat, scale, offset, _ = (t[0] for t in outputs)
    index = int(heat[0].argmax())
    row, column = divmod(index, heat.shape[-1])
    height, width = (4 * torch.exp(scale[:, row, column])).tolist()
    top = (row + float(offset[0, row, column]) + 0.5) * 4 - height / 2
    left = (column + float(offset[1, row, column]) + 0.5) * 4 - width / 2
    return torch.tensor([left, top, left + width, top + height])


def box_iou(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two boxes."""
    low, high = torch.maximum(a[:2], b[:2]), torch.minimum(a[2:], b[2:])
    both = float((high - low).clamp(min=0).prod())
    return both / (float((a[2:] - a[:2]).prod()) + float((b[2:] - b[:2]).prod()) - both)


def centerface_measure(snn: nn.Module, data: Any) -> dict[str, float]:
    """Error of the heat map, boxes' overlap and scores, the worse of both pictures."""
    rows = []
    for image, exact in data:
        y = snn(image)
        rows.append(
            {
                "heat_error": float((y[0] - exact[0]).norm() / exact[0].norm()),
                "box_iou": box_iou(box(y), box(exact)),
                "score": float(y[0].max()),
                "ann_score": float(exact[0].max()),
            }
        )
    worst = {"heat_error": max}
    return {key: worst.get(key, min)(row[key] for row in rows) for key in rows[0]}


def unet_data(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Three eyes and their masks."""
    x = pictures.eyes()
    return x, model(x).sigmoid() > 0.5


def unet_measure(snn: nn.Module, data: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Overlap of the masks, the worst of three."""
    x, exact = data
    mask = snn(x).sigmoid() > 0.5
    both, either = (mask & exact).sum((1, 2, 3)), (mask | exact).sum((1, 2, 3))
    return {
        "mask_iou": float((both / either.clamp(min=1)).min()),
        "pixels": float(mask.sum()),
        "ann_pixels": float(exact.sum()),
    }


def cosine_distance(y: Tensor, exact: Tensor) -> float:
    """1 - cosine of the logits, mean."""
    return 1 - float(torch.nn.functional.cosine_similarity(y, exact).mean())


def relative(y: Tensor, exact: Tensor) -> float:
    """Relative L2 difference of heat maps or masks."""
    return float((y - exact).norm() / exact.norm())


#: Options of convert_general that are chosen among.
RECIPES: dict[str, dict[str, Any]] = {
    "auto": {"granularity": "auto"},
    "floor": {"granularity": "floor"},
    "auto fitted": {"granularity": "auto", "reconstruct": True},
    "floor fitted": {"granularity": "floor", "reconstruct": True},
}

TASKS = {
    "mobilenet": Task(
        mobilenet_v2,
        lambda: pictures.colour_crops(48, pictures.CALIBRATION),
        RECIPES["auto fitted"],
        mobilenet_data,
        mobilenet_measure,
        {"top1": 17, "agreement": 0.97, "cosine": 0.99, "cosine8": 0.98},
        lambda: (
            pictures.colour_crops(48, pictures.CALIBRATION, 128),
            pictures.colour_crops(40, pictures.CHOICE, 128),
        ),
        cosine_distance,
    ),
    "centerface": Task(
        centerface,
        lambda: pictures.face_scenes(24),
        RECIPES["auto fitted"] | {"rule": "max"},  # rare peaks are what a detector lives on
        centerface_data,
        centerface_measure,
        {"heat_error": -0.08, "box_iou": 0.95},
        lambda: (pictures.face_scenes(16, 128), pictures.face_scenes(16, 128, choice=True)),
        lambda y, exact: relative(y[0], exact[0]),
    ),
    "unet": Task(
        pupil_unet,
        lambda: pictures.grey_crops(64),
        RECIPES["auto fitted"],
        unet_data,
        unet_measure,
        {"mask_iou": 0.95},
        lambda: (pictures.grey_crops(32, 100), pictures.grey_crops(32, 100, choice=True)),
        lambda y, exact: relative(y.sigmoid(), exact.sigmoid()),
    ),
    **{name: Task(**given) for name, given in TRANSFORMERS.items()},
}


def missed(task: Task, row: dict[str, Any]) -> list[str]:
    """Bars that a row at T = 8 does not reach; negative ones are upper bounds."""
    found = []
    for name, bar in task.bars.items():
        if name.endswith("8") or row["steps"] != 8:
            continue
        if row["weights"] != "float":
            bar = task.bars.get(f"{name}8", bar)
        reached = row[name] <= -bar if bar < 0 else row[name] >= bar
        if not reached:
            found.append(f"{name} {row[name]:.4f}, bar {abs(bar):g}, weights {row['weights']}")
    return found


def bits_of(weights: str) -> int | None:
    """Weight bits as convert_general takes them; ``float`` for None."""
    return None if weights == "float" else int(weights)


def mark(task: Task, calibration: Any) -> str:
    """What a stored row depends on: recipe and calibration samples."""
    digest = hashlib.sha256(json.dumps(task.recipe, sort_keys=True).encode())
    for name, x in leaves(calibration):
        digest.update(f"{name} {x.dtype} {list(x.shape)}".encode() + x.numpy().tobytes())
    return digest.hexdigest()[:16]


def line(name: str, steps: int, weights: str, row: dict[str, Any]) -> str:
    """One printed line."""
    figures = (f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, float) and v == v)
    return f"{name:<11} T={steps} weights {weights:<6}{'  '.join(figures)}"


class Store:
    """Rows in a JSON file, written after each."""

    def __init__(self, path: Path, again: bool) -> None:
        self.path = path
        known = path.exists() and not again
        self.rows: list[dict[str, Any]] = json.loads(path.read_text()) if known else []

    def find(self, **key: Any) -> dict[str, Any] | None:
        """Return the row of a task, T, weights and mark."""
        for row in self.rows:
            if all(row.get(name) == value for name, value in key.items()):
                return row
        return None

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row, and drop what another recipe gave for the same."""
        same = ("task", "steps", "weights")
        self.rows = [r for r in self.rows if any(r[k] != row[k] for k in same)] + [row]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.rows, indent=2))


@torch.no_grad()
def run(name: str, steps: list[int], weights: list[str], store: Store) -> list[str]:
    """Measure a task; the bars that were missed."""
    task = TASKS[name]
    model, calibration = task.model(), task.calibration()
    data, failures, recipe = None, [], mark(task, calibration)
    for T in steps:
        for bits in weights:
            key = {"task": name, "steps": T, "weights": bits, "mark": recipe}
            row = store.find(**key)
            if row is None:
                data = task.prepare(model) if data is None else data
                start = time.monotonic()
                snn = convert_general(
                    model, calibration, T, weight_bits=bits_of(bits), **task.recipe
                )
                took = time.monotonic() - start
                row = {**key, **task.measure(snn, data), "convert_seconds": took}
                store.add(row)
            print(line(name, T, bits, row), flush=True)
            failures += [f"{name}: {problem}" for problem in missed(task, row)]
    return failures


@torch.no_grad()
def choose(name: str, steps: list[int], weights: list[str], recipes: list[str]) -> None:
    """Print what recipes give on the pictures for the choice; the best is marked."""
    task = TASKS[name]
    if task.choice is None or task.apart is None:
        print(f"{name:<11} has no pictures to choose on")
        return
    model, (calibration, x) = task.model(), task.choice()
    exact = model(x)
    for T in steps:
        for bits in weights:
            found = {}
            for recipe in recipes:
                options = {**task.recipe, "reconstruct": False, **RECIPES[recipe]}
                snn = convert_general(model, calibration, T, weight_bits=bits_of(bits), **options)
                found[recipe] = task.apart(snn(x), exact)
                print(f"{name:<11} T={T} weights {bits:<6}{recipe:<24}{found[recipe]:.4f}",
                      flush=True)  # fmt: skip
            best = min(found, key=found.__getitem__)
            print(f"{name:<11} T={T} weights {bits:<6}least: {best}", flush=True)


def main() -> int:
    """Run the command line; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description="Pretrained networks, converted, held against.")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--steps", nargs="+", type=int, default=[2, 4, 6, 8])
    parser.add_argument("--weights", nargs="+", default=["float", "8"])
    parser.add_argument("--choose", action="store_true", help="compare recipes, test nothing")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--again", action="store_true", help="run rows that are stored, too")
    parser.add_argument("--out", type=Path, default=Path("build/bench/pretrained.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    failures, store = [], Store(arguments.out, arguments.again)
    for name in arguments.tasks:
        if arguments.choose:
            choose(name, arguments.steps, arguments.weights, arguments.recipes)
        else:
            failures += run(name, arguments.steps, arguments.weights, store)
    for problem in failures:
        print(f"missed: {problem}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SpikeloomError as error:
        sys.exit(f"error: {error}")
