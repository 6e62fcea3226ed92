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

IN_PARALLEL = 4  #: quanta


class Delta(SpikeCore):
    """Samples in, spikes of up to ``quanta`` out: the rule is in DeltaParameters.

    Ports: ``i``, ``o``, and ``p`` (threshold, hysteresis; initial reference where it is one).

    Up to IN_PARALLEL quanta, each has comparisons of its own in both directions, all at once. The
    number of more is a restoring division of one cycle: one subtraction, and beside it one step of
    the reference, for each bit of ``quanta``.
    """

    def __init__(self, parameters: DeltaParameters):
        inner = parameters.inner.width
        log = (self._exponent, self._fraction, self._logarithm) if parameters.log else ()
        super().__init__(
            parameters,
            sample=samples_layout(parameters.format.width, parameters.channels),
            state={"ref": signed(inner), "rose": 1, "fell": 1},
            before=(*log, self._reaches if self._in_parallel(parameters) else self._thresholds),
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
        m.submodules.table = self._log_table = Rom(table, bits=LOG)
        m.d.comb += [
            self._log_table.row.eq(normal[size - 1 : size - 1 + LOG]),
            self._log_table.read.eq(self.advance),
        ]
        return {name: value for name, value in values.items() if name not in ("sample", "places")}

    def _logarithm(self, m: Module, values: Values) -> Values:
        sample = Signal(signed(self.parameters.inner.width), name="logarithm")
        m.d.comb += sample.eq(Cat(self._log_table.data, values["exponent"]))
        kept = {name: value for name, value in values.items() if name != "exponent"}
        return {**kept, "sample": sample}

    def _reaches(self, m: Module, values: Values) -> Values:
        """Samples less and plus multiples of the threshold, without and with the hysteresis.

        A reference up to the former, or beyond the latter, is that many quanta away.
        """
        x, threshold, hysteresis = (values[n] for n in ("sample", "threshold", "hysteresis"))
        result = {name: value for name, value in values.items() if name != "hysteresis"}
        for k in range(1, self.parameters.quanta + 1):
            # three of them by an addition: it would be a multiplier otherwise
            times = k * threshold if k & (k - 1) == 0 else (threshold << 1) + threshold
            sums = {
                f"times_{k}": times,
                f"above_{k}": x - times,
                f"above_{k}_more": x - (times + hysteresis),
                f"below_{k}": x + (times - 1),
                f"below_{k}_more": x + (times + hysteresis - 1),
            }
            for name, value in sums.items():
                result[name] = Signal(signed(self.parameters.inner.width + 4), name=name)
                m.d.comb += result[name].eq(value)
        return result

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

    @staticmethod
    def _in_parallel(parameters: DeltaParameters) -> bool:
        return parameters.quanta <= IN_PARALLEL

    def step(self, m: Module, values: Values, state: Any, marks: Any) -> tuple[Values, Values]:
        return (self._compare if self._in_parallel(self.parameters) else self._divide)(
            m, values, state
        )

    def _compare(self, m: Module, values: Values, state: Any) -> tuple[Values, Values]:
        """Compare the reference with what is to be reached for every number of quanta."""
        p = self.parameters
        inner = p.inner.width
        bits = inner + 5
        ref = Signal(signed(inner))
        m.d.comb += ref.eq((state.ref.as_unsigned() | values["initial"].as_unsigned()).as_signed())
        moved: list[Value] = [ref]
        up, down, n = (Signal(p.quanta, name=name) for name in ("up", "down", "n"))
        for k in range(1, p.quanta + 1):
            against_above, against_below = (
                Mux(flag, values[f"{name}_{k}_more"], values[f"{name}_{k}"])
                for name, flag in (
                    ("above", state.fell),
                    ("below", state.rose),
                )
            )
            rises, falls = (Signal(signed(bits), name=f"{name}_{k}") for name in ("rises", "falls"))
            higher, lower = (
                Signal(signed(inner), name=f"{name}_{k}") for name in ("higher", "lower")
            )
            m.d.comb += [
                rises.eq(against_above - ref),
                falls.eq(against_below - ref),
                up[k - 1].eq(~rises[-1]),
                down[k - 1].eq(falls[-1]),
                higher.eq(ref + values[f"times_{k}"]),
                lower.eq(ref - values[f"times_{k}"]),
            ]
            moved.append(Mux(down[0], lower, higher))
        spike = Signal(signed(p.spike_bits))
        m.d.comb += n.eq(up | down)
        for k in range(1, p.quanta + 1):
            with m.If(n[k - 1]):
                m.d.comb += spike.eq(Mux(down[0], -k, k))

        def reached(low: int, high: int) -> Value:
            """Return the reference after low..high quanta."""
            if low == high:
                return moved[low]
            middle = (low + high + 1) // 2
            return Mux(n[middle - 1], reached(middle, high), reached(low, middle - 1))

        state_after = {
            "ref": reached(0, p.quanta),
            "rose": up[0] | (state.rose & ~down[0]),
            "fell": down[0] | (state.fell & ~up[0]),
        }
        return state_after, self._with_start(values, spike)

    def _with_start(self, values: Values, spike: Value) -> Values:
        start = {"start": values["sample"]} if self.parameters.side_band else {}
        return {"spike": spike, **start}

    def _divide(self, m: Module, values: Values, state: Any) -> tuple[Values, Values]:
        """Divide the distance by the threshold."""
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
            against_above.eq(state.fell),
            against_below.eq(state.rose),
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
            "rose": Mux(spiked, ~below, state.rose),
            "fell": Mux(spiked, below, state.fell),
        }
        return state_after, self._with_start(values, spike)
