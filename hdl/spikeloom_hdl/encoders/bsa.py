"""Ben's spiker algorithm in gates, in one of three forms with the same spikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from amaranth.hdl import Module
from amaranth.lib import wiring
from spikeloom.hardware.encoders import BSAParameters
from spikeloom.hardware.encoders.filters import checked_taps

from spikeloom_hdl.encoders.bsa_arithmetic import TapTerms, bsa_ports
from spikeloom_hdl.encoders.bsa_interleaved import BSAInterleaved
from spikeloom_hdl.encoders.bsa_parallel import BSAParallel
from spikeloom_hdl.encoders.bsa_serial import BSASerial
from spikeloom_hdl.encoders.events import Events

__all__ = ["BSA"]

FORMS = {"parallel": BSAParallel, "interleaved": BSAInterleaved, "serial": BSASerial}


class BSA(wiring.Component):
    """Samples in, spikes (0 or 1) out: the rule, and what the forms are, is in BSAParameters.

    Ports: ``i``, ``o``; ``p``, the threshold of a channel; ``taps``, one tap of the filter that all
    channels share. What is written at ``p`` or ``taps`` waits until samples accepted before have
    gone through, and holds for the ones after; taps are for when no frame is under way: the spikes
    of one that is would be undefined. The spikes of a channel come in order; between channels, in
    the order of the decisions.

    latency: cycles from the sample that allows a decision (taps - 1 after the one it is for) to its
    spike. interval: cycles a sample, at best. spacing: cycles from a sample to the next one of the
    same channel, at best.

    parameters: structure. taps: after reset; None for a low-pass at 0.2 cycles a sample, with sum 1
    in the format of a sample. Raises ValueError for taps that do not fit.
    """

    terms: type[TapTerms] = TapTerms  #: what of a tap is summed, and which sums fire

    def __init__(self, parameters: BSAParameters, taps: Sequence[int] | None = None):
        self.parameters = parameters
        self.default_taps = checked_taps(taps, taps=parameters.taps, format=parameters.format)
        self.core = FORMS[parameters.form](
            replace(parameters, output="dense"), self.default_taps, self.terms
        )
        self.latency, self.interval = self.core.latency, self.core.interval
        self.spacing = self.core.spacing
        self._events = None
        super().__init__(bsa_ports(parameters))
        if parameters.output == "events":
            self._events = Events(self.o.p.shape(), channels=parameters.channels)
            self.latency += self._events.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.core = core = self.core
        for name in ("i", "p", "taps"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(core, name))
        if self._events is None:
            wiring.connect(m, core.o, wiring.flipped(self.o))
        else:
            m.submodules.events = self._events
            wiring.connect(m, core.o, self._events.i)
            wiring.connect(m, self._events.o, wiring.flipped(self.o))
        return m
