"""A layer that only fires: potentials in, packed words out."""

from __future__ import annotations

from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.fixed_image import LayerContents
from spikeloom.hardware.memory_image import Kind
from spikeloom.hardware.plain_layers import FireParameters

from spikeloom_hdl.layers.lanes import port_signature
from spikeloom_hdl.layers.loaded_rows import LoadedRows
from spikeloom_hdl.layers.reset_cycle import reset_cycle
from spikeloom_hdl.layers.skid import Skid
from spikeloom_hdl.neuron.fire import Fire
from spikeloom_hdl.stream import LoadBus

__all__ = ["FireLayer"]


class FireLayer(wiring.Component):
    """clip(floor(v / threshold), 0, 2^output_bits - 1) of every potential v.

    Rate: a transfer a cycle. Latency: ``output_bits`` cycles.

    Members: ``i``, potentials; ``o``, words; ``load``, thresholds; ``abort`` drops everything
    inside, ``resetting`` while that lasts; ``probe_valid`` marks the cycle in which the potentials
    ``probe`` go into the fire stage.

    contents: of the memories, where they are fixed; then ``load`` only reads.
    """

    def __init__(self, parameters: FireParameters, *, contents: LayerContents | None = None):
        p = self.parameters = parameters
        self.contents = contents
        lanes = p.folding.lanes
        super().__init__(
            {
                "i": In(port_signature(p.ports_in[0])),
                "o": Out(port_signature(p.port_out)),
                "load": In(LoadBus()),
                "abort": In(1),
                "resetting": Out(1, init=1),
                "probe_valid": Out(1),
                "probe": Out(data.ArrayLayout(signed(p.accumulator_bits), lanes)),
            }
        )

    @property
    def load_latency(self) -> int:
        """Cycles from ``load.read`` to ``load.read_valid``."""
        return LoadedRows.load_latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, lanes = self.parameters, self.parameters.folding.lanes
        held = reset_cycle(m, self)
        rows = LoadedRows(
            p.drain_rows,
            {Kind.THRESHOLD: (lanes, unsigned(p.threshold_bits))},
            contents=self.contents,
        )
        fire = Fire(
            lanes=lanes,
            bits=p.accumulator_bits,
            steps=p.output_bits,
            threshold_bits=p.threshold_bits,
        )
        skid = Skid(self.o.payload.shape())
        m.submodules.rows, m.submodules.fire, m.submodules.skid = held(rows), held(fire), held(skid)
        wiring.connect(m, wiring.flipped(self.load), rows.load)
        wiring.connect(m, fire.o, skid.i)
        wiring.connect(m, skid.o, wiring.flipped(self.o))
        m.d.comb += [
            self.i.ready.eq(fire.i.ready & rows.valid & ~self.resetting),
            fire.i.valid.eq(self.i.valid & rows.valid & ~self.resetting),
            rows.take.eq(self.i.valid & self.i.ready),
            fire.i.p.potentials.eq(self.i.p.potentials),
            fire.i.p.thresholds.eq(rows.threshold),
            fire.i.p.first.eq(self.i.p.first),
            fire.i.p.last.eq(self.i.p.last),
            self.probe_valid.eq(rows.take),
            self.probe.eq(self.i.p.potentials),
        ]
        return m
