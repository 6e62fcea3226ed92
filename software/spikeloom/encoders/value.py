"""Value encoders: (...) to (..., steps): a number becomes a short spike train of its own.

A value is first brought to u in [0, 1]; subclasses say what spikes u becomes. All arithmetic is in
float64, so that float32 input gives the same spikes on every machine.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from spikeloom.encoders.base import as_floats, column, reject_non_finite, reject_options
from spikeloom.encoders.golden.value import FixedValue
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import CoreParameters

__all__ = ["ValueEncoder", "as_values", "core_parameters", "integer"]

Parameters = TypeVar("Parameters", bound=CoreParameters)

MAX_STEPS = 1 << 16

#: A value this little outside [0, 1] is a rounding error of a normalisation, not a clipped value.
ROUNDING = 1e-6


def integer(name: str, value: int, low: int, high: int) -> int:
    """Check an integer argument; InputError if it is none in low..high."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{name} must be an integer in {low}..{high}, not {value!r}")
    return value


def core_parameters(kind: type[Parameters], **arguments: Any) -> Parameters:
    """Structure of a core; InputError where there is none like that."""
    try:
        return kind(**arguments)
    except ValueError as error:
        raise InputError(f"there is no {kind.NAME} core like this encoder: {error}") from error


def as_values(x: Tensor | ArrayLike, what: str = "values") -> Tensor:
    """Check that x is float32 or float64, not empty and finite; InputError otherwise."""
    tensor = x if isinstance(x, Tensor) else torch.as_tensor(np.asarray(x))
    as_floats(tensor.reshape(1) if tensor.ndim == 0 else tensor, what)
    reject_non_finite(tensor, what)
    return tensor


