"""What a network looks like in gates: the shape of each layer and how it is folded onto hardware.

Frozen dataclasses, shared by the lowering, the memory image, the gateware and the driver. A device
describes itself with the words of :meth:`NetworkParameters.to_words`, so that a driver can rebuild
the parameters of whatever a board runs, and say exactly where a network differs from it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal, get_args

from spikeloom.errors import SpikeloomError

#: Raised by one whenever the gates of a layer, or the layout of its memories, change meaning.
GATEWARE_VERSION = 1

Form = Literal["packed", "serial"]
Multiplier = Literal["lut", "mult18x18d", "sb_mac16"]
WeightMemory = Literal["block", "spram"]

COLUMN_BITS = 32  #: a memory is written through the load bus in words of this many bits
ROW_BITS = 14  #: rows of a memory column that the load bus can address
COUNTER_BITS = 32


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class Folding:
    """How one layer is laid onto hardware: speed against area, never the result.

    lanes: neurons that accumulate in parallel; ceil(outputs / lanes) passes make a sample.
    slices: fan-in slices, each with its own weight memory; input i belongs to slice i mod slices.
    scan: words looked at a cycle at the input; a multiple of slices.
    fire_lanes: neurons that fire a cycle; divides lanes.
    form: ``packed`` one multiply-accumulate per non-zero word; ``serial`` one add per spike.
    multiplier: what multiplies in the packed form.
    weight_memory: ``block`` RAM, or the big single-port RAM of an iCE40 UP5K, ``spram``.
    """

    lanes: int = 8
    slices: int = 1
    scan: int = 8
    fire_lanes: int = 1
    form: Form = "packed"
    multiplier: Multiplier = "lut"
    weight_memory: WeightMemory = "block"

    def __post_init__(self) -> None:
        for name in ("lanes", "slices", "scan", "fire_lanes"):
            value = getattr(self, name)
            _require(
                isinstance(value, int) and value >= 1,
                f"{name} must be an integer >= 1, not {value!r}",
            )
        _require(
            self.scan % self.slices == 0,
            f"scan {self.scan} must be a multiple of slices {self.slices}",
        )
        _require(
            self.lanes % self.fire_lanes == 0,
            f"fire_lanes {self.fire_lanes} must divide lanes {self.lanes}",
        )
        _require(
            self.form in get_args(Form), f"form must be one of {get_args(Form)}, not {self.form!r}"
        )
        _require(
            self.multiplier in get_args(Multiplier),
            f"multiplier must be one of {get_args(Multiplier)}, not {self.multiplier!r}",
        )
        _require(
            self.weight_memory in get_args(WeightMemory),
            f"weight_memory must be one of {get_args(WeightMemory)}, not {self.weight_memory!r}",
        )


@dataclass(frozen=True)
class DenseParameters:
    """A fully connected layer in gates; one that does not fire is the readout.

    inputs, outputs: words in and neurons out of one sample.
    input_bits, output_bits: T of the words in and out (1..8); output_bits is 0 for a readout.
    weight_bits: width of a weight, two's complement (2..8).
    accumulator_bits: width of the membrane potential v, two's complement.
    threshold_bits: width of a threshold, unsigned.
    """

    inputs: int
    outputs: int
    input_bits: int
    output_bits: int
    weight_bits: int
    accumulator_bits: int
    threshold_bits: int = 16
    folding: Folding = field(default_factory=Folding)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("inputs", 1, 65535),
            ("outputs", 1, 65535),
            ("input_bits", 1, 8),
            ("output_bits", 0, 8),
            ("weight_bits", 2, 8),
            ("accumulator_bits", 2, 32),
            ("threshold_bits", 1, 16),
        ):
            value = getattr(self, name)
            _require(
                isinstance(value, int) and low <= value <= high,
                f"{name} must be an integer in {low}..{high}, not {value!r}",
            )
        _require(
            self.weight_depth <= 1 << ROW_BITS,
            f"a weight memory of {self.weight_depth} rows ({self.passes} passes of"
            f" {self.rows_per_pass}) exceeds {1 << ROW_BITS}: use more lanes or slices",
        )

    @property
    def fires(self) -> bool:
        """Whether the layer spikes; a readout does not."""
        return self.output_bits > 0

    @property
    def passes(self) -> int:
        """Times that the event list is replayed for one sample."""
        return _ceil_div(self.outputs, self.folding.lanes)

    @property
    def beats(self) -> int:
        """Input transfers of one sample, each of ``scan`` words; the last is padded with zeros."""
        return _ceil_div(self.inputs, self.folding.scan)

    @property
    def rows_per_pass(self) -> int:
        """Rows of a slice's weight memory that one pass uses: input j * slices + s is row j."""
        return self.beats * (self.folding.scan // self.folding.slices)

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
        return _ceil_div(self.folding.lanes, self.lanes_per_column)

    @property
    def drain_rows(self) -> int:
        """Rows of the bias and threshold memories, and output transfers of one sample.

        Neuron n is row n // fire_lanes, column n % fire_lanes.
        """
        return _ceil_div(self.outputs, self.folding.fire_lanes)

    def to_words(self) -> tuple[int, int, int, int]:
        """Pack into four 32-bit words."""
        f = self.folding
        flags = (
            self.input_bits
            | self.output_bits << 4
            | self.weight_bits << 8
            | self.accumulator_bits << 12
            | self.threshold_bits << 18
            | get_args(Form).index(f.form) << 23
            | get_args(Multiplier).index(f.multiplier) << 24
            | get_args(WeightMemory).index(f.weight_memory) << 27
        )
        return (
            self.inputs | self.outputs << 16,
            flags,
            f.lanes | f.fire_lanes << 16,
            f.scan | f.slices << 16,
        )

    @classmethod
    def from_words(cls, words: tuple[int, ...]) -> DenseParameters:
        """Unpack :meth:`to_words`; ValueError if the words describe no possible layer."""
        shape, flags, lanes, scan = words
        try:
            folding = Folding(
                lanes=lanes & 0xFFFF,
                fire_lanes=lanes >> 16,
                scan=scan & 0xFFFF,
                slices=scan >> 16,
                form=get_args(Form)[flags >> 23 & 1],
                multiplier=get_args(Multiplier)[flags >> 24 & 7],
                weight_memory=get_args(WeightMemory)[flags >> 27 & 3],
            )
        except IndexError as error:
            raise ValueError(f"layer flags {flags:#x} describe no known layer") from error
        return cls(
            inputs=shape & 0xFFFF,
            outputs=shape >> 16,
            input_bits=flags & 0xF,
            output_bits=flags >> 4 & 0xF,
            weight_bits=flags >> 8 & 0xF,
            accumulator_bits=flags >> 12 & 0x3F,
            threshold_bits=flags >> 18 & 0x1F,
            folding=folding,
        )


@dataclass(frozen=True)
class NetworkParameters:
    """A whole network in gates: layers one after another, the last one a readout."""

    layers: tuple[DenseParameters, ...]

    def __post_init__(self) -> None:
        _require(
            1 <= len(self.layers) <= 15, f"a network has 1 to 15 layers, not {len(self.layers)}"
        )
        for index, (a, b) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            where = f"between layers {index} and {index + 1}"
            _require(a.fires, f"layer {index} does not fire: only the last layer is a readout")
            _require(
                a.outputs == b.inputs,
                f"{where}: {a.outputs} outputs do not match {b.inputs} inputs",
            )
            _require(
                a.output_bits == b.input_bits,
                f"{where}: words of {a.output_bits} bits do not match {b.input_bits}",
            )
            _require(
                b.folding.scan % a.folding.fire_lanes == 0,
                f"{where}: scan {b.folding.scan} must be a multiple of fire_lanes"
                f" {a.folding.fire_lanes}",
            )
        _require(not self.layers[-1].fires, "the last layer must be a readout (output_bits 0)")

    def to_words(self) -> tuple[int, ...]:
        """Describe the network in 32-bit words: version and layer count, then four a layer."""
        head = GATEWARE_VERSION << 16 | len(self.layers)
        return (head, *(word for layer in self.layers for word in layer.to_words()))

    @classmethod
    def from_words(cls, words: tuple[int, ...]) -> NetworkParameters:
        """Rebuild from :meth:`to_words`; SpikeloomError if they come from other gateware."""
        version, count = words[0] >> 16, words[0] & 0xFFFF
        if version != GATEWARE_VERSION:
            raise SpikeloomError(
                f"the board runs gateware version {version}, this driver speaks {GATEWARE_VERSION}:"
                " rebuild the bitstream"
            )
        if len(words) != 1 + 4 * count:
            raise SpikeloomError(f"the board describes {count} layers in {len(words)} words")
        chunks = [tuple(words[1 + 4 * k : 5 + 4 * k]) for k in range(count)]
        return cls(tuple(DenseParameters.from_words(chunk) for chunk in chunks))

    @property
    def build_id(self) -> int:
        """Hash of the structure, 64 bits: equal exactly when weights of one fit the other."""
        data = b"".join(word.to_bytes(4, "little") for word in self.to_words())
        return int.from_bytes(hashlib.blake2s(data, digest_size=8).digest(), "little")

    @property
    def counter_names(self) -> tuple[str, ...]:
        """Names of the run-time counters, in the order of ``NetworkCore.counters``.

        cycles: cycles with at least one sample inside; samples: results given out;
        stalls: cycles in which a result waited for its reader; starved: cycles in which the core
        had samples inside and could have taken input, but none was offered; occupancy: samples
        inside, summed over the cycles (occupancy / samples = mean latency, Little's law);
        events_l, spikes_l: non-zero words, and set bits, at the input of layer l.
        """
        layers = range(len(self.layers))
        return (
            "cycles",
            "samples",
            "stalls",
            "starved",
            "occupancy",
            *(name for k in layers for name in (f"events_{k}", f"spikes_{k}")),
        )
