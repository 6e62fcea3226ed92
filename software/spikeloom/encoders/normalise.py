"""From the units of a signal to the range of an encoder, once, as explicit numbers."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.value import as_values
from spikeloom.errors import InputError

__all__ = ["normalise"]


def normalise(
    signal: Tensor | ArrayLike,
    to: tuple[float, float] = (-1.0, 1.0),
    *,
    channel_axis: int | None = -2,
) -> tuple[Tensor, Tensor]:
    """Offset and scale, so that (signal - offset) * scale spans ``to`` in every channel.

    signal: float32 or float64, calibration data, (..., channels, time). channel_axis: -1 for values
    (..., channels), None for one offset and scale for all; a signal (time,) has one anyway. Returns
    two float64 tensors, () or (channels,), for the arguments of an encoder. A constant channel has
    scale 1 and comes to the middle of ``to``. Raises InputError on NaN, infinity, an empty signal.
    """
    x = as_values(signal, "signal").detach().double()
    low, high = (float(bound) for bound in to)
    if not low < high < float("inf") or low == float("-inf"):
        raise InputError(f"to must be two numbers, the second greater, not {to}")
    if channel_axis is None or x.ndim < max(1, -channel_axis):
        rows = x.reshape(1, -1)
    else:
        rows = x.movedim(channel_axis, 0).reshape(x.shape[channel_axis], -1)
    least, most = rows.amin(-1), rows.amax(-1)
    scale = (high - low) / (most - least)
    offset = least - low / scale
    # infinite for a constant, and for a range that is lost in rounding
    usable = torch.isfinite(scale) & (scale > 0) & torch.isfinite(offset)
    scale = torch.where(usable, scale, 1.0)
    middle = least / 2 + most / 2 - (low + high) / 2
    offset = torch.where(usable, offset, middle)
    single = channel_axis is None or x.ndim < max(1, -channel_axis)
    return (offset[0], scale[0]) if single else (offset, scale)