class ValueEncoder(nn.Module, abc.ABC):
    """Base of the value encoders.

    x: float32 or float64 of any shape, or (..., channels) if offset and scale are given for each
    channel. u = (x - offset) * scale stands for 0 to 1 and is clipped to that; :meth:`clipped`
    counts. ``forward`` returns spikes 0 and 1 (..., steps) in the dtype of x, :meth:`spikes` int8.

    steps: spikes a value. bits: 1..16, resolution of a value: u is rounded to a multiple of
    1 / (2^bits - 1), half to even, as at the input of a core, and the spikes are then those of
    ``fixed()``, bit for bit, for every x. None: u as it is.

    NaN, infinity, an empty tensor, another dtype or a wrong number of channels raise InputError.
    """

    NAME: ClassVar[str]  #: as in ``spikeloom encoders``
    STRAIGHT_THROUGH: ClassVar[bool] = False  #: whether each spike has gradient 1 after u

    offset: Tensor
    scale: Tensor

    def __init__(
        self,
        steps: int,
        *,
        offset: float | Sequence[float] | Tensor = 0.0,
        scale: float | Sequence[float] | Tensor = 1.0,
        bits: int | None = None,
        **unknown: object,
    ):
        super().__init__()
        reject_options(type(self), unknown)
        self.steps = integer("steps", steps, 1, MAX_STEPS)
        self.bits = None if bits is None else integer("bits", bits, 1, 16)
        self.register_buffer("offset", column("offset", offset))
        self.register_buffer("scale", column("scale", scale, low=0.0))
        lengths = {len(value) for value in (self.offset, self.scale) if value.ndim}
        if len(lengths) > 1:
            raise InputError(
                f"offset is for {len(self.offset)} channels, but scale for {len(self.scale)}"
            )
        self.channels: int | None = lengths.pop() if lengths else None

    # What a subclass provides -----------------------------------------------------------------

    @abc.abstractmethod
    def _encode(self, u: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Spikes, bool (..., steps), of u, float64 (...) in [0, 1] on the grid, and new state."""

    def _decode(self, s: Tensor) -> Tensor:
        """Decode float64 spikes (..., steps) to u (...)."""
        raise InputError(f"{self.NAME} cannot be decoded")

    @abc.abstractmethod
    def fixed(self, *, bits: int | None = None, channels: int | None = None) -> FixedValue:
        """Integer golden model: the bits of the core.

        bits: of a value; those of the encoder unless given, else 8. channels: of the core; those of
        the encoder unless given, else 1. Raises InputError if a core cannot be like that.
        """

    # Encoding ---------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of x in its dtype, (..., steps); stateless."""
        return self._spikes(x, None)[0]

    def spikes(self, x: Tensor) -> Tensor:
        """Spikes of x as int8, (..., steps); stateless."""
        return self._encode(self._unit(as_values(x)).detach(), None)[0].to(torch.int8)

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Encode the next value of a stream, or of each of x.numel() streams; None starts them.

        Returns spikes (..., steps) in the dtype of x, and the state to go on with: that of a random
        generator, int64 of the shape of x, or None for a code that keeps nothing.
        """
        return self._spikes(x, state)

    def flush(self, state: Tensor | None) -> Tensor:
        """Spikes held back: none, (..., 0); a value encoder never looks ahead."""
        return torch.zeros((*(() if state is None else state.shape), 0))

    def clipped(self, x: Tensor) -> int:
        """Count the values outside the range that stands for 0 to 1, which ``forward`` clips."""
        z = self._normalised(as_values(x))
        return int(((z < -ROUNDING) | (z > 1 + ROUNDING)).sum())

    def _spikes(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        x = as_values(x)
        u = self._unit(x)
        fired, state = self._encode(u.detach(), state)
        y = fired.to(x.dtype)
        if self.STRAIGHT_THROUGH and u.requires_grad:
            y = y + (u - u.detach()).to(x.dtype).unsqueeze(-1)
        return y, state

    def _normalised(self, x: Tensor) -> Tensor:
        if self.channels not in (None, 1) and (x.ndim == 0 or x.shape[-1] != self.channels):
            raise InputError(
                f"{self.NAME} has parameters for {self.channels} channels, so that values must be"
                f" (..., {self.channels}), not {tuple(x.shape)}"
            )
        offset, scale = self._affine(x)
        return (x.double() - offset) * scale

    def _affine(self, x: Tensor) -> list[Tensor]:
        # (1,) would give a plain number an axis
        return [
            (p if p.numel() > 1 else p.reshape(())).to(x.device) for p in (self.offset, self.scale)
        ]

    def _unit(self, x: Tensor) -> Tensor:
        """Return u: normalised, clipped, on the grid of ``bits``."""
        u = self._normalised(x).clamp(0.0, 1.0)
        if self.bits is None:
            return u
        full = (1 << self.bits) - 1
        grid = torch.round(u.detach() * full) / full
        return u + (grid - u.detach()) if u.requires_grad else grid

    def _probability(self, u: Tensor) -> Tensor:
        """Return u as the cores have it: t / 2^bits with ``bits``, see RateParameters."""
        if self.bits is None:
            return u
        v = torch.round(u * ((1 << self.bits) - 1))
        return (v + (v >= 1 << (self.bits - 1))) / (1 << self.bits)

    # Decoding ---------------------------------------------------------------------------------

    def decode(self, spikes: Tensor | ArrayLike) -> Tensor:
        """Values (...) of spikes (..., steps), in the units of x.

        spikes: any number type; the result has their dtype if that is float, else float32. Raises
        InputError for a wrong number of steps, or a code without a decoder.
        """
        given = spikes if isinstance(spikes, Tensor) else torch.as_tensor(np.asarray(spikes))
        dtype = given.dtype if given.dtype in (torch.float32, torch.float64) else torch.float32
        if given.ndim == 0 or given.shape[-1] != self.steps or given.numel() == 0:
            raise InputError(
                f"spikes must be (..., {self.steps}), not {tuple(given.shape)}: {self.NAME} has"
                f" {self.steps} steps"
            )
        s = given.double()
        reject_non_finite(s, "spike train")
        u = self._decode(s)
        offset, scale = self._affine(u)
        return (u / scale + offset).to(dtype)

    # Helpers ----------------------------------------------------------------------------------

    def _core(self, bits: int | None, channels: int | None) -> dict[str, int]:
        """Arguments of a core's parameters."""
        return {
            "bits": bits or self.bits or 8,
            "channels": channels or self.channels or 1,
            "steps": self.steps,
        }

    def extra_repr(self) -> str:
        """Parameters, short."""
        parts = [f"steps={self.steps}"]
        if self.bits is not None:
            parts.append(f"bits={self.bits}")
        for name, default in (("offset", 0.0), ("scale", 1.0)):
            value = getattr(self, name)
            if value.ndim or float(value) != default:
                shown = value.tolist() if value.numel() < 9 else tuple(value.shape)
                parts.append(f"{name}={shown}")
        return ", ".join(parts)
