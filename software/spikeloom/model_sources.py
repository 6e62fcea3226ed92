"""Models that a user names: Python with weights, ONNX, or a program of torch.export.

A Python file is the user's own program and runs. Weights are data: safetensors, or what torch.load
reads with ``weights_only``; nothing else is unpickled.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from spikeloom.errors import InputError, SpikeloomError

__all__ = ["FORMS", "load"]

#: What a model may be, for messages.
FORMS = "file.py:factory[@weights.safetensors|.pt], x.onnx or x.pt2"


def load(source: str) -> nn.Module:
    """Build a model in eval mode; InputError, one line, says which part of the source is wrong."""
    suffix = Path(source).suffix.lower()
    if suffix == ".onnx":
        from spikeloom.exchange.onnx import load_onnx

        return load_onnx(source)
    if suffix == ".pt2":
        from spikeloom.exchange.exported import load_exported

        return load_exported(source)
    # a path may hold an @, the name of a function not
    file, colon, rest = source.rpartition(".py:")
    factory, _, weights = rest.partition("@")
    if not colon or not factory:
        raise InputError(f"a model is {FORMS}, not {source!r}")
    path = Path(f"{file}.py")
    if not path.is_file():
        raise InputError(f"no file {path}: a model is {FORMS}")
    model = _build(path, factory)
    if weights:
        _fill(model, Path(weights), factory)
    return model.eval()


def _build(path: Path, factory: str) -> nn.Module:
    """Run a user's file, and its factory without arguments."""
    spec = importlib.util.spec_from_file_location(f"spikeloom_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look their module up
    try:
        spec.loader.exec_module(module)
        make = getattr(module, factory, None)
        if not callable(make):
            raise InputError(f"{path} has no working {factory}(): no function of that name")
        model = make()
    except SpikeloomError:
        raise
    except AttributeError as error:
        raise InputError(f"{path} has no working {factory}(): {error}") from error
    except Exception as error:  # whatever the user's own file raises is the user's to see
        raise InputError(f"{path}: {type(error).__name__}: {_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise InputError(
            f"{path}:{factory} returned a {type(model).__name__}, expected an nn.Module"
        )
    return model


def _fill(model: nn.Module, path: Path, factory: str) -> None:
    state = _weights(path)
    try:
        model.load_state_dict(state)
    except (RuntimeError, SpikeloomError) as error:
        raise InputError(f"{path} does not hold the weights of {factory}: {_line(error)}") from None


def _weights(path: Path) -> dict[str, Any]:
    """Read tensors by name out of a file of weights."""
    if not path.is_file():
        raise InputError(f"no weights at {path}")
    if path.suffix.lower() == ".safetensors":
        try:
            return load_file(path)
        except (OSError, safetensors.SafetensorError) as error:
            raise InputError(f"{path} is no safetensors file: {_line(error)}") from None
    if path.suffix.lower() not in (".pt", ".pth", ".bin"):
        raise InputError(f"{path}: weights are .safetensors, .pt or .pth")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch have their own classes
        raise InputError(
            f"{path} is damaged, or holds more than tensors, which is not unpickled"
            f" ({_line(error)[:80]}): write it with torch.save(model.state_dict(), path)"
        ) from None
    for key in ("state_dict", "model_state_dict", "model"):  # how training scripts wrap it
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not any(isinstance(v, Tensor) for v in found.values()):
        raise InputError(
            f"{path} holds no weights by name: write it with torch.save(model.state_dict(), path)"
        )
    return found


def _line(error: Exception) -> str:
    """Put a message of several lines into one."""
    return " ".join(str(error).split()) or type(error).__name__
