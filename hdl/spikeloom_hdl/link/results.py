"""Results on their way out, kept until the host has acknowledged them."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.parameters import DenseParameters

from spikeloom_hdl.memory import BlockMemory, row_bits
from spikeloom_hdl.stream import potentials_signature

__all__ = ["ResultBuffer", "default_results"]

SMALL_BLOCK = 256  # rows of the smallest block RAM that we meet


def default_results(layer: DenseParameters) -> int:
    """Return how many results fit block RAMs of 256 rows: 4 to 16."""
    room = SMALL_BLOCK >> row_bits(layer.drain_rows * layer.folding.fire_lanes)
    return min(16, max(4, 1 << (room.bit_length() - 1) if room else 4))


class ResultBuffer(wiring.Component):
    """Ring of ``results`` results. Sample n lies in slot n mod ``results``; nothing here keeps a
    result from being overwritten: the link lets no more samples in than there are slots.

    ``produced`` counts finished results modulo 256. ``logit`` (sign extended) is the word
    ``index`` of result ``slot``, a cycle after ``read``; a bare register must follow it.
    ``clear`` forgets everything.
    Raises ValueError unless ``results`` is a power of two, 2..128.
    """

    def __init__(self, layer: DenseParameters, *, results: int | None = None):
        results = default_results(layer) if results is None else results
        if results not in (2, 4, 8, 16, 32, 64, 128):
            raise ValueError(f"results must be a power of two in 2..128, not {results!r}")
        self.layer, self.results = layer, results
        self.index_bits = row_bits(layer.drain_rows * layer.folding.fire_lanes)
        super().__init__(
            {
                "i": In(potentials_signature(layer.folding.fire_lanes, layer.accumulator_bits)),
                "produced": Out(8),
                "slot": In(range(results)),
                "index": In(self.index_bits),
                "read": In(1),
                "logit": Out(signed(32)),
                "clear": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, bits = self.layer.folding.fire_lanes, self.layer.accumulator_bits
        slot = len(self.slot)
        m.submodules.ram = ram = BlockMemory(rows=self.results << self.index_bits, bits=bits)
        index, lane = Signal(self.index_bits), Signal(range(lanes))
        final = Signal()
        m.d.comb += [
            final.eq(lane == lanes - 1),
            self.i.ready.eq(final),
            ram.write.eq(self.i.valid),
            ram.write_row.eq(Cat(index, self.produced[:slot])),
            ram.read_row.eq(Cat(self.index, self.slot)),
            ram.read.eq(self.read),
        ]
        with m.Switch(lane):
            for k in range(lanes):
                with m.Case(k):
                    m.d.comb += ram.write_data.eq(self.i.payload.potentials[k])
        with m.If(self.i.valid):
            m.d.sync += [lane.eq(lane + 1), index.eq(index + 1)]
            with m.If(final):
                m.d.sync += lane.eq(0)
                with m.If(self.i.payload.last):
                    m.d.sync += [index.eq(0), self.produced.eq(self.produced + 1)]
        m.d.comb += self.logit.eq(ram.read_data.as_signed())
        with m.If(self.clear):
            m.d.sync += [index.eq(0), lane.eq(0), self.produced.eq(0)]
        return m
