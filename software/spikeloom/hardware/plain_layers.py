"""Layers without weights in gates: pooling, fire, addition, padding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from spikeloom.hardware.folding import Folding, ceil_div
from spikeloom.hardware.port import Port
from spikeloom.hardware.synapses import check_ranges
from spikeloom.hardware.window import Window

__all__ = ["AddParameters", "FireParameters", "PadParameters", "PoolParameters"]

Rule = Literal["max", "average"]


@dataclass(frozen=True)
class PoolParameters:
    """A pooling layer in gates; ``lanes`` words a transfer, in and out.

    rule: ``max`` of words, or of potentials (``signed``); ``average`` fires on the sums:
    clip(floor((sum + bias) / threshold), 0, 2^output_bits - 1); both constants of the gates.
    """

    rule: Rule
    channels: int
    window: Window
    bits: int
    signed: bool = False
    output_bits: int = 0
    threshold: int = 1
    bias: int = 0
    folding: Folding = field(default_factory=Folding)
    kind: ClassVar[str] = "pool"

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ValueError(f"rule must be one of {get_args(Rule)}, not {self.rule!r}")
        check_ranges(
            self,
            (
                ("channels", 1, 65535),
                ("bits", 1, 32 if self.signed else 8),
                ("threshold", 1, 65535),
                ("bias", -65536, 65535),
                ("output_bits", 0, 0) if self.rule == "max" else ("output_bits", 1, 8),
            ),
        )
        if self.signed and self.rule == "average":
            raise ValueError("an average is taken of words, not of potentials")

    @property
    def ports_in(self) -> tuple[Port, ...]:
        """The stream that enters."""
        lanes = self.folding.lanes
        return (Port(self.window.pixels, self.channels, self.bits, self.signed, lanes),)

    @property
    def port_out(self) -> Port:
        """The stream that leaves."""
        bits = self.bits if self.rule == "max" else self.output_bits
        lanes = self.folding.lanes
        return Port(self.window.out_pixels, self.channels, bits, self.signed, lanes)

    @property
    def sum_bits(self) -> int:
        """Bits of a window's sum with the bias, two's complement."""
        most = self.window.taps * ((1 << self.bits) - 1) + abs(self.bias)
        return most.bit_length() + 1

    def needs(self, position: int) -> int:
        """Input pixels that must have come before output pixel ``position`` can leave."""
        return self.window.needs(position)


class _Pixelwise:
    """Layers that look at one pixel at a time, ``lanes`` words a transfer, and fire."""

    pixels: int
    channels: int
    output_bits: int
    folding: Folding

    @property
    def drain_rows(self) -> int:
        """Rows of each memory, transfers of a pixel."""
        return ceil_div(self.channels, self.folding.lanes)

    @property
    def port_out(self) -> Port:
        """The stream that leaves."""
        return Port(self.pixels, self.channels, self.output_bits, lanes=self.folding.lanes)

    def needs(self, position: int) -> int:
        """Input pixels that must have come before output pixel ``position`` can leave."""
        return position + 1


@dataclass(frozen=True)
class FireParameters(_Pixelwise):
    """A fire layer in gates: potentials in, words out, ``lanes`` a transfer."""

    pixels: int
    channels: int
    accumulator_bits: int
    output_bits: int
    threshold_bits: int = 16
    folding: Folding = field(default_factory=Folding)
    kind: ClassVar[str] = "fire"

    def __post_init__(self) -> None:
        check_ranges(
            self,
            (
                ("pixels", 1, 1 << 24),
                ("channels", 1, 65535),
                ("accumulator_bits", 2, 32),
                ("output_bits", 1, 8),
                ("threshold_bits", 1, 16),
            ),
        )

    @property
    def ports_in(self) -> tuple[Port, ...]:
        """The stream that enters."""
        return (Port(self.pixels, self.channels, self.accumulator_bits, True, self.folding.lanes),)


@dataclass(frozen=True)
class AddParameters(_Pixelwise):
    """An addition in gates: v0 = weight[0] q + weight[1] r + bias, which fires.

    input_bits, other_bits: T of the two streams. weight_bits: width of their integer weights.
    folding: ``lanes`` words a transfer, in and out.
    """

    pixels: int
    channels: int
    input_bits: int
    other_bits: int
    weight_bits: int
    accumulator_bits: int
    output_bits: int
    threshold_bits: int = 16
    folding: Folding = field(default_factory=Folding)
    kind: ClassVar[str] = "add"

    def __post_init__(self) -> None:
        check_ranges(
            self,
            (
                ("pixels", 1, 1 << 24),
                ("channels", 1, 65535),
                ("input_bits", 1, 8),
                ("other_bits", 1, 8),
                ("weight_bits", 1, 16),
                ("accumulator_bits", 2, 32),
                ("output_bits", 1, 8),
                ("threshold_bits", 1, 16),
            ),
        )

    @property
    def ports_in(self) -> tuple[Port, ...]:
        """The two streams that enter."""
        lanes = self.folding.lanes
        return (
            Port(self.pixels, self.channels, self.input_bits, lanes=lanes),
            Port(self.pixels, self.channels, self.other_bits, lanes=lanes),
        )


@dataclass(frozen=True)
class PadParameters:
    """A frame of constant words in gates, ``lanes`` a transfer; the words are loaded, as biases."""

    height: int
    width: int
    top: int
    bottom: int
    left: int
    right: int
    channels: int
    bits: int
    folding: Folding = field(default_factory=Folding)
    kind: ClassVar[str] = "pad"

    def __post_init__(self) -> None:
        check_ranges(
            self,
            (
                ("height", 1, 65535),
                ("width", 1, 65535),
                *((side, 0, 255) for side in ("top", "bottom", "left", "right")),
                ("channels", 1, 65535),
                ("bits", 1, 8),
            ),
        )

    @property
    def out_height(self) -> int:
        """Rows with the frame."""
        return self.top + self.height + self.bottom

    @property
    def out_width(self) -> int:
        """Columns with the frame."""
        return self.left + self.width + self.right

    @property
    def drain_rows(self) -> int:
        """Rows of the memory of constant words, transfers of a pixel."""
        return ceil_div(self.channels, self.folding.lanes)

    @property
    def ports_in(self) -> tuple[Port, ...]:
        """The stream that enters."""
        return (Port(self.height * self.width, self.channels, self.bits, lanes=self.folding.lanes),)

    @property
    def port_out(self) -> Port:
        """The stream that leaves."""
        pixels = self.out_height * self.out_width
        return Port(pixels, self.channels, self.bits, lanes=self.folding.lanes)

    def needs(self, position: int) -> int:
        """Input pixels that must have come before output pixel ``position`` can leave."""
        y, x = divmod(position, self.out_width)
        y, x = y - self.top, x - self.left
        if y < 0 or (y == 0 and x < 0):
            return 0
        if y >= self.height:
            return self.height * self.width
        return y * self.width + min(max(x + 1, 0), self.width)
