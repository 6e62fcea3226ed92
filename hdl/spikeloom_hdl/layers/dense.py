"""A fully connected layer that fires: packed words in, packed words out."""

from __future__ import annotations

from amaranth.hdl import Module, ResetInserter, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.fixed_image import LayerContents
from spikeloom.hardware.parameters import DenseParameters

from spikeloom_hdl.layers.potentials import Potentials
from spikeloom_hdl.layers.skid import Skid
from spikeloom_hdl.neuron.fire import Fire
from spikeloom_hdl.stream import LoadBus, words_signature

__all__ = ["Dense"]


class Dense(wiring.Component):
    """clip(floor((W p + B) / theta), 0, 2^T - 1) of every neuron, T = ``output_bits``.

    Rate and members are those of :class:`~spikeloom_hdl.layers.potentials.Potentials`, with words
    at ``o``, ``output_bits`` cycles later. ``probe_valid`` marks the cycle in which the potentials
    ``probe`` of a transfer go into the fire stage, once each.

    contents: of the memories, where they are fixed; then ``load`` only reads.

    Raises ValueError for parameters of a readout.
    """

    def __init__(self, parameters: DenseParameters, *, contents: LayerContents | None = None):
        if not parameters.fires:
            raise ValueError("a layer with output_bits 0 does not fire: use Readout")
        p, fold = parameters, parameters.folding
        self.parameters = p
        self.potentials = Potentials(p, contents=contents)
        super().__init__(
            {
                "i": In(words_signature(fold.scan, p.input_bits)),
                "o": Out(words_signature(fold.fire_lanes, p.output_bits)),
                "load": In(LoadBus()),
                "abort": In(1),
                "resetting": Out(1),
                "events": Out(self.potentials.events.shape()),
                "spikes": Out(self.potentials.spikes.shape()),
                "probe_valid": Out(1),
                "probe": Out(data.ArrayLayout(signed(p.accumulator_bits), fold.fire_lanes)),
            }
        )

    @property
    def load_latency(self) -> int:
        """Cycles from ``load.read`` to ``load.read_valid``."""
        return self.potentials.load_latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        m.submodules.potentials = potentials = self.potentials
        fire = Fire(
            lanes=p.folding.fire_lanes,
            bits=p.accumulator_bits,
            steps=p.output_bits,
            threshold_bits=p.threshold_bits,
        )
        m.submodules.fire = ResetInserter(potentials.resetting)(fire)
        wiring.connect(m, wiring.flipped(self.i), potentials.i)
        wiring.connect(m, wiring.flipped(self.load), potentials.load)
        wiring.connect(m, potentials.o, fire.i)
        # `ready` is cut here, where words are narrow: behind it, thousands of registers stall
        skid = Skid(self.o.payload.shape())
        m.submodules.skid = ResetInserter(potentials.resetting)(skid)
        wiring.connect(m, fire.o, skid.i)
        wiring.connect(m, skid.o, wiring.flipped(self.o))
        m.d.comb += [
            potentials.abort.eq(self.abort),
            self.resetting.eq(potentials.resetting),
            self.events.eq(potentials.events),
            self.spikes.eq(potentials.spikes),
            self.probe_valid.eq(potentials.o.valid & potentials.o.ready),
            self.probe.eq(potentials.o.p.potentials),
        ]
        return m
