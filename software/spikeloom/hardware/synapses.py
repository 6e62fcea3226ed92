"""Layers with weights in gates: fully connected, convolution, depthwise convolution."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from spikeloom.hardware.folding import COLUMN_BITS, ROW_BITS, Folding, ceil_div
from spikeloom.hardware.port import Port
from spikeloom.hardware.window import Window

__all__ = ["ConvParameters", "DenseParameters", "DepthwiseParameters", "SynapseParameters"]


#: Bits of a column's number in an address of the load bus.
COLUMN_NUMBER_BITS = 10


def check_ranges(layer: object, ranges: tuple[tuple[str, int, int], ...]) -> None:
    """Raise ValueError unless every named field is an int in its range."""
    for name, low, high in ranges:
        value = getattr(layer, name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{name} must be an integer in {low}..{high}, not {value!r}")


class SynapseParameters:
    """What layers with weights share: how their weights lie in memory.

    A subclass has the fields ``outputs``, ``input_bits``, ``output_bits`` (0: no fire),
    ``weight_bits``, ``accumulator_bits``, ``threshold_bits`` and ``folding``, and says
    ``rows_per_pass``.
    """

    outputs: int
    input_bits: int
    output_bits: int
    weight_bits: int
    accumulator_bits: int
    threshold_bits: int
    folding: Folding

    def _check(self) -> None:
        check_ranges(
            self,
            (
                ("outputs", 1, 65535),
                ("input_bits", 1, 8),
                ("output_bits", 0, 8),
                ("weight_bits", 2, 8),
                ("accumulator_bits", 2, 32),
                ("threshold_bits", 1, 16),
            ),
        )
        if self.weight_depth > 1 << ROW_BITS:
            raise ValueError(
                f"a weight memory of {self.weight_depth} rows ({self.passes} passes of"
                f" {self.rows_per_pass}) exceeds {1 << ROW_BITS}: use more lanes or slices"
            )
        fold = self.folding
        columns = max(fold.copies * fold.slices * self.columns_per_slice, fold.fire_lanes)
        if columns > 1 << COLUMN_NUMBER_BITS:
            raise ValueError(
                f"{columns} memory columns exceed {1 << COLUMN_NUMBER_BITS}:"
                " use fewer lanes, slices or units"
            )

    @property
    def rows_per_pass(self) -> int:
        """Rows of a slice's weight memory that one pass uses."""
        raise NotImplementedError

    @property
    def fires(self) -> bool:
        """Whether the layer spikes; without, its potentials leave."""
        return self.output_bits > 0

    @property
    def passes(self) -> int:
        """Times that the events of a sample (of a window) are replayed."""
        return ceil_div(self.outputs, self.folding.lanes)

    @property
    def weight_depth(self) -> int:
        """Rows of each weight memory: row pass * rows_per_pass + j."""
        return self.passes * self.rows_per_pass

    @property
    def lanes_per_column(self) -> int:
        """Weights side by side in one column of a weight memory, lane 0 in the low bits."""
        return min(self.folding.lanes, COLUMN_BITS // self.weight_bits)

    @property
    def columns_per_slice(self) -> int:
        """Columns of a slice's weight memory; column c of slice s is column s * this + c."""
        return ceil_div(self.folding.lanes, self.lanes_per_column)

    @property
    def drain_rows(self) -> int:
        """Rows of the bias and threshold memories, and output transfers of a sample (a pixel).

        Neuron n is row n // fire_lanes, column n % fire_lanes.
        """
        return ceil_div(self.outputs, self.folding.fire_lanes)

    def _out(self, pixels: int) -> Port:
        lanes = self.folding.fire_lanes
        if self.fires:
            return Port(pixels, self.outputs, self.output_bits, lanes=lanes)
        return Port(pixels, self.outputs, self.accumulator_bits, signed=True, lanes=lanes)


@dataclass(frozen=True)
class DenseParameters(SynapseParameters):
    """A fully connected layer in gates; one that does not fire is the readout.

    inputs, outputs: words in and neurons out of one sample.
    input_bits, output_bits: T of the words in and out (1..8); output_bits is 0 for a readout.
    weight_bits: width of a weight, two's complement (2..8).
    accumulator_bits: width of the membrane potential v, two's complement.
    threshold_bits: width of a threshold, unsigned.
    pixels: pixels that the inputs come in, each of inputs / pixels channels; 1 for flat samples.
    """

    inputs: int
    outputs: int
    input_bits: int
    output_bits: int
    weight_bits: int
    accumulator_bits: int
    threshold_bits: int = 16
    folding: Folding = field(default_factory=Folding)
    pixels: int = 1
    kind: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        check_ranges(self, (("inputs", 1, 65535), ("pixels", 1, 65535)))
        if self.inputs % self.pixels:
            raise ValueError(f"{self.inputs} inputs are not {self.pixels} pixels of equal size")
        if self.folding.units != 1:
            raise ValueError("units are for convolutions: a fully connected layer has one")
        self._check()

    @property
    def channels(self) -> int:
        """Words of an input pixel."""
        return self.inputs // self.pixels

    @property
    def beats(self) -> int:
        """Input transfers of one sample, each of ``scan`` words; those of a pixel are padded."""
        return self.ports_in[0].transfers

    @property
    def rows_per_pass(self) -> int:
        """Rows of a slice's weight memory that one pass uses.

        Word w of transfer b belongs to slice w mod slices and row b * scan / slices + w // slices.
        """
        return self.beats * (self.folding.scan // self.folding.slices)

    @property
    def ports_in(self) -> tuple[Port, ...]:
        """The stream that enters."""
        return (Port(self.pixels, self.channels, self.input_bits, lanes=self.folding.scan),)

    @property
    def port_out(self) -> Port:
        """The stream that leaves."""
        return self._out(1)

    def needs(self, position: int) -> int:
        """Input pixels that must have come before output pixel ``position`` (0) can leave."""
        return self.pixels


@dataclass(frozen=True)
class ConvParameters(SynapseParameters):
    """A convolution in gates.

    channels, outputs: input and output channels. window: geometry.
    input_bits, output_bits, weight_bits, accumulator_bits, threshold_bits: as for a dense layer;
    output_bits 0: its potentials leave.
    skip_bits: width of the words (potentials if skip_signed) of a skip connection, 0 without.
    skip_weight_bits: width of their integer weights, two's complement; 0: they weigh one.
    """

    channels: int
    outputs: int
    window: Window
    input_bits: int
    output_bits: int
    weight_bits: int
    accumulator_bits: int
    threshold_bits: int = 16
    skip_bits: int = 0
    skip_signed: bool = False
    skip_weight_bits: int = 0
    folding: Folding = field(default_factory=Folding)
    kind: ClassVar[str] = "conv"

    def __post_init__(self) -> None:
        check_ranges(
            self,
            (
                ("channels", 1, 65535),
                ("skip_bits", 0, 32 if self.skip_signed else 8),
                ("skip_weight_bits", 0, 16),
            ),
        )
        if self.folding.units > self.window.out_width:
            raise ValueError(
                f"units {self.folding.units} must be at most the {self.window.out_width} windows"
                " of a row"
            )
        if self.folding.slices > self.channels:
            raise ValueError(
                f"slices {self.folding.slices} must be at most the {self.channels} input channels"
            )
        self._check()

    @property
    def slice_channels(self) -> int:
        """Channels of a slice, padding included.

        Word w of a pixel's transfer b belongs to slice w mod slices; it is that slice's channel
        b * scan / slices + w // slices.
        """
        beats = self.ports_in[0].transfers_per_pixel
        return beats * (self.folding.scan // self.folding.slices)

    @property
    def rows_per_pass(self) -> int:
        """Rows of a slice's weight memory that one pass uses: row tap * slice_channels + channel.

        tap = kernel row * kernel width + kernel column.
        """
        return self.window.taps * self.slice_channels

    @property
    def ports_in(self) -> tuple[Port, ...]:
        """The streams that enter: the input, and the skip connection if there is one."""
        w = self.window
        main = Port(w.pixels, self.channels, self.input_bits, lanes=self.folding.scan)
        if not self.skip_bits:
            return (main,)
        lanes = self.folding.fire_lanes
        skip = Port(w.out_pixels, self.outputs, self.skip_bits, self.skip_signed, lanes)
        return (main, skip)

    @property
    def port_out(self) -> Port:
        """The stream that leaves."""
        return self._out(self.window.out_pixels)

    def needs(self, position: int) -> int:
        """Input pixels that must have come before output pixel ``position`` can leave."""
        return self.window.needs(position)


@dataclass(frozen=True)
class DepthwiseParameters(SynapseParameters):
    """A depthwise convolution in gates: every channel has its own kernel.

    outputs: channels, in and out. folding: ``lanes`` channels side by side, words of a transfer at
    the input; ``fire_lanes`` at the output. The rest as for a convolution.
    """

    outputs: int
    window: Window
    input_bits: int
    output_bits: int
    weight_bits: int
    accumulator_bits: int
    threshold_bits: int = 16
    folding: Folding = field(default_factory=Folding)
    kind: ClassVar[str] = "depthwise"

    def __post_init__(self) -> None:
        if self.folding.slices != 1 or self.folding.units != 1:
            raise ValueError("a depthwise layer has one slice and one unit")
        self._check()

    @property
    def rows_per_pass(self) -> int:
        """Rows of the weight memory for one group of ``lanes`` channels: one a tap."""
        return self.window.taps

    @property
    def ports_in(self) -> tuple[Port, ...]:
        """The stream that enters."""
        return (Port(self.window.pixels, self.outputs, self.input_bits, lanes=self.folding.lanes),)

    @property
    def port_out(self) -> Port:
        """The stream that leaves."""
        return self._out(self.window.out_pixels)

    def needs(self, position: int) -> int:
        """Input pixels that must have come before output pixel ``position`` can leave."""
        return self.window.needs(position)
