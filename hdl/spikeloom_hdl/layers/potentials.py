"""From packed words to membrane potentials: the event-driven heart of every dense layer."""

from __future__ import annotations

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.fixed_image import LayerContents
from spikeloom.hardware.parameters import DenseParameters

from spikeloom_hdl.layers.accumulators import Accumulators
from spikeloom_hdl.layers.bias import AddBias, membranes_of
from spikeloom_hdl.layers.scanner import Scanner
from spikeloom_hdl.stream import LoadBus, words_signature

__all__ = ["Potentials"]


class Potentials(wiring.Component):
    """v0 of every neuron of a layer: bias plus the sum of weight times word over non-zero words.

    A sample is scanned into event lists, one a fan-in slice; these are replayed once a pass of
    ``lanes`` neurons, into :class:`~spikeloom_hdl.layers.accumulators.Accumulators`.

    Rate: with e events in the fullest slice (non-zero words, or set bits in the serial form) a pass
    of r drain rows takes max(e + 1, r + ``skew``) cycles, and a sample the sum over its passes, or
    ``beats`` if that is more. That is at most max(passes * e, beats, drain_rows) + ``overhead``.
    Latency: from a sample's first beat to its first potentials, beats + e + ``skew`` + 4 cycles,
    one more in the serial form.

    Members: ``i``; ``o``, potentials (with thresholds, if the layer fires); ``load``, of which the
    layer bits are not looked at; ``abort`` drops everything inside; ``resetting`` while that (or
    reset) lasts, with ``i`` not ready; ``events`` and ``spikes`` count non-zero words and set bits,
    each word once a sample.

    contents: of the memories, where they are fixed; then ``load`` only reads.
    """

    def __init__(self, parameters: DenseParameters, *, contents: LayerContents | None = None):
        p, fold = parameters, parameters.folding
        self.parameters = p
        self.scanner = Scanner(p)
        self.sums = Accumulators(p, self.scanner.lists, contents=contents)
        self.contents = contents
        super().__init__(
            {
                "i": In(words_signature(fold.scan, p.input_bits)),
                "o": Out(membranes_of(p)),
                "load": In(LoadBus()),
                "abort": In(1),
                "resetting": Out(1),
                "events": Out(self.sums.events.shape()),
                "spikes": Out(self.sums.spikes.shape()),
            }
        )

    @property
    def skew(self) -> int:
        """Cycles from the token of a pass to the first cycle of its drain."""
        return self.sums.skew

    @property
    def overhead(self) -> int:
        """Cycles per sample, at most, beyond the largest of passes * events, beats, drain rows."""
        fold = self.parameters.folding
        return self.parameters.passes * self.skew + fold.lanes // fold.fire_lanes

    @property
    def load_latency(self) -> int:
        """Cycles from ``load.read`` to ``load.read_valid``."""
        return self.sums.load_latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sums = sums = self.sums
        held = ResetInserter(self.resetting)
        m.submodules.scanner = held(self.scanner)
        bias = AddBias(self.parameters, sums.bus.signature, contents=self.contents)
        m.submodules.bias = held(bias)
        wiring.connect(m, wiring.flipped(self.load), sums.load)
        wiring.connect(m, sums.o, bias.i)
        wiring.connect(m, sums.bus, bias.bus)
        wiring.connect(m, bias.o, wiring.flipped(self.o))
        m.d.comb += [
            self.scanner.i.payload.eq(self.i.payload),
            self.scanner.i.valid.eq(self.i.valid & ~self.resetting),
            self.i.ready.eq(self.scanner.i.ready & ~self.resetting),
            sums.answer.eq(bias.answer),
            sums.abort.eq(self.abort),
            self.resetting.eq(sums.resetting),
            self.events.eq(sums.events),
            self.spikes.eq(sums.spikes),
        ]
        return m
