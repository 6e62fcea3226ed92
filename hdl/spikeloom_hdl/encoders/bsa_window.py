"""The window of a decision of BSA: rows of state in RAM, the steps of a frame, what stays valid."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.encoders import BSAParameters, channel_bits

from spikeloom_hdl.memory import BlockMemory

__all__ = [
    "StateRows",
    "Window",
    "closing_step",
    "next_row",
    "row_layout",
    "sample_step",
    "step_layout",
]


def row_layout(p: BSAParameters) -> data.StructLayout:
    """State of a channel: the residuals of the next window, without its newest word.

    valid: which of them are samples of the frame. opened: the frame's first spike was decided.
    """
    words = p.taps - 1
    return data.StructLayout(
        {
            "opened": 1,
            "valid": words,
            "residuals": data.ArrayLayout(signed(p.format.width + 2), words),
        }
    )


def step_layout(p: BSAParameters) -> data.StructLayout:
    """One step of a channel: its window moves on by a sample, or (closing) by nothing.

    left: closing steps that the frame still needs after this one. last: it needs none.
    """
    return data.StructLayout(
        {
            "sample": signed(p.format.width),
            "channel": channel_bits(p.channels),
            "first": 1,
            "last": 1,
            "closing": 1,
            "left": p.taps.bit_length(),
        }
    )


def sample_step(p: BSAParameters, step: Any, payload: Any) -> list[Any]:
    """Statements that make the step of a sample."""
    return [
        step.sample.eq(payload.sample),
        step.channel.eq(payload.channel),
        step.first.eq(payload.first),
        step.last.eq(payload.last if p.taps == 1 else 0),
        step.closing.eq(0),
        step.left.eq(Mux(payload.last, p.taps - 1, 0)),
    ]


def closing_step(step: Any, *, channel: Any, left: Any) -> list[Any]:
    """Statements that make the step after one that has steps left."""
    return [
        step.channel.eq(channel),
        step.first.eq(0),
        step.last.eq(left == 1),
        step.closing.eq(1),
        step.left.eq(left - 1),
    ]


class Window:
    """The words r[t .. t+taps-1] of a step; the first decides, the last is new.

    row: state of the channel. step: ``sample``, ``closing``, and ``first``, which makes the frame
    begin here whatever the row says. The valid words of a window that decides are the first ones.

    residuals, valid: words, signed, width + 2 bits, and whether each is a sample of the frame.
    opened: a spike of this frame was decided before.
    """

    def __init__(
        self, m: Module, p: BSAParameters, row: Any, *, sample: Any, closing: Any, first: Any
    ):
        self.residuals, self.valid = [], []
        for k in range(p.taps):
            residual = Signal(signed(p.format.width + 2), name=f"residual_{k}")
            valid = Signal(name=f"valid_word_{k}")
            if k < p.taps - 1:
                m.d.comb += [residual.eq(row.residuals[k]), valid.eq(row.valid[k] & ~first)]
            else:
                m.d.comb += [residual.eq(sample), valid.eq(~closing)]
            self.residuals.append(residual)
            self.valid.append(valid)
        self.opened = row.opened & ~first


def next_row(opened: Any, valid: list[Any], residuals: list[Any], last: Any) -> Any:
    """Row after a step; residuals as the spike left them. A frame that ended leaves none valid."""
    return Cat((opened | valid[0]) & ~last, *valid[1:], *residuals[1:])


class StateRows(wiring.Component):
    """Row of each channel, all zeros at first: in RAM, or a register if there is one channel.

    ``row`` comes the cycle after ``read``. ``busy``: after reset, while every row is zeroed.
    A row must not be read in the cycle that writes it.

    clear: how many of the low bits have to be zero at first, where not all.
    """

    def __init__(self, channels: int, layout: data.StructLayout, *, clear: int | None = None):
        self.channels, self.layout = channels, layout
        self._clear = layout.size if clear is None else clear
        bits = channel_bits(channels)
        super().__init__(
            {
                "read": In(1),
                "read_channel": In(bits),
                "row": Out(layout),
                "write": In(1),
                "write_channel": In(bits),
                "new_row": In(layout),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.channels == 1:
            with m.If(self.write):
                m.d.sync += self.row.eq(self.new_row)
            return m
        rows = 1 << channel_bits(self.channels)
        sweep = Signal(range(rows + 1))
        bits, clear = self.new_row.as_value(), self._clear
        m.submodules.ram = ram = BlockMemory(rows=rows, bits=len(bits))
        m.d.comb += [
            self.busy.eq(~sweep[-1]),
            ram.read.eq(self.read),
            ram.read_row.eq(self.read_channel),
            self.row.eq(ram.read_data),
            ram.write.eq(self.write | self.busy),
            ram.write_row.eq(Mux(self.busy, sweep, self.write_channel)),
            ram.write_data.eq(Cat(Mux(self.busy, 0, bits[:clear]), bits[clear:])),
        ]
        with m.If(self.busy):
            m.d.sync += sweep.eq(sweep + 1)
        return m
