"""The decoder of step-forward in gates: an accumulator of steps that stays in its format."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from spikeloom.hardware.encoders import StepForwardDecoderParameters

from spikeloom_hdl.encoders.channel_core import ChannelCore, Values
from spikeloom_hdl.encoders.ports import samples_layout, spikes_layout
from spikeloom_hdl.encoders.step_forward import adapted, level_state, next_level

__all__ = ["StepForwardDecoder"]


class StepForwardDecoder(ChannelCore):
    """Spikes in, with the first sample of a frame as side-band; samples out.

    The rule is in StepForwardDecoderParameters. Ports: ``i``, ``o``, and ``p`` (threshold; initial
    base where it is a parameter).
    """

    def __init__(self, parameters: StepForwardDecoderParameters):
        width = parameters.format.width
        super().__init__(
            parameters,
            sample=spikes_layout(parameters),
            result=samples_layout(width, parameters.channels),
            state={"base": signed(width), **level_state(parameters.levels)},
        )

    def enter(self, m: Module, values: Values, begins: Any) -> Values:
        side_band = self.parameters.initial == "first"
        spike = values["spike"]
        # with a side-band, the first spike says nothing
        spiked = (spike != 0) & ~begins if side_band else spike != 0
        initial = values["start"] if side_band else values["initial"]
        return {
            "spiked": spiked,
            "sign": spike[-1],
            "threshold": values["threshold"],
            "initial": Mux(begins, initial, 0),
        }

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        width, levels = self.parameters.format.width, self.parameters.levels
        spiked, sign = values["spiked"], values["sign"]
        base = Signal(signed(width))
        bits = width + levels + 2
        step, moved = (Signal(signed(bits), name=name) for name in ("step", "moved"))
        reach = adapted(values["threshold"], state, levels)
        clipped = Signal(signed(width))
        wrong = Signal()
        m.d.comb += [
            base.eq((state.base.as_unsigned() | values["initial"].as_unsigned()).as_signed()),
            step.eq(Mux(spiked, reach, 0) ^ (sign & spiked).replicate(bits)),
            moved.eq(base + step + (sign & spiked)),
            # outside the format: its end on that side
            wrong.eq((moved >> (width - 1) != 0) & (moved >> (width - 1) != -1)),
            clipped.eq(Mux(wrong, sign.replicate(width) ^ ((1 << (width - 1)) - 1), moved)),
        ]
        after = next_level(state, levels, spiked=spiked, sign=sign)
        return {"base": clipped, **after}, {"sample": clipped}
