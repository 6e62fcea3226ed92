"""What lowering knows about the words that leave an op."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spikeloom.conversion.layers import SpikingLayer
from spikeloom.conversion.scales import Array
from spikeloom.ops import Add, Conv2d, Dense

__all__ = ["Stream", "fired_stream", "pixels_of", "reals"]


@dataclass(frozen=True, eq=False)
class Stream:
    """Words that leave an op.

    scale: (channels,), real value of an LSB. carried: channels that can be other than zero. bits:
    T. pixels: of a sample.
    """

    scale: Array
    carried: NDArray[np.bool_]
    bits: int
    pixels: int = 1

    def flattened(self) -> Stream:
        """The same of a flattened sample."""
        return Stream(
            np.repeat(self.scale, self.pixels), np.repeat(self.carried, self.pixels), self.bits
        )


def reals(value: Tensor) -> Any:
    """A tensor as float64 numpy array."""
    return value.detach().cpu().double().numpy()


def pixels_of(layer: SpikingLayer) -> int:
    """Pixels of a sample that leaves a layer."""
    return int(np.prod(layer.shape[1:], dtype=np.int64))


def fired_stream(op: Dense | Conv2d | Add, alive: NDArray[np.bool_], pixels: int) -> Stream:
    """Words that leave an op that fires."""
    assert op.output_scale is not None
    return Stream(op.output_scale, alive, op.output_bits, pixels)
