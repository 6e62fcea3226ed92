"""How a layer is laid onto hardware: speed against area, never the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

__all__ = ["COLUMN_BITS", "ROW_BITS", "Folding", "Form", "Multiplier", "WeightMemory", "ceil_div"]

Form = Literal["packed", "serial"]
Multiplier = Literal["lut", "mult18x18d", "sb_mac16"]
WeightMemory = Literal["block", "spram", "distributed"]

COLUMN_BITS = 32  #: a memory is written through the load bus in words of this many bits
ROW_BITS = 14  #: rows of a memory column that the load bus can address


def ceil_div(a: int, b: int) -> int:
    """Return a / b, rounded up."""
    return -(-a // b)


@dataclass(frozen=True)
class Folding:
    """How one layer is laid onto hardware: speed against area, never the result.

    lanes: neurons (output channels) that accumulate in parallel; ceil(outputs / lanes) passes make
    a sample, or a pixel. Layers without weights and depthwise ones look only at ``lanes``, words a
    transfer in and out, and ``fire_lanes``.
    slices: fan-in slices, each with its own weight memory; input (channel) i belongs to slice
    i mod slices.
    scan: words of a transfer at the input; a multiple of slices.
    fire_lanes: neurons that fire a cycle, words of a transfer at the output; divides lanes.
    form: ``packed`` one multiply-accumulate per non-zero word; ``serial`` one add per spike.
    multiplier: what multiplies in the packed form.
    weight_memory: ``block`` RAM; the big single-port RAM of an iCE40 UP5K, ``spram``; or
    ``distributed``, RAM made of LUTs.
    units: pixels of a row worked on in parallel, each with its own copy of the weights; only
    convolutions have more than one.
    paired: units 2k and 2k + 1 share a copy of the weights, on the two ports of true-dual-port
    block RAM: half the copies. An iCE40 has no such RAM.
    """

    lanes: int = 8
    slices: int = 1
    scan: int = 8
    fire_lanes: int = 1
    form: Form = "packed"
    multiplier: Multiplier = "lut"
    weight_memory: WeightMemory = "block"
    units: int = 1
    # in the words of a device the sign of units: those of the others stay as they were
    paired: bool = field(default=False, metadata={"sign_of": "units"})

    def __post_init__(self) -> None:
        for name in ("lanes", "slices", "scan", "fire_lanes", "units"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an integer >= 1, not {value!r}")
        if self.scan % self.slices:
            raise ValueError(f"scan {self.scan} must be a multiple of slices {self.slices}")
        if self.lanes % self.fire_lanes:
            raise ValueError(f"fire_lanes {self.fire_lanes} must divide lanes {self.lanes}")
        for name, allowed in (
            ("form", get_args(Form)),
            ("multiplier", get_args(Multiplier)),
            ("weight_memory", get_args(WeightMemory)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, not {getattr(self, name)!r}")
        if not isinstance(self.paired, bool):
            raise ValueError(f"paired must be True or False, not {self.paired!r}")
        if self.paired and self.units % 2:
            raise ValueError(
                f"paired units must be an even number, not {self.units}: use one more or one less,"
                " or no pairs"
            )
        if self.paired and self.weight_memory != "block":
            raise ValueError(
                "paired units share the ports of weight_memory 'block', not of"
                f" {self.weight_memory!r}"
            )

    @property
    def copies(self) -> int:
        """Copies of the weights: one a unit, or one a pair of them."""
        return self.units // 2 if self.paired else self.units

    def copy_of(self, unit: int) -> int:
        """Return which copy of the weights a unit reads."""
        return unit // 2 if self.paired else unit
