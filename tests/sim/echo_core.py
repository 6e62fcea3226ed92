"""A core for a board's top that sends back what it receives: tests of the simulated serial line."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.parameters import DenseParameters, NetworkParameters
from spikeloom_boards.board import BoardTop
from spikeloom_boards.netlist import board_verilog
from spikeloom_boards.registry import board

#: The description of a virtual board needs some structure.
PARAMETERS = NetworkParameters((DenseParameters(4, 2, 4, 0, 8, 16),))


class Echo(wiring.Component):
    """The line comes back a cycle later; the heartbeat counts cycles out of reset."""

    rx: In(1, init=1)
    tx: Out(1, init=1)
    heartbeat: Out(1)
    link_error: Out(1)
    link_active: Out(1)

    def elaborate(self, platform):
        m = Module()
        count = Signal(12)
        m.d.sync += [self.tx.eq(self.rx), count.eq(count + 1)]
        m.d.comb += [self.heartbeat.eq(count[-1]), self.link_active.eq(~self.tx)]
        return m


def echo_verilog(name):
    """Verilog of a board's own top around the echo."""
    chosen = board(name)
    return board_verilog(chosen, PARAMETERS, top=BoardTop(chosen, PARAMETERS, core=Echo()))
