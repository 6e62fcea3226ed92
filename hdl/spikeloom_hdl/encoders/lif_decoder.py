"""The decoder of leaky integrate and fire in gates: a leaky sum of spikes."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from spikeloom.hardware.encoders import LIFDecoderParameters
from spikeloom.hardware.encoders.signal import GUARD_BITS

from spikeloom_hdl.encoders.channel_core import ChannelCore, Values
from spikeloom_hdl.encoders.leak import leaky
from spikeloom_hdl.encoders.ports import samples_layout, spikes_layout

__all__ = ["LIFDecoder"]


def _clipped(m: Module, name: str, value: Any, bits: int) -> Signal:
    """Saturate a signed value to a signed one of less bits."""
    result, outside = Signal(signed(bits), name=name), Signal(name=f"{name}_outside")
    high = value[bits - 1 :]
    m.d.comb += [
        outside.eq(high.any() & ~high.all()),
        result.eq(Mux(outside, value[-1].replicate(bits) ^ ((1 << (bits - 1)) - 1), value)),
    ]
    return result


class LIFDecoder(ChannelCore):
    """Spikes in, samples out: the rule is in LIFDecoderParameters.

    Ports: ``i``, ``o``, and ``p`` (leak, gain).
    """

    def __init__(self, parameters: LIFDecoderParameters):
        width = parameters.format.width
        super().__init__(
            parameters,
            sample=spikes_layout(parameters),
            result=samples_layout(width, parameters.channels),
            state={"y": signed(width + GUARD_BITS)},
            before=(self._step,),
            after=(self._rounded,),
        )

    def _step(self, m: Module, values: Values) -> Values:
        gain, spike = values["gain"], values["spike"]
        step = Signal(signed(len(gain) + 1), name="step")
        m.d.comb += step.eq(Mux(spike == 0, 0, Mux(spike[-1], -gain, gain)))
        return {"step": step, "leak": values["leak"]}

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        bits = len(state.y)
        y = leaky(m, state.y, values["leak"], self.parameters)
        total = y.plus(m, "total", values["step"], bits + 2)
        following = _clipped(m, "following", total, bits)
        return {"y": following}, {"y": following}

    def _rounded(self, m: Module, values: Values) -> Values:
        y = values["y"]
        whole = Signal(signed(self.parameters.format.width + 1), name="whole")
        up = y[GUARD_BITS - 1] & (y[: GUARD_BITS - 1].any() | y[GUARD_BITS])
        m.d.comb += whole.eq((y >> GUARD_BITS) + up)
        return {"sample": _clipped(m, "sample", whole, self.parameters.format.width)}
