"""Consistent overhead byte stuffing (Cheshire and Baker 1999) for frames of at most 254 bytes."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from spikeloom_hdl.link.buffer import StreamedMemory
from spikeloom_hdl.link.uart import byte_layout

__all__ = ["CobsDecoder", "CobsEncoder", "bytes_layout", "decoded_layout"]

#: Bytes of a frame; ``last`` marks the final one.
bytes_layout = data.StructLayout({"data": 8, "last": 1})

#: One byte of a frame, or (``end``) the frame's end; then ``sound`` tells whether its coding was.
decoded_layout = data.StructLayout({"data": 8, "end": 1, "sound": 1})


class CobsDecoder(wiring.Component):
    """Wire bytes in, frame bytes and frame ends out, at most one a byte; no back-pressure.

    A frame ends at a zero byte. Nothing between two zero bytes is no frame. A frame in which a byte
    arrived broken, or that ends inside a group, is not ``sound``.
    """

    i: In(stream.Signature(byte_layout, always_ready=True))
    o: Out(stream.Signature(decoded_layout, always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(8)  # bytes to come of the present group
        begun, broken = Signal(), Signal()
        wire, out = self.i.payload, self.o.payload
        with m.If(self.i.valid):
            m.d.sync += broken.eq(broken | wire.broken)
            with m.If(wire.data == 0):
                m.d.comb += [
                    self.o.valid.eq(begun | broken | wire.broken),
                    out.end.eq(1),
                    out.sound.eq((left == 0) & ~broken & ~wire.broken),
                ]
                m.d.sync += [left.eq(0), begun.eq(0), broken.eq(0)]
            with m.Elif(left == 0):  # a group begins; the one before it ended in a zero
                m.d.comb += self.o.valid.eq(begun)
                m.d.sync += [left.eq(wire.data - 1), begun.eq(1)]
            with m.Else():
                m.d.comb += [self.o.valid.eq(1), out.data.eq(wire.data)]
                m.d.sync += left.eq(left - 1)
        return m


class CobsEncoder(wiring.Component):
    """Frame bytes in, wire bytes with their delimiter out; stores one whole frame.

    A byte a cycle goes in; the next frame is taken once the delimiter of this one has gone out.
    ``free`` while no frame is inside. Frames have 1 to 254 bytes.
    """

    i: In(stream.Signature(bytes_layout))
    o: Out(stream.Signature(8))
    free: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ram = ram = StreamedMemory(rows=256, bits=8, flags=1)
        position = Signal(8, init=1)  # of the next byte; the group's code lies at `group`
        group, code, row = Signal(8), Signal(8), Signal(8)
        m.d.comb += [
            code.eq(position - group),
            ram.write_row.eq(group),
            ram.write_data.eq(code),
            ram.i.payload.row.eq(row),
            ram.i.payload.flags.eq(row == position),
            self.o.payload.eq(ram.o.payload.data & ~ram.o.payload.flags.replicate(8)),
        ]
        with m.FSM():
            with m.State("Fill"):
                m.d.comb += [self.i.ready.eq(1), self.free.eq(position == 1)]
                with m.If(self.i.payload.data != 0):
                    m.d.comb += [
                        ram.write_row.eq(position),
                        ram.write_data.eq(self.i.payload.data),
                    ]
                with m.If(self.i.valid):
                    m.d.comb += ram.write.eq(1)
                    m.d.sync += position.eq(position + 1)
                    with m.If(self.i.payload.data == 0):
                        m.d.sync += group.eq(position)
                    with m.If(self.i.payload.last):
                        m.next = "Close"
            with m.State("Close"):
                m.d.comb += ram.write.eq(1)
                m.d.sync += row.eq(0)
                m.next = "Fetch"
            with m.State("Fetch"):
                m.d.comb += ram.i.valid.eq(1)
                with m.If(ram.i.ready):
                    m.d.sync += row.eq(row + 1)
                    with m.If(row == position):
                        m.next = "Flush"
            with m.State("Flush"), m.If(ram.o.valid & ram.o.payload.flags & self.o.ready):
                m.d.sync += Cat(position, group).eq(1)
                m.next = "Fill"
        m.d.comb += [self.o.valid.eq(ram.o.valid), ram.o.ready.eq(self.o.ready)]
        return m
