"""The loop of leaky integrate and fire where a spike sets the potential to 0."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import wiring
from spikeloom.hardware.encoders import LIFParameters
from spikeloom.hardware.encoders.signal import GUARD_BITS

from spikeloom_hdl.encoders.channel_table import ChannelSettings
from spikeloom_hdl.encoders.leak import Split, leaky
from spikeloom_hdl.encoders.pipeline import MARKS
from spikeloom_hdl.memory import BlockMemory

__all__ = ["ZeroLoop"]

#: Samples back that a state is not in its row yet.
UNDER_WAY = 5


class ZeroLoop:
    """Integrate first, decide a cycle later: a leak and one addition make the whole loop.

    The potential of a sample, before any reset, goes into the register ``left``. One cycle later it
    is compared with the thresholds, while it leaks already; where it spiked, the sum takes nothing
    of it. A state that comes from elsewhere leaks one cycle earlier, through gates of its own, and
    is chosen where the addends join: no selection is before the leak.

    Cycles of a sample: 0 reads the row of the channel; 1 it answers; 2 leak of a state from there,
    or of the last sample but one; 3 the sum; 4 the decision; 5 writes the row.
    """

    def __init__(self, parameters: LIFParameters):
        self.parameters = parameters
        # |v| <= theta takes a bit less than v and a sample
        self.bits = parameters.format.width + GUARD_BITS + 2
        self.wait_bits = parameters.refractory.bit_length()

    def build(self, m: Module, core: Any, o: Any) -> None:
        """Add the core to a module; ``o`` is the stream of its results."""
        p = self.parameters
        self.m, self.advance = m, Signal(name="advance")
        accept, self.sweeping = Signal(name="accept"), Signal(init=p.channels > 1, name="sweeping")
        m.submodules.settings = table = ChannelSettings(p)
        wiring.connect(m, wiring.flipped(core.p), table.p)
        m.d.comb += [
            self.advance.eq(~o.valid | o.ready),
            core.i.ready.eq(self.advance & ~table.busy & ~self.sweeping),
            accept.eq(core.i.valid & core.i.ready),
            table.channel.eq(core.i.p.channel),
            table.read.eq(accept),
        ]
        # by cycle
        self.valid: list[Value] = [accept]
        self.marks = [{name: core.i.p[name] for name in MARKS}]
        for k in range(1, 6):
            self.valid.append(self._register(f"valid_{k}", self.valid[-1], reset=True))
            self.marks.append(
                {name: self._register(f"{name}_{k}", v) for name, v in self.marks[-1].items()}
            )
        sample = self._register("sample_2", self._register("sample_1", core.i.p.sample))
        settings = {n: self._register(f"{n}_2", table.settings[n]) for n in self._fields()}
        spike, first = self._loop(sample, settings)
        m.d.comb += [
            o.valid.eq(self.valid[5]),
            o.p.spike.eq(self._register("spike_5", spike)),
            *(o.p[name].eq(mark) for name, mark in {**self.marks[5], "first": first}.items()),
        ]

    def _fields(self) -> list[str]:
        return [field.name for field in self.parameters.fields]

    def _register(self, name: str, value: Value, *, reset: bool = False) -> Signal:
        register = Signal(Shape.cast(value.shape()), name=name, reset_less=not reset)
        with self.m.If(self.advance):
            self.m.d.sync += register.eq(value)
        return register

    def _loop(self, sample: Value, settings: dict[str, Signal]) -> tuple[Value, Value]:
        """Return the spike of the sample in cycle 4, and ``first`` of the one in cycle 5."""
        m, p, bits = self.m, self.parameters, self.bits
        left = Signal(signed(bits), name="left", reset_less=True)
        dead = Signal(name="dead")
        kept = Signal(bits - 1, name="kept")
        m.d.comb += kept.eq(Mux(dead, 0, left))
        settled = self._register("settled", kept)
        older = self._register("older", settled)
        waiting = Signal(self.wait_bits, name="waiting", reset_less=True)
        longer = self._register("longer", waiting)

        row, behind = self._row(Cat(settled, waiting))
        begins, nearest = self._begins(row[-1], behind)

        # cycle 1: the potential, unless it is still ahead
        stored = self._register("stored", row[: bits - 1])
        passed = self._register("passed", Mux(nearest[2], kept, Mux(nearest[3], settled, older)))
        with m.If(self.advance & (begins | Cat(behind).any())):
            m.d.sync += stored.eq(0)
        with m.If(self.advance & ~Cat(nearest[2:]).any()):
            m.d.sync += passed.eq(0)
        repeats_2 = self._register("repeats_2", nearest[0])
        from_left = self._register("from_left", nearest[1])

        # cycle 2: it leaks
        operand, x = (Signal(signed(bits), name=name) for name in ("operand", "x"))
        m.d.comb += [
            operand.eq((stored | passed).as_signed() | Mux(from_left, left, 0)),
            x.eq(sample << GUARD_BITS),
        ]
        early = leaky(m, operand, settings["leak"], p).split(m, "early", x, bits)
        alone = Split(x, Const(0, bits), Const(0, len(early.fraction)), Const(0, 1))
        prepared = self._held("prepared", self._either(from_left & dead, alone, early))

        # cycle 3: the sum
        leak, x = self._register("leak_3", settings["leak"]), self._register("x_3", x)
        repeats = self._register("repeats_3", repeats_2)
        own = leaky(m, left, leak, p)
        joined = self._either(repeats & ~dead, own.split(m, "own", x, bits), prepared)
        total = joined.total(m, "u", own.half)
        with m.If(self.advance):
            m.d.sync += left.eq(total)

        # cycle 4: the decision
        # the complement stands ready: a carry chain of an iCE40 takes no inverted operand
        threshold = self._later("threshold", settings["threshold"], 2)
        negative = self._later("negative", ~self._register("threshold_3", settings["threshold"]), 1)
        above, below = (Signal(signed(bits + 1), name=name) for name in ("above", "below"))
        up, down, counts = (Signal(name=name) for name in ("up", "down", "counts"))
        m.d.comb += [
            # left - theta - 1, of which the low bits are ones
            above.eq(left + Cat(Const(-1, GUARD_BITS), negative, Const(-1, 2)).as_signed()),
            below.eq((left >> GUARD_BITS) + threshold),
            up.eq(~above[-1]),
            down.eq(below[-1]),
            dead.eq(up | down | ~counts),
        ]
        if p.refractory:
            wait = self._wait(row[bits - 1 : -1], begins, nearest, waiting, longer)
            rest = self._later("refractory", settings["refractory"], 2)
            m.d.comb += counts.eq(wait == 0)
            after = Mux(counts, Mux(up | down, rest, 0), (wait - 1)[: self.wait_bits])
            with m.If(self.advance):
                m.d.sync += waiting.eq(after)
        else:
            m.d.comb += counts.eq(1)
        spike = Signal(signed(2), name="spike")
        m.d.comb += [spike[0].eq((up | down) & counts), spike[1].eq(down & counts)]
        return spike, self._later("begins", begins, 4)

    def _later(self, name: str, value: Value, cycles: int) -> Value:
        for k in range(cycles):
            value = self._register(f"{name}_in_{k + 1}", value)
        return value

    def _held(self, name: str, split: Split) -> Split:
        parts = (split.ones, split.carries, split.fraction, split.odd)
        return Split(*(self._register(f"{name}_{k}", part) for k, part in enumerate(parts)))

    def _either(self, which: Value, a: Split, b: Split) -> Split:
        return Split(
            Mux(which, a.ones, b.ones),
            Mux(which, a.carries, b.carries),
            Mux(which, a.fraction, b.fraction),
            Mux(which, a.odd, b.odd),
        )

    def _row(self, state: Value) -> tuple[Value, list[Value]]:
        """Return the stored state of the sample in cycle 1, and who is ahead of it.

        The top bit is 1 while a frame is under way. Ahead of it: one bit for each of the last five
        samples, 1 if it is of the same channel.
        """
        m, channels = self.m, [marks["channel"] for marks in self.marks]
        many = self.parameters.channels > 1
        same = [channels[0] == c if many else Const(1, 1) for c in channels]
        behind = [
            self._register(f"behind_{n}", self.valid[n] & same[n], reset=True)
            for n in range(1, UNDER_WAY + 1)
        ]
        data = Cat(state, ~self.marks[5]["last"])
        if not many:
            kept = Signal(len(data), name="kept_row")
            with m.If(self.advance & self.valid[5]):
                m.d.sync += kept.eq(data)
            return kept, behind
        rows = 1 << len(channels[0])
        m.submodules.ram = ram = BlockMemory(rows=rows, bits=len(data))
        row = Signal(range(rows), name="swept")
        writes = self.valid[5]
        m.d.comb += [
            ram.read_row.eq(channels[0]),
            ram.read.eq(self.valid[0] & ~(writes & same[5])),
            ram.write_row.eq(Mux(self.sweeping, row, channels[5])),
            ram.write.eq(self.sweeping | (self.advance & writes)),
            ram.write_data.eq(Mux(self.sweeping, 0, data)),
        ]
        with m.If(self.sweeping):
            m.d.sync += row.eq(row + 1)
            with m.If(row == rows - 1):
                m.d.sync += self.sweeping.eq(0)
        return ram.read_data, behind

    def _begins(self, stored: Value, behind: list[Value]) -> tuple[Value, list[Value]]:
        """Return whether a frame begins with the sample in cycle 1, else where its state is."""
        lasts = [marks["last"] for marks in self.marks[2:]]
        lasts.append(self._register("last_6", lasts[-1]))
        begun = stored
        for ahead, last in reversed(list(zip(behind, lasts, strict=True))):
            begun = Mux(ahead, ~last, begun)
        begins = Signal(name="begins")
        self.m.d.comb += begins.eq(self.marks[1]["first"] | ~begun)
        nearest = [
            behind[n] & ~Cat(behind[:n]).any() & ~begins if n else behind[0] & ~begins
            for n in range(UNDER_WAY)
        ]
        return begins, nearest

    def _wait(
        self,
        stored: Value,
        begins: Value,
        nearest: list[Value],
        waiting: Signal,
        longer: Signal,
    ) -> Value:
        """Samples to ignore still, of the channel in cycle 4: from its row, or from ``waiting``."""
        # the sample of n cycles before is in cycle 5 when this one is in cycle 5 - n
        value = Mux(begins, 0, Mux(nearest[4], longer, Mux(nearest[3], waiting, stored)))
        value = self._register("wait_2", value)
        for cycle, n in ((2, 2), (3, 1), (4, 0)):
            taken = self._later(f"taken_{cycle}", nearest[n], cycle - 1)
            value = Mux(taken, waiting, value)
            if cycle < 4:
                value = self._register(f"wait_{cycle + 1}", value)
        return value
