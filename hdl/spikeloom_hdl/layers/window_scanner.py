"""The non-zero words under the windows of a convolution, window by window."""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.synapses import ConvParameters

from spikeloom_hdl.layers.window_loader import WindowLoader, window_layout
from spikeloom_hdl.layers.window_ring import RowWriter
from spikeloom_hdl.layers.window_walker import WindowWalker
from spikeloom_hdl.stream import words_signature

__all__ = ["WindowScanner"]


class WindowScanner(wiring.Component):
    """Stores the non-zero words of a few input rows; replays those under each window, every pass.

    An output pixel plays the part here that a sample plays for a fully connected layer. A ring of
    kernel_height + stride_y rows: while a row of windows is worked on, the next rows come, those of
    the next sample too. A window starts as soon as its pixels have come.

    Rate: a pass over a window takes e + 1 cycles, with e events in its fullest slice (non-zero
    words; set bits in the serial form), and one more for each cycle that ``proceed`` is late. But
    a row of windows takes no less than its columns: stride_x * units cycles a window and
    kernel_width + 1 more; and at the input, a transfer takes as many cycles as its fullest slice
    has non-zero words, one at least.
    Latency: from the last transfer that a window needs to its first event (or token), the cycles
    of that transfer and 13 more, 14 in the serial form.

    parameters: of the layer. unit: it works on the output columns unit, unit + units ... of every
    row.

    Members: ``i``; ``lists``, the walkers of the slices (submodules whose reading side, that of an
    EventList, belongs to the emitter; their tokens are taken together, in one cycle);
    ``entered_events`` and ``entered_spikes`` count non-zero words and set bits as they enter.
    """

    def __init__(self, parameters: ConvParameters, unit: int = 0):
        p, fold = parameters, parameters.folding
        if not 0 <= unit < fold.units:
            raise ValueError(f"unit must be in 0..{fold.units - 1}, not {unit}")
        self.parameters, self.unit = p, unit
        self.lists = [WindowWalker(p) for _ in range(fold.slices)]
        super().__init__(
            {
                "i": In(words_signature(fold.scan, p.input_bits)),
                "entered_events": Out(range(fold.slices + 1)),
                "entered_spikes": Out(range(fold.slices * p.input_bits + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        m.submodules.writer = writer = RowWriter(p)
        m.submodules.loader = loader = WindowLoader(p, self.unit)
        wiring.connect(m, wiring.flipped(self.i), writer.i)
        m.d.comb += [
            loader.done.eq(writer.done),
            loader.flags.eq(writer.flags),
            loader.x.eq(writer.x),
            loader.hot.eq(writer.hot),
            loader.row_done.eq(writer.row_done),
            self.entered_events.eq(writer.events),
            self.entered_spikes.eq(writer.spikes),
        ]

        # --- the slices get a window together: they meet at the token after it anyway
        takes = Signal()
        window = Signal(window_layout(p), reset_less=True)
        m.d.comb += [
            loader.o.ready.eq(Cat(one.take for one in self.lists).all()),
            takes.eq(loader.o.valid & loader.o.ready),
        ]
        with m.If(takes):
            m.d.sync += window.eq(loader.o.p)
        for s, one in enumerate(self.lists):
            m.submodules[f"slice_{s}"] = one
            m.d.comb += [
                one.write.eq(writer.write[s]),
                one.entry.eq(writer.entry[s]),
                one.entry_row.eq(writer.entry_row[s]),
                one.index.eq(writer.index[s]),
                one.pixel.eq(writer.pixel),
                one.load.eq(takes),
                one.flags.eq(loader.o.p.flags[s]),
                one.right.eq(window.right),
                one.top.eq(window.top),
                one.row_end.eq(window.row_end),
                one.sample_end.eq(window.sample_end),
            ]

        # --- the last token of a row of windows: every slice has read what it needs
        taken = Cat(one.token & one.proceed for one in self.lists)
        first = self.lists[0]
        free, free_last = Signal(), Signal(reset_less=True)
        m.d.comb += [writer.free.eq(free), writer.free_last.eq(free_last)]
        m.d.sync += [
            Assert(taken.all() | ~taken.any(), "tokens of the slices are not taken together"),
            free.eq(first.token & first.proceed & first.token_last & first.token_row_end),
            free_last.eq(first.token_sample_end),
        ]
        return m
