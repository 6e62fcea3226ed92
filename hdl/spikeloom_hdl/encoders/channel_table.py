"""What a core keeps for each of its channels, in block RAM: the state of a loop, and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.encoders import CoreParameters, channel_bits

from spikeloom_hdl.encoders.ports import settings_layout
from spikeloom_hdl.memory import BlockMemory

__all__ = ["ChannelSettings", "ChannelState", "ChannelWords"]


def _mark(channels: int) -> data.StructLayout:
    return data.StructLayout({"channel": channel_bits(channels), "first": 1, "last": 1})


class ChannelState(wiring.Component):
    """State of a loop that takes one sample a cycle, channels in any order, repeats included.

    A sample enters with its marks (``i``), and two cycles later is in the loop: its marks come out
    (``o``, where ``first`` is 1 for whatever begins a frame) together with the ``state`` that the
    last sample of its channel left, all zeros at the beginning of a frame. In the same cycle
    ``next`` must be the state that it leaves. A frame begins with a sample marked ``first``, the
    first one after reset, or the one after a sample marked ``last``; ``begins`` tells one cycle
    before the loop.

    Everything moves in cycles with ``advance`` only. ``busy``: after reset, while every row is
    marked as fresh; no sample may enter, ``advance`` must be 1.

    channels: how many. state: its fields and their shapes.
    """

    #: Cycles from the input to the loop.
    depth = 2

    def __init__(self, *, channels: int, state: Mapping[str, Any]):
        self.channels, self.layout = channels, data.StructLayout(dict(state))
        marks = _mark(channels)
        super().__init__(
            {
                "advance": In(1),
                "busy": Out(1),
                "i_valid": In(1),
                "i": In(marks),
                "begins": Out(1),
                "o_valid": Out(1),
                "o": Out(marks),
                "state": Out(self.layout),
                "next": In(self.layout),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # read (the input), answered (by the RAM), loop (the output)
        answered, valid = Signal(self.i.shape(), reset_less=True), Signal()
        with m.If(self.advance):
            m.d.sync += [
                valid.eq(self.i_valid),
                answered.eq(self.i),
                self.o_valid.eq(valid),
                self.o.eq(answered),
                self.o.first.eq(self.begins),
            ]
        if self.channels == 1:
            self._one_channel(m, valid, answered)
        else:
            self._many_channels(m, valid, answered)
        return m

    def _one_channel(self, m: Module, valid: Signal, answered: Any) -> None:
        fresh = Signal(init=1)
        m.d.comb += self.begins.eq(answered.first | Mux(self.o_valid, self.o.last, fresh))
        with m.If(self.advance):
            with m.If(self.o_valid):
                m.d.sync += [fresh.eq(self.o.last), self.state.eq(self.next)]
            with m.If(valid & self.begins):
                m.d.sync += self.state.as_value().eq(0)

    def _many_channels(self, m: Module, valid: Signal, answered: Any) -> None:
        # A state is written three cycles after it was read. Samples of its channel that come 1, 2
        # or 3 cycles later must get it past the RAM. A row of zeros is fresh: the top bit is 1
        # while a frame is under way.
        bits = self.layout.size + 1
        rows = 1 << len(self.i.channel)
        m.submodules.ram = ram = BlockMemory(rows=rows, bits=bits)
        left = Signal(bits)
        left_valid, left_channel = Signal(), Signal.like(self.i.channel, init=0)
        sweeping, writes, collides = Signal(init=1), Signal(), Signal()
        m.d.comb += [
            self.busy.eq(sweeping),
            writes.eq(left_valid | sweeping),
            collides.eq(writes & (self.i.channel == left_channel)),
            ram.read_row.eq(self.i.channel),
            ram.read.eq(self.advance & ~collides),
            ram.write_row.eq(left_channel),
            ram.write.eq(self.advance & writes),
            ram.write_data.eq(left),
        ]
        behind_1, behind_2, behind_3 = (Signal(name=f"behind_{n}") for n in (1, 2, 3))
        second = Signal()
        m.d.comb += second.eq(self.o_valid & (self.i.channel == self.o.channel))
        # At most one of the words of a sum is not zero: their OR is cheaper than a multiplexer,
        # and zeroing a register costs no gates.
        stored, passed, older = (
            Signal(bits, name=name, reset_less=True) for name in ("stored", "passed", "older")
        )
        repeats = Signal(reset_less=True)
        begun = Mux(
            behind_1,
            ~self.o.last,
            Mux(behind_2, left[-1], Mux(behind_3, older[-1], ram.read_data[-1])),
        )
        m.d.comb += [
            self.begins.eq(answered.first | ~begun),
            self.state.as_value().eq(
                (stored | passed | (left & repeats.replicate(bits)))[: self.layout.size]
            ),
        ]
        with m.If(self.advance):
            m.d.sync += [
                behind_1.eq(valid & (self.i.channel == answered.channel)),
                behind_2.eq(second),
                behind_3.eq(collides),
                repeats.eq(behind_1 & ~answered.first),
                left_valid.eq(self.o_valid),
                left_channel.eq(self.o.channel),
                left.eq(Cat(self.next, 1)),
                older.eq(left),
                stored.eq(ram.read_data),
                passed.eq(older | (left & behind_2.replicate(bits))),
            ]
            with m.If(self.o.last | sweeping):
                m.d.sync += left.eq(0)
            with m.If(second | ~collides):
                m.d.sync += older.eq(0)
            with m.If(answered.first | behind_1 | behind_2 | behind_3):
                m.d.sync += stored.eq(0)
            with m.If(answered.first | behind_1):
                m.d.sync += passed.eq(0)
        with m.If(sweeping):
            m.d.sync += left_channel.eq(left_channel + 1)
            with m.If(left_channel == rows - 1):
                m.d.sync += sweeping.eq(0)


class ChannelWords(wiring.Component):
    """State of a loop for a few channels, read and written in the cycle of the loop.

    As ChannelState, for 2..:attr:`most` channels, with three differences that save the gates around
    the RAM: at the beginning of a frame ``state`` is anything; that a frame begins is not known
    before the loop; and ``changes`` = 0 tells that a sample within a frame leaves the state as it
    is, whatever ``next`` says.

    The rows are read without a clock, as LUT RAM can on ECP5; on iCE40 they are flip-flops.
    """

    #: Cycles from the input to the loop.
    depth = ChannelState.depth
    #: More would take many flip-flops; the LUT RAM of ECP5 has 16 rows.
    most = 8

    def __init__(self, *, channels: int, state: Mapping[str, Any]):
        if not 2 <= channels <= self.most:
            raise ValueError(f"channels must be 2..{self.most}, not {channels}")
        self.channels, self.layout = channels, data.StructLayout(dict(state))
        marks = _mark(channels)
        super().__init__(
            {
                "advance": In(1),
                "busy": Out(1),
                "i_valid": In(1),
                "i": In(marks),
                "o_valid": Out(1),
                "o": Out(marks),
                "state": Out(self.layout),
                "next": In(self.layout),
                "changes": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.layout.size + 1
        rows = 1 << len(self.i.channel)
        m.submodules.ram = ram = memory.Memory(shape=unsigned(bits), depth=rows, init=[])
        read, write = ram.read_port(domain="comb"), ram.write_port()
        answered, loop = (
            Signal(self.i.shape(), name=name, reset_less=True) for name in ("answered", "loop")
        )
        valid, sweeping = Signal(), Signal(init=1)
        # the sweep counts rows in the register that tells the loop its channel
        channel = Signal.like(self.i.channel, init=0)
        # ``changes`` comes late: everything else about a write is settled before
        may, must = Signal(), Signal()
        m.d.comb += [
            may.eq(self.advance & self.o_valid),
            must.eq(sweeping | (may & (self.o.first | loop.last))),
        ]
        m.d.comb += [
            self.busy.eq(sweeping),
            self.o.eq(loop),
            self.o.channel.eq(channel),
            read.addr.eq(channel),
            # a row of zeros is fresh: the top bit is 1 while a frame is under way
            self.state.as_value().eq(read.data[: self.layout.size]),
            self.o.first.eq(loop.first | ~read.data[-1]),
            write.addr.eq(channel),
            write.data.eq(Cat(self.next, ~(loop.last | sweeping))),
            write.en.eq(must | (may & self.changes)),
        ]
        with m.If(self.advance):
            m.d.sync += [
                valid.eq(self.i_valid),
                answered.eq(self.i),
                self.o_valid.eq(valid),
                loop.eq(answered),
                channel.eq(answered.channel),
            ]
        with m.If(sweeping):
            m.d.sync += channel.eq(channel + 1)
            with m.If(channel == rows - 1):
                m.d.sync += sweeping.eq(0)
        return m


class ChannelSettings(wiring.Component):
    """Run-time parameters of the channels: written through the stream ``p``, read by samples.

    ``settings`` are those of the channel that was given with the last ``read``, from the cycle
    after it on. No ``read`` may come in a cycle with ``busy`` = 1: while a transfer at ``p`` is
    offered or stored, and after reset, while defaults are written to every row.
    """

    def __init__(self, parameters: CoreParameters):
        if not parameters.fields:
            raise ValueError(f"{parameters.NAME} has no run-time parameters to keep")
        self.parameters = parameters
        self.layout = settings_layout(parameters)
        super().__init__(
            {
                "p": In(stream.Signature(self.layout)),
                "busy": Out(1),
                "channel": In(channel_bits(parameters.channels)),
                "read": In(1),
                "settings": Out(self.layout),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fields = self.parameters.fields
        written = Signal(self.layout, init={f.name: f.default for f in fields})
        if self.parameters.channels == 1:
            m.d.comb += [self.p.ready.eq(1), self.busy.eq(self.p.valid)]
            with m.If(self.p.valid):
                m.d.sync += written.eq(self.p.payload)
            with m.If(self.read):
                m.d.sync += self.settings.eq(written)
            return m

        # the register that goes to the RAM also holds the defaults, and counts the rows
        bits = self.layout.size - len(self.channel)
        rows = 1 << len(self.channel)
        m.submodules.ram = ram = BlockMemory(rows=rows, bits=bits)
        sweeping, writing = Signal(init=1), Signal(init=1)
        m.d.comb += [
            self.p.ready.eq(~sweeping),
            self.busy.eq(self.p.valid | writing),
            ram.write_row.eq(written.channel),
            ram.write_data.eq(Cat(written[f.name] for f in fields)),
            ram.write.eq(writing),
            ram.read_row.eq(self.channel),
            ram.read.eq(self.read),
            Cat(self.settings[f.name] for f in fields).eq(ram.read_data),
        ]
        with m.If(sweeping):
            m.d.sync += written.channel.eq(written.channel + 1)
            m.d.sync += [written[f.name].eq(written[f.name] + f.spread) for f in fields if f.spread]
            with m.If(written.channel == rows - 1):
                m.d.sync += [sweeping.eq(0), writing.eq(0)]
        with m.Else():
            m.d.sync += [writing.eq(self.p.valid), written.eq(self.p.payload)]
        return m
