"""Where the windows of a stream of pixels lie in a ring of rows, and what each waits for."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.window import Window

from spikeloom_hdl.memory import row_bits

__all__ = ["WindowPlan"]


class WindowPlan(wiring.Component):
    """Gives the windows of sample after sample, prepared two ahead: one in every cycle.

    Rows of pixels lie in a ring of ``ring`` = kernel_height + stride_y rows, and are numbered
    modulo a power of two that tells "ahead" from "behind" by its sign.

    window: geometry. groups: transfers of a pixel.

    Members: ``written``, the place behind the newest transfer: its offset in the row, then the
    number of the row. ``o``, the next window: ``ok`` says that its pixels have come, ``take`` goes
    on to the one after it. It begins at ``offset`` (in transfers) of ``ring_row``, with tap
    ``tap``, and has ``rows`` + 1 by ``columns`` + 1 taps in the sample. After it, ``release`` rows
    are free. ``first`` and ``last`` window of a sample.
    """

    def __init__(self, window: Window, groups: int):
        self.window, self.groups = window, groups
        self.ring = window.kernel_height + window.stride_y
        self.row_count = unsigned((4 * self.ring + 4).bit_length())
        self.place = {
            "ring_row": unsigned(row_bits(self.ring)),
            "offset": unsigned(row_bits(window.width * groups)),
        }
        self.extent = {
            "rows": unsigned(row_bits(window.kernel_height)),
            "columns": unsigned(row_bits(window.kernel_width)),
        }
        self.common = {
            **self.place,
            **self.extent,
            "release": self.row_count,
            "first": unsigned(1),
            "last": unsigned(1),
        }
        found = data.StructLayout({**self.common, "tap": row_bits(window.taps), "ok": 1})
        offset, row = self.place["offset"], self.row_count
        super().__init__(
            {
                "written": In(offset.width + row.width),
                "o": Out(found),
                "take": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        w, groups = self.window, self.groups
        written, take = self.written, self.take
        ready = Signal()  # of the first stage

        # --- the corner of the next window, in pixels, and x in transfers too
        x = Signal(range(-w.pad_x, w.width), init=-w.pad_x)
        x_offset = Signal(range(-w.pad_x * groups, w.width * groups), init=-w.pad_x * groups)
        y = Signal(range(-w.pad_y, w.height), init=-w.pad_y)
        out_x, out_y = Signal(range(w.out_width)), Signal(range(w.out_height))
        base = Signal(self.row_count)  # of the first row inside the sample
        ring_row = Signal(self.place["ring_row"])
        last_x, last_y = Signal(), Signal()
        release = Signal(range(self.ring + 1))
        top, below = Signal(range(w.height)), Signal(range(w.height + 1))
        ring_next = Signal(range(2 * self.ring))
        m.d.comb += [
            last_x.eq(out_x == w.out_width - 1),
            last_y.eq(out_y == w.out_height - 1),
            top.eq(Mux(y < 0, 0, y)),
            below.eq(Mux(last_y, w.height, Mux(y + w.stride_y < 0, 0, y + w.stride_y))),
            release.eq(below - top),
            ring_next.eq(ring_row + release),
        ]
        with m.If(ready):
            m.d.sync += [
                out_x.eq(out_x + 1),
                x.eq(x + w.stride_x),
                x_offset.eq(x_offset + w.stride_x * groups),
            ]
            with m.If(last_x):
                m.d.sync += [
                    out_x.eq(0),
                    x.eq(-w.pad_x),
                    x_offset.eq(-w.pad_x * groups),
                    out_y.eq(Mux(last_y, 0, out_y + 1)),
                    y.eq(Mux(last_y, -w.pad_y, y + w.stride_y)),
                    base.eq(base + release),
                    ring_row.eq(ring_next - Mux(ring_next >= self.ring, self.ring, 0)),
                ]

        # --- stage A: the part of it that lies in the sample
        kernel_row = unsigned(row_bits(w.kernel_height))
        kernel_column = unsigned(row_bits(w.kernel_width))
        a = Signal(
            data.StructLayout(
                {
                    **self.common,
                    "kernel_row": kernel_row,  # of the first tap in the sample
                    "kernel_column": kernel_column,
                    "base": self.row_count,
                    "end": self.place["offset"],  # the last transfer that it waits for
                }
            ),
            reset_less=True,
        )
        a_valid, b_valid = Signal(), Signal()
        b_ready = Signal()
        m.d.comb += [b_ready.eq(~b_valid | take), ready.eq(~a_valid | b_ready)]
        over_x, over_y = x > w.width - w.kernel_width, y > w.height - w.kernel_height
        start_x, start_y = Signal(kernel_column), Signal(kernel_row)
        m.d.comb += [start_x.eq(Mux(x < 0, -x, 0)), start_y.eq(Mux(y < 0, -y, 0))]
        with m.If(ready):
            m.d.sync += [
                a_valid.eq(1),
                a.ring_row.eq(ring_row),
                a.offset.eq(Mux(x < 0, 0, x_offset)),
                a.rows.eq(Mux(over_y, w.height - 1 - y, w.kernel_height - 1) - start_y),
                a.columns.eq(Mux(over_x, w.width - 1 - x, w.kernel_width - 1) - start_x),
                a.release.eq(Mux(last_x, release, 0)),
                a.first.eq((out_x == 0) & (out_y == 0)),
                a.last.eq(last_x & last_y),
                a.kernel_row.eq(start_y),
                a.kernel_column.eq(start_x),
                a.base.eq(base),
                a.end.eq(
                    Mux(over_x, w.width * groups - 1, x_offset + (w.kernel_width * groups - 1))
                ),
            ]

        # --- stage B: what it waits for. The comparison ends in a register
        b = Signal(self.o.shape(), reset_less=True)
        awaits = Signal(len(written), reset_less=True)
        candidate = Signal(len(written))
        m.d.comb += candidate.eq(awaits)
        with m.If(b_ready):
            m.d.comb += candidate.eq(Cat(a.end, (a.base + a.rows)[: len(a.base)]))
            m.d.sync += b_valid.eq(a_valid)
            m.d.sync += [b[name].eq(a[name]) for name in self.common]
            m.d.sync += b.tap.eq(a.kernel_row * w.kernel_width + a.kernel_column)
        m.d.sync += [awaits.eq(candidate), b.ok.eq((candidate - written)[len(written) - 1])]
        m.d.comb += [self.o.eq(b), self.o.ok.eq(b_valid & b.ok)]
        return m
