"""Constants of neurons in block RAM: loaded, read back, and read ahead in the order of firing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.fixed_image import LayerContents, words_of
from spikeloom.hardware.folding import COLUMN_BITS, ROW_BITS
from spikeloom.hardware.memory_image import Kind

from spikeloom_hdl.layers.load_side import LocalBus, listen, strobes
from spikeloom_hdl.memory import ColumnMemory, row_bits
from spikeloom_hdl.stream import LoadBus

__all__ = ["LoadedRows"]

_GATHERED = 16  #: columns that are gathered in one cycle when they are read back


class LoadedRows(wiring.Component):
    """Gives row 0, 1, ... of its memories side by side, over and over, and owns the load bus.

    rows: of every memory. memories: columns and the shape of a word of each kind. weights: columns
    and bits of a weight memory outside, which shares the bus. contents: of the layer, where they
    are fixed; then nothing can be written.

    Members: ``valid`` with ``bias``, ``threshold``, ``skip`` (those that there are), next row with
    ``take``; ``load``. Writing and reading back start over at row 0. With weights: what to do with
    their memory is ``write_weight`` (one bit a column), ``write_row`` and ``write_data``; what the
    bus asks for, two cycles after row ``load.address`` was read in the cycle after ``load.read``,
    stands in ``weight``.
    """

    #: Cycles from ``load.read`` to ``load.read_valid``.
    load_latency = 5

    def __init__(
        self,
        rows: int,
        memories: Mapping[Kind, tuple[int, Any]],
        *,
        weights: tuple[int, int] | None = None,
        contents: LayerContents | None = None,
    ):
        self.contents = contents
        self.rows, self.memories, self.weights = rows, dict(memories), weights
        members = {"valid": Out(1), "take": In(1), "load": In(LoadBus())}
        for kind, (columns, shape) in self.memories.items():
            members[kind.name.lower()] = Out(data.ArrayLayout(shape, columns))
        if weights is not None:
            columns, bits = weights
            members |= {
                "weight": In(data.ArrayLayout(unsigned(bits), columns)),
                "write_weight": Out(columns),
                "write_row": Out(ROW_BITS),
                "write_data": Out(COLUMN_BITS),
            }
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        load = self.load
        bus = LocalBus(1 << 10).create(path=("bus",))
        listen(m, load, bus)
        read, write = bus.read, bus.write

        # --- rows read ahead: address, output of the RAM, bare register
        ahead = Signal(row_bits(self.rows))
        b_valid, b_ready, c_ready = Signal(), Signal(), Signal()
        m.d.comb += [c_ready.eq(~self.valid | self.take), b_ready.eq(~b_valid | c_ready)]
        with m.If(c_ready):
            m.d.sync += self.valid.eq(b_valid)
        with m.If(b_ready):
            m.d.sync += [b_valid.eq(1), ahead.eq(Mux(ahead == self.rows - 1, 0, ahead + 1))]
        with m.If(write | read):
            m.d.sync += [self.valid.eq(0), b_valid.eq(0), ahead.eq(0)]

        found = []  # (kind, column, word) of what the bus may ask for
        for wanted, (columns, shape) in self.memories.items():
            name = wanted.name.lower()
            ram = ColumnMemory(
                columns=columns,
                rows=self.rows,
                bits=len(Signal(shape)),
                contents=words_of(self.contents, wanted, range(columns)),
            )
            m.submodules[name] = ram
            m.d.comb += [
                ram.read_row.eq(Mux(read, bus.row, ahead)),
                ram.read.eq(read | (b_ready & ~write)),
                ram.advance.eq(c_ready),
                ram.write.eq(strobes(bus, wanted, range(columns))),
                ram.write_row.eq(bus.row),
                ram.write_data.eq(bus.data),
            ]
            m.d.comb += [getattr(self, name)[k].eq(ram.read_data[k]) for k in range(columns)]
            found += [(wanted, k, ram.read_data[k]) for k in range(columns)]
        if self.weights is not None:
            columns, _ = self.weights
            m.d.comb += [
                self.write_weight.eq(strobes(bus, Kind.WEIGHT, range(columns))),
                self.write_row.eq(bus.row),
                self.write_data.eq(bus.data),
            ]
            found += [(Kind.WEIGHT, k, self.weight[k]) for k in range(columns)]

        # --- the answer: two cycles until the words are there, two to gather them
        asked = Cat(bus.kind, bus.column)
        for stage in range(2):
            late = Signal(len(asked), name=f"asked_{stage}", reset_less=True)
            m.d.sync += late.eq(asked)
            asked = late
        gathered = []
        for k in range(0, len(found), _GATHERED):
            terms = [self._picked(asked, *one) for one in found[k : k + _GATHERED]]
            part = Signal(COLUMN_BITS, name=f"gathered_{k // _GATHERED}", reset_less=True)
            m.d.sync += part.eq(reduce(or_, terms))
            gathered.append(part)
        answer = Signal(COLUMN_BITS, reset_less=True)
        m.d.sync += answer.eq(reduce(or_, gathered))
        valids = Signal(4)
        m.d.sync += valids.eq(Cat(read, valids))
        m.d.comb += [load.read_data.eq(answer), load.read_valid.eq(valids[-1])]
        return m

    @staticmethod
    def _picked(asked, kind: Kind, column: int, word):
        """Return a word, masked unless the bus asks for its column."""
        return word & (asked == (column << 2 | kind)).replicate(len(word))
