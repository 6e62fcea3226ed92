"""Second-order sigma-delta in gates: two integrators and a three-level comparator."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed
from spikeloom.hardware.encoders.more import SigmaDeltaParameters

from spikeloom_hdl.encoders.channel_core import Values
from spikeloom_hdl.encoders.events import SpikeCore
from spikeloom_hdl.encoders.ports import samples_layout

__all__ = ["SigmaDelta"]

HEAD_ROOM = 5  #: bits of an integrator above those of a sample


class SigmaDelta(SpikeCore):
    """Samples in, spikes out: the rule is in SigmaDeltaParameters.

    Ports: ``i``, ``o``, and ``p`` (threshold). The three sums that the spike chooses among are made
    while it is decided.
    """

    def __init__(self, parameters: SigmaDeltaParameters):
        width = parameters.format.width
        integrator = signed(width + HEAD_ROOM)
        super().__init__(
            parameters,
            sample=samples_layout(width, parameters.channels),
            state={"a": integrator, "b": integrator},
            before=(self._sums,),
        )

    def _sums(self, m: Module, values: Values) -> Values:
        """x, x - threshold and x + threshold, ahead of the loop."""
        x, threshold = values["sample"], values["threshold"]
        less, more = (
            Signal(signed(self.parameters.format.width + 2), name=f"x_{name}")
            for name in ("less", "more")
        )
        m.d.comb += [less.eq(x - threshold), more.eq(x + threshold)]
        return {"x": x, "threshold": threshold, "less": less, "more": more}

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        threshold, a, b = values["threshold"], state.a, state.b
        wide = self.parameters.format.width + HEAD_ROOM
        up, down = Signal(), Signal()
        both = Signal(signed(wide), name="twice_threshold")
        m.d.comb += [
            up.eq(2 * b >= threshold),
            down.eq(2 * b <= -threshold),
            both.eq(threshold << 1),
        ]
        # decided from registers, beside the sums: clipping would come after them
        overloaded = Signal()
        m.d.comb += overloaded.eq(_beyond(a) | _beyond(b))
        sums = {}
        for name, options in (
            ("a", (a + values["x"], a + values["less"], a + values["more"])),
            ("b", (a + b, _sum3(m, wide, a, b, ~both, 1), _sum3(m, wide, a, b, both, 0))),
        ):
            still, after_up, after_down = (
                Signal(signed(wide), name=f"{name}_{kind}") for kind in ("still", "up", "down")
            )
            m.d.comb += [still.eq(options[0]), after_up.eq(options[1]), after_down.eq(options[2])]
            chosen = Mux(up, after_up, Mux(down, after_down, still))
            sums[name] = Mux(overloaded, 0, chosen)
        spike = Signal(signed(2))
        m.d.comb += [spike[0].eq(up | down), spike[1].eq(down)]
        return sums, {"spike": spike}


def _beyond(integrator: Value) -> Value:
    """Whether its three top bits differ: outside -2^(width+2) .. 2^(width+2) - 1."""
    top = integrator[-3:]
    return top.any() & ~top.all()


def _sum3(m: Module, bits: int, x: Value, y: Value, z: Value, one: int) -> Value:
    """Return x + y + z + one, through a single carry chain: the loop has no time for two."""
    wide = [Signal(signed(bits)) for _ in range(3)]
    partial, carries = Signal(signed(bits)), Signal(bits)
    u, v, w = wide
    m.d.comb += [
        *(signal.eq(value) for signal, value in zip(wide, (x, y, z), strict=True)),
        partial.eq(u ^ v ^ w),
        carries.eq(Cat(C(one, 1), (u & v) | (u & w) | (v & w))),
    ]
    return partial + carries.as_signed()
