"""CRC-32 (the one of zlib) after a frame."""

from amaranth.hdl import Module, Signal
from amaranth.lib import crc, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from spikeloom_hdl.link.cobs import bytes_layout

__all__ = ["CrcAppender", "CrcChecker", "crc32_processor"]


def crc32_processor(bits: int = 8) -> crc.Processor:
    """Return an engine that takes so many bits a cycle, low bit first: 105 LUT4 for 8, 33 for 1."""
    return CRC32_ISO_HDLC(bits).create()


class CrcChecker(wiring.Component):
    """Tells whether bytes end with the CRC of those before them; a bit a cycle, to be small.

    ``write`` takes ``data``, at most every ninth cycle. ``match`` holds nine cycles after the last
    byte. ``start`` begins anew, with no byte in the cycle.
    """

    data: In(8)
    write: In(1)
    start: In(1)
    match: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = engine = crc32_processor(1)
        shift, left = Signal(8), Signal(range(9))
        m.d.comb += [
            engine.data.eq(shift[0]),
            engine.valid.eq(left != 0),
            engine.start.eq(self.start),
            self.match.eq(engine.match_detected),
        ]
        with m.If(self.write):
            m.d.sync += [shift.eq(self.data), left.eq(8)]
        with m.Elif(left != 0):
            m.d.sync += [shift.eq(shift >> 1), left.eq(left - 1)]
        return m


class CrcAppender(wiring.Component):
    """Passes the bytes of a frame on and appends the four of its CRC, low byte first."""

    i: In(stream.Signature(bytes_layout))
    o: Out(stream.Signature(bytes_layout))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = engine = crc32_processor()
        appending, index = Signal(), Signal(2)
        with m.If(~appending):
            m.d.comb += [
                self.o.valid.eq(self.i.valid),
                self.i.ready.eq(self.o.ready),
                self.o.payload.data.eq(self.i.payload.data),
                engine.data.eq(self.i.payload.data),
                engine.valid.eq(self.i.valid & self.o.ready),
            ]
            with m.If(engine.valid):
                m.d.sync += appending.eq(self.i.payload.last)
        with m.Else():
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.payload.data.eq(engine.crc.word_select(index, 8)),
                self.o.payload.last.eq(index == 3),
            ]
            with m.If(self.o.ready):
                m.d.sync += index.eq(index + 1)
                with m.If(index == 3):
                    m.d.comb += engine.start.eq(1)
                    m.d.sync += appending.eq(0)
        return m
