"""Real pretrained networks as SpikePack networks, nothing removed by hand and nothing retrained.

    python benchmarks/pretrained.py [--tasks mobilenet centerface unet vit minilm] [--steps 2 4 6 8]
        [--weights float 8] [--out build/bench/pretrained.json]

MobileNetV2 (classification), CenterFace (detection), a pupil U-Net (segmentation), a small ViT and
MiniLM (sentences) are converted to float spiking networks and held against the original, task by
task, on pictures and texts that were not in the calibration set. Prints a table, writes JSON, and
fails when a bar at T = 8 is missed.
"""

from __future__ import annotations

import argparse
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
from spikeloom.errors import SpikeloomError
from torch import Tensor, nn

#: Margin (probability of the first class minus the second) of the crops that decisions count on.
MARGIN = 0.1
CROPS = 200


@dataclass(frozen=True)
class Task:
    """A network, what calibrates it, how it is converted, how it is measured and its bars."""

    model: Callable[[], nn.Module]
    calibration: Callable[[], Tensor]
    recipe: dict[str, Any]
    prepare: Callable[[nn.Module], Any]
    measure: Callable[[nn.Module, Any], dict[str, float]]
    bars: dict[str, float]


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


TASKS = {
    "mobilenet": Task(
        mobilenet_v2,
        lambda: pictures.calibration_crops(48, 224),
        {"granularity": "auto"},
        mobilenet_data,
        mobilenet_measure,
        {"top1": 17, "agreement": 0.97, "cosine": 0.99, "cosine8": 0.98},
    ),
    "centerface": Task(
        centerface,
        lambda: pictures.face_scenes(24),
        {"granularity": "auto", "rule": "max"},  # rare peaks are what a detector lives on
        centerface_data,
        centerface_measure,
        {"heat_error": -0.08, "box_iou": 0.95},
    ),
    "unet": Task(
        pupil_unet,
        lambda: pictures.grey_crops(64),
        {"granularity": "auto"},
        unet_data,
        unet_measure,
        {"mask_iou": 0.95},
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


@torch.no_grad()
def run(name: str, steps: list[int], weights: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Measure a task; its rows, and the bars that were missed."""
    task = TASKS[name]
    model, calibration = task.model(), task.calibration()
    data, rows, failures = task.prepare(model), [], []
    for bits in weights:
        for T in steps:
            start = time.monotonic()
            weight_bits = None if bits == "float" else int(bits)
            snn = convert_general(model, calibration, T, weight_bits=weight_bits, **task.recipe)
            took = time.monotonic() - start
            row = {"task": name, "steps": T, "weights": bits, **task.measure(snn, data)}
            row["convert_seconds"] = took
            rows.append(row)
            figures = "  ".join(
                f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, float) and v == v
            )
            print(f"{name:<11} T={T} weights {bits:<6}{figures}", flush=True)
            failures += [f"{name}: {problem}" for problem in missed(task, row)]
    return rows, failures


def main() -> int:
    """Run the command line; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description="Pretrained networks, converted, held against.")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--steps", nargs="+", type=int, default=[2, 4, 6, 8])
    parser.add_argument("--weights", nargs="+", default=["float", "8"])
    parser.add_argument("--out", type=Path, default=Path("build/bench/pretrained.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, failures = [], []
    for name in arguments.tasks:
        found, problems = run(name, arguments.steps, arguments.weights)
        rows += found
        failures += problems
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(rows, indent=2))
    for problem in failures:
        print(f"missed: {problem}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SpikeloomError as error:
        sys.exit(f"error: {error}")
