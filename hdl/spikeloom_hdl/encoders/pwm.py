"""Pulse width modulation in gates: a sample against a saw-tooth carrier and its mirror image."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, signed, unsigned
from spikeloom.hardware.encoders import PWMParameters

from spikeloom_hdl.encoders.channel_core import Values
from spikeloom_hdl.encoders.events import SpikeCore
from spikeloom_hdl.encoders.ports import samples_layout

__all__ = ["PWM"]


class PWM(SpikeCore):
    """Samples in, spikes out: the rule is in PWMParameters.

    Ports: ``i``, ``o``, and ``p`` (step of the phase).

    Of the phase, the bits below a sample's last one only count as zero or not.
    """

    def __init__(self, parameters: PWMParameters):
        super().__init__(
            parameters,
            sample=samples_layout(parameters.format.width, parameters.channels),
            state={"phase": unsigned(parameters.phase_bits), "up": 1, "down": 1},
        )

    def enter(self, m: Module, values: Values, begins: Any) -> Values:
        x = values["sample"]
        return {"x": Mux(x < 0, 0, x)[: len(x) - 1], "step": values["step"]}

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        p = self.parameters
        x, phase = values["x"], state.phase
        fraction, shift = p.format.fraction, p.phase_bits - p.format.fraction
        high = phase[shift:]
        more = phase[:shift].any() if shift else Const(0, 1)
        bits = max(len(x), fraction) + 2
        margin, total = Signal(signed(bits), name="margin"), Signal(unsigned(bits), name="total")
        up, down = Signal(), Signal()
        m.d.comb += [
            # a < phase: x < high + more
            margin.eq(x - high - more),
            # a + phase > 2^P: x + high + more > 2^fraction
            total.eq(x + high + more),
        ]
        m.d.comb += down.eq(
            (total > 1 << fraction) if p.bipolar else 0,
        )
        m.d.comb += up.eq(margin[-1] & ~down)
        following = Signal(unsigned(p.phase_bits + 1))
        m.d.comb += following.eq(phase + values["step"])
        restart = following[-1] if p.carrier == "restart" else 0
        spike = Signal(signed(2))
        m.d.comb += [
            spike[0].eq((up & ~state.up) | (down & ~state.down)),
            spike[1].eq(down & ~state.down),
        ]
        after = {"phase": Mux(restart, 0, following)[: p.phase_bits], "up": up, "down": down}
        return after, {"spike": spike}
