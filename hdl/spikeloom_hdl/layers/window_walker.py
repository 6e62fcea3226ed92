"""One fan-in slice of a convolution: the events under a window, one a cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.synapses import ConvParameters

from spikeloom_hdl.layers.event_list import lowest_bit
from spikeloom_hdl.layers.skid import Skid
from spikeloom_hdl.layers.window_ring import Ring, lower, pick, table
from spikeloom_hdl.memory import BlockMemory, row_bits

__all__ = ["WindowWalker"]

TOKEN_BITS = 3  #: what a token carries: it ends the window, the row, the sample


class WindowWalker(wiring.Component):
    """Keeps the entries of the ring's pixels; replays those under a window ``passes`` times.

    The replay is prefetched: every cycle gives an event, over the borders of taps, passes and
    windows. After the last event of a pass comes its token, a cycle of its own that lasts until
    ``proceed``. Latency: eight cycles from ``load`` to the first event, one more in the serial
    form; hidden while a window before is walked.

    Members (writing): ``write`` of ``entry`` to row ``entry_row``, entry ``index`` of ``pixel``.
    Members (windows): ``take``: a window may come; ``load`` brings ``flags``, those of its taps
    with entries; ``right``, ``top``, ``row_end`` and ``sample_end`` of the last window, held.
    Members (reading): those of an :class:`~spikeloom_hdl.layers.event_list.EventList`; row is
    tap * channels + channel. ``token_row_end`` and ``token_sample_end`` go with the token.
    """

    def __init__(self, parameters: ConvParameters):
        p = parameters
        self.parameters = p
        self.ring = ring = Ring(p)
        super().__init__(
            {
                "write": In(1),
                "entry": In(ring.entry_bits),
                "entry_row": In(row_bits(ring.entries)),
                "index": In(ring.channel_bits),
                "pixel": In(ring.pixel_bits),
                "take": Out(1),
                "load": In(1),
                "flags": In(p.window.taps),
                "right": In(ring.x_bits),
                "top": In(ring.row_bits),
                "row_end": In(1),
                "sample_end": In(1),
                "event": Out(1),
                "row": Out(row_bits(p.rows_per_pass)),
                "word": Out(p.input_bits),
                "fetch": Out(1),
                "token": Out(1),
                "token_last": Out(1),
                "token_row_end": Out(1),
                "token_sample_end": Out(1),
                "proceed": In(1),
                "first_pass": Out(1),
            }
        )
        #: what goes with every tap, and with the token after the last one of a pass
        self.tags = data.StructLayout({"token": 1, "first": int(p.passes > 1)})
        #: number of a tap; with a token, whether it ends the window, the row and the sample
        self.tap_bits = max(TOKEN_BITS, (p.window.taps - 1).bit_length())

    def elaborate(self, platform: object) -> Module:
        m = Module()
        skid = self._taps(m)
        self._entries(m, skid.o)
        return m

    def _taps(self, m: Module) -> Skid:
        """Search the taps with entries, one a cycle; a token when none is left."""
        p, w, ring = self.parameters, self.parameters.window, self.ring
        wide = w.kernel_width

        # --- stage E: flags of the taps left in this pass
        e_valid, e_empty, e_last = Signal(), Signal(), Signal()
        e_left = Signal(w.taps, reset_less=True)
        e_pass = Signal(range(p.passes), reset_less=True)
        kept = Signal(w.taps, reset_less=True)  # for the passes to come
        low, below = Signal(w.taps), Signal(w.taps)
        t0_ready, t1_ready = Signal(), Signal()
        m.d.comb += [
            below.eq(lower(e_left)),
            low.eq(e_left & ~below),
            e_empty.eq(~e_left.any()),
            e_last.eq(e_pass == p.passes - 1),
            self.take.eq(~e_valid | (t0_ready & e_empty & e_last)),
        ]
        with m.If(t0_ready):
            m.d.sync += e_left.eq(e_left & below)
            with m.If(e_valid & e_empty):
                m.d.sync += e_valid.eq(~e_last)
                if p.passes > 1:
                    m.d.sync += [e_left.eq(kept), e_pass.eq(e_pass + 1)]
        with m.If(self.load):
            m.d.sync += [e_valid.eq(1), e_left.eq(self.flags), e_pass.eq(0), kept.eq(self.flags)]

        # --- stage 0: the tap, one bit set. While a tap is here, the window is still in stage E
        t0_valid = Signal()
        t0 = Signal(self.tags, reset_less=True)
        hot = Signal(w.taps, reset_less=True)
        ends = Signal(TOKEN_BITS, reset_less=True)
        with m.If(t0_ready):
            m.d.sync += [
                t0_valid.eq(e_valid),
                hot.eq(low),
                t0.token.eq(e_empty),
                t0.first.eq(e_pass == 0),
                ends.eq(Cat(e_last, self.row_end, self.sample_end) & e_empty.replicate(TOKEN_BITS)),
            ]

        # --- stage 1: number of the tap, and of the pixel under it
        place = data.StructLayout(
            {"tags": self.tags, "tap": self.tap_bits, "pixel": ring.pixel_bits}
        )
        t1_valid = Signal()
        t1 = Signal(place, reset_less=True)
        skid = Skid(place)
        m.submodules.skid = skid  # cuts the path of `proceed`
        high = w.kernel_height
        here = [hot[k * wide : (k + 1) * wide].any() for k in range(high)]
        kernel_row = pick(here, range(high))
        bases = {
            row | k << ring.row_bits: (row + k) % ring.rows * ring.pitch
            for row in range(ring.rows)
            for k in range(high)
        }
        base = table(m, Cat(self.top, kernel_row), bases, bits=ring.pixel_bits)
        offsets = [(k % wide - (wide - 1)) % (1 << ring.x_bits) for k in range(w.taps)]
        x = (self.right + pick(hot, offsets))[: ring.x_bits]
        m.d.comb += [
            t0_ready.eq(~t0_valid | t1_ready),
            t1_ready.eq(~t1_valid | skid.i.ready),
            skid.i.valid.eq(t1_valid),
            skid.i.payload.eq(t1),
        ]
        with m.If(t1_ready):
            m.d.sync += [
                t1_valid.eq(t0_valid),
                t1.tags.eq(t0),
                t1.tap.eq(pick(hot, range(w.taps)) | ends),
                t1.pixel.eq(ring.pixel(base, x)),
            ]
        return skid

    def _entries(self, m: Module, taps) -> None:
        """Read the entries of the taps, one a cycle."""
        p, ring = self.parameters, self.ring
        head = {"tags": self.tags, "tap": self.tap_bits}

        # --- stages 2 (output of the RAM of counts), 3 (the bare register after it)
        t2_valid, t2_ready, t3_valid, t3_ready, a_ready = (Signal() for _ in range(5))
        t2 = Signal(taps.p.shape(), reset_less=True)
        start_bits = ring.pixel_bits if ring.exact else row_bits(ring.entries)
        t3 = Signal(data.StructLayout(head | {"start": start_bits}), reset_less=True)
        last = Signal(ring.channel_bits, reset_less=True)  # number of the pixel's last entry
        m.d.comb += [
            taps.ready.eq(t2_ready),
            t2_ready.eq(~t2_valid | t3_ready),
            t3_ready.eq(~t3_valid | a_ready),
        ]
        with m.If(t2_ready):
            m.d.sync += [t2_valid.eq(taps.valid), t2.eq(taps.p)]
        with m.If(t3_ready):
            m.d.sync += [t3_valid.eq(t2_valid), t3.tags.eq(t2.tags), t3.tap.eq(t2.tap)]
            m.d.sync += t3.start.eq(t2.pixel if ring.exact else t2.pixel * ring.channels)
        if ring.channel_bits:
            m.submodules.counts = counts = BlockMemory(rows=ring.pixels, bits=ring.channel_bits)
            m.d.comb += [
                # every entry overwrites the number of the one before: the last one stays
                counts.write.eq(self.write),
                counts.write_row.eq(self.pixel),
                counts.write_data.eq(self.index),
                counts.read.eq(taps.valid & t2_ready & ~taps.p.tags.token),
                counts.read_row.eq(taps.p.pixel),
            ]
            with m.If(t3_ready):
                m.d.sync += last.eq(counts.read_data)

        # --- stage A: addresses of the entries of a tap, from the last one down
        a_valid, b_valid, c_valid = Signal(), Signal(), Signal()
        b_ready, c_ready = Signal(), Signal()
        a = Signal(t3.shape(), reset_less=True)
        left = Signal.like(last)
        single = a.tags.token | (left == 0)  # a token, or the tap's last entry
        m.submodules.line = line = BlockMemory(rows=ring.entries, bits=ring.entry_bits)
        m.d.comb += [
            a_ready.eq(~a_valid | (b_ready & single)),
            line.write.eq(self.write),
            line.write_row.eq(self.entry_row),
            line.write_data.eq(self.entry),
            line.read.eq(a_valid & b_ready & ~a.tags.token),
            line.read_row.eq(Cat(left, a.start) if ring.exact else a.start),
        ]
        with m.If(a_valid & b_ready):
            m.d.sync += left.eq(left - 1)
            if not ring.exact:
                m.d.sync += a.start.eq(a.start + 1)
        with m.If(a_ready):
            m.d.sync += [
                a_valid.eq(t3_valid),
                a.eq(t3),
                left.eq(last),
            ]

        # --- stages B (output of the RAM), C (the bare register after it)
        b = Signal(data.StructLayout(head), reset_less=True)
        c = Signal(data.StructLayout(head), reset_less=True)
        entry = Signal(ring.entry_bits, reset_less=True)
        m.d.comb += b_ready.eq(~b_valid | c_ready)
        with m.If(b_ready):
            m.d.sync += [b_valid.eq(a_valid), b.tags.eq(a.tags), b.tap.eq(a.tap)]
        word, channel = entry[: p.input_bits], entry[p.input_bits :]
        with m.If(c_ready):
            m.d.sync += [c_valid.eq(b_valid), c.eq(b), entry.eq(line.read_data)]
        if ring.exact:
            row = Cat(channel, c.tap)
        else:
            first_row = Signal.like(self.row, reset_less=True)
            with m.If(c_ready):
                m.d.sync += first_row.eq(b.tap * ring.channels)
            row = first_row + channel
        if p.folding.form == "serial":
            self._bits(m, c_valid, c_ready, c, row, word)
            return
        is_word = c_valid & ~c.tags.token
        m.d.comb += [
            c_ready.eq(~c_valid | ~c.tags.token | self.proceed),
            self.event.eq(is_word),
            self.row.eq(row),
            self.fetch.eq(is_word),
            self.word.eq(word & is_word.replicate(p.input_bits)),
        ]
        self._show(m, c_valid, c)

    def _bits(self, m: Module, c_valid, c_ready, c, row, word) -> None:
        """Serial form, stage W: the word whose bits are walked."""
        w_valid, fresh, done = Signal(), Signal(), Signal()
        w = Signal.like(c, reset_less=True)
        w_row = Signal.like(self.row, name="w_row", reset_less=True)
        bits = Signal(self.parameters.input_bits, reset_less=True)
        low, left = Signal.like(bits), Signal.like(bits)
        take = Signal()
        m.d.comb += [
            low.eq(lowest_bit(bits)),
            left.eq(bits & ~low),
            done.eq((w.tags.token & self.proceed) | (~w.tags.token & ~left.any())),
            take.eq(~w_valid | done),
            c_ready.eq(~c_valid | take),
            self.event.eq(w_valid & ~w.tags.token),
            self.row.eq(w_row),
            self.fetch.eq(self.event & fresh),
            self.word.eq(low & self.event.replicate(len(low))),
        ]
        with m.If(take):
            m.d.sync += [w_valid.eq(c_valid), fresh.eq(1), w.eq(c), w_row.eq(row), bits.eq(word)]
        with m.Elif(self.event):
            m.d.sync += [bits.eq(left), fresh.eq(0)]
        self._show(m, w_valid, w)

    def _show(self, m: Module, valid, item) -> None:
        m.d.comb += [
            self.first_pass.eq(item.tags.first if self.parameters.passes > 1 else 1),
            self.token.eq(valid & item.tags.token),
            Cat(self.token_last, self.token_row_end, self.token_sample_end).eq(item.tap),
        ]
