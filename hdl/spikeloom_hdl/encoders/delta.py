"""Send on delta in gates: several quanta, hysteresis, and optionally the logarithm of a sample."""

from __future__ import annotations

import math
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from spikeloom.hardware.encoders import DeltaParameters

from spikeloom_hdl.encoders.channel_core import Values
from spikeloom_hdl.encoders.events import SpikeCore
from spikeloom_hdl.encoders.ports import samples_layout
from spikeloom_hdl.memory import Rom

__all__ = ["Delta"]

LOG = 8  #: fraction bits of a logarithm


class Delta(SpikeCore):
    """Samples in, spikes of up to ``quanta`` out: the rule is in DeltaParameters.

    Ports: ``i``, ``o``, and ``p`` (threshold, hysteresis; initial reference where it is one).

    The number of quanta is a restoring division of one cycle: one subtraction, and beside it one
    step of the reference, for each bit of ``quanta``.
    """

    def __init__(self, parameters: DeltaParameters):
        inner = parameters.inner.width
        log = (self._exponent, self._fraction, self._logarithm) if parameters.log else ()
        super().__init__(
            parameters,
            sample=samples_layout(parameters.format.width, parameters.channels),
            state={"ref": signed(inner), "spiked": 1, "sign": 1},
            before=(*log, self._thresholds),
            start_bits=inner,
        )

    def _exponent(self, m: Module, values: Values) -> Values:
        """Find the highest bit of a sample, at least 1."""
        x = values["sample"]
        size = len(x) - 1
        clipped = Signal(size, name="clipped")
        exponent, places = (Signal(range(size), name=name) for name in ("exponent", "places"))
        m.d.comb += clipped.eq(Mux(x > 0, x, 1))
        for e in range(size):
            with m.If(clipped[e]):
                m.d.comb += [exponent.eq(e), places.eq(size - 1 - e)]
        return {**values, "sample": clipped, "exponent": exponent, "places": places}

    def _fraction(self, m: Module, values: Values) -> Values:
        """Look up log2(1 + f / 256); the ROM has the register of this stage inside."""
        x = values["sample"]
        size = len(x)
        normal = Signal(size + LOG, name="normal")
        m.d.comb += normal.eq(Cat(Const(0, LOG), (x << values["places"])[:size]))
        table = [round((1 << LOG) * math.log2(1 + f / 256)) for f in range(256)]
        m.submodules.table = self._table = Rom(table, bits=LOG)
        m.d.comb += [
            self._table.row.eq(normal[size - 1 : size - 1 + LOG]),
            self._table.read.eq(self.advance),
        ]
        return {name: value for name, value in values.items() if name not in ("sample", "places")}

    def _logarithm(self, m: Module, values: Values) -> Values:
        sample = Signal(signed(self.parameters.inner.width), name="logarithm")
        m.d.comb += sample.eq(Cat(self._table.data, values["exponent"]))
        kept = {name: value for name, value in values.items() if name != "exponent"}
        return {**kept, "sample": sample}

    def _thresholds(self, m: Module, values: Values) -> Values:
        """Multiples of the threshold that a distance is compared with, and those plus hysteresis.

        ``top``: of the first step of the division; ``full``: ``quanta`` times, where the division
        could give more. All are one less: what a distance that suffices is beyond.
        """
        quanta, threshold = self.parameters.quanta, values["threshold"]
        multiples = {"top": 1 << (quanta.bit_length() - 1)}
        if quanta & (quanta + 1):
            multiples["full"] = quanta
        result = dict(values)
        for name, times in multiples.items():
            bits = len(threshold) + times.bit_length() + 1
            plain, more = (Signal(bits, name=f"{name}{suffix}") for suffix in ("", "_more"))
            m.d.comb += [
                plain.eq(threshold * times - 1),
                more.eq(threshold * times + values["hysteresis"] - 1),
            ]
            result |= {name: plain, f"{name}_more": more}
        return result

    def enter(self, m: Module, values: Values, begins: Any) -> Values:
        # a frame that begins with its sample as reference has no distance, so no spike
        initial = values["sample" if self.parameters.initial == "first" else "initial"]
        return {**values, "initial": Mux(begins, initial, 0)}

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        p = self.parameters
        inner, steps = p.inner.width, p.quanta.bit_length()
        bits = inner + steps + 3
        x, threshold = values["sample"], values["threshold"]
        ref = Signal(signed(inner))
        d, size = Signal(signed(inner + 1)), Signal(signed(inner + 2))
        below, against_above, against_below = Signal(), Signal(), Signal()
        m.d.comb += [
            ref.eq((state.ref.as_unsigned() | values["initial"].as_unsigned()).as_signed()),
            d.eq(x - ref),
            below.eq(d[-1]),
            size.eq(d ^ below.replicate(inner + 2).as_signed()),
            against_above.eq(state.spiked & state.sign),
            against_below.eq(state.spiked & ~state.sign),
        ]

        def with_hysteresis(more: Value, plain: Value) -> Value:
            # both cases stand ready before the direction is known
            return Mux(below, Mux(against_below, more, plain), Mux(against_above, more, plain))

        def beyond(name: str) -> Signal:
            towards, rest = (
                Signal(signed(bits), name=f"{kind}_{name}") for kind in ("towards", "rest")
            )
            fires = Signal(name=f"fires_{name}")
            reach = with_hysteresis(values[f"{name}_more"], values[name])
            m.d.comb += [
                # that far, or -1 minus it
                towards.eq(reach ^ below.replicate(bits)),
                rest.eq(towards - d),
                fires.eq(rest[-1] ^ below),
            ]
            return fires

        def moved(name: str, start: Value, by: Value, carry: Value) -> Signal:
            result = Signal(signed(inner), name=f"ref_{name}")
            m.d.comb += result.eq(start + (by ^ below.replicate(len(by) + 1).as_signed()) + carry)
            return result

        number: list[Value] = []  # most significant bit first
        left = Signal(signed(bits), name="left_0")
        m.d.comb += left.eq(size - with_hysteresis(values["hysteresis"], Const(0, 1)) + below)
        at = ref
        for k in reversed(range(steps)):
            rest, after = (Signal(signed(bits), name=f"{name}_{k}") for name in ("rest", "after"))
            fires, ref_after = Signal(name=f"fires_{k}"), Signal(signed(inner))
            m.d.comb += [
                rest.eq(left - (threshold << k)),
                fires.eq(~rest[-1] if number else beyond("top")),
                after.eq(Mux(fires, rest, left)),
                ref_after.eq(Mux(fires, moved(str(k), at, threshold << k, below), at)),
            ]
            number.insert(0, fires)
            left, at = after, ref_after
        n, following = Cat(number), at
        if "full" in values:
            full = Signal()
            m.d.comb += full.eq(beyond("full"))
            n = Mux(full, p.quanta, n)
            following = Mux(full, moved("full", ref, values["full"], ~below), at)
        spike, spiked = Signal(signed(p.spike_bits)), Signal()
        m.d.comb += [spiked.eq(n.any()), spike.eq(Mux(below, -n, n))]
        state_after = {
            "ref": following,
            "spiked": state.spiked | spiked,
            "sign": Mux(spiked, below, state.sign),
        }
        results = {"spike": spike}
        if p.side_band:
            results["start"] = x
        return state_after, results
