"""How trainable parameters stay in range: parametrizations around the value they start from.

The optimiser moves u, which starts at 0; the parameter is exactly what was given as long as it has
not moved. Steps of u are relative, so that a learning rate means the same in any unit. As with all
of torch's parametrizations, ``encoder.threshold`` is the value, and can be assigned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spikeloom.errors import InputError

__all__ = ["Decay", "Positive"]


class _Relative(nn.Module):
    """A parametrization (torch.nn.utils.parametrize) around a value."""

    start: Tensor

    def __init__(self, start: Tensor):
        super().__init__()
        self.register_buffer("start", start.detach().clone())

    def right_inverse(self, value: Tensor) -> Tensor:
        """Start again from ``value``."""
        self._check(value)
        self.start.copy_(value.detach())
        return torch.zeros_like(value)

    def _check(self, value: Tensor) -> None:
        raise NotImplementedError


class Positive(_Relative):
    """start * exp(u), above 0: a threshold."""

    def forward(self, u: Tensor) -> Tensor:
        """Value at u."""
        return self.start * u.exp()

    def _check(self, value: Tensor) -> None:
        if not bool((value > 0).all()):
            raise InputError(f"a threshold must be > 0, not {value.tolist()}")


class Decay(_Relative):
    """start ^ exp(u), between 0 and 1: a leak; its time constant -1 / log(leak) times exp(-u)."""

    def forward(self, u: Tensor) -> Tensor:
        """Value at u."""
        return self.start ** u.exp()

    def _check(self, value: Tensor) -> None:
        if not bool(((value > 0) & (value < 1)).all()):
            raise InputError(
                f"a leak to be trained must start between 0 and 1, not at {value.tolist()}: there"
                " it has no time constant"
            )
