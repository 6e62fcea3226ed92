"""The way from floats to the integers of a golden model: rounded, saturated, counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom import fixed
from spikeloom.errors import InputError
from spikeloom.fixed import Fixed, Saturated, round_half_even
from spikeloom.hardware.encoders import CoreParameters, ObservationParameters, SignalParameters

__all__ = ["FixedModel", "FixedSignal", "shift_half_even", "to_integers"]

Parameters = TypeVar("Parameters", bound=CoreParameters)


def to_integers(name: str, value: Tensor, format: Fixed) -> np.ndarray:
    """Round a real parameter, () or (channels,), to LSB of a format; ranges are checked later."""
    try:
        return round_half_even(np.ldexp(value.detach().cpu().double().numpy(), format.fraction))
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error


def shift_half_even(x: Tensor, bits: int) -> Tensor:
    """``spikeloom.fixed.shift_half_even`` for int64 tensors."""
    return torch.from_numpy(fixed.shift_half_even(x.numpy(), bits))


class FixedModel(Generic[Parameters]):
    """What all golden models share.

    parameters: structure, as of the core. settings: run-time parameters by name, for all channels
    or one a channel; defaults where not given. offset, scale: of the float encoder, for
    ``quantise``.
    """

    def __init__(
        self,
        parameters: Parameters,
        settings: Mapping[str, ArrayLike] | None = None,
        *,
        offset: Tensor | float = 0.0,
        scale: Tensor | float = 1.0,
    ):
        self.parameters = parameters
        self.settings = parameters.settings(settings)
        self.offset, self.scale = (
            torch.as_tensor(value, dtype=torch.float64).detach().cpu() for value in (offset, scale)
        )

    def __repr__(self) -> str:
        given: dict[str, Any] = {name: value.tolist() for name, value in self.settings.items()}
        return f"{type(self).__name__}({self.parameters}, {given})"


class FixedSignal(FixedModel[SignalParameters | ObservationParameters]):
    """What golden models of signal codes share: quantisation, shape checks; see FixedModel."""

    def quantise(self, signal: Tensor | ArrayLike) -> Saturated:
        """Integers of a real signal (..., [channels,] time), and how many had to be saturated.

        Raises InputError on NaN.
        """
        x = np.asarray(signal, dtype=np.float64)
        offset, scale = (
            value.numpy()[:, None] if value.ndim else value.numpy()
            for value in (self.offset, self.scale)
        )
        if np.isnan(x).any():
            index = tuple(int(k) for k in np.argwhere(np.isnan(x))[0])
            raise InputError(f"signal{list(index)} is nan: an encoder takes numbers only")
        return self.parameters.format.quantise((x - offset) * scale)

    def to_real(self, samples: Tensor | ArrayLike) -> Tensor:
        """Real signal, float64, of integers of the format."""
        z = torch.as_tensor(self.parameters.format.to_real(np.asarray(samples)))
        offset, scale = (v[:, None] if v.ndim else v for v in (self.offset, self.scale))
        return z / scale + offset

    def _samples(self, samples: Tensor | ArrayLike, what: str = "sample") -> Tensor:
        """Check samples; int64 (..., channels, time), the channel axis even if there is one."""
        given = samples.values if isinstance(samples, Saturated) else samples  # of quantise
        x = torch.as_tensor(given if isinstance(given, Tensor) else np.asarray(given))
        if x.dtype.is_floating_point or x.dtype == torch.bool:
            raise InputError(f"{what}s of a golden model are integers, not {x.dtype}: use quantise")
        x = x.to(torch.int64)
        if self.parameters.channels == 1:
            x = x.unsqueeze(-2)
        if x.ndim < 2 or x.shape[-2] != self.parameters.channels or x.shape[-1] == 0:
            raise InputError(
                f"{what}s must be (..., {self.parameters.channels}, time), not {tuple(x.shape)}"
            )
        return x

    def _in_format(self, samples: Tensor | ArrayLike) -> Tensor:
        x = self._samples(samples)
        f = self.parameters.format
        outside = (x < f.low) | (x > f.high)
        if bool(outside.any()):
            raise InputError(
                f"sample {int(x[outside][0])} is outside {f.low}..{f.high}: quantise saturates"
            )
        return x

    def _column(self, name: str) -> Tensor:
        """Return a setting as int64 (channels,)."""
        return torch.as_tensor(self.settings[name])

    def _shaped(self, y: Tensor) -> Tensor:
        """Drop the channel axis that :meth:`_samples` added."""
        return y.squeeze(-2) if self.parameters.channels == 1 else y
