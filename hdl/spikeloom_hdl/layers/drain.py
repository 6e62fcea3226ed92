"""Takes finished accumulators over, so that they are free for the next pass, and gives them out."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.parameters import SynapseParameters

__all__ = ["Drain"]


class Drain(wiring.Component):
    """Shift register of all lanes; ``fire_lanes`` potentials leave a cycle.

    Members: ``potentials`` are loaded group by group with ``copy``; ``finish``, with the copy of
    the last group, starts the pass out, ``finish_last`` the last one of the sample, of which only
    the rows with neurons leave. ``valid``, ``head``, ``first``, ``last``: what leaves with
    ``take``. ``done``: with the last ``take`` of a pass. A pass must be done before the next is
    copied; if ``queued``, in the cycle of its last ``take`` at the earliest.

    group_lanes: number of lanes of each group. queued: ``take`` always comes, and early in a cycle.
    """

    def __init__(
        self, parameters: SynapseParameters, *, group_lanes: list[int], queued: bool = False
    ):
        fold = parameters.folding
        self.parameters, self.group_lanes, self.queued = parameters, group_lanes, queued
        self.rows = fold.lanes // fold.fire_lanes  #: transfers of a pass
        #: transfers of the last pass
        self.rows_last = parameters.drain_rows - (parameters.passes - 1) * self.rows
        potential = signed(parameters.accumulator_bits)
        super().__init__(
            {
                "potentials": In(data.ArrayLayout(potential, fold.lanes)),
                "copy": In(len(group_lanes)),
                "finish": In(1),
                "finish_last": In(1),
                "valid": Out(1),
                "head": Out(data.ArrayLayout(potential, fold.fire_lanes)),
                "first": Out(1),
                "last": Out(1),
                "take": In(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fold = self.parameters.folding

        group_of = [g for g, lanes in enumerate(self.group_lanes) for _ in range(lanes)]
        slots = [
            Signal(signed(self.parameters.accumulator_bits), name=f"slot_{k}", reset_less=True)
            for k in range(fold.lanes)
        ]
        shift = Signal()
        if self.queued:
            m.d.comb += shift.eq(self.take)
        else:
            # `take` comes late in a cycle and all slots wait for it: they shift a cycle later, and
            # meanwhile the next row is the head
            m.d.sync += shift.eq(self.take)
        for k, slot in enumerate(slots):
            with m.If(self.copy[group_of[k]]):
                m.d.sync += slot.eq(self.potentials[k])
            if k + fold.fire_lanes < fold.lanes:
                with m.Elif(shift):
                    m.d.sync += slot.eq(slots[k + fold.fire_lanes])
        for k in range(fold.fire_lanes):
            after = slots[(k + fold.fire_lanes) % fold.lanes]
            m.d.comb += self.head[k].eq(slots[k] if self.queued else Mux(shift, after, slots[k]))

        left = Signal(range(self.rows + 1))
        is_last = Signal()
        first = Signal(init=1)
        one = Signal()
        m.d.comb += [
            one.eq(left == 1),
            self.valid.eq(left.any()),
            self.first.eq(first),
            self.last.eq(is_last & one),
            self.done.eq(self.take & one),
        ]
        with m.If(self.finish):
            m.d.sync += [
                left.eq(Mux(self.finish_last, self.rows_last, self.rows)),
                is_last.eq(self.finish_last),
            ]
        with m.Elif(self.take):
            m.d.sync += left.eq(left - 1)
        with m.If(self.take):
            m.d.sync += first.eq(self.last)
        return m
