"""Train a small image classifier: enough for the shipped checkpoints and the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Augmentation", "Recipe", "accuracy", "predict", "train"]


@dataclass(frozen=True)
class Augmentation:
    """Random affine distortions of images: a fresh one each time an image is drawn.

    rotation: radians; scale and shear: relative; shift: pixels. All are the greatest magnitude.
    """

    rotation: float = 0.25
    scale: float = 0.12
    shear: float = 0.25
    shift: float = 2.5

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Distort float images (n, height, width), bilinear, black outside."""
        n, height, width = images.shape

        def uniform(*shape: int) -> Tensor:
            return 2 * torch.rand(*shape, generator=generator) - 1

        angle, size = self.rotation * uniform(n), 1 + self.scale * uniform(n)
        cos, sin = angle.cos() * size, angle.sin() * size
        shift = 2 * self.shift * uniform(n, 2) / torch.tensor([width, height])
        rows = (
            torch.stack([cos, self.shear * uniform(n) - sin, shift[:, 0]], 1),
            torch.stack([sin, cos, shift[:, 1]], 1),
        )
        grid = functional.affine_grid(torch.stack(rows, 1), [n, 1, height, width], False)
        return functional.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


@dataclass(frozen=True)
class Recipe:
    """AdamW with a one-cycle learning rate."""

    updates: int = 8000
    batch: int = 256
    rate: float = 4e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.05
    augmentation: Callable[[Tensor, torch.Generator], Tensor] | None = None


def train(
    build: Callable[[], nn.Module],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    recipe: Recipe,
    *,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """Build a model and train it on images uint8 (n, height, width), given to it as x / 255.

    The same seed gives the same model on the same machine. progress: called with the update and
    its loss. Returns the model in eval mode; torch's global random state is left as it was.
    """
    x = torch.from_numpy(images).to(torch.float32) / 255
    y = torch.from_numpy(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        model = build().train()
        optimiser = torch.optim.AdamW(
            model.parameters(), recipe.rate, weight_decay=recipe.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, recipe.rate, total_steps=recipe.updates
        )
        for update in range(recipe.updates):
            pick = torch.randint(len(x), (recipe.batch,), generator=generator)
            batch = x[pick]
            if recipe.augmentation is not None:
                batch = recipe.augmentation(batch, generator)
            loss = functional.cross_entropy(
                model(batch), y[pick], label_smoothing=recipe.label_smoothing
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if progress is not None and (update + 1) % 500 == 0:
                progress(update + 1, float(loss.detach()))
    return model.eval()


@torch.no_grad()
def predict(model: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Classes (n,) that a float model decides for uint8 images."""
    return model(torch.from_numpy(images).to(torch.float32) / 255).argmax(1).numpy()


def accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Share of right decisions, 0..1."""
    return float((predicted == labels).mean())
