"""The trained networks of ``fashion.py``: an MLP and two small CNNs, a training seed each.

The last 5,000 of the 60,000 training pictures are held out: nothing is trained or calibrated on
them, and what could be chosen (options, numbers of pictures) is chosen there. A trained network is
kept as BUILD/NET-SEED-KEY.safetensors, float32; KEY is a hash of its recipe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import load_file, save_file
from spikeloom.checkpoint import mlp
from spikeloom.data import Images, idx_folder, with_channels
from spikeloom.training import Recipe, train
from torch import nn

HELD_OUT = 5000


@dataclass(frozen=True)
class Net:
    """An architecture, how it is trained, and its bars.

    loss: most points that may be lost on average at T = 4 and at T = 2. differ: most per cent of
    decisions that may differ at T = 4.
    """

    name: str
    build: Callable[[], nn.Module]
    recipe: Recipe
    loss: dict[int, float]
    differ: float


def cnn(pool: Callable[[int], nn.Module]) -> nn.Sequential:
    """Build 12c3-p2-24c3-p2-48c3-p2-10 with batch norms, untrained: (n, 1, 28, 28) to (n, 10)."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 12), (12, 24), (24, 48)):
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU(), pool(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(48 * 3 * 3, 10))


_MLP = Recipe(updates=4000, label_smoothing=0.0)
_CNN = Recipe(updates=2000, batch=128, label_smoothing=0.0)
#: The networks by name.
NETS = {
    net.name: net
    for net in (
        Net("mlp", mlp, _MLP, {4: 0.1, 2: 1.0}, 1.5),
        Net("avg-cnn", lambda: cnn(nn.AvgPool2d), _CNN, {4: 0.2, 2: 1.5}, 3.0),
        Net("max-cnn", lambda: cnn(nn.MaxPool2d), _CNN, {4: 0.2, 2: 1.5}, 3.0),
    )
}


def pictures(folder: str | Path) -> tuple[Images, Images]:
    """Fashion-MNIST with a channel axis: training and test part; training and held-out part.

    Both have the same 55,000 training pictures. Raises InputError where files are missing.
    """
    data = with_channels(idx_folder(folder))
    images, labels = data.train_images, data.train_labels
    data = replace(data, train_images=images[:-HELD_OUT], train_labels=labels[:-HELD_OUT])
    held_out = replace(
        data, name=f"{data.name} held-out", test_images=images[-HELD_OUT:],
        test_labels=labels[-HELD_OUT:],
    )  # fmt: skip
    return data, held_out


def key(*parts: object) -> str:
    """Eight characters that change with what the parts print."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def trained(
    net: Net,
    seed: int,
    data: Images,
    build: Path,
    updates: int | None = None,
    say: Callable[[str], None] = print,
) -> nn.Module:
    """Load a trained network, or train it and keep it; eval mode. updates: instead of its own."""
    recipe = net.recipe if updates is None else replace(net.recipe, updates=updates)
    path = build / f"{net.name}-{seed}-{key(recipe, len(data.train_images))}.safetensors"
    if path.is_file():
        model = net.build()
        model.load_state_dict(load_file(path))
        return model.eval()

    def progress(update: int, loss: float) -> None:
        say(f"{net.name} seed {seed}: {update} of {recipe.updates} updates, loss {loss:.3f}")

    model = train(
        net.build, data.train_images, data.train_labels, recipe, seed=seed, progress=progress
    )
    build.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")  # a file that is there is whole
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, half)
    half.replace(path)
    return model
