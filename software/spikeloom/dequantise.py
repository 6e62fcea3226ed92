"""The float twin of an integer network: the same decisions, in real units."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from spikeloom.network import Dense, Network, Readout

__all__ = ["Dequantised"]


class _Layer(nn.Module):
    """v = weight @ x + bias in real units; fires words of ``output_scale``, or rounds to logits."""

    weight: Tensor
    bias: Tensor
    output_scale: Tensor

    def __init__(self, op: Dense | Readout, input_scale: np.ndarray) -> None:
        super().__init__()
        if op.threshold is None:
            S = np.full(op.outputs, op.logit_scale)  # type: ignore[union-attr]
            bias, output_scale = op.bias * S, S
        else:
            S = op.output_scale / op.threshold  # type: ignore[union-attr]
            # v0 is an integer, so half an LSB more changes no comparison, and keeps exact
            # multiples of the threshold away from the rounding of floats
            bias, output_scale = (op.bias + 0.5) * S, op.output_scale  # type: ignore[union-attr]
        self.top = (1 << op.output_bits) - 1
        self.fires = op.threshold is not None
        weight = op.weight * S[:, None] / input_scale
        for name, value in (("weight", weight), ("bias", bias), ("output_scale", output_scale)):
            self.register_buffer(name, torch.from_numpy(np.array(value, dtype=np.float64)))

    def forward(self, x: Tensor) -> Tensor:
        v = x @ self.weight.T + self.bias
        if self.fires:
            return torch.floor(v / self.output_scale).clamp(0, self.top) * self.output_scale
        # back onto the grid of the readout, so that ties stay ties
        return torch.round(v / self.output_scale) * self.output_scale


class Dequantised(nn.Module):
    """Images (n, *sample shape) uint8 to logits (n, classes), float64, in real units.

    Weights are those of the integers times their scales. The words of every layer and the argmax of
    the logits equal the integer network's.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.encode = network.encode
        scale = np.full(network.inputs, 1 / ((1 << network.input_bits) - 1))
        self.input_scale = float(scale[0])
        layers = []
        for op in network.layers:
            layers.append(_Layer(op, scale))
            if op.threshold is not None:
                scale = cast("Dense", op).output_scale
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor | np.ndarray) -> Tensor:
        """Return the logits; InputError as ``Network.encode``."""
        words = self.encode(images.cpu().numpy() if isinstance(images, Tensor) else images)
        return self.layers(torch.from_numpy(words).double() * self.input_scale)
