"""How a layer is laid onto hardware: speed against area, never the result."""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    lanes: int = 8
    slices: int = 1
    scan: int = 8
    fire_lanes: int = 1
    form: Form = "packed"
    multiplier: Multiplier = "lut"
    weight_memory: WeightMemory = "block"
    units: int = 1

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
