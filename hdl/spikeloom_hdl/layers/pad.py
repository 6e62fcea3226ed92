"""A frame of constant words around every sample."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.fixed_image import LayerContents
from spikeloom.hardware.memory_image import Kind
from spikeloom.hardware.plain_layers import PadParameters

from spikeloom_hdl.layers.lanes import port_signature
from spikeloom_hdl.layers.loaded_rows import LoadedRows
from spikeloom_hdl.layers.reset_cycle import connect_input, reset_cycle
from spikeloom_hdl.layers.skid import Skid
from spikeloom_hdl.stream import LoadBus

__all__ = ["Pad"]


class _Frame(wiring.Component):
    """The sample goes through where it lies; elsewhere ``constant`` words, a pixel's in turn.

    Members: ``i``, ``o``; ``constant`` with ``constant_valid``, next transfer with ``take``.
    """

    def __init__(self, parameters: PadParameters):
        p = self.parameters = parameters
        output = port_signature(p.port_out)
        super().__init__(
            {
                "i": In(port_signature(p.ports_in[0])),
                "o": Out(output),
                "constant": In(output.members["payload"].shape["words"].shape),
                "constant_valid": In(1),
                "take": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        x, y = Signal(range(p.out_width)), Signal(range(p.out_height))
        group = Signal(range(p.drain_rows))
        starts, inside, ready = Signal(), Signal(), Signal()
        last_group, last_x, last_y = Signal(), Signal(), Signal()
        m.d.comb += [
            last_group.eq(group == p.drain_rows - 1),
            last_x.eq(x == p.out_width - 1),
            last_y.eq(y == p.out_height - 1),
            starts.eq((x == 0) & (y == 0) & (group == 0)),
            inside.eq((x >= p.left) & (x < p.left + p.width)),
        ]
        lines = Signal()  # of the frame that the sample lies in
        m.d.comb += lines.eq((y >= p.top) & (y < p.top + p.height))
        # the frame waits for its sample: what is not there yet might never come, and constants
        # are loaded while nothing is inside
        sample = Signal()
        m.d.comb += [
            sample.eq(inside & lines),
            ready.eq((~self.o.valid | self.o.ready) & self.constant_valid),
            self.take.eq(ready & (self.i.valid | ~(sample | starts))),
            self.i.ready.eq(ready & sample),
        ]
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(self.take),
                self.o.p.words.eq(Mux(sample, self.i.p.words.as_value(), self.constant)),
                self.o.p.first.eq(starts),
                self.o.p.last.eq(last_group & last_x & last_y),
            ]
        with m.If(self.take):
            m.d.sync += group.eq(Mux(last_group, 0, group + 1))
            with m.If(last_group):
                m.d.sync += x.eq(Mux(last_x, 0, x + 1))
                with m.If(last_x):
                    m.d.sync += y.eq(Mux(last_y, 0, y + 1))
        return m


class Pad(wiring.Component):
    """Adds ``top``, ``bottom``, ``left`` and ``right`` pixels of constant words to every sample.

    Rate: an output transfer a cycle, ``port_out.transfers`` cycles a sample. Latency: a cycle.
    A frame begins when the first transfer of its sample is offered.

    Members: ``i``, ``o``; ``load``, the words, as biases; ``abort`` drops everything inside,
    ``resetting`` while that lasts.

    contents: of the memories, where they are fixed; then ``load`` only reads.
    """

    def __init__(self, parameters: PadParameters, *, contents: LayerContents | None = None):
        p = self.parameters = parameters
        self.contents = contents
        super().__init__(
            {
                "i": In(port_signature(p.ports_in[0])),
                "o": Out(port_signature(p.port_out)),
                "load": In(LoadBus()),
                "abort": In(1),
                "resetting": Out(1, init=1),
            }
        )

    @property
    def load_latency(self) -> int:
        """Cycles from ``load.read`` to ``load.read_valid``."""
        return LoadedRows.load_latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        held = reset_cycle(m, self)
        frame, skid = _Frame(p), Skid(self.o.payload.shape())
        rows = LoadedRows(
            p.drain_rows,
            {Kind.BIAS: (p.folding.lanes, unsigned(p.bits))},
            contents=self.contents,
        )
        m.submodules.frame, m.submodules.rows = held(frame), held(rows)
        m.submodules.skid = held(skid)
        connect_input(m, self, self.i, frame.i)
        wiring.connect(m, wiring.flipped(self.load), rows.load)
        wiring.connect(m, frame.o, skid.i)
        wiring.connect(m, skid.o, wiring.flipped(self.o))
        m.d.comb += [
            frame.constant.eq(rows.bias),
            frame.constant_valid.eq(rows.valid),
            rows.take.eq(frame.take),
        ]
        return m
