"""The ring of input rows that the windows of a convolution look at, and how pixels enter it."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Assert, Cat, Const, Format, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.folding import ceil_div
from spikeloom.hardware.synapses import ConvParameters

from spikeloom_hdl.memory import row_bits
from spikeloom_hdl.neuron.accumulate import balanced_sum
from spikeloom_hdl.stream import words_signature

__all__ = ["Ring", "RowWriter", "lower", "pick", "table"]

#: words of a slice in a transfer, up to which their number is judged in the cycle that it decides
FEW_WORDS = 8

#: flags whose number is found without a carry
LOWER_GROUP = 16

#: rows of the smallest piece of block RAM that counts
BLOCK_ROWS = 512


def pick(hot, constants) -> Signal:
    """Return the constant whose bit of ``hot`` is set (0 if none is): OR gates, no priority."""
    width = max(1, max(constants).bit_length())
    terms = []
    for bit in range(width):
        bits = [hot[k] for k, constant in enumerate(constants) if constant >> bit & 1]
        terms.append(reduce(or_, bits) if bits else Const(0, 1))
    return Cat(terms)


class Ring:
    """Where the pixels of ``rows`` = kernel height + stride rows lie in a slice's memories.

    Rows of the stream follow each other around the ring, over the borders of samples. The pixel in
    column x of ring row r has the number r * pitch + x; it owns ``channels`` entries of the line
    RAM. An entry is a non-zero word and its channel within the slice.

    pixels, entries: rows of the memory of counts, and of the line RAM.
    """

    def __init__(self, parameters: ConvParameters):
        p, w = parameters, parameters.window
        self.rows = w.kernel_height + w.stride_y
        self.row_bits = row_bits(self.rows)
        self.channels = p.slice_channels
        self.channel_bits = (self.channels - 1).bit_length()
        self.exact = 1 << self.channel_bits == self.channels  # entry numbers need no adder
        self.x_bits = row_bits(w.width)
        wide, narrow = (
            ceil_div(self.rows * pitch * self.channels, BLOCK_ROWS)
            for pitch in (1 << self.x_bits, w.width)
        )
        # a pitch of a power of two needs no adder: taken where it costs no memory
        self.pitch = 1 << self.x_bits if wide == narrow and self.exact else w.width
        self.pixels = self.rows * self.pitch
        self.pixel_bits = row_bits(self.pixels)
        self.entries = self.pixels * self.channels
        self.entry_bits = p.input_bits + self.channel_bits

    def pixel(self, base, x):
        """Return the number of a pixel. base: ring row * pitch. x: its column."""
        if self.pitch == 1 << self.x_bits:
            return Cat(x[: self.x_bits], base[self.x_bits : self.pixel_bits])
        return (base + x)[: self.pixel_bits]


def lower(flags) -> Value:
    """Return for every flag whether one below it is set."""
    found, before = [], Const(0, 1)
    for first in range(0, len(flags), LOWER_GROUP):
        part = flags[first : first + LOWER_GROUP]
        found += [before | part[:k].any() for k in range(len(part))]
        before |= part.any()
    return Cat(found)


def table(m: Module, inputs, entries: dict[int, int], *, bits: int) -> Signal:
    """Return a signal that ``entries`` maps ``inputs`` to; anything for inputs not listed."""
    result = Signal(bits, name="found", src_loc_at=1)
    with m.Switch(inputs):
        for key, value in list(entries.items())[:-1]:
            with m.Case(key):
                m.d.comb += result.eq(value)
        with m.Default():
            m.d.comb += result.eq(list(entries.values())[-1])
    return result


class RowWriter(wiring.Component):
    """Takes transfers of ``scan`` words; gives the non-zero ones of every slice, one a cycle.

    A transfer takes as many cycles as its fullest slice has non-zero words, one at least. Transfers
    wait while the ring is full.

    Members: ``i``; per slice ``write`` of ``entry`` (word in the low bits, then its channel) to row
    ``entry_row`` of the line RAM, the entry ``index`` of pixel ``pixel``; ``done``: the pixel at
    ``x`` in ring row ``hot`` is complete, ``flags`` says in which slices it has entries, and
    ``row_done`` that it was the last of its row. ``free``: the first ``stride_y`` rows may be
    overwritten; ``free_last`` with it: all rows of the sample may. ``events`` and ``spikes`` count
    non-zero words and set bits, a cycle after their ``write``.
    """

    def __init__(self, parameters: ConvParameters):
        p, slices = parameters, parameters.folding.slices
        self.parameters = p
        self.ring = ring = Ring(p)
        super().__init__(
            {
                "i": In(words_signature(p.folding.scan, p.input_bits)),
                "write": Out(slices),
                "entry": Out(data.ArrayLayout(unsigned(ring.entry_bits), slices)),
                "entry_row": Out(data.ArrayLayout(unsigned(row_bits(ring.entries)), slices)),
                "index": Out(data.ArrayLayout(unsigned(ring.channel_bits), slices)),
                "pixel": Out(ring.pixel_bits),
                "done": Out(1),
                "flags": Out(slices),
                "x": Out(ring.x_bits),
                "hot": Out(ring.rows, init=1),
                "row_done": Out(1),
                "free": In(1),
                "free_last": In(1),
                "events": Out(range(slices + 1)),
                "spikes": Out(range(slices * p.input_bits + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, ring, slices = self.parameters, self.ring, self.parameters.folding.slices
        per_slice = p.folding.scan // slices
        beats = p.ports_in[0].transfers_per_pixel
        self._check_stream(m)

        # --- the transfer worked on, a word of each slice a cycle
        room = Signal()
        w_valid, w_done = Signal(), Signal()
        w_words = Signal.like(self.i.p.words, reset_less=True)
        beat = Signal(range(beats))
        single = Signal(slices)  # at most one word is left
        last_beat = beat == beats - 1
        m.d.comb += [
            w_done.eq(w_valid & room & single.all()),
            self.i.ready.eq(~w_valid | w_done),
        ]
        m.d.sync += [self.write.eq(0), self.done.eq(w_done & last_beat)]
        with m.If(w_done):
            m.d.sync += beat.eq(Mux(last_beat, 0, beat + 1))
        for s in range(slices):
            own = range(s, p.folding.scan, slices)
            mask = Signal(per_slice, name=f"mask_{s}", reset_less=True)
            low = Signal(per_slice, name=f"low_{s}")
            position = pick(low, range(per_slice))[: (per_slice - 1).bit_length()]
            if per_slice & (per_slice - 1) == 0:
                channel = Cat(position, beat)
                word = Cat(w_words[w] for w in own).word_select(position, p.input_bits)
            else:
                channel = beat * per_slice + position
                chosen = [w_words[w] & low[k].replicate(p.input_bits) for k, w in enumerate(own)]
                word = reduce(or_, chosen)
            found = Signal(per_slice, name=f"found_{s}")
            rest = Signal(per_slice, name=f"rest_{s}")
            m.d.comb += [
                found.eq(Cat(self.i.p.words[w].any() for w in own)),
                rest.eq(mask & lower(mask)),
                low.eq(mask & ~lower(mask)),
            ]
            m.d.sync += self.entry[s].eq(Cat(word, channel[: ring.channel_bits]))
            with m.If(w_valid & room):
                m.d.sync += [self.write[s].eq(mask.any()), mask.eq(rest)]
            with m.If(self.i.ready):
                m.d.sync += mask.eq(found)
            if per_slice <= FEW_WORDS:
                m.d.comb += single[s].eq(~rest.any())
                continue
            known = Signal(name=f"single_{s}", reset_less=True)  # a cycle ahead: it decides much
            m.d.comb += single[s].eq(known)
            with m.If(self.i.ready):
                m.d.sync += known.eq(~(found & lower(found)).any())
            with m.Elif(w_valid & room):
                m.d.sync += known.eq(~(rest & lower(rest)).any())
        with m.If(self.i.ready):
            m.d.sync += [w_valid.eq(self.i.valid), w_words.eq(self.i.p.words)]

        self._place(m)

        # --- rows from the top of the windows to the last complete one (padding counts as rows)
        w = p.window
        rest = w.height - (w.out_height - 1) * w.stride_y
        low, high = -max(w.stride_y, rest) - 1, ring.rows + w.kernel_height + 1
        taken = Signal(range(low, high), init=w.pad_y)
        full = Mux(self.row_done, taken >= ring.rows - 1, taken >= ring.rows)
        m.d.comb += room.eq(~full)
        step = Signal.like(taken)
        m.d.comb += step.eq(self.row_done)
        with m.If(self.free):
            m.d.comb += step.eq(Mux(self.row_done, 1 - w.stride_y, -w.stride_y))
            with m.If(self.free_last):
                m.d.comb += step.eq(Mux(self.row_done, 1 - rest, -rest))
        m.d.sync += taken.eq(taken + step)

        # --- counters
        bits = [bit & self.write[s] for s in range(slices) for bit in self._word(s)]
        m.d.sync += [self.events.eq(balanced_sum(self.write)), self.spikes.eq(balanced_sum(bits))]
        return m

    def _word(self, index: int):
        return self.entry[index][: self.parameters.input_bits]

    def _place(self, m: Module) -> None:
        """Where entries and pixels go: a count per slice, and the place of the pixel."""
        p, ring, slices = self.parameters, self.ring, self.parameters.folding.slices
        seen = Signal(slices)
        base = pick(self.hot, [row * ring.pitch for row in range(ring.rows)])
        m.d.comb += [
            self.pixel.eq(ring.pixel(base, self.x)),
            self.flags.eq(seen | self.write),
            self.row_done.eq(self.done & (self.x == p.window.width - 1)),
        ]
        m.d.sync += seen.eq(Mux(self.done, 0, self.flags))
        for s in range(slices):
            index = Signal(ring.channel_bits, name=f"index_{s}")
            m.d.sync += index.eq(Mux(self.done, 0, index + self.write[s]))
            m.d.comb += self.index[s].eq(index)
        with m.If(self.done):
            m.d.sync += self.x.eq(self.x + 1)
        with m.If(self.row_done):
            m.d.sync += [self.x.eq(0), self.hot.eq(self.hot.rotate_left(1))]
        if ring.exact:
            for s in range(slices):
                m.d.comb += self.entry_row[s].eq(Cat(self.index[s], self.pixel))
            return
        start = Signal(range(ring.entries))
        with m.If(self.done):
            m.d.sync += start.eq(start + ring.channels)
        with m.If(self.row_done & self.hot[-1]):
            m.d.sync += start.eq(0)
        m.d.comb += [self.entry_row[s].eq(start + self.index[s]) for s in range(slices)]

    def _check_stream(self, m: Module) -> None:
        """Samples must be whole (simulation and formal only: synthesis drops it)."""
        transfers = self.parameters.ports_in[0].transfers
        at = Signal(row_bits(transfers))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                at.eq(Mux(at == transfers - 1, 0, at + 1)),
                Assert(
                    (self.i.p.first == (at == 0)) & (self.i.p.last == (at == transfers - 1)),
                    Format(
                        "transfer {} of " + str(transfers) + " has first = {}, last = {}",
                        at,
                        self.i.p.first,
                        self.i.p.last,
                    ),
                ),
            ]
