"""Threshold-based representation in gates: a spike where the signal jumps."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, signed
from spikeloom.hardware.encoders.more import ThresholdBasedParameters

from spikeloom_hdl.encoders.channel_core import Values
from spikeloom_hdl.encoders.events import SpikeCore
from spikeloom_hdl.encoders.ports import samples_layout

__all__ = ["ThresholdBased", "outside_band"]


def outside_band(m: Module, values: Values) -> Values:
    """Turn the ``difference`` and the ``threshold`` of a sample into its spike; ``quiet`` forbids.

    Stage of a ChannelCore; ``start`` goes along.
    """
    d, threshold = values["difference"], values["threshold"]
    above, below = Signal(), Signal()
    spike = Signal(signed(2))
    m.d.comb += [
        above.eq(d > threshold),
        below.eq(d < -threshold),
        spike[0].eq((above | below) & ~values["quiet"]),
        spike[1].eq(below & ~values["quiet"]),
    ]
    return {"spike": spike, "start": values["start"]}


class ThresholdBased(SpikeCore):
    """Samples in, spikes out: the rule is in ThresholdBasedParameters.

    Ports: ``i``, ``o``, and ``p`` (threshold).
    """

    def __init__(self, parameters: ThresholdBasedParameters):
        width = parameters.format.width
        super().__init__(
            parameters,
            sample=samples_layout(width, parameters.channels),
            state={"previous": signed(width)},
            after=(self._difference, outside_band),
        )

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        x = values["sample"]
        onward = {"x": x, "previous": state.previous, "quiet": marks.first}
        return {"previous": x}, {**onward, "threshold": values["threshold"]}

    def _difference(self, m: Module, values: Values) -> Values:
        width = self.parameters.format.width
        d = Signal(signed(width + 1), name="difference")
        m.d.comb += d.eq(values["x"] - values["previous"])
        kept = {name: values[name] for name in ("threshold", "quiet")}
        return {**kept, "difference": d, "start": values["x"]}
