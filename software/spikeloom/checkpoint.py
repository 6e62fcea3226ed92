"""The trained models that come with Spikeloom; software/examples/train_mlp.py trains them."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from spikeloom.errors import InputError

__all__ = ["load_mlp", "mlp", "save_mlp"]

_FOLDER = "checkpoints"


def mlp(inputs: int = 784, hidden: int = 128, classes: int = 10) -> nn.Sequential:
    """Build an untrained multilayer perceptron: any sample shape in, logits out."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(hidden, classes),
    )


def save_mlp(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the weights as 16-bit floats: half the size, no change in accuracy."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    Path(path).write_bytes(save(state))


def load_mlp(name: str | os.PathLike[str] = "mnist-mlp") -> nn.Sequential:
    """Load a trained ``mlp()`` in eval mode, float32: a shipped one by name, or a file.

    Raises InputError when there is neither, or the file holds something else.
    """
    path = Path(name)
    if not path.suffix:
        folder = resources.files("spikeloom") / _FOLDER
        path = Path(str(folder / f"{name}.safetensors"))
        if not path.is_file():
            known = sorted(Path(e.name).stem for e in folder.iterdir() if "safetensors" in e.name)
            raise InputError(f"no checkpoint {str(name)!r}: give a file, or one of {known}")
    try:
        state = load_file(path)
        hidden, inputs = state["1.weight"].shape
        model = mlp(inputs, hidden, len(state["5.weight"]))
        model.load_state_dict({k: v.to(model.state_dict()[k].dtype) for k, v in state.items()})
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is no checkpoint of spikeloom.checkpoint.mlp: {error}") from error
    return model.eval()
