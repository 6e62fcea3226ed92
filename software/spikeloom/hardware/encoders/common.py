"""What every encoder core has: interleaved channels, run-time parameters, an output format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeloom.errors import InputError

__all__ = ["MAX_CHANNELS", "CoreParameters", "Field", "Output", "channel_bits", "require"]

Output = Literal["dense", "events"]

MAX_CHANNELS = 1024


def require(condition: bool, message: str) -> None:
    """Raise ValueError with a message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def require_integer(name: str, value: object, low: int, high: int) -> None:
    """Raise ValueError unless a value is an integer in low..high."""
    require(
        isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
        f"{name} must be an integer in {low}..{high}, not {value!r}",
    )


def channel_bits(channels: int) -> int:
    """Width of a channel number, at least one bit."""
    return max(1, (channels - 1).bit_length())


@dataclass(frozen=True)
class Field:
    """A parameter that each channel has and that is writable at run time.

    bits: its width in gates. low, high: what is allowed. default: after reset; that of channel c is
    (default + c * spread) modulo 2^bits. signed: two's complement.
    """

    name: str
    bits: int
    low: int
    high: int
    default: int
    signed: bool = False
    spread: int = 0

    def defaults(self, channels: int) -> NDArray[np.int64]:
        """Values after reset, int64 (channels,)."""
        if not self.spread:
            return np.full(channels, self.default)
        return (self.default + np.arange(channels) * self.spread) % (1 << self.bits)


@dataclass(frozen=True, kw_only=True)
class CoreParameters:
    """Structure common to all encoder cores.

    channels: interleaved channels, 1..1024, in any order of arrival; each sample says its channel.
    output: ``dense`` one transfer for each sample; ``events`` a transfer for each sample that
    spikes, and for the first and the last sample of a frame (spike = 0 when they do not), with the
    time stamp: the number of the sample in its frame, of ``time_bits`` bits, modulo 2^time_bits.
    """

    NAME: ClassVar[str]  #: as in ``spikeloom verilog NAME`` and ``spikeloom encoders``

    channels: int = 1
    output: Output = "dense"
    time_bits: int = 32

    def __post_init__(self) -> None:
        require_integer("channels", self.channels, 1, MAX_CHANNELS)
        require_integer("time_bits", self.time_bits, 1, 48)
        require(
            self.output in get_args(Output),
            f"output must be one of {get_args(Output)}, not {self.output!r}",
        )

    @property
    def fields(self) -> tuple[Field, ...]:
        """Run-time parameters of a channel."""
        return ()

    def settings(self, values: Mapping[str, ArrayLike] | None = None) -> dict[str, NDArray[Any]]:
        """Check run-time parameters; int64 (channels,) for every field, defaults where not given.

        values: by name of a field, an integer for all channels or one a channel. Raises InputError
        on an unknown name, a wrong number of channels, or a value that is not allowed.
        """
        given = dict(values or {})
        known = {field.name for field in self.fields}
        if unknown := sorted(set(given) - known):
            raise InputError(
                f"{self.NAME} has no parameter {', '.join(unknown)}; it has {sorted(known)}"
            )
        result = {}
        for field in self.fields:
            value = np.asarray(given.get(field.name, field.defaults(self.channels)))
            if value.dtype.kind not in "iu":
                raise InputError(f"{field.name} must be integers, not {value.dtype}")
            if value.ndim > 1 or (value.ndim == 1 and len(value) not in (1, self.channels)):
                raise InputError(
                    f"{field.name} must be one number, or one for each of {self.channels} channels,"
                    f" not of shape {value.shape}"
                )
            row = np.broadcast_to(value.astype(np.int64), (self.channels,)).copy()
            if wrong := np.flatnonzero((row < field.low) | (row > field.high)).tolist():
                raise InputError(
                    f"{field.name} of channel {wrong[0]} is {row[wrong[0]]}, allowed is"
                    f" {field.low}..{field.high}"
                )
            result[field.name] = row
        return result
