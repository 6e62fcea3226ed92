"""Samples on their way in: words from the link, whole samples to the network."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.port import Port

from spikeloom_hdl.link.buffer import StreamedMemory
from spikeloom_hdl.memory import row_bits
from spikeloom_hdl.stream import words_signature

__all__ = ["SampleBuffer", "default_slots"]

SMALL_BLOCK = 256  # rows of the smallest block RAM that we meet (iCE40: 256 of 16 bits)


def default_slots(port: Port) -> int:
    """Return how many samples fit block RAMs of 256 rows: 2 to 8."""
    room = SMALL_BLOCK >> row_bits(port.transfers)
    return min(8, max(2, 1 << (room.bit_length() - 1) if room else 2))


class SampleBuffer(wiring.Component):
    """Ring of ``slots`` samples: filled word by word, given out a beat (a transfer) a cycle.

    port: the network's input; the words of a sample come in its order, padding included.
    ``write`` stores ``word``; ``complete`` is high when the sample has all its words, padding of
    its beats included (a further write would be a fault). ``commit`` hands a complete sample
    over. ``room`` is high if a further sample may begin. ``number`` counts committed samples,
    ``taken`` those that have left, modulo 256. ``clear`` forgets everything.
    Raises ValueError unless ``slots`` is a power of two, 2..128.
    """

    def __init__(self, port: Port, *, slots: int | None = None):
        slots = default_slots(port) if slots is None else slots
        if slots not in (2, 4, 8, 16, 32, 64, 128):
            raise ValueError(f"slots must be a power of two in 2..128, not {slots!r}")
        self.port, self.slots = port, slots
        super().__init__(
            {
                "word": In(port.bits),
                "write": In(1),
                "complete": Out(1),
                "commit": In(1),
                "clear": In(1),
                "room": Out(1),
                "number": Out(8),
                "taken": Out(8),
                "o": Out(words_signature(port.lanes, port.bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        scan, bits, beats = self.port.lanes, self.port.bits, self.port.transfers
        slot = self.slots.bit_length() - 1
        beat_bits = row_bits(beats)
        m.submodules.ram = ram = StreamedMemory(
            rows=self.slots << beat_bits, bits=scan * bits, flags=2
        )

        earlier = Signal((scan - 1) * bits)  # words of the beat that is being gathered
        lane, beat = Signal(range(scan)), Signal(range(beats + 1))
        whole = Cat(earlier, self.word)
        m.d.comb += [
            self.complete.eq(beat == beats),
            self.room.eq((self.number - self.taken)[: slot + 1] != self.slots),
            ram.write_row.eq(Cat(beat[:beat_bits], self.number[:slot])),
            ram.write_data.eq(whole),
            ram.write.eq(self.write & (lane == scan - 1)),
        ]
        with m.If(self.write):
            m.d.sync += [earlier.eq(whole[bits:]), lane.eq(lane + 1)]
        with m.If(ram.write):
            m.d.sync += [lane.eq(0), beat.eq(beat + 1)]
        with m.If(self.commit):
            m.d.sync += [lane.eq(0), beat.eq(0), self.number.eq(self.number + 1)]

        fetch, last = Signal(range(beats)), Signal()
        m.d.comb += [
            last.eq(fetch == beats - 1),
            ram.i.valid.eq(self.number != self.taken),
            ram.i.payload.row.eq(Cat(fetch, Const(0, beat_bits - len(fetch)), self.taken[:slot])),
            ram.i.payload.flags.eq(Cat(fetch == 0, last)),
            self.o.valid.eq(ram.o.valid),
            self.o.payload.words.eq(ram.o.payload.data),
            self.o.payload.first.eq(ram.o.payload.flags[0]),
            self.o.payload.last.eq(ram.o.payload.flags[1]),
            ram.o.ready.eq(self.o.ready),
        ]
        with m.If(ram.i.valid & ram.i.ready):
            m.d.sync += fetch.eq(fetch + 1)
            with m.If(last):
                m.d.sync += [fetch.eq(0), self.taken.eq(self.taken + 1)]

        m.d.comb += ram.clear.eq(self.clear)
        with m.If(self.clear):
            m.d.sync += [signal.eq(0) for signal in (lane, beat, fetch, self.number, self.taken)]
        return m
