"""The trained models that come with Spikeloom, and files like them: weights alone, no pickle.

software/examples/train_mlp.py and train_cnn.py train the shipped ones.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from spikeloom.errors import InputError
from spikeloom.models import MODELS

__all__ = ["load_checkpoint", "load_mlp", "mlp", "save_checkpoint", "save_mlp"]

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
    Path(path).write_bytes(save(_half(model)))


def save_checkpoint(model: nn.Module, architecture: str, path: str | os.PathLike[str]) -> None:
    """Write the weights of a model of ``models.MODELS`` as 16-bit floats.

    The metadata name the architecture. Raises InputError when there is no such
    architecture, the model is another one, or a weight does not fit in 16 bits.
    """
    _check_architecture(architecture, f"checkpoint {path}")
    state = _half(model)
    wrong = _difference(state, _skeleton(architecture, state).state_dict())
    if wrong:
        raise InputError(f"the model to save is no {architecture}: {wrong}")
    for name, value in state.items():
        if not value.isfinite().all():
            raise InputError(f"{name} of the {architecture} is not finite as a 16-bit float")
    # one entry: safetensors writes several in any order, and the same weights make the same file
    Path(path).write_bytes(save(state, {"architecture": architecture}))


def load_checkpoint(name: str | os.PathLike[str]) -> nn.Sequential:
    """Load a trained model in eval mode, float32: a shipped one by name, or a file.

    Its metadata say which of ``models.MODELS`` it is; without them it is an ``mlp()``. Raises
    InputError when there is no such checkpoint, or the file holds something else.
    """
    path = _path(name)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is no checkpoint: {error}") from error
    if "architecture" not in metadata:
        return load_mlp(path)
    architecture = metadata["architecture"]
    _check_architecture(architecture, str(path))
    model = _skeleton(architecture, state)
    expected = model.state_dict()
    wrong = _difference(state, expected)
    if wrong:
        raise InputError(f"{path} is no checkpoint of a {architecture}: {wrong}")
    # assigned, not copied: the skeleton has no memory of its own
    model.load_state_dict({k: v.to(expected[k].dtype) for k, v in state.items()}, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.eval()


def load_mlp(name: str | os.PathLike[str] = "mnist-mlp") -> nn.Sequential:
    """Load a trained ``mlp()`` in eval mode, float32: a shipped one by name, or a file.

    Raises InputError when there is neither, or the file holds something else.
    """
    path = _path(name)
    try:
        state = load_file(path)
        hidden, inputs = state["1.weight"].shape
        model = mlp(inputs, hidden, len(state["5.weight"]))
        model.load_state_dict({k: v.to(model.state_dict()[k].dtype) for k, v in state.items()})
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"{path} is no checkpoint of spikeloom.checkpoint.mlp: {why}") from error
    return model.eval()


def _path(name: str | os.PathLike[str]) -> Path:
    """Path of a shipped checkpoint (a name without a suffix) or of a file."""
    path = Path(name)
    if path.suffix:
        return path
    folder = resources.files("spikeloom") / _FOLDER
    shipped = Path(str(folder / f"{name}.safetensors"))
    if not shipped.is_file():
        known = sorted(Path(e.name).stem for e in folder.iterdir() if "safetensors" in e.name)
        raise InputError(f"no checkpoint {str(name)!r}: give a file, or one of {known}")
    return shipped


def _check_architecture(architecture: str, where: str) -> None:
    if architecture not in MODELS:
        raise InputError(f"{where}: no architecture {architecture!r}, only {sorted(MODELS)}")


def _skeleton(architecture: str, state: Mapping[str, Tensor]) -> nn.Sequential:
    """Build the model with as many classes as the weights have, without memory of its own.

    Neither are random numbers drawn: only shapes and names count.
    """
    spec = MODELS[architecture]
    with torch.device("meta"):
        model = spec.build(spec.classes)
        last = list(model.state_dict())[-1]  # the bias of the last layer, in all of them
        classes = len(state[last]) if last in state and state[last].ndim else spec.classes
        return model if classes in (0, spec.classes) else spec.build(classes)


def _half(model: nn.Module) -> dict[str, Tensor]:
    return {
        k: (v.half() if v.is_floating_point() else v).contiguous()
        for k, v in model.state_dict().items()
    }


def _difference(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Say in one line what tells two sets of weights apart; empty if nothing does."""
    for name, value in expected.items():
        if name not in state:
            return f"{name} is missing"
        if state[name].shape != value.shape:
            return f"{name} has shape {tuple(state[name].shape)}, not {tuple(value.shape)}"
        if state[name].is_floating_point() != value.is_floating_point():
            return f"{name} is {state[name].dtype}"
    extra = sorted(set(state) - set(expected))
    return f"{extra[0]} is one too many" if extra else ""
