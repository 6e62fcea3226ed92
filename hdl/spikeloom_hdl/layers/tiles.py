"""Windows that do not overlap: reduced while their pixels come in, a transfer a cycle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.port import Port
from spikeloom.hardware.window import Window

from spikeloom_hdl.layers.lanes import port_signature
from spikeloom_hdl.layers.window_beats import lanes_of
from spikeloom_hdl.memory import BlockMemory, row_bits

__all__ = ["Tiles", "values_signature"]

#: Transfers from one access of an entry of the RAM to the next, at least.
_DISTANCE = 3


def values_signature(lanes: int, value: Shape) -> stream.Signature:
    """Stream of the values of windows, ``lanes`` channels a transfer."""
    return stream.Signature(
        data.StructLayout({"values": data.ArrayLayout(value, lanes), "first": 1, "last": 1})
    )


class Tiles(wiring.Component):
    """Reduces every window (a maximum, a sum) in a RAM with an entry for each window of a row.

    Rate: a transfer in a cycle, always, while ``o`` is taken. Latency: 4 cycles from the transfer
    that completes a value to the value.

    window: geometry that :meth:`can` be done. port: the stream in. value: shape of a value.
    reduce: of two values, one. Members: ``i``; ``o``, values of the windows.
    """

    def __init__(self, window: Window, port: Port, value: Shape, reduce: Callable[[Any, Any], Any]):
        if not self.can(window, port):
            raise ValueError("windows that overlap, or padding: walk them")
        self.window, self.port = window, port
        self.value, self.reduce = value, reduce
        self.groups = port.transfers_per_pixel
        super().__init__(
            {"i": In(port_signature(port)), "o": Out(values_signature(port.lanes, value))}
        )

    @staticmethod
    def can(window: Window, port: Port) -> bool:
        """Whether windows lie side by side, in rows long enough for the pipeline of the RAM."""
        w = window
        return (
            not (w.pad_x or w.pad_y)
            and (w.stride_x >= w.kernel_width or w.out_width == 1)
            and (w.stride_y >= w.kernel_height or w.out_height == 1)
            and w.width * port.transfers_per_pixel >= _DISTANCE
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        w, lanes = self.window, self.port.lanes
        values = data.ArrayLayout(self.value, lanes)
        move = Signal()  # the pipeline is not stalled
        m.d.comb += [move.eq(~self.o.valid | self.o.ready), self.i.ready.eq(move)]
        place = self._place(m)

        # --- taps of a window come at least `groups` transfers after each other: if these are too
        # few for the RAM, neighbours are reduced in registers first
        incoming = Signal(values)
        m.d.comb += [incoming[k].eq(lanes_of(self.i.p)[k]) for k in range(lanes)]
        starts, ends, active = place["starts_row"], place["ends_row"], place["active"]
        if self.groups < _DISTANCE and w.kernel_width > 1:
            run = [Signal(values, name=f"run_{g}", reset_less=True) for g in range(self.groups)]
            reduced = Signal(values)
            for k in range(lanes):
                value = self.reduce(incoming[k], run[-1][k])
                m.d.comb += reduced[k].eq(Mux(place["starts_column"], incoming[k], value))
            with m.If(self.i.valid & move):
                m.d.sync += [new.eq(old) for new, old in zip(run, [reduced, *run], strict=False)]
            incoming = reduced
            active &= place["ends_column"]
        else:
            starts &= place["starts_column"]
            ends &= place["ends_column"]

        # --- stages: a (address of the RAM), b (its output), c (the bare register), o
        stage = data.StructLayout(
            {"values": values, "entry": len(place["entry"]), "starts": 1, "ends": 1}
            | {"first": 1, "last": 1}
        )
        a, b, c = (Signal(stage, name=name, reset_less=True) for name in "abc")
        a_valid, b_valid, c_valid = Signal(), Signal(), Signal()
        m.submodules.ram = ram = BlockMemory(rows=1 << len(a.entry), bits=len(a.values.as_value()))
        old = Signal(values, reset_less=True)
        new = Signal(values)
        for k in range(lanes):
            reduced = self.reduce(c.values[k], old[k])
            m.d.comb += new[k].eq(Mux(c.starts, c.values[k], reduced))
        m.d.comb += [
            ram.read.eq(a_valid & ~a.starts & move),
            ram.read_row.eq(a.entry),
            ram.write.eq(c_valid & ~c.ends & move),
            ram.write_row.eq(c.entry),
            ram.write_data.eq(new),
        ]
        with m.If(move):
            m.d.sync += [
                a_valid.eq(self.i.valid & active),
                a.values.eq(incoming),
                a.entry.eq(place["entry"]),
                a.starts.eq(starts),
                a.ends.eq(ends),
                a.first.eq(place["first"]),
                a.last.eq(place["last"]),
                b_valid.eq(a_valid),
                b.eq(a),
                c_valid.eq(b_valid),
                c.eq(b),
                old.eq(ram.read_data),
                self.o.valid.eq(c_valid & c.ends),
                self.o.p.values.eq(new),
                self.o.p.first.eq(c.first),
                self.o.p.last.eq(c.last),
            ]
        return m

    def _place(self, m: Module) -> dict[str, Any]:
        """Count transfers: which window the present one belongs to, and where in it it lies."""
        w, groups = self.window, self.groups
        group = Signal(range(groups))
        last_group = group == groups - 1
        taken = self.i.valid & self.i.ready

        def axis(name: str, size: int, kernel: int, stride: int, count: int, step: Any):
            """Along one axis: tap and window of the pixel, and whether a window looks at it."""
            stride = stride if count > 1 else size
            tap = Signal(range(stride), name=f"tap_{name}")
            tile = Signal(range(-(-size // stride)), name=f"tile_{name}")
            at = Signal(range(size), name=f"at_{name}")
            with m.If(step):
                m.d.sync += [at.eq(at + 1), tap.eq(tap + 1)]
                with m.If(tap == stride - 1):
                    m.d.sync += [tap.eq(0), tile.eq(tile + 1)]
                with m.If(at == size - 1):
                    m.d.sync += [at.eq(0), tap.eq(0), tile.eq(0)]
            return tap, tile, at == size - 1, (tap < kernel) & (tile < count)

        pixel = taken & last_group
        tap_x, tile_x, row_ends, active_x = axis(
            "x", w.width, w.kernel_width, w.stride_x, w.out_width, pixel
        )
        tap_y, tile_y, _, active_y = axis(
            "y", w.height, w.kernel_height, w.stride_y, w.out_height, pixel & row_ends
        )
        with m.If(taken):
            m.d.sync += group.eq(Mux(last_group, 0, group + 1))
        return {
            "active": active_x & active_y,
            "entry": Cat(group, tile_x[: row_bits(w.out_width)]),
            "starts_column": tap_x == 0,
            "ends_column": tap_x == w.kernel_width - 1,
            "starts_row": tap_y == 0,
            "ends_row": tap_y == w.kernel_height - 1,
            "first": (tile_x == 0) & (tile_y == 0) & (group == 0),
            "last": (tile_x == w.out_width - 1) & (tile_y == w.out_height - 1) & last_group,
        }
