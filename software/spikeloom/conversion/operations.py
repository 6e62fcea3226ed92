"""What a model computes at inference, as plain data: one dataclass an operation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spikeloom.neuron import SpikePack

__all__ = [
    "AddOp",
    "Affine",
    "AvgPoolOp",
    "Convolution",
    "FlattenOp",
    "Linear",
    "MaxPoolOp",
    "Normalise",
    "Nothing",
    "Operation",
    "Pair",
    "Rectify",
    "Size",
    "Traced",
    "Unknown",
]

Pair = tuple[int, int]


class Normalise(nn.Module):
    """Normalise at the front of a model: (x - mean) / std. Conversion folds it into layer 1.

    mean, std: one number each, or one a channel for samples (channels, height, width).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float | Tensor, std: float | Tensor) -> None:
        super().__init__()
        for name, value in (("mean", mean), ("std", std)):
            tensor = torch.as_tensor(value, dtype=torch.get_default_dtype()).detach().clone()
            if tensor.ndim > 1:
                raise ValueError(f"{name} must be one number or (channels,), not {tensor.shape}")
            self.register_buffer(name, tensor)
        if bool((self.std <= 0).any()):
            raise ValueError("std must be above 0")

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, ...) -> the same shape."""
        return (x - _per_channel(self.mean, x.ndim)) / _per_channel(self.std, x.ndim)


def _per_channel(value: Tensor, ndim: int) -> Tensor:
    return value if value.ndim == 0 else value.view(1, -1, *[1] * (ndim - 2))


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation; ``path`` is where the model keeps it."""

    path: str


@dataclass(frozen=True, eq=False)
class Linear(Operation):
    """y = weight @ x + bias; float64 (outputs, inputs) and (outputs,)."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, eq=False)
class Convolution(Operation):
    """weight: float64 (outputs, inputs / groups, height, width); groups: 1 or depthwise."""

    weight: Tensor
    bias: Tensor
    stride: Pair
    padding: Pair
    groups: int


@dataclass(frozen=True, eq=False)
class Affine(Operation):
    """y = scale * x + shift, one of each a channel (axis 1) or one for all; float64."""

    scale: Tensor
    shift: Tensor


@dataclass(frozen=True, eq=False)
class Rectify(Operation):
    """y = max(x, 0): becomes spikes. neuron: what fires them, where the model says so."""

    neuron: SpikePack | None = None


@dataclass(frozen=True, eq=False)
class FlattenOp(Operation):
    """Every sample becomes one row. size: its length where the model states it, else None."""

    size: int | None = None


@dataclass(frozen=True, eq=False)
class MaxPoolOp(Operation):
    """Greatest of each window; padded pixels never win."""

    kernel: Pair
    stride: Pair
    padding: Pair


@dataclass(frozen=True, eq=False)
class AvgPoolOp(Operation):
    """Mean of each window, padded pixels counted as zeros; or to ``size`` pixels, any kernel."""

    kernel: Pair | None
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    size: Pair = (1, 1)


@dataclass(frozen=True, eq=False)
class AddOp(Operation):
    """Sum of two tensors of the same shape."""


@dataclass(frozen=True, eq=False)
class Unknown(Operation):
    """Something without a spiking form; its problem is already noted."""


class Nothing(Operation):
    """Nothing happens at inference (Dropout, Identity)."""


class Size(Operation):
    """A shape, or a number of one: no tensor of the network."""


@dataclass(frozen=True, eq=False)
class Traced:
    """A model as steps (operation, the indices of what feeds it) in order; -1 is the input.

    output: index of the step that gives the logits. problems: one line each, for what has no
    spiking form. model: its class, for messages.
    """

    steps: tuple[tuple[Operation, tuple[int, ...]], ...]
    output: int
    problems: tuple[str, ...]
    model: str

    @property
    def spatial(self) -> bool:
        """Whether samples must be images (channels, height, width)."""
        kinds = (Convolution, MaxPoolOp, AvgPoolOp)
        return any(isinstance(operation, kinds) for operation, _ in self.steps)
