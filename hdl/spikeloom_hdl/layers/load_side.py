"""The load bus inside a layer: registered once, decoded beside every memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from spikeloom.hardware.memory_image import Kind
from spikeloom.hardware.parameters import COLUMN_BITS, ROW_BITS

__all__ = ["LocalBus", "listen", "select", "strobes"]

KIND_SHIFT = 24  #: the kind of a memory in an address of the load bus


class LocalBus(wiring.Signature):
    """The load bus one cycle later, its address in parts.

    columns: columns that a kind of memory of the layer has, at most.
    """

    def __init__(self, columns: int):
        super().__init__(
            {
                "read": Out(1),
                "write": Out(1),
                "row": Out(ROW_BITS),
                "column": Out(range(max(2, columns))),
                "kind": Out(2),
                "data": Out(COLUMN_BITS),
            }
        )


def listen(m: Module, load, bus) -> None:
    """Register the load bus: reads and writes reach the memories in the order of the bus."""
    row, column, kind, word = (
        Signal.like(part, name=f"bus_{name}", reset_less=True)
        for name, part in (
            ("row", bus.row),
            ("column", bus.column),
            ("kind", bus.kind),
            ("data", bus.data),
        )
    )
    m.d.sync += [
        bus.read.eq(load.read),
        bus.write.eq(load.write),
        row.eq(load.address[:ROW_BITS]),
        column.eq(load.address[ROW_BITS:KIND_SHIFT]),
        kind.eq(load.address[KIND_SHIFT:]),
        word.eq(load.data),
    ]
    m.d.comb += [bus.row.eq(row), bus.column.eq(column), bus.kind.eq(kind), bus.data.eq(word)]


def strobes(bus, kind: Kind, columns: Sequence[int]):
    """One write strobe a column."""
    return Cat(bus.write & (bus.kind == kind) & (bus.column == c) for c in columns)


def select(m: Module, bus_kind, bus_column, wanted: Kind, words):
    """OR of the words of a memory, each masked unless the load bus reads it.

    Kind and column come a cycle ahead of the words: the choice is a register.
    """
    terms = []
    for k in range(words.shape().length):
        bits = words[k].as_unsigned() if words[k].shape().signed else words[k]
        picked = Signal(name=f"picked_{wanted.name.lower()}_{k}", reset_less=True)
        m.d.sync += picked.eq((bus_kind == wanted) & (bus_column == k))
        terms.append(bits & picked.replicate(len(bits)))
    return reduce(or_, terms)
