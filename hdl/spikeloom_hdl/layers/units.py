"""The outputs of a convolution's units, dealt back into raster order."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Assert, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.synapses import ConvParameters

from spikeloom_hdl.layers.accumulators import rows_signature

__all__ = ["Collect"]


class Collect(wiring.Component):
    """Takes a pixel of each unit in turn, beginning with unit 0 in every output row.

    Members: ``i_<u>``, transfers of unit u, whose ``first`` and ``last`` are not looked at; ``o``,
    those of all units in raster order, with ``first`` and ``last`` of the sample. No latency.
    """

    def __init__(self, parameters: ConvParameters):
        self.parameters = parameters
        units = range(parameters.folding.units)
        super().__init__(
            {f"i_{u}": In(rows_signature(parameters)) for u in units}
            | {"o": Out(rows_signature(parameters))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, units = self.parameters, self.parameters.folding.units
        inputs = [getattr(self, f"i_{u}") for u in range(units)]
        turn = Signal(units, init=1)  # one bit a unit
        # flags of counters, each a register: the counter is at its end
        take = Signal()
        ends = []
        step = take
        for name, count in (
            ("transfer", p.drain_rows),
            ("column", p.window.out_width),
            ("row", p.window.out_height),
        ):
            at_end = Signal(name=f"{name}_end", init=count == 1)
            if count > 1:
                left = Signal(range(count), name=f"{name}s_left", init=count - 1)
                after = Signal.like(left, name=f"{name}s_after")
                m.d.comb += after.eq(Mux(at_end, count - 1, left - 1))
                with m.If(step):
                    m.d.sync += [left.eq(after), at_end.eq(after == 0)]
            ends.append(at_end)
            step = step & at_end
        pixel_ends = take & ends[0]
        if units > 1:
            with m.If(pixel_ends):
                m.d.sync += turn.eq(Mux(ends[1], Const(1, units), turn.rotate_left(1)))
            m.d.sync += Assert((turn & (turn - 1)[:units]) == 0, "one unit's turn at a time")

        first = Signal(init=1)
        with m.If(take):
            m.d.sync += first.eq(self.o.p.last)
        bits = [
            one.p.potentials.as_value() & turn[u].replicate(len(one.p.potentials.as_value()))
            for u, one in enumerate(inputs)
        ]
        m.d.comb += [
            self.o.valid.eq(reduce(or_, (one.valid & turn[u] for u, one in enumerate(inputs)))),
            self.o.p.potentials.eq(data.View(self.o.p.potentials.shape(), reduce(or_, bits))),
            self.o.p.first.eq(first),
            self.o.p.last.eq(ends[0] & ends[1] & ends[2]),
            take.eq(self.o.valid & self.o.ready),
        ]
        m.d.comb += [one.ready.eq(self.o.ready & turn[u]) for u, one in enumerate(inputs)]
        return m
