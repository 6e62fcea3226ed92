"""Train a small vision transformer on Fashion-MNIST and save its weights.

    python software/examples/train_vit.py                # needs `make data`; a quarter of an hour

49 patches of 4 x 4 pixels, 64 features, 4 layers of attention (4 heads) and GELU, the mean of the
tokens decides. Writes vit.safetensors, 16-bit floats, and prints the accuracy of what it wrote.
``spikeloom.convert`` takes the model as it is: see benchmarks/pretrained_transformers.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from spikeloom.data import idx_folder, with_channels
from spikeloom.errors import SpikeloomError
from spikeloom.training import FlipShift, Recipe, accuracy, predict, train
from torch import Tensor, nn

RECIPE = Recipe(8000, 64, 2e-3, weight_decay=5e-2, augmentation=FlipShift(0))


class Block(nn.Module):
    """Attention and a multilayer perceptron, each behind a layer norm and beside a skip."""

    def __init__(self, features: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(features)
        self.attention = nn.MultiheadAttention(features, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(features)
        self.perceptron = nn.Sequential(
            nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, features)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (n, tokens, features) to tokens."""
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.perceptron(self.norm2(x))


class ViT(nn.Module):
    """Vision transformer: pictures (n, 1, 28, 28), 0..1, to logits (n, classes)."""

    def __init__(
        self, classes: int = 10, features: int = 64, depth: int = 4, heads: int = 4,
        hidden: int = 128,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patches = nn.Conv2d(1, features, 4, 4)
        self.position = nn.Parameter(0.02 * torch.randn(1, 49, features))
        self.blocks = nn.Sequential(*(Block(features, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(features)
        self.head = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(tokens)).mean(1))


def train_vit(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    path: Path,
    recipe: Recipe = RECIPE,
    *,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """Train on images uint8 (n, 1, 28, 28), write the weights, and return what is in the file."""
    model = train(ViT, images, labels, recipe, seed=seed, progress=progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in model.state_dict().items()}, path)
    return load_vit(path)


def load_vit(path: Path) -> nn.Module:
    """Read the trained network from a file, in eval mode, float32."""
    model = ViT()
    model.load_state_dict(load_file(path))
    return model.eval()


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train a small vision transformer.")
    parser.add_argument("--data", type=Path, default=Path("data/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=Path("build/train"))
    parser.add_argument("--updates", type=int, default=RECIPE.updates)
    parser.add_argument("--rate", type=float, default=RECIPE.rate, help="greatest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order: the same bits every time
    recipe = replace(RECIPE, updates=arguments.updates, rate=arguments.rate)
    try:
        data = with_channels(idx_folder(arguments.data))
        start, path = time.monotonic(), arguments.out / "vit.safetensors"
        model = train_vit(
            data.train_images, data.train_labels, path, recipe, seed=arguments.seed,
            progress=lambda update, loss: print(f"update {update}: loss {loss:.3f}", flush=True),
        )  # fmt: skip
        seconds = time.monotonic() - start
    except SpikeloomError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    right = accuracy(predict(model, data.test_images), data.test_labels)
    count = sum(p.numel() for p in model.parameters())
    print(f"{path}: {count} parameters, {path.stat().st_size} bytes, {seconds:.0f} s of training")
    print(f"accuracy on {len(data.test_labels)} test samples of {data.name}: {right:.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
