"""One copy of the weights for two units of a convolution, each on a port of its own."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.parameters import SynapseParameters

from spikeloom_hdl.dual_memory import DualColumnMemory
from spikeloom_hdl.memory import row_bits

__all__ = ["SharedWeights", "borrow", "lend"]


class SharedWeights(wiring.Signature):
    """What the second unit of a pair reads of the memories of the first.

    ``row`` and ``fetch``, one for each group of lanes and slice (group * slices + slice);
    ``words``, one a column (slice * columns_per_slice + column), two cycles after them.

    groups: groups of lanes of a unit.
    """

    def __init__(self, parameters: SynapseParameters, groups: int):
        p, memories = parameters, groups * parameters.folding.slices
        bits = p.lanes_per_column * p.weight_bits
        columns = p.folding.slices * p.columns_per_slice
        super().__init__(
            {
                "row": Out(data.ArrayLayout(unsigned(row_bits(p.weight_depth)), memories)),
                "fetch": Out(memories),
                "words": In(data.ArrayLayout(unsigned(bits), columns)),
            }
        )


def lend(m: Module, ram: DualColumnMemory, partner: Any, memory: int, first: int) -> None:
    """Give the second port of a memory, whose columns start at ``first``, to the second unit."""
    m.d.comb += [
        ram.row_b.eq(partner.row[memory]),
        ram.read_b.eq(partner.fetch[memory]),
        Cat(partner.words[first + c] for c in range(ram.columns)).eq(ram.data_b.as_value()),
    ]


def borrow(m: Module, partner: Any, memory: int, columns: range, row: Value, fetch: Value) -> Value:
    """Read columns of a memory of the first unit; what it gives two cycles later."""
    m.d.comb += [partner.row[memory].eq(row), partner.fetch[memory].eq(fetch)]
    return Cat(partner.words[c] for c in columns)
