"""Fire and reset: T compare-and-subtract stages turn a membrane potential into a packed word."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from spikeloom_hdl.stream import words_signature

__all__ = ["Fire", "membranes_signature"]


def membranes_signature(lanes: int, bits: int, threshold_bits: int) -> stream.Signature:
    """Stream of membrane potentials, two's complement, each with its threshold, unsigned."""
    return stream.Signature(
        data.StructLayout(
            {
                "potentials": data.ArrayLayout(signed(bits), lanes),
                "thresholds": data.ArrayLayout(unsigned(threshold_bits), lanes),
                "first": 1,
                "last": 1,
            }
        )
    )


class Fire(wiring.Component):
    """Packed words clip(floor(v / theta), 0, 2^steps - 1) of ``lanes`` neurons a cycle.

    Step t = 1 .. T fires when v >= theta * 2^(T-t) and then subtracts what fired: a restoring
    division, with one register stage a step. The first step is the most significant bit.
    Latency: ``steps`` cycles; rate: a transfer a cycle. A threshold of 0 gives no meaningful word.

    lanes: neurons a transfer. bits: width of a potential. steps: T. threshold_bits: width of a
    threshold.
    """

    def __init__(self, *, lanes: int, bits: int, steps: int, threshold_bits: int = 16):
        for name, value, low, high in (
            ("lanes", lanes, 1, 4096),
            ("bits", bits, 2, 64),
            ("steps", steps, 1, 16),
            ("threshold_bits", threshold_bits, 1, 32),
        ):
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be an integer in {low}..{high}, not {value!r}")
        self.lanes, self.bits = lanes, bits
        self.steps, self.threshold_bits = steps, threshold_bits
        super().__init__(
            {
                "i": In(membranes_signature(lanes, bits, threshold_bits)),
                "o": Out(words_signature(lanes, steps)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        advance = Signal()
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready), self.i.ready.eq(advance)]
        # both sides of v >= theta * 2^(T-1) fit
        width = max(self.bits, self.threshold_bits + self.steps - 1) + 1

        valid, first, last = self.i.valid, self.i.p.first, self.i.p.last
        membranes = list(self.i.p.potentials)
        thresholds = list(self.i.p.thresholds)
        spikes = [[] for _ in range(self.lanes)]  # most significant first
        for t in range(1, self.steps + 1):
            shift = self.steps - t
            flags = [Signal(name=f"{n}_{t}") for n in ("valid", "first", "last")]
            with m.If(advance):
                m.d.sync += [flags[0].eq(valid), flags[1].eq(first), flags[2].eq(last)]
            valid, first, last = flags
            for lane in range(self.lanes):

                def register(shape, name, t=t, lane=lane):
                    return Signal(shape, name=f"{name}_{t}_{lane}", reset_less=True)

                v, theta = membranes[lane], thresholds[lane]
                # the low bits of theta * 2^shift are zero: they of v stay
                high = Signal(signed(width - shift), name=f"high_{t}_{lane}")
                rest = Signal(signed(width - shift), name=f"rest_{t}_{lane}")
                fires = Signal(name=f"fires_{t}_{lane}")
                m.d.comb += [
                    high.eq(v >> shift),
                    rest.eq(high - theta),
                    # of a negative v the difference may wrap; it never fires
                    fires.eq(~(high[-1] | rest[-1])),
                ]
                kept = [register(1, f"spike{k}") for k in range(t)]
                with m.If(advance):
                    m.d.sync += [k.eq(s) for k, s in zip(kept, [*spikes[lane], fires], strict=True)]
                spikes[lane] = kept
                if t < self.steps:
                    v_next = register(signed(width), "v")
                    theta_next = register(self.threshold_bits, "theta")
                    with m.If(advance):
                        m.d.sync += [
                            v_next.eq(Cat(v[:shift], Mux(fires, rest, high)).as_signed()),
                            theta_next.eq(theta),
                        ]
                    membranes[lane], thresholds[lane] = v_next, theta_next
        m.d.comb += [self.o.valid.eq(valid), self.o.p.first.eq(first), self.o.p.last.eq(last)]
        m.d.comb += [self.o.p.words[k].eq(Cat(reversed(spikes[k]))) for k in range(self.lanes)]
        return m
