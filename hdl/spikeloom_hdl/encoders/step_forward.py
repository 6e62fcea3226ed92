"""Step-forward in gates: a base follows the signal in steps of the threshold."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from spikeloom.hardware.encoders import StepForwardParameters

from spikeloom_hdl.encoders.channel_core import Values
from spikeloom_hdl.encoders.events import SpikeCore
from spikeloom_hdl.encoders.ports import samples_layout

__all__ = ["StepForward", "adapted", "level_state", "next_level"]


def level_state(levels: int) -> dict[str, Any]:
    """Fields of the state that make a threshold adapt: its level, and the previous spike."""
    return {"level": range(levels + 1), "spiked": 1, "sign": 1} if levels else {}


def adapted(threshold: Value, state: Any, levels: int) -> Value:
    """Return the threshold << level."""
    result = threshold
    for level in range(1, levels + 1):
        result = Mux(state.level == level, threshold << level, result)
    return result


def next_level(state: Any, levels: int, *, spiked: Value, sign: Value) -> dict[str, Any]:
    """Return the fields after a spike (``spiked``; negative where ``sign``) or none."""
    if not levels:
        return {}
    level = state.level
    same = spiked & state.spiked & (state.sign == sign)
    up = Mux(level == levels, level, level + 1)
    down = Mux(level == 0, 0, level - 1)
    return {"level": Mux(same, up, down), "spiked": spiked, "sign": sign}


class StepForward(SpikeCore):
    """Samples in, spikes out: the rule is in StepForwardParameters.

    Ports: ``i``, ``o``, and ``p`` (threshold; initial base where it is a parameter).

    Samples and base are in offset binary, so that the zero that a frame begins with is the lowest
    base. Where the first sample sets the base, it does so as a spike that does not go out: towards
    a sample above all others, with itself for a threshold.
    """

    def __init__(self, parameters: StepForwardParameters):
        width = parameters.format.width
        super().__init__(
            parameters,
            sample=samples_layout(width, parameters.channels),
            state={"base": width, **level_state(parameters.levels)},
        )

    def enter(self, m: Module, values: Values, begins: Any) -> Values:
        width = self.parameters.format.width
        middle = 1 << (width - 1)
        x, threshold = Signal(width), values["threshold"]
        m.d.comb += x.eq(values["sample"] ^ middle)
        if self.parameters.initial == "value":
            initial = Signal(width)
            m.d.comb += initial.eq(values["initial"] ^ middle)
            return {"x": x, "threshold": threshold, "initial": Mux(begins, initial, 0)}
        return {
            "x": Mux(begins, 1 << width, x),
            "threshold": Mux(begins, 0, threshold),
            "start": Mux(begins, x, 0),
        }

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        p = self.parameters
        width, levels = p.format.width, p.levels
        side_band = p.initial == "first"
        base = Signal(width)
        m.d.comb += base.eq(state.base if side_band else state.base | values["initial"])
        threshold = Signal(unsigned(width + levels), name="threshold")
        reach = adapted(values["threshold"], state, levels)
        m.d.comb += threshold.eq(reach | values["start"] if side_band else reach)

        bits = width + levels + 2
        d, towards, rest = (Signal(signed(bits), name=name) for name in ("d", "towards", "rest"))
        below, fires, spiked = Signal(), Signal(), Signal()
        moved, following = Signal(width), Signal(width)
        m.d.comb += [
            d.eq(values["x"] - base),
            below.eq(d[-1]),
            # the threshold, or -1 minus it
            towards.eq(threshold ^ below.replicate(bits)),
            rest.eq(towards - d),
            fires.eq(rest[-1] ^ below),
            moved.eq(base + towards + below),
            following.eq(Mux(fires, moved, base)),
            spiked.eq(fires & ~marks.first if side_band else fires),
        ]
        spike = Signal(signed(2))
        m.d.comb += [spike[0].eq(spiked), spike[1].eq(fires & below)]
        results = {"spike": spike}
        if side_band:
            results["start"] = (values["start"] ^ (1 << (width - 1)))[:width]
        after = next_level(state, levels, spiked=spiked, sign=below)
        return {"base": following, **after}, results
