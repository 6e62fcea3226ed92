"""Finished accumulators get their bias, and their threshold goes along."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.fixed_image import LayerContents
from spikeloom.hardware.memory_image import Kind
from spikeloom.hardware.parameters import COLUMN_BITS, SynapseParameters

from spikeloom_hdl.layers.accumulators import rows_signature
from spikeloom_hdl.layers.load_side import select, strobes
from spikeloom_hdl.layers.neuron_rows import NeuronRows
from spikeloom_hdl.neuron.fire import membranes_signature
from spikeloom_hdl.stream import potentials_signature

__all__ = ["AddBias", "membranes_of"]


def membranes_of(parameters: SynapseParameters):
    """Stream of potentials, with thresholds if the layer fires."""
    p, lanes = parameters, parameters.folding.fire_lanes
    if p.fires:
        return membranes_signature(lanes, p.accumulator_bits, p.threshold_bits)
    return potentials_signature(lanes, p.accumulator_bits)


class AddBias(wiring.Component):
    """Adds bias rows 0, 1, ... to the transfers of a sample (a pixel); one register.

    Members: ``i``, ``o``; ``skip_weights`` of what is at ``o``; ``bus``, a
    :class:`~spikeloom_hdl.layers.load_side.LocalBus`; ``answer``, what it reads, two cycles after
    ``bus.read``, zero if that is a weight.

    All ``units`` of a convolution share these memories. contents: of the layer, where they are
    fixed.
    """

    def __init__(
        self,
        parameters: SynapseParameters,
        bus: wiring.Signature,
        *,
        contents: LayerContents | None = None,
    ):
        p, lanes = parameters, parameters.folding.fire_lanes
        self.parameters = p
        self.rows = NeuronRows(p, contents=contents)
        super().__init__(
            {
                "i": In(rows_signature(p)),
                "o": Out(membranes_of(p)),
                "skip_weights": Out(data.ArrayLayout(signed(max(1, self.rows.skip_bits)), lanes)),
                "bus": In(bus),
                "answer": Out(COLUMN_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, lanes, bus = self.parameters, self.parameters.folding.fire_lanes, self.bus
        m.submodules.rows = rows = self.rows
        m.d.comb += [
            rows.load_read.eq(bus.read),
            rows.load_row.eq(bus.row),
            rows.write_row.eq(bus.row),
            rows.write_data.eq(bus.data),
        ]
        kinds = [(Kind.BIAS, rows.write_bias, rows.bias)]
        if p.fires:
            kinds.append((Kind.THRESHOLD, rows.write_threshold, rows.threshold))
        if rows.skip_bits:
            kinds.append((Kind.SKIP, rows.write_skip, rows.skip))
        column, kind = bus.column, bus.kind
        late = [Signal.like(x, name="late", reset_less=True) for x in (column, kind)]
        m.d.sync += [late[0].eq(column), late[1].eq(kind)]
        column, kind = late
        answer = 0
        for wanted, write, words in kinds:
            m.d.comb += write.eq(strobes(bus, wanted, range(lanes)))
            answer |= select(m, kind, column, wanted, words)
        m.d.comb += self.answer.eq(answer)

        free, take = Signal(), Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            take.eq(self.i.valid & rows.valid & free),
            self.i.ready.eq(rows.valid & free),
            rows.take.eq(take),
        ]
        payload = Signal(self.o.payload.shape(), reset_less=True)
        skip = Signal(self.skip_weights.shape(), reset_less=True)
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(take),
                payload.first.eq(self.i.p.first),
                payload.last.eq(self.i.p.last),
                skip.eq(rows.skip),
            ]
            for k in range(lanes):
                m.d.sync += payload.potentials[k].eq(self.i.p.potentials[k] + rows.bias[k])
                if p.fires:
                    m.d.sync += payload.thresholds[k].eq(rows.threshold[k])
        m.d.comb += [self.o.payload.eq(payload), self.skip_weights.eq(skip)]
        return m
