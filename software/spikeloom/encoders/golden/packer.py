"""From spikes to words in integers: see PackerParameters."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.value import channelled, pack
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import PackerParameters

__all__ = ["FixedPacker", "words_of"]


def words_of(spikes: Tensor, parameters: PackerParameters) -> Tensor:
    """Words, int64 (..., channels * outputs, windows), of int64 spikes (..., channels, time)."""
    window, mode = parameters.window, parameters.mode
    missing = -spikes.shape[-1] % window
    s = torch.nn.functional.pad(spikes, (0, missing)).unflatten(-1, (-1, window))
    parts = [s.clamp(min=0), (-s).clamp(min=0)][: parameters.parts]
    a = torch.stack(parts, -3).flatten(-4, -3)  # (..., channels * parts, windows, window)
    if mode == "count":
        return a.sum(-1).clamp(max=(1 << parameters.word_bits) - 1)
    if mode == "weighted":
        return pack(a > 0)
    return (a > 0).to(torch.int64).movedim(-1, -2).flatten(-3, -2)


class FixedPacker:
    """Golden model of the packer core."""

    def __init__(self, parameters: PackerParameters):
        self.parameters = parameters

    def encode(self, spikes: Tensor | ArrayLike) -> Tensor:
        """Words, int64 (..., outputs, windows), of one frame: spikes (..., [channels,] time).

        outputs: ``parameters.output_channels``, in the order of their numbers.
        """
        s = torch.as_tensor(spikes)
        if s.dtype.is_floating_point or s.dtype == torch.bool:
            raise InputError(f"spikes of a golden model are integers, not {s.dtype}")
        s = channelled(s.to(torch.int64), self.parameters, "spikes")
        low = -(1 << (self.parameters.spike_bits - 1))
        if bool(((s < low) | (s >= -low)).any()):
            raise InputError(
                f"spikes must be in {low}..{-low - 1} with spike_bits ="
                f" {self.parameters.spike_bits}, not {int(s.abs().max())} in magnitude"
            )
        return words_of(s, self.parameters)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.parameters})"
