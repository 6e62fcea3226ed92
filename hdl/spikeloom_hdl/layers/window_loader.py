"""Which pixels under each window have events: a window of flags that slides along the rows."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.folding import ceil_div
from spikeloom.hardware.synapses import ConvParameters
from spikeloom.hardware.window import Window

from spikeloom_hdl.layers.window_ring import Ring, table

__all__ = ["WindowLoader", "window_layout"]


def window_layout(parameters: ConvParameters) -> data.StructLayout:
    """A window.

    flags: of every slice, a bit a tap that has entries; those in the padding have none.
    right: column under the right column of the kernel, modulo a power of two.
    top: ring row under the upper row of the kernel.
    row_end, sample_end: it is the last of its row, or of its sample.
    """
    ring, slices = Ring(parameters), parameters.folding.slices
    return data.StructLayout(
        {
            "flags": data.ArrayLayout(parameters.window.taps, slices),
            "right": ring.x_bits,
            "top": ring.row_bits,
            "row_end": 1,
            "sample_end": 1,
        }
    )


def bottom(window: Window, y: int) -> int:
    """Lowest input row under a row of windows."""
    return min(y * window.stride_y - window.pad_y + window.kernel_height - 1, window.height - 1)


class WindowLoader(wiring.Component):
    """Keeps a flag a pixel and slice; gives windows of them, as soon as their pixels have come.

    It reads a column of flags a cycle, those of all ring rows side by side, so a window takes
    stride_x * units cycles, and the first of a row at most kernel_width, and one between rows.

    unit: of ``units``; it gives the windows unit, unit + units ... of every row.
    Members: ``done``, ``flags``, ``x``, ``hot`` and ``row_done`` from the RowWriter; ``o``.
    """

    def __init__(self, parameters: ConvParameters, unit: int):
        p, w = parameters, parameters.window
        self.parameters = p
        self.ring = ring = Ring(p)
        # columns: those under the right column of the kernel, one a cycle
        self.step = w.stride_x * p.folding.units
        self.left = unit * w.stride_x - w.pad_x  # of the row's first window
        self.begin = max(0, self.left)
        self.first_right = self.left + w.kernel_width - 1
        windows = ceil_div(w.out_width - unit, p.folding.units)
        self.end = self.first_right + (windows - 1) * self.step
        super().__init__(
            {
                "done": In(1),
                "flags": In(p.folding.slices),
                "x": In(ring.x_bits),
                "hot": In(ring.rows),
                "row_done": In(1),
                "o": Out(stream.Signature(window_layout(p))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, w, ring = self.parameters, self.parameters.window, self.ring
        slices, high, wide = p.folding.slices, w.kernel_height, w.kernel_width

        # --- where the next column is
        y = Signal(range(w.out_height))
        column = Signal(range(max(self.end + 1, w.width)), init=self.begin)
        complete = Signal()  # a window, with this column
        top = Signal(range(ring.rows), init=-w.pad_y % ring.rows)
        # complete rows less the number of the lowest row under the windows
        ahead = Signal(range(-ring.rows - w.stride_y - 1, ring.rows + 2), init=-bottom(w, 0))
        turn = Signal()  # a cycle between rows of windows
        # in a row that is being written the column follows x, if it begins no further
        there = self.x > column if self.begin else self.x != column
        ends, last, level = Signal(), Signal(), Signal()
        go, l1_ready = Signal(), Signal()
        m.d.comb += [
            ends.eq(column == self.end),
            last.eq(y == w.out_height - 1),
            level.eq(ahead == 0),
            go.eq(l1_ready & ~turn & ((ahead > 0) | (level & there))),
        ]
        if self.step & (self.step - 1) == 0:
            phase = (column ^ self.first_right) & (self.step - 1)
            m.d.comb += complete.eq((column >= self.first_right) & (phase == 0))
        else:
            first = self.first_right - self.begin
            missing = Signal(range(max(self.step, first + 1)), init=first)  # columns before it
            m.d.comb += complete.eq(missing == 0)
            with m.If(turn):
                m.d.sync += missing.eq(first)
            with m.Elif(go):
                m.d.sync += missing.eq(Mux(complete, self.step - 1, missing - 1))
        fall = {
            row: bottom(w, row + 1) - bottom(w, row)
            if row < w.out_height - 1
            else w.height + bottom(w, 0) - bottom(w, row)
            for row in range(w.out_height)
        }
        step = Signal.like(ahead)
        m.d.comb += step.eq(self.row_done)
        with m.If(turn):
            m.d.comb += step.eq(Mux(self.row_done, 1 - w.stride_y, -w.stride_y))
            for row, rows in fall.items():
                if rows != w.stride_y:
                    with m.If(y == row):
                        m.d.comb += step.eq(Mux(self.row_done, 1 - rows, -rows))
        m.d.sync += [ahead.eq(ahead + step), turn.eq(go & ends)]
        with m.If(go):
            m.d.sync += column.eq(column + 1)
        with m.If(turn):
            rest = w.height - (w.out_height - 1) * w.stride_y
            next_top = {
                row + (end << ring.row_bits): (row + (rest if end else w.stride_y)) % ring.rows
                for end in range(2)
                for row in range(ring.rows)
            }
            m.d.sync += [
                column.eq(self.begin),
                y.eq(Mux(last, 0, y + 1)),
                top.eq(table(m, Cat(top, last), next_top, bits=ring.row_bits)),
            ]

        # --- stages 1 (output of the RAMs), 2 (the bare register after them)
        tags = data.StructLayout(
            {"complete": 1, "first": 1, "mask": high, "top": ring.row_bits, "right": ring.x_bits}
            | {"row_end": 1, "sample_end": 1}
        )
        l1_valid, l2_valid, l2_ready, l3_ready = Signal(), Signal(), Signal(), Signal()
        l1, l2 = Signal(tags, reset_less=True), Signal(tags, reset_less=True)
        mask = Cat(self._inside(y, kernel_row) for kernel_row in range(high))
        mask &= (column < w.width).replicate(high)
        m.d.comb += [l1_ready.eq(~l1_valid | l2_ready), l2_ready.eq(~l2_valid | l3_ready)]
        with m.If(l1_ready):
            m.d.sync += [
                l1_valid.eq(go),
                l1.complete.eq(complete),
                l1.first.eq(column == self.begin),
                l1.mask.eq(mask),
                l1.top.eq(top),
                l1.right.eq(column),
                l1.row_end.eq(ends),
                l1.sample_end.eq(ends & last),
            ]
        with m.If(l2_ready):
            m.d.sync += [l2_valid.eq(l1_valid), l2.eq(l1)]
        found = []
        for row in range(ring.rows):
            # Not a BlockMemory: a row that the window does not look at may be written where it is
            # read. What is read of it, anything, is masked or overwritten.
            ram = memory.Memory(
                shape=unsigned(slices), depth=max(2, w.width), init=[], attrs={"no_rw_check": 1}
            )
            m.submodules[f"flags_{row}"] = ram
            write, read = ram.write_port(), ram.read_port()
            register = Signal(slices, name=f"found_{row}", reset_less=True)
            found.append(register)
            m.d.comb += [
                write.en.eq(self.done & self.hot[row]),
                write.addr.eq(self.x),
                write.data.eq(self.flags),
                read.en.eq(go),
                read.addr.eq(column),
            ]
            with m.If(l2_ready):
                m.d.sync += register.eq(read.data)

        # --- stage 3: the window; its kernel rows are put in order here
        valid = Signal()
        window = Signal(self.o.payload.shape(), reset_less=True)
        m.d.comb += [
            self.o.valid.eq(valid),
            self.o.payload.eq(window),
            l3_ready.eq(~valid | self.o.ready),
        ]
        with m.If(l3_ready):
            m.d.sync += valid.eq(l2_valid & l2.complete)
        with m.If(l3_ready & l2_valid):
            m.d.sync += [
                window.right.eq(l2.right),
                window.top.eq(l2.top),
                window.row_end.eq(l2.row_end),
                window.sample_end.eq(l2.sample_end),
            ]
            for s in range(slices):
                for kernel_row in range(high):
                    rows = Cat(found[(r + kernel_row) % ring.rows][s] for r in range(ring.rows))
                    new = rows.bit_select(l2.top, 1)
                    taps = [window.flags[s][kernel_row * wide + k] for k in range(wide)]
                    for k in range(wide - 1):
                        # columns left of the sample: nothing of the row before may stay
                        keep = ~l2.first if self.left < 0 else Const(1, 1)
                        m.d.sync += taps[k].eq(taps[k + 1] & keep)
                    m.d.sync += taps[wide - 1].eq(new & l2.mask[kernel_row])
        return m

    def _inside(self, y: Signal, kernel_row: int):
        """Whether a row of the kernel lies within the sample."""
        w = self.parameters.window
        rows = [y_ * w.stride_y - w.pad_y + kernel_row for y_ in range(w.out_height)]
        outside = [y == y_ for y_, row in enumerate(rows) if not 0 <= row < w.height]
        return ~reduce(or_, outside, Const(0, 1))
