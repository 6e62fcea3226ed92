"""What a layer keeps of every neuron, in block RAM, read ahead in the order in which they fire."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.fixed_image import LayerContents, words_of
from spikeloom.hardware.memory_image import Kind
from spikeloom.hardware.parameters import ConvParameters, SynapseParameters

from spikeloom_hdl.memory import ColumnMemory, row_bits

__all__ = ["NeuronRows", "skip_weight_bits"]


def skip_weight_bits(parameters: SynapseParameters) -> int:
    """Width of the weights of a skip connection, 0 without."""
    return parameters.skip_weight_bits if isinstance(parameters, ConvParameters) else 0


class NeuronRows(wiring.Component):
    """Gives row 0, 1, ... of what a layer keeps of every neuron, over and over.

    Biases; thresholds, if it fires; weights of a skip connection, if it has some. Members:
    ``valid`` with ``bias``, ``threshold`` and ``skip``, next row with ``take``. Loading:
    ``write_bias``, ``write_threshold`` and ``write_skip`` have one bit a column; ``load_read``
    reads ``load_row`` of all columns, which stand at the outputs two cycles later. Both start over
    at row 0.

    contents: of the layer, where they are fixed; then there is no loading.
    """

    def __init__(self, parameters: SynapseParameters, *, contents: LayerContents | None = None):
        p, lanes = parameters, parameters.folding.fire_lanes
        self.contents = contents
        self.parameters, self.skip_bits = parameters, skip_weight_bits(parameters)
        super().__init__(
            {
                "valid": Out(1),
                "take": In(1),
                "bias": Out(data.ArrayLayout(signed(p.accumulator_bits), lanes)),
                "threshold": Out(data.ArrayLayout(unsigned(p.threshold_bits), lanes)),
                "skip": Out(data.ArrayLayout(signed(max(1, self.skip_bits)), lanes)),
                "load_read": In(1),
                "load_row": In(row_bits(p.drain_rows)),
                "write_row": In(row_bits(p.drain_rows)),
                "write_bias": In(lanes),
                "write_threshold": In(lanes),
                "write_skip": In(lanes),
                "write_data": In(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, lanes = self.parameters, self.parameters.folding.fire_lanes
        row = Signal(row_bits(p.drain_rows))
        b_valid, b_ready, c_ready = Signal(), Signal(), Signal()
        writing = Signal()
        m.d.comb += [
            writing.eq((self.write_bias | self.write_threshold | self.write_skip).any()),
            c_ready.eq(~self.valid | self.take),
            b_ready.eq(~b_valid | c_ready),
        ]
        with m.If(c_ready):
            m.d.sync += self.valid.eq(b_valid)
        with m.If(b_ready):
            m.d.sync += [b_valid.eq(1), row.eq(Mux(row == p.drain_rows - 1, 0, row + 1))]
        with m.If(writing | self.load_read):
            m.d.sync += [self.valid.eq(0), b_valid.eq(0), row.eq(0)]

        memories = [(Kind.BIAS, p.accumulator_bits, self.write_bias, self.bias)]
        if p.fires:
            thresholds = (p.threshold_bits, self.write_threshold, self.threshold)
            memories.append((Kind.THRESHOLD, *thresholds))
        if self.skip_bits:
            memories.append((Kind.SKIP, self.skip_bits, self.write_skip, self.skip))
        for kind, bits, write, output in memories:
            ram = ColumnMemory(
                columns=lanes,
                rows=p.drain_rows,
                bits=bits,
                contents=words_of(self.contents, kind, range(lanes)),
            )
            m.submodules[f"{kind.name.lower()}_rows"] = ram
            m.d.comb += [
                ram.read_row.eq(Mux(self.load_read, self.load_row, row)),
                ram.read.eq(self.load_read | (b_ready & ~writing)),
                ram.advance.eq(c_ready),
                ram.write.eq(write),
                ram.write_row.eq(self.write_row),
                ram.write_data.eq(self.write_data),
            ]
            m.d.comb += [output[k].eq(ram.read_data[k]) for k in range(lanes)]
        return m
