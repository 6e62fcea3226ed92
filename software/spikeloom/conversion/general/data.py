"""Calibration data as a model's arguments: checked, in batches."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeloom.conversion.general.network import prepared
from spikeloom.conversion.general.tree import leaves, transform
from spikeloom.errors import InputError

__all__ = ["argument_names", "arguments_of", "as_tensor", "batches", "device_of", "split"]

_IMAGES = (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d, nn.BatchNorm2d)


def as_tensor(x: Tensor | NDArray[Any]) -> Tensor:
    """Tensor of numbers; InputError where torch has none of that kind."""
    if not isinstance(x, Tensor):
        try:
            x = torch.from_numpy(np.ascontiguousarray(x))
        except TypeError:
            raise InputError(
                f"calibration is an array of {x.dtype}: use floats, or uint8 pixels"
            ) from None
    return x


def device_of(model: nn.Module) -> torch.device:
    """Where a model's first parameter is, or buffer; the CPU if it has none."""
    tensors = [*model.parameters(), *model.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")


def _tensors(tree: Any, device: torch.device) -> Any:
    if isinstance(tree, np.ndarray):  # arrays are nowhere
        return as_tensor(tree).to(device)
    if isinstance(tree, dict):
        return {key: _tensors(value, device) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)) and not hasattr(tree, "_fields"):
        return type(tree)(_tensors(value, device) for value in tree)
    return tree


def argument_names(model: nn.Module) -> tuple[str, ...]:
    """Names of the arguments of a model's forward."""
    return tuple(inspect.signature(model.forward).parameters)


def arguments_of(model: nn.Module, calibration: Any) -> tuple[Any, ...]:
    """Calibration data as positional arguments of a model, detached, in the model's dtype.

    calibration: one tensor or array (n, ...); a tuple or list of them, one an argument; a dict by
    the names of arguments, or one that is the argument.

    Raises InputError where there is no data, or data that cannot be the model's.
    """
    calibration = _tensors(calibration, device_of(model))
    if isinstance(calibration, (tuple, list)):
        given: tuple[Any, ...] = tuple(calibration)
    elif isinstance(calibration, dict):
        given = _by_name(argument_names(model), calibration)
    else:
        given = (calibration,)
    found = list(leaves(given))
    if not found:
        raise InputError(
            f"calibration is {type(calibration).__name__}: give some hundred samples, a tensor"
            " (n, ...), or a tuple or dict of them for several inputs"
        )
    count = {len(x) if x.ndim else 0 for _, x in found}
    if len(count) > 1 or 0 in count:
        shapes = ", ".join(str(tuple(x.shape)) for _, x in found)
        raise InputError(f"calibration has shapes {shapes}: every input needs the same n > 0")
    weights = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
    dtype = weights[0].dtype if weights else torch.get_default_dtype()
    for where, x in found:
        name = f"calibration {where}" if len(found) > 1 else "calibration"
        if weights and x.device != weights[0].device:
            raise InputError(
                f"calibration is on {x.device}, the model on {weights[0].device}: move one of them"
            )
        if x.is_floating_point() and not bool(torch.isfinite(x).all()):
            raise InputError(f"{name} holds NaN or infinite values")
        if x.is_complex() or x.dtype in (torch.uint16, torch.uint32, torch.uint64):
            raise InputError(f"{name} is {x.dtype}: use floats, or uint8 pixels")
    given = transform(given, lambda x: prepared(x.detach(), dtype))
    if len(found) == 1 and found[0][1].ndim == 3 and _takes_images(model):
        given = transform(given, lambda x: x.unsqueeze(1))
    return given


def _takes_images(model: nn.Module) -> bool:
    kinds = [type(m) for m in model.modules()]
    return any(k in _IMAGES for k in kinds) and nn.Conv1d not in kinds


def _by_name(names: tuple[str, ...], calibration: dict[str, Any]) -> tuple[Any, ...]:
    if not set(calibration) <= set(names):
        return (calibration,)
    last = max(names.index(name) for name in calibration)
    missing = [name for name in names[: last + 1] if name not in calibration]
    if missing:
        raise InputError(f"calibration has no {', '.join(missing)}: give all inputs up to the last")
    return tuple(calibration[name] for name in names[: last + 1])


def batches(given: tuple[Any, ...], size: int) -> list[tuple[Any, ...]]:
    """Arguments, a batch at a time."""
    n = len(next(iter(leaves(given)))[1])

    def part(start: int) -> tuple[Any, ...]:
        def cut(x: Tensor) -> Tensor:
            return x[start : start + size]

        return transform(given, cut)

    return [part(start) for start in range(0, n, size)]


def split(parts: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Batches to fit to, and the last quarter to choose on; one batch alone serves for both."""
    held = max(1, len(parts) // 4)
    return (parts[:-held], parts[-held:]) if len(parts) > 1 else (parts, parts)
