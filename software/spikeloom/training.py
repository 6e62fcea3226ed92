"""Train a small image classifier: enough for the shipped checkpoints and the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

__all__ = [
    "Augmentation",
    "FlipShift",
    "MotionAugmentation",
    "Recipe",
    "accuracy",
    "activity",
    "predict",
    "train",
]

_CHUNK = 500  # images with channels that pass through a network at once: bounds the memory


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
        """Distort float images (n, [channels,] height, width), bilinear, black outside."""
        n, height, width = images.shape[0], *images.shape[-2:]

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
        planes = images[:, None] if images.ndim == 3 else images
        return functional.grid_sample(planes, grid, align_corners=False).reshape(images.shape)


@dataclass(frozen=True)
class FlipShift:
    """Mirror half of the images left to right, and move each by whole pixels.

    shift: the greatest, in pixels, up or down and sideways. For clothes and other things that have
    no left and right.
    """

    shift: int = 2

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Distort float images (n, [channels,] height, width), black outside."""
        n, height, width = images.shape[0], *images.shape[-2:]
        planes = images.reshape(n, -1, height, width)
        flip = torch.rand(n, 1, generator=generator) < 0.5
        move = torch.randint(0, 2 * self.shift + 1, (2, n, 1), generator=generator)
        rows = torch.arange(height) + move[0]
        columns = torch.arange(width)
        columns = torch.where(flip, columns.flip(0), columns) + move[1]
        padded = functional.pad(planes, [self.shift] * 4)
        at = torch.arange(n)[:, None, None, None], torch.arange(planes.shape[1])[:, None, None]
        moved = padded[(*at, rows[:, None, :, None], columns[:, None, None, :])]
        return moved.reshape(images.shape)


@dataclass(frozen=True)
class MotionAugmentation:
    """Windows of motion as if the watch sat a little differently on a stronger or weaker arm.

    rotation: radians about a random axis, the same for acceleration and angular velocity. scale:
    relative, of each of the two. Both are the greatest magnitude. zero: the value of no motion.
    """

    rotation: float = 0.3
    scale: float = 0.15
    zero: float = 128 / 255

    def __call__(self, windows: Tensor, generator: torch.Generator) -> Tensor:
        """Distort float windows (n, 6, time, 1), axes x y z twice; stays within 0..1."""
        n = len(windows)

        def uniform(*shape: int) -> Tensor:
            return 2 * torch.rand(*shape, generator=generator) - 1

        axis = functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
        x, y, z = (axis * self.rotation * uniform(n, 1)).unbind(1)
        o = torch.zeros(n)
        skew = torch.stack([o, -z, y, z, o, -x, -y, x, o], 1).reshape(n, 3, 3)
        turn = torch.matrix_exp(skew)[:, None]
        motion = (windows - self.zero).reshape(n, 2, 3, -1)
        motion = turn @ motion * (1 + self.scale * uniform(n, 2, 1, 1))
        return (motion.reshape(windows.shape) + self.zero).clamp(0, 1)


@dataclass(frozen=True)
class Recipe:
    """AdamW with a one-cycle learning rate.

    activity: weight of a penalty on the mean activation after each ReLU, in units of its root mean
    square, averaged over the ReLUs: words that are zero cost the hardware no multiplication. The
    unit keeps a batch norm from serving the penalty by a smaller scale alone.
    """

    updates: int = 8000
    batch: int = 256
    rate: float = 4e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.05
    augmentation: Callable[[Tensor, torch.Generator], Tensor] | None = None
    activity: float = 0.0


def train(
    build: Callable[[], nn.Module],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    recipe: Recipe,
    *,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """Build a model and train it on images uint8 (n, [channels,] height, width), as x / 255.

    The same seed gives the same model on the same machine. progress: called with the update and
    its loss. Returns the model in eval mode; torch's global random state is left as it was.
    """
    x = torch.from_numpy(images)
    # channels last is half as fast again on a CPU
    form = torch.channels_last if images.ndim == 4 else torch.contiguous_format
    y = torch.from_numpy(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        model = _in_memory(build().train(), form)
        optimiser = torch.optim.AdamW(
            model.parameters(), recipe.rate, weight_decay=recipe.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, recipe.rate, total_steps=recipe.updates
        )
        rectified: list[Tensor] = []
        hooks = _watch(model, rectified) if recipe.activity else []
        for update in range(recipe.updates):
            pick = torch.randint(len(x), (recipe.batch,), generator=generator)
            batch = x[pick].to(torch.float32) / 255
            if recipe.augmentation is not None:
                batch = recipe.augmentation(batch, generator)
            loss = functional.cross_entropy(
                model(batch.contiguous(memory_format=form)),
                y[pick],
                label_smoothing=recipe.label_smoothing,
            )
            if recipe.activity:
                loss = loss + recipe.activity * _mean_activation(rectified)
                rectified.clear()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if progress is not None and (update + 1) % 500 == 0:
                progress(update + 1, float(loss.detach()))
    for hook in hooks:
        hook.remove()
    return _in_memory(model.eval(), torch.contiguous_format)


def _in_memory(model: nn.Module, form: torch.memory_format) -> nn.Module:
    """Lay out the weights of convolutions like the images that they meet."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=form)
    return model


def _relus(model: nn.Module) -> dict[str, nn.ReLU]:
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.ReLU)}


def _watch(model: nn.Module, rectified: list[Tensor]) -> list[RemovableHandle]:
    """From now on, append what each ReLU gives to the list; in the order of execution."""

    def note(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        rectified.append(output)

    return [module.register_forward_hook(note) for module in _relus(model).values()]


def _mean_activation(rectified: list[Tensor]) -> Tensor:
    """Mean over root mean square of each, averaged: 0..1. The root mean square is a constant."""
    means = [x.mean() / (x.detach().square().mean().sqrt() + 1e-6) for x in rectified]
    return torch.stack(means).mean()


@torch.no_grad()
def predict(model: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Classes (n,) that a float model decides for uint8 images; those with channels in parts."""
    x = torch.from_numpy(images)
    parts = x.split(_CHUNK) if x.ndim == 4 else (x,)
    return torch.cat([model(part.to(torch.float32) / 255).argmax(1) for part in parts]).numpy()


@torch.no_grad()
def activity(model: nn.Module, images: NDArray[np.uint8]) -> dict[str, float]:
    """Mean share of activations above 0 after each ReLU, 0..1, by the module's name."""
    relus = _relus(model)
    shares = dict.fromkeys(relus, 0.0)

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def note(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            shares[name] += float((output > 0).double().mean()) * len(output) / len(images)

        return note

    hooks = [module.register_forward_hook(hook(name)) for name, module in relus.items()]
    try:
        predict(model, images)
    finally:
        for handle in hooks:
            handle.remove()
    return shares


def accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Share of right decisions, 0..1."""
    return float((predicted == labels).mean())
