"""Serial line, 8N1, with a bit time that can change at run time, down to one cycle a bit."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import cdc, data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PERIOD_BITS", "UartReceiver", "UartTransmitter", "byte_layout", "divisor"]

PERIOD_BITS = 16

#: A received byte; ``broken`` if its stop bit was low.
byte_layout = data.StructLayout({"data": 8, "broken": 1})


def divisor(clock_hz: float, baud: float) -> int:
    """Return the clock cycles of one bit.

    Raises ValueError if the clock cannot make that rate to within 2 %, or the divisor exceeds
    16 bits.
    """
    cycles = round(clock_hz / baud)
    if not 1 <= cycles <= 1 << PERIOD_BITS or abs(clock_hz / cycles / baud - 1) > 0.02:
        raise ValueError(
            f"a clock of {clock_hz:g} Hz makes no {baud:g} baud: the divisor {clock_hz / baud:.3f}"
            f" must be within 2 % of an integer in 1..{1 << PERIOD_BITS}"
        )
    return cycles


class UartReceiver(wiring.Component):
    """Bytes from a line. ``period`` is the number of cycles of a bit, less one.

    Bits are sampled in their middle, as near as the divisor allows; a start bit shorter than half
    a bit is no start (with three cycles a bit or more). No back-pressure: a byte that is not taken
    when it comes would be lost, so the stream is always ready.
    """

    rx: In(1, init=1)
    period: In(PERIOD_BITS)
    o: Out(stream.Signature(byte_layout, always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = cdc.FFSynchronizer(self.rx, line, init=1)
        active, count = Signal(), Signal(range(10))
        timer, shift = Signal(PERIOD_BITS), Signal(8)
        tick = Signal()
        m.d.comb += [
            tick.eq(active & (timer == 0)),
            self.o.payload.data.eq(shift),
            self.o.payload.broken.eq(~line),
            self.o.valid.eq(tick & (count == 9)),
        ]
        with m.If(~active):
            m.d.sync += active.eq(~line)
            with m.If(self.period[1:] == 0):  # the middle of the start bit is now
                m.d.sync += [count.eq(1), timer.eq(self.period)]
            with m.Else():
                m.d.sync += [count.eq(0), timer.eq(self.period >> 1)]
        with m.Elif(tick):
            m.d.sync += [timer.eq(self.period), count.eq(count + 1)]
            with m.If((count == 9) | ((count == 0) & line)):
                m.d.sync += active.eq(0)
            with m.Else():
                m.d.sync += shift.eq(Cat(shift[1:], line))
        with m.Else():
            m.d.sync += timer.eq(timer - 1)
        return m


class UartTransmitter(wiring.Component):
    """Bytes onto a line, back to back: ten bits a byte. ``idle`` when the line is at rest."""

    i: In(stream.Signature(8))
    period: In(PERIOD_BITS)
    tx: Out(1, init=1)
    idle: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count, timer, shift = Signal(range(10)), Signal(PERIOD_BITS), Signal(8)
        tx = Signal(init=1)
        done = Signal()
        m.d.comb += [
            self.tx.eq(tx),
            done.eq(timer == 0),
            self.idle.eq(done & (count == 0)),
            self.i.ready.eq(self.idle),
        ]
        with m.If(~done):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(count != 0):
            m.d.sync += [
                tx.eq(shift[0]),
                shift.eq(Cat(shift[1:], Const(1, 1))),
                count.eq(count - 1),
                timer.eq(self.period),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += [
                tx.eq(0),
                shift.eq(self.i.payload),
                count.eq(9),
                timer.eq(self.period),
            ]
        return m
