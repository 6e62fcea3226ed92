"""Words of what the user gives: T-bit steps over the range of the calibration data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["RangeWords", "span_of"]


def span_of(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Least and greatest value that words have to hold: of the whole input, or (channels,).

    Images 0..1 and whole numbers 0..255 have those ranges, whatever the data holds; other images
    (n, channels, height, width) have one range a channel, so that pixels that were normalised fall
    on words as they did before.
    """
    low = min(float(x.min()) for x in parts)
    high = max(float(x.max()) for x in parts)
    like = parts[0]
    if low >= 0 and high <= 1:
        return like.new_zeros(()), like.new_ones(())
    if low >= 0 and high <= 255 and all(bool((x == x.round()).all()) for x in parts):
        return like.new_zeros(()), like.new_full((), 255.0)
    if like.ndim == 4:
        dims = (0, 2, 3)
        least = torch.stack([x.amin(dims) for x in parts]).amin(0)
        most = torch.stack([x.amax(dims) for x in parts]).amax(0)
    else:
        least, most = like.new_full((), low), like.new_full((), high)
    return least, torch.where(most > least, most, least + 1)


class RangeWords(nn.Module):
    """Round to T-bit words over a range, half up; the value is low + scale * word.

    low, high: one number, or one a channel of axis 1. uint8 is divided by 255 first.
    """

    low: Tensor
    scale: Tensor

    def __init__(self, bits: int, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("low", low.detach().clone())
        self.register_buffer("scale", ((high - low) / self.top).detach().clone())

    @property
    def top(self) -> int:
        """Greatest word."""
        return (1 << self.bits) - 1

    def _shaped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.low.ndim:
            return self.low, self.scale
        shape = [1, -1, *[1] * (x.ndim - 2)]
        return self.low.view(shape), self.scale.view(shape)

    def pack(self, x: Tensor) -> Tensor:
        """Words, int64, shape of x."""
        low, scale = self._shaped(x)
        return torch.floor((x - low) / scale + 0.5).clamp(0, self.top).to(torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        """Values of the words, shape and dtype of x."""
        low, scale = self._shaped(x)
        word = torch.floor((x - low) / scale + 0.5).clamp(0, self.top)
        return (low + scale * word).to(x.dtype)

    def extra_repr(self) -> str:
        """Parameters, for ``print(model)``."""
        return f"bits={self.bits}, low={self.low.min():g}, scale={self.scale.max():g}"
