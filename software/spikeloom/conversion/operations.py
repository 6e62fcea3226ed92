"""What a model computes at inference, as plain data: one dataclass an operation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

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
    "PadOp",
    "Pair",
    "Rectify",
    "ReduceOp",
    "Size",
    "SqueezeOp",
    "Traced",
    "Unknown",
    "Windowed",
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
class Windowed(Operation):
    """What looks at positions. dims: 2 for images, 1 for samples (channels, length).

    A length is a height: sizes of one axis come with 1 for the width (padding with 0).
    """

    dims: int = field(default=2, kw_only=True)


@dataclass(frozen=True, eq=False)
class Convolution(Windowed):
    """weight: float64 (outputs, inputs / groups, height, width)."""

    weight: Tensor
    bias: Tensor
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    groups: int = 1
    dilation: Pair = (1, 1)


@dataclass(frozen=True, eq=False)
class Affine(Operation):
    """y = scale * x + shift, one of each a channel (axis 1) or one for all; float64.

    like: shape of a constant of which they are the flat values, to be broadcast as torch does.
    """

    scale: Tensor
    shift: Tensor
    like: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Rectify(Operation):
    """y = min(max(x, 0), bound): becomes spikes. neuron: what fires them, if the model says so."""

    neuron: SpikePack | None = None
    bound: float = math.inf


@dataclass(frozen=True, eq=False)
class FlattenOp(Operation):
    """Every sample becomes one row. size: its length where the model states it, else None."""

    size: int | None = None


@dataclass(frozen=True, eq=False)
class _PoolOp(Windowed):
    """A window that slides; or, without kernel, windows that cut a sample into ``size`` pixels.

    size: of what leaves, None for an axis that stays. ceil: a last window may reach over the end.
    """

    kernel: Pair | None
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    size: tuple[int | None, int | None] = (1, 1)
    ceil: bool = False


@dataclass(frozen=True, eq=False)
class MaxPoolOp(_PoolOp):
    """Greatest of each window; padded pixels never win."""


@dataclass(frozen=True, eq=False)
class AvgPoolOp(_PoolOp):
    """Mean of each window, padded pixels counted as zeros."""


@dataclass(frozen=True, eq=False)
class ReduceOp(Operation):
    """Mean, or greatest, over axes of the batch, which may count from the last one."""

    axes: tuple[int, ...]
    keep: bool
    average: bool


@dataclass(frozen=True, eq=False)
class PadOp(Operation):
    """Zeros around a sample. sides: before and after, the last axis first, as in torch."""

    sides: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class SqueezeOp(Operation):
    """Axes of the batch, of length 1, that go."""

    axes: tuple[int, ...]


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
    def dims(self) -> frozenset[int]:
        """Axes of positions that its layers take: 1, 2, none, or by mistake both."""
        found = (op.dims for op, _ in self.steps if isinstance(op, Windowed))
        return frozenset(found)

    def sample(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of samples as networks see them, images.

        Images of one channel may come without it; samples (channels, length) of 1-D layers are
        images of width 1.
        """
        if len(shape) == 2 and self.dims == {2}:
            return (1, *shape)
        if len(shape) == 2 and self.dims == {1}:
            return (*shape, 1)
        return tuple(shape)
