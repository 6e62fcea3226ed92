"""The non-zero words of a sample, kept in block RAM and replayed once a pass."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from spikeloom_hdl.memory import BlockMemory, row_bits

__all__ = ["EventList", "is_count", "lowest_bit"]


def lowest_bit(value):
    """Return ``value`` with only its lowest set bit left."""
    return value & (~value + 1)[: len(value)]


def is_count(value, count: int):
    """Whether exactly ``count`` (1 or 2) bits of ``value`` are set."""
    # numbers of set bits, 3 standing for more, added in a tree
    counts = [(bit, Const(0, 1)) for bit in value]
    while len(counts) > 1:
        pairs = []
        for (a0, a1), (b0, b1) in zip(counts[::2], counts[1::2], strict=False):
            many = (a1 & (b0 | b1)) | (b1 & a0)
            pairs.append(((a0 ^ b0) | many, a1 | b1 | (a0 & b0)))
        counts = pairs + counts[len(pairs) * 2 :]
    low, high = counts[0]
    return low & ~high if count == 1 else high & ~low


class EventList(wiring.Component):
    """One fan-in slice: stores beats that hold a non-zero word, gives them back event by event.

    Two banks: a sample is stored in one while the other is replayed ``passes`` times. The replay is
    prefetched, so that every cycle gives an event: a non-zero word (packed form) or one set bit of
    it (serial form). After the last event of a pass comes its token, a cycle of its own that lasts
    until ``proceed``. A pass takes as many cycles as it has events, plus one.

    beats: transfers of a sample. words: words of this slice in a transfer. bits: width of a word.
    passes: replays of a sample. serial: walk the bits of a word.

    Members (writing): ``store`` writes ``words`` of transfer ``beat`` to ``bank``; ``first`` starts
    a sample over, ``last`` closes it; ``full`` has a bit for each bank that is not yet replayed.
    Members (reading): ``event`` with ``row`` (beat * words + position), ``word`` (zero without an
    event; one set bit in the serial form) and ``fetch`` (first event of this row); ``token`` with
    ``token_last`` (the sample's last pass); ``proceed`` takes the token. ``first_pass``: the event
    is one of the sample's first pass.
    """

    def __init__(self, *, beats: int, words: int, bits: int, passes: int, serial: bool = False):
        self.beats, self.words_per_beat, self.bits = beats, words, bits
        self.passes, self.serial = passes, serial
        super().__init__(
            {
                "store": In(1),
                "bank": In(1),
                "beat": In(row_bits(beats)),
                "words": In(data.ArrayLayout(unsigned(bits), words)),
                "first": In(1),
                "last": In(1),
                "full": Out(2),
                "event": Out(1),
                "row": Out(row_bits(beats * words)),
                "word": Out(bits),
                "fetch": Out(1),
                "token": Out(1),
                "token_last": Out(1),
                "proceed": In(1),
                "first_pass": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n = self.words_per_beat
        index_bits = row_bits(self.beats)
        entry = data.StructLayout(
            {"beat": index_bits, "mask": n, "words": data.ArrayLayout(unsigned(self.bits), n)}
        )
        m.submodules.ram = ram = BlockMemory(rows=2 << index_bits, bits=entry.size)

        # --- writing: beats with a non-zero word are appended to the bank
        mask = Cat(self.words[k].any() for k in range(n))
        fill = Signal(range(self.beats + 1), reset_less=True)  # `first` sets it
        start = Signal.like(fill)
        end = Signal.like(fill)
        counts = [Signal.like(fill, name=f"count_{b}", reset_less=True) for b in range(2)]
        m.d.comb += [
            start.eq(Mux(self.first, 0, fill)),
            end.eq(start + mask.any()),
            ram.write.eq(self.store & mask.any()),
            ram.write_row.eq(Cat(start[:index_bits], self.bank)),
            ram.write_data.eq(Cat(self.beat, mask, self.words)),
        ]
        with m.If(self.store):
            m.d.sync += fill.eq(end)
            with m.If(self.last):
                for b in range(2):
                    with m.If(self.bank == b):
                        m.d.sync += [counts[b].eq(end), self.full[b].eq(1)]

        # --- reading, stage A: addresses of the entries of a pass, then its token
        a_bank = Signal()
        a_index = Signal(range(self.beats + 1))
        a_pass = Signal(range(self.passes))
        a_valid, a_token, a_first, a_last = Signal(), Signal(), Signal(), Signal()
        b_ready, c_ready, d_ready = Signal(), Signal(), Signal()
        m.d.comb += [
            a_valid.eq(Mux(a_bank, self.full[1], self.full[0])),
            a_token.eq(a_index == Mux(a_bank, counts[1], counts[0])),
            a_first.eq(a_pass == 0),
            a_last.eq(a_pass == self.passes - 1),
            ram.read_row.eq(Cat(a_index[:index_bits], a_bank)),
            ram.read.eq(a_valid & ~a_token & b_ready),
        ]
        with m.If(a_valid & b_ready):
            m.d.sync += a_index.eq(a_index + 1)
            with m.If(a_token):
                m.d.sync += [a_index.eq(0), a_pass.eq(a_pass + 1)]
                with m.If(a_last):
                    m.d.sync += [a_pass.eq(0), a_bank.eq(~a_bank)]
                    for b in range(2):
                        with m.If(a_bank == b):
                            m.d.sync += self.full[b].eq(0)

        # --- stages B (output of the RAM), C (the bare register after it), D (the entry walked)
        flags = data.StructLayout({"token": 1, "first": 1, "last": 1})
        b_valid, c_valid, d_valid = Signal(), Signal(), Signal()
        b = Signal(flags, reset_less=True)
        c = Signal(flags, reset_less=True)
        d = Signal(flags, reset_less=True)
        c_entry = Signal(entry, reset_less=True)
        d_entry = Signal(entry, reset_less=True)
        d_done = Signal()
        m.d.comb += [
            b_ready.eq(~b_valid | c_ready),
            c_ready.eq(~c_valid | d_ready),
            d_ready.eq(~d_valid | d_done),
        ]
        with m.If(b_ready):
            m.d.sync += [b_valid.eq(a_valid), b.eq(Cat(a_token, a_first, a_last))]
        with m.If(c_ready):
            m.d.sync += [c_valid.eq(b_valid), c.eq(b), c_entry.as_value().eq(ram.read_data)]
        low = Signal(n)
        left = Signal(n)
        d_single = Signal(reset_less=True)  # one word is left: known a cycle ahead, it decides much
        m.d.comb += [low.eq(lowest_bit(d_entry.mask)), left.eq(d_entry.mask & ~low)]
        with m.If(d_ready):
            m.d.sync += [
                d_valid.eq(c_valid),
                d.eq(c),
                d_entry.eq(c_entry),
                d_single.eq(is_count(c_entry.mask, 1)),
            ]

        word = Signal(self.bits)
        position = Signal(range(n))
        row = Signal.like(self.row)
        is_word = Signal()
        # at most one bit of `low` is set, so OR gates select
        picked = (d_entry.words[k] & low[k].replicate(self.bits) for k in range(n))
        m.d.comb += word.eq(reduce(or_, picked))
        for bit in range(len(position)):
            m.d.comb += position[bit].eq(Cat(low[k] for k in range(n) if k >> bit & 1).any())
        if n & (n - 1) == 0:
            m.d.comb += row.eq(Cat(position, d_entry.beat))
        else:
            m.d.comb += row.eq(d_entry.beat * n + position)
        m.d.comb += is_word.eq(d_valid & ~d.token)
        take = Signal()  # the event in stage D goes on
        m.d.comb += d_done.eq(take & (d.token | d_single))
        with m.If(is_word & take & ~d_single):
            m.d.sync += [d_entry.mask.eq(left), d_single.eq(is_count(d_entry.mask, 2))]

        if not self.serial:
            m.d.comb += [
                take.eq(~d.token | self.proceed),
                self.event.eq(is_word),
                self.row.eq(row),
                self.fetch.eq(is_word),
                self.first_pass.eq(d.first),
                self.token.eq(d_valid & d.token),
                self.token_last.eq(d.last),
            ]
            with m.If(is_word):
                m.d.comb += self.word.eq(word)
            return m

        # --- stage W (serial form): the word whose bits are walked
        w_valid, w_fresh = Signal(), Signal()
        w = Signal(flags, reset_less=True)
        w_row = Signal.like(row, reset_less=True)
        w_bits = Signal(self.bits, reset_less=True)
        w_low, w_left, w_done = Signal(self.bits), Signal(self.bits), Signal()
        m.d.comb += [
            w_low.eq(lowest_bit(w_bits)),
            w_left.eq(w_bits & ~w_low),
            w_done.eq(Mux(w.token, self.proceed, ~w_left.any())),
            take.eq(~w_valid | w_done),
            self.event.eq(w_valid & ~w.token),
            self.row.eq(w_row),
            self.fetch.eq(self.event & w_fresh),
            self.first_pass.eq(w.first),
            self.token.eq(w_valid & w.token),
            self.token_last.eq(w.last),
        ]
        with m.If(self.event):
            m.d.comb += self.word.eq(w_low)
        with m.If(take):
            m.d.sync += [
                w_valid.eq(d_valid),
                w_fresh.eq(1),
                w.eq(d),
                w_row.eq(row),
                w_bits.eq(word),
            ]
        with m.Elif(self.event):
            m.d.sync += [w_bits.eq(w_left), w_fresh.eq(0)]
        return m
