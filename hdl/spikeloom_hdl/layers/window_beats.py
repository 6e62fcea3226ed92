"""Keeps rows of a stream of pixels in block RAM and gives out windows of it, tap by tap."""

from __future__ import annotations

from amaranth.hdl import Assert, Cat, Format, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.port import Port
from spikeloom.hardware.window import Window

from spikeloom_hdl.layers.lanes import port_signature
from spikeloom_hdl.layers.window_plan import WindowPlan
from spikeloom_hdl.memory import BlockMemory, row_bits

__all__ = ["WindowBeats", "lanes_of"]


def lanes_of(payload):
    """Words, or potentials, of a payload."""
    return payload.potentials if "potentials" in dict(payload.shape()) else payload.words


class WindowBeats(wiring.Component):
    """For every window: for every transfer of a pixel (``group``): that transfer of every tap.

    Taps outside of the sample are left out. A window starts as soon as the pixels that it looks at
    have come. The RAM is a ring of ``kernel_height + stride_y`` rows, each padded to a power of two
    transfers: while a row of windows is walked, the pixels of the next one come in, those of the
    next sample too. A row of pixels is free again once the last window that looks at it (or, for
    rows that no window looks at, the last one before it) has been read.

    Rate: a transfer in and a transfer out in every cycle, without a gap between taps, groups and
    windows. Between samples there is none either if the first window of the next sample has come:
    the ring has room for ``stride_y + pad_y - rest`` of its rows, rest = (height + 2 pad_y -
    kernel_height) mod stride_y; for more, transfers that are still missing come first. Latency:
    5 cycles from the transfer that completes a window to its first transfer out.

    window: geometry. port: the stream in.

    Members: ``i``; ``o`` with ``words`` of the group's lanes, ``tap`` (kernel row * kernel width +
    kernel column), ``group``, ``first_tap`` and ``last_tap`` of the group, ``first`` and ``last``
    group of a sample.
    """

    def __init__(self, window: Window, port: Port):
        if port.pixels != window.pixels:
            raise ValueError(f"{port.pixels} pixels are not {window.height} x {window.width}")
        self.window, self.port = window, port
        self.groups = port.transfers_per_pixel
        self.plan = WindowPlan(window, self.groups)
        word = signed(port.bits) if port.signed else unsigned(port.bits)
        payload = data.StructLayout(
            {
                "words": data.ArrayLayout(word, port.lanes),
                "tap": row_bits(window.taps),
                "group": row_bits(self.groups),
                "first_tap": 1,
                "last_tap": 1,
                "first": 1,
                "last": 1,
            }
        )
        super().__init__({"i": In(port_signature(port)), "o": Out(stream.Signature(payload))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ram = ram = BlockMemory(
            rows=self.plan.ring << len(Signal(self.plan.place["offset"])),
            bits=Shape.cast(self.o.p.words.shape()).width,
        )
        freed = Signal(self.plan.row_count)
        m.submodules.plan = plan = self.plan
        m.d.comb += plan.written.eq(self._write(m, ram, freed))
        walked, release = self._walk(m, ram)
        with m.If(walked):
            m.d.sync += freed.eq(freed + release)
        return m

    def _write(self, m: Module, ram: BlockMemory, freed: Signal):
        """Store transfers; return the place behind the newest one, (offset, row)."""
        w = self.window
        per_row = w.width * self.groups
        row = Signal(self.plan.row_count)
        ring_row = Signal(self.plan.place["ring_row"])
        offset = Signal(self.plan.place["offset"])
        sample_row = Signal(row_bits(w.height))  # asserted only
        taken, ends = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq((row - freed)[: len(row)] != self.plan.ring),
            taken.eq(self.i.valid & self.i.ready),
            ends.eq(offset == per_row - 1),
            ram.write.eq(taken),
            ram.write_row.eq(Cat(offset, ring_row)),
            ram.write_data.eq(lanes_of(self.i.p)),
        ]
        with m.If(taken):
            m.d.sync += offset.eq(offset + 1)
            with m.If(ends):
                m.d.sync += [
                    offset.eq(0),
                    row.eq(row + 1),
                    ring_row.eq(Mux(ring_row == self.plan.ring - 1, 0, ring_row + 1)),
                    sample_row.eq(Mux(sample_row == w.height - 1, 0, sample_row + 1)),
                ]
            expected = Cat((sample_row == 0) & (offset == 0), (sample_row == w.height - 1) & ends)
            m.d.sync += Assert(
                Cat(self.i.p.first, self.i.p.last) == expected,
                Format("transfer {} of row {} has wrong marks", offset, sample_row),
            )
        return Cat(offset, row)

    def _walk(self, m: Module, ram: BlockMemory):
        """Read the transfers of a window, groups outside, taps inside.

        Returns a signal for the last read of a window, and how many rows are free then.
        """
        w, groups = self.window, self.groups
        window, take = self.plan.o, self.plan.take
        valid = Signal()
        line = Signal(data.StructLayout(self.plan.place), reset_less=True)  # first tap of this row
        first_row = Signal(self.plan.place["ring_row"], reset_less=True)
        offset = Signal(self.plan.place["offset"], reset_less=True)
        extent = Signal(data.StructLayout(self.plan.extent), reset_less=True)
        left = Signal(data.StructLayout(self.plan.extent), reset_less=True)
        tap = Signal(self.o.p.tap.shape(), reset_less=True)
        tap_line = Signal.like(tap, reset_less=True)
        tap_first = Signal.like(tap, reset_less=True)
        group = Signal(range(groups), reset_less=True)
        first_tap, last_tap, last_group = Signal(reset_less=True), Signal(), Signal()
        first, last = Signal(reset_less=True), Signal(reset_less=True)
        release = Signal(self.plan.row_count, reset_less=True)
        walked = Signal()
        read, b_ready, c_ready, b_valid = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            last_tap.eq(~left.as_value().any()),
            last_group.eq(group == groups - 1),
            read.eq(valid & b_ready),
            walked.eq(read & last_tap & last_group),
            take.eq(window.ok & (~valid | walked)),
            ram.read.eq(read),
            ram.read_row.eq(Cat(offset, line.ring_row)),
        ]
        with m.If(read):
            m.d.sync += first_tap.eq(0)
            with m.If(left.columns.any()):
                m.d.sync += [
                    left.columns.eq(left.columns - 1),
                    offset.eq(offset + groups),
                    tap.eq(tap + 1),
                ]
            with m.Elif(left.rows.any()):
                next_row = Mux(line.ring_row == self.plan.ring - 1, 0, line.ring_row + 1)
                m.d.sync += [
                    left.rows.eq(left.rows - 1),
                    left.columns.eq(extent.columns),
                    line.ring_row.eq(next_row),
                    offset.eq(line.offset),
                    tap.eq(tap_line + w.kernel_width),
                    tap_line.eq(tap_line + w.kernel_width),
                ]
            with m.Else():  # the next group
                m.d.sync += [
                    left.eq(extent),
                    line.ring_row.eq(first_row),
                    line.offset.eq(line.offset + 1),
                    offset.eq(line.offset + 1),
                    tap.eq(tap_first),
                    tap_line.eq(tap_first),
                    group.eq(group + 1),
                    first_tap.eq(1),
                ]
        with m.If(walked):
            m.d.sync += valid.eq(0)
        with m.If(take):
            m.d.sync += [
                valid.eq(1),
                Cat(line.ring_row, line.offset).eq(Cat(window.ring_row, window.offset)),
                first_row.eq(window.ring_row),
                offset.eq(window.offset),
                Cat(extent.rows, extent.columns).eq(Cat(window.rows, window.columns)),
                Cat(left.rows, left.columns).eq(Cat(window.rows, window.columns)),
                Cat(tap, tap_line, tap_first).eq(Cat(window.tap, window.tap, window.tap)),
                Cat(first, last).eq(Cat(window.first, window.last)),
                release.eq(window.release),
                group.eq(0),
                first_tap.eq(1),
            ]

        # --- output of the RAM, then a bare register
        b = Signal(self.o.p.shape(), reset_less=True)
        c = Signal(self.o.p.shape(), reset_less=True)
        m.d.comb += [
            b_ready.eq(~b_valid | c_ready),
            c_ready.eq(~self.o.valid | self.o.ready),
            self.o.p.eq(c),
        ]
        with m.If(b_ready):
            m.d.sync += [
                b_valid.eq(valid),
                b.tap.eq(tap),
                b.group.eq(group),
                b.first_tap.eq(first_tap),
                b.last_tap.eq(last_tap),
                b.first.eq(first & (group == 0)),
                b.last.eq(last & last_group),
            ]
        with m.If(c_ready):
            m.d.sync += [self.o.valid.eq(b_valid), c.eq(b), c.words.eq(ram.read_data)]
        return walked, release
