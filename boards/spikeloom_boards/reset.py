"""Power-on reset: from the lock of the PLL and a button."""
# Amaranth is untyped: its contexts and the ports of a component mean nothing to pyright
# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false, reportInvalidTypeForm=false

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["RESET_CYCLES", "PowerOnReset"]

#: Cycles of reset after the PLL locks. iCE40 block RAM reads zero for about 3 us after
#: configuration (icestorm issue 76); 1024 cycles are at least 10 us at any clock a board uses.
RESET_CYCLES = 1024


class PowerOnReset(wiring.Component):
    """Holds reset until the PLL has locked for ``cycles`` cycles and no button is pressed.

    The registers here have no reset themselves: configuration sets them.
    """

    lock: In(1)
    button: In(1)
    reset: Out(1, init=1)

    def __init__(self, cycles: int = RESET_CYCLES):
        self.cycles = cycles
        super().__init__()

    def elaborate(self, platform) -> Module:
        """Build the counter."""
        m = Module()
        lock, button = Signal(reset_less=True), Signal(reset_less=True)
        m.submodules.lock_sync = FFSynchronizer(self.lock, lock, reset_less=True)
        m.submodules.button_sync = FFSynchronizer(self.button, button, reset_less=True)
        count = Signal(range(self.cycles), reset_less=True)
        released = Signal(reset_less=True)
        with m.If(~lock | button):
            m.d.sync += [count.eq(0), released.eq(0)]
        with m.Elif(count == self.cycles - 1):
            m.d.sync += released.eq(1)
        with m.Else():
            m.d.sync += count.eq(count + 1)
        m.d.comb += self.reset.eq(~released)
        return m
