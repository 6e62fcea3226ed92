"""Received frames: stored whole, checked, and only then handed on."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.protocol import CRC_BYTES, HOST_HEADER, MAX_FRAME

from spikeloom_hdl.link.buffer import StreamedMemory
from spikeloom_hdl.link.cobs import bytes_layout, decoded_layout
from spikeloom_hdl.link.crc import CrcChecker

__all__ = ["FrameReceiver"]

BANK = 256  # rows of a frame: its length, then its bytes


class FrameReceiver(wiring.Component):
    """Decoded bytes in; frames with a good CRC out, without it, in a buffer of ``frames`` frames.

    ``o`` gives the bytes of the oldest frame; ``release`` (one cycle) gives its room back, read or
    not, and goes on to the next. ``damaged`` and ``overrun`` pulse for every frame that is thrown
    away. Bytes come at most every ninth cycle (a line takes ten for one).
    Raises ValueError unless ``frames`` is a power of two, 2..128.
    """

    def __init__(self, *, frames: int = 2):
        if frames not in (2, 4, 8, 16, 32, 64, 128):
            raise ValueError(f"frames must be a power of two in 2..128, not {frames!r}")
        self.frames = frames
        super().__init__(
            {
                "i": In(stream.Signature(decoded_layout, always_ready=True)),
                "o": Out(stream.Signature(bytes_layout)),
                "release": In(1),
                "damaged": Out(1),
                "overrun": Out(1),
                "received": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ram = ram = StreamedMemory(rows=BANK * self.frames, bits=8)
        m.submodules.checker = checker = CrcChecker()
        write_bank, read_bank = Signal(range(self.frames)), Signal(range(self.frames))
        level = Signal(range(self.frames + 1))

        position = Signal(8, init=1)
        bad, lost = Signal(), Signal()
        event = self.i.payload
        smallest = 1 + HOST_HEADER.size + CRC_BYTES
        good = Signal()
        m.d.comb += [
            checker.data.eq(event.data),
            checker.write.eq(self.i.valid & ~event.end),
            checker.start.eq(self.i.valid & event.end),
            ram.write_row.eq(Cat(position, write_bank)),
            ram.write_data.eq(event.data),
            good.eq(event.sound & ~bad & checker.match & (position >= smallest)),
        ]
        with m.If(self.i.valid):
            with m.If(event.end):
                m.d.sync += [position.eq(1), bad.eq(0), lost.eq(0)]
                m.d.comb += [
                    ram.write_row.eq(Cat(position ^ position, write_bank)),
                    ram.write_data.eq(position - (1 + CRC_BYTES)),
                    self.received.eq(good & ~lost),
                    self.overrun.eq(good & lost),
                    self.damaged.eq(~good),
                    ram.write.eq(self.received),
                ]
            with m.Else():
                full = Signal()
                m.d.comb += [
                    full.eq((position == 1) & (level == self.frames)),
                    ram.write.eq(~full & ~lost & ~bad),
                ]
                m.d.sync += lost.eq(lost | full)
                with m.If(position == MAX_FRAME + 1):
                    m.d.comb += ram.write.eq(0)
                    m.d.sync += bad.eq(1)
                with m.Else():
                    m.d.sync += position.eq(position + 1)
        with m.If(self.received):
            m.d.sync += write_bank.eq(write_bank + 1)
        m.d.sync += level.eq(level + self.received - self.release)

        row, left, known = Signal(8), Signal(8), Signal()
        m.d.comb += [
            ram.i.valid.eq((level != 0) & ~self.release),
            ram.i.payload.row.eq(Cat(row, read_bank)),
            ram.clear.eq(self.release),
            self.o.valid.eq(ram.o.valid & known & (left != 0)),
            self.o.payload.data.eq(ram.o.payload.data),
            self.o.payload.last.eq(left == 1),
            ram.o.ready.eq(~known | ((left != 0) & self.o.ready)),
        ]
        with m.If(ram.i.valid & ram.i.ready):
            m.d.sync += row.eq(row + 1)
        with m.If(ram.o.valid & ~known):
            m.d.sync += [known.eq(1), left.eq(ram.o.payload.data)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += left.eq(left - 1)
        with m.If(self.release):
            m.d.sync += [known.eq(0), row.eq(0), read_bank.eq(read_bank + 1)]
        return m
