"""The last layer: membrane potentials are the answer, it does not fire."""

from __future__ import annotations

from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.fixed_image import LayerContents
from spikeloom.hardware.parameters import DenseParameters

from spikeloom_hdl.layers.potentials import Potentials
from spikeloom_hdl.stream import LoadBus, potentials_signature, words_signature

__all__ = ["Readout"]


class Readout(wiring.Component):
    """W p + B of every class, ``fire_lanes`` potentials a transfer.

    Rate and members are those of :class:`~spikeloom_hdl.layers.potentials.Potentials`; lanes
    without a class, in the last transfer, give what their bias memory holds (0). ``probe_valid``
    marks the cycle in which ``probe`` leaves, once each.

    contents: of the memories, where they are fixed; then ``load`` only reads.

    Raises ValueError for parameters of a layer that fires.
    """

    def __init__(self, parameters: DenseParameters, *, contents: LayerContents | None = None):
        if parameters.fires:
            raise ValueError("a readout has output_bits 0: use Dense for a layer that fires")
        p, fold = parameters, parameters.folding
        self.parameters = p
        self.potentials = Potentials(p, contents=contents)
        super().__init__(
            {
                "i": In(words_signature(fold.scan, p.input_bits)),
                "o": Out(potentials_signature(fold.fire_lanes, p.accumulator_bits)),
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
        m.submodules.potentials = potentials = self.potentials
        wiring.connect(m, wiring.flipped(self.i), potentials.i)
        wiring.connect(m, wiring.flipped(self.load), potentials.load)
        wiring.connect(m, potentials.o, wiring.flipped(self.o))
        m.d.comb += [
            potentials.abort.eq(self.abort),
            self.resetting.eq(potentials.resetting),
            self.events.eq(potentials.events),
            self.spikes.eq(potentials.spikes),
            self.probe_valid.eq(potentials.o.valid & potentials.o.ready),
            self.probe.eq(potentials.o.p.potentials),
        ]
        return m
