"""Few pins around a core of many ports, to place and route it by itself.

Every input of the core comes from a shift register and every output goes into a registered tree of
XOR gates: the Fmax of the whole is that of paths from register to register through the core.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PinWrapper"]


class PinWrapper(wiring.Component):
    """A core behind the pins ``data_in``, ``data_out``, ``reset`` and ``clk``."""

    def __init__(self, core: Any):
        self.core = core
        super().__init__({"clk": In(1), "reset": In(1), "data_in": In(1), "data_out": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pins: dict[Any, list[Value]] = {In: [], Out: []}
        for _, member, value in self.core.signature.flatten(self.core):
            pins[member.flow].append(Value.cast(value))
        inputs, outputs = Cat(*pins[In]), Cat(*pins[Out])
        m.domains.sync = ClockDomain()
        m.domains.pins = ClockDomain(reset_less=True)
        m.d.comb += [ClockSignal("sync").eq(self.clk), ClockSignal("pins").eq(self.clk)]
        # as in a board's top, the reset comes from a register
        m.d.pins += ResetSignal("sync").eq(self.reset)
        m.submodules.core = self.core
        chain = Signal(len(inputs))
        m.d.pins += chain.eq(Cat(self.data_in, chain))
        m.d.comb += inputs.eq(chain)
        level = Signal(len(outputs))
        m.d.pins += level.eq(outputs)
        while len(level) > 1:
            parts = [level[k : k + 4].xor() for k in range(0, len(level), 4)]
            level = Signal(len(parts))
            m.d.pins += level.eq(Cat(parts))
        m.d.comb += self.data_out.eq(level)
        return m
