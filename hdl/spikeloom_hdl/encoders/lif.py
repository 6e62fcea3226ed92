"""Leaky integrate and fire in gates, with signed spikes."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from spikeloom.hardware.encoders import LIFParameters
from spikeloom.hardware.encoders.signal import GUARD_BITS

from spikeloom_hdl.encoders.channel_core import Values
from spikeloom_hdl.encoders.events import SpikeCore
from spikeloom_hdl.encoders.leak import leaky
from spikeloom_hdl.encoders.lif_zero import ZeroLoop
from spikeloom_hdl.encoders.ports import samples_layout

__all__ = ["LIF"]


class LIF(SpikeCore):
    """Samples in, spikes out: the rule is in LIFParameters.

    Ports: ``i``, ``o``, and ``p`` (threshold, leak, refractory samples where there are any).

    The loop is leak, one carry chain, selection: sums with the thresholds are made at the side, and
    every comparison is a chain of its own beside the one that adds the sample. Where a spike sets
    the potential to 0 and the leak is a shift, a shorter loop does: see ZeroLoop. (With a
    multiplier it would reach 90 MHz on ECP5 instead of 72, but miss 24 MHz on UP5K.)
    """

    def __init__(self, parameters: LIFParameters):
        width = parameters.format.width
        self._bits = 1 + width + GUARD_BITS
        state: dict[str, Any] = {"v": signed(self._bits)}
        if parameters.refractory:
            state["wait"] = unsigned(parameters.refractory.bit_length())
        super().__init__(
            parameters,
            sample=samples_layout(width, parameters.channels),
            state=state,
            before=(self._addends,),
        )
        self._short = parameters.reset == "zero" and parameters.leak == "shift"
        if self._short:
            self.latency += 1

    def build(self, m: Module, o: Any) -> None:
        """Add the core to a module; ``o`` is the stream of its results."""
        if self._short:
            ZeroLoop(self.parameters).build(m, self, o)
        else:
            super().build(m, o)

    def _addends(self, m: Module, values: Values) -> Values:
        """What is added to the leaked potential to get it, and to compare it with thresholds."""
        x, threshold = values["sample"], values["threshold"]
        # u > theta if u - theta - 1 >= 0: then all guard bits are ones
        wholes = {"x": (x, 0), "above": (x - threshold - 1, -1), "below": (x + threshold, 0)}
        if self.parameters.reset == "subtract":
            wholes |= {
                "less": (x - threshold, 0),
                "far_above": (x - 2 * threshold - 1, -1),
                "far_below": (x + 2 * threshold, 0),
            }
        result = {name: values[name] for name in ("leak", "threshold")}
        if self.parameters.refractory:
            result["refractory"] = values["refractory"]
        for name, (whole, guard) in wholes.items():
            result[name] = Signal(signed(self._bits + 2), name=name)
            m.d.comb += result[name].eq(Cat(Const(guard, GUARD_BITS), whole).as_signed())
        return result

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        p = self.parameters
        bits = self._bits + 2  # |v| <= theta, and the distance from 2 theta
        v = leaky(m, state.v, values["leak"], p)
        sums = {
            name: v.plus(m, f"u_{name}", values[name], bits)
            for name in ("x", "above", "below", "less", "far_above", "far_below")
            if name in values
        }
        up, down, counts = Signal(), Signal(), Signal()
        m.d.comb += [
            counts.eq(state.wait == 0 if p.refractory else 1),
            up.eq(~sums["above"][-1] & counts),
            down.eq(sums["below"][-1] & counts),
        ]
        following = Signal(signed(self._bits))
        if p.reset == "zero":
            m.d.comb += following.eq(Mux(up | down, 0, sums["x"]))
        else:
            top = Signal(signed(self._bits))
            m.d.comb += top.eq(values["threshold"] << GUARD_BITS)
            with m.If(up):
                m.d.comb += following.eq(Mux(sums["far_above"][-1], sums["less"], top))
            with m.Elif(down):
                m.d.comb += following.eq(Mux(sums["far_below"][-1], -top, sums["below"]))
            with m.Else():
                m.d.comb += following.eq(sums["x"])
        after: dict[str, Any] = {"v": following}
        if p.refractory:
            after["v"] = Mux(counts, following, state.v)
            after["wait"] = Mux(
                counts, Mux(up | down, values["refractory"], 0), (state.wait - 1)[: len(state.wait)]
            )
        spike = Signal(signed(2))
        m.d.comb += [spike[0].eq(up | down), spike[1].eq(down)]
        return after, {"spike": spike}
