"""What golden models of value encoders share: checks, quantisation, packed words."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.quantise import FixedModel
from spikeloom.errors import InputError
from spikeloom.fixed import Saturated
from spikeloom.hardware.encoders import CoreParameters, PopulationParameters, ValueParameters

__all__ = ["FixedValue", "centred", "pack", "unpack"]


def pack(spikes: Tensor) -> Tensor:
    """Words, int64 (...), of spikes 0 or 1 (..., steps): the first step is the most significant."""
    steps = spikes.shape[-1]
    weights = 1 << torch.arange(steps - 1, -1, -1, device=spikes.device)
    return (spikes.to(torch.int64) * weights).sum(-1)


def unpack(words: Tensor, steps: int) -> Tensor:
    """Spikes, int8 (..., steps), of words: the inverse of :func:`pack`."""
    shifts = torch.arange(steps - 1, -1, -1, device=words.device)
    return ((words.unsqueeze(-1) >> shifts) & 1).to(torch.int8)


def centred(v: Tensor, bits: int) -> Tensor:
    """Return t = v + (v >> (bits - 1)): 0..2^bits, so that the greatest value stands for 1."""
    return v + (v >> (bits - 1))


class FixedValue(FixedModel[ValueParameters | PopulationParameters]):
    """Base of the golden models of value encoders: values in, one packed word for each.

    Values of a core with several channels are (..., channels, count). See FixedModel.
    """

    @property
    def full(self) -> int:
        """The value that stands for 1."""
        return (1 << self.parameters.bits) - 1

    def quantise(self, x: Tensor | ArrayLike) -> Saturated:
        """Values of real numbers, and how many were outside and had to be saturated.

        x: any shape, or (..., channels, count) if offset and scale are per channel; rounded half to
        even. Raises InputError on NaN.
        """
        real = np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, dtype=np.float64)
        if np.isnan(real).any():
            index = [int(k) for k in np.argwhere(np.isnan(real))[0]]
            raise InputError(f"values{index} is nan: an encoder takes numbers only")
        offset, scale = (
            p.numpy()[:, None] if p.ndim else p.numpy() for p in (self.offset, self.scale)
        )
        u = (real - offset) * scale
        count = int(((u < 0) | (u > 1)).sum())
        return Saturated(np.rint(np.clip(u, 0.0, 1.0) * self.full).astype(np.int64), count)

    def spikes(self, values: Tensor | ArrayLike) -> Tensor:
        """Spikes, int8 (..., steps), of values."""
        if not isinstance(self.parameters, ValueParameters):
            raise InputError(f"{self.parameters.NAME} gives values, not spikes")
        return unpack(self.encode(values), self.parameters.steps)

    def encode(self, values: Tensor | ArrayLike) -> Tensor:
        """Words, int64, of values, of the same shape."""
        raise NotImplementedError

    def _values(self, values: Tensor | ArrayLike) -> Tensor:
        """Check values; int64 of the same shape."""
        given = values.values if isinstance(values, Saturated) else values  # what quantise returns
        v = torch.as_tensor(given if isinstance(given, Tensor) else np.asarray(given))
        if v.dtype.is_floating_point or v.dtype == torch.bool:
            raise InputError(f"values of a golden model are integers, not {v.dtype}: use quantise")
        v = v.to(torch.int64)
        outside = (v < 0) | (v > self.full)
        if bool(outside.any()):
            raise InputError(
                f"value {int(v[outside].reshape(-1)[0])} is outside 0..{self.full}: quantise"
                f" saturates"
            )
        return v

    def _channelled(self, v: Tensor) -> Tensor:
        """Shape (..., channels, count), the channel axis even if there is one; or InputError."""
        return channelled(v, self.parameters, "values")


def channelled(v: Tensor, parameters: CoreParameters, what: str) -> Tensor:
    """Give v the shape (..., channels, count); InputError if it does not fit the channels."""
    channels = parameters.channels
    shaped = v.unsqueeze(-2) if channels == 1 and v.ndim else v
    if shaped.ndim < 2 or shaped.shape[-2] != channels or shaped.shape[-1] == 0:
        wanted = "(..., count)" if channels == 1 else f"(..., {channels}, count)"
        raise InputError(f"{what} must be {wanted}, not {tuple(v.shape)}")
    return shaped
