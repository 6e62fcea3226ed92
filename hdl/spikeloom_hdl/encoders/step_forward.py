"""Step-forward in gates: a base follows the signal in steps of the threshold."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
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

    Where the first sample sets the base, it does so as a spike that does not go out: its step is
    the difference between sample and base, whatever that was.
    """

    def __init__(self, parameters: StepForwardParameters):
        width = parameters.format.width
        super().__init__(
            parameters,
            sample=samples_layout(width, parameters.channels),
            state={"base": signed(width), **level_state(parameters.levels)},
            zeros=parameters.initial == "value" or parameters.levels > 0,
        )

    def enter(self, m: Module, values: Values, begins: Any) -> Values:
        if self.parameters.initial == "first":
            return values
        return {**values, "initial": Mux(begins, values["initial"], 0)}

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        p = self.parameters
        width, levels = p.format.width, p.levels
        sets = marks.first if p.initial == "first" else Const(0, 1)
        base = Signal(signed(width))
        m.d.comb += base.eq(state.base if p.initial == "first" else state.base | values["initial"])
        threshold = adapted(values["threshold"], state, levels)

        d = Signal(signed(width + 1))
        # how far the sample is beyond a threshold above, below: up to half an LSB too little above
        high, low = Signal(signed(width + levels + 3)), Signal(signed(width + levels + 2))
        below, fires, spiked = Signal(), Signal(), Signal()
        towards, moved = Signal(width), Signal(signed(width))
        m.d.comb += [
            d.eq(values["sample"] - base),
            below.eq(d[-1]),
            high.eq(Cat(Const(0, 1), d).as_signed() - Cat(Const(1, 1), threshold)),
            low.eq(d + threshold),
            fires.eq(~high[-1] | low[-1]),
            # the threshold, or -1 minus it
            towards.eq(Mux(sets, d, threshold ^ below.replicate(width))),
            moved.eq(base + towards + (below & ~sets)),
            spiked.eq(fires & ~sets),
        ]
        spike = Signal(signed(2))
        m.d.comb += [spike[0].eq(spiked), spike[1].eq(low[-1] & ~sets)]
        results = {"spike": spike}
        if p.initial == "first":
            results["start"] = values["sample"]
        if p.initial == "first" and not levels:
            return {"base": moved, "changes": fires}, results
        after = next_level(state, levels, spiked=spiked, sign=below)
        return {"base": Mux(fires | sets, moved, base), **after}, results
