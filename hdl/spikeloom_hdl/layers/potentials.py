"""From packed words to membrane potentials: the event-driven heart of every dense layer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.memory_image import Kind
from spikeloom.hardware.parameters import COLUMN_BITS, ROW_BITS, DenseParameters

from spikeloom_hdl.layers.drain import Drain
from spikeloom_hdl.layers.neuron_rows import NeuronRows
from spikeloom_hdl.layers.scanner import Scanner
from spikeloom_hdl.memory import ColumnMemory, row_bits
from spikeloom_hdl.neuron.accumulate import Accumulate, balanced_sum
from spikeloom_hdl.neuron.fire import membranes_signature
from spikeloom_hdl.stream import LoadBus, potentials_signature, words_signature

__all__ = ["Potentials"]

#: lanes of a group, about: one group a register copy of what is broadcast to the lanes
GROUP_LANES = 16

KIND_SHIFT = 24  #: the kind of a memory in an address of the load bus


def _register(value, name: str) -> Signal:
    return Signal(value.shape(), name=name, reset_less=True)


class Potentials(wiring.Component):
    """v0 of every neuron of a layer: bias plus the sum of weight times word over non-zero words.

    A sample is scanned into event lists, one a fan-in slice; these are replayed once a pass of
    ``lanes`` neurons. Rows, words and tokens travel through groups of lanes one after another, a
    register a group, so that nothing is broadcast further than a group; what is read back through
    the load bus comes along. A pass ends with a token that hands the accumulators to the drain and
    clears them.

    Rate: with e events in the fullest slice (non-zero words, or set bits in the serial form) a pass
    of r drain rows takes max(e + 1, r + ``skew``) cycles, and a sample the sum over its passes, or
    ``beats`` if that is more. That is at most max(passes * e, beats, drain_rows) + ``overhead``.
    Latency: from a sample's first beat to its first potentials, beats + e + ``skew`` + 4 cycles,
    one more in the serial form.

    Members: ``i``; ``o``, potentials (with thresholds, if the layer fires); ``load``, of which the
    layer bits are not looked at; ``abort`` drops everything inside; ``resetting`` while that (or
    reset) lasts, with ``i`` not ready; ``events`` and ``spikes`` count non-zero words and set bits,
    each word once a sample.
    """

    def __init__(self, parameters: DenseParameters):
        p, fold = parameters, parameters.folding
        self.parameters = p
        per_column = p.lanes_per_column
        self.group_columns = min(p.columns_per_slice, max(1, GROUP_LANES // per_column))
        step = self.group_columns * per_column
        self.group_lanes = [min(step, fold.lanes - k) for k in range(0, fold.lanes, step)]
        self.groups = [
            Accumulate(
                lanes=lanes,
                slices=fold.slices,
                input_bits=p.input_bits,
                weight_bits=p.weight_bits,
                accumulator_bits=p.accumulator_bits,
                form=fold.form,
                multiplier=fold.multiplier,
            )
            for lanes in self.group_lanes
        ]
        if p.fires:
            output = membranes_signature(fold.fire_lanes, p.accumulator_bits, p.threshold_bits)
        else:
            output = potentials_signature(fold.fire_lanes, p.accumulator_bits)
        super().__init__(
            {
                "i": In(words_signature(fold.scan, p.input_bits)),
                "o": Out(output),
                "load": In(LoadBus()),
                "abort": In(1),
                "resetting": Out(1, init=1),
                "events": Out(range(fold.slices + 1)),
                "spikes": Out(range(fold.slices * p.input_bits + 1)),
            }
        )

    @property
    def skew(self) -> int:
        """Cycles from the token of a pass to the first cycle of its drain."""
        return 4 + self.groups[0].latency + len(self.groups)

    @property
    def overhead(self) -> int:
        """Cycles per sample, at most, beyond the largest of passes * events, beats, drain rows."""
        fold = self.parameters.folding
        return self.parameters.passes * self.skew + fold.lanes // fold.fire_lanes

    @property
    def load_latency(self) -> int:
        """Cycles from ``load.read`` to ``load.read_valid``."""
        return 3 + len(self.groups)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, fold = self.parameters, self.parameters.folding
        clearing = self._reset_sequence(m)
        held = ResetInserter(self.resetting)

        scanner = Scanner(p)
        m.submodules.scanner = held(scanner)
        lists = scanner.lists
        m.d.comb += [
            scanner.i.payload.eq(self.i.payload),
            scanner.i.valid.eq(self.i.valid & ~self.resetting),
            self.i.ready.eq(scanner.i.ready & ~self.resetting),
        ]

        # --- the slices meet at their tokens; a token leaves when the drain will be free for it
        owned = Signal()  # a pass is on its way to the drain, or in it
        token, token_last = Signal(), Signal()
        meet = Signal()
        m.d.comb += meet.eq(Cat(one.token for one in lists).all() & ~owned)
        # (data registers have no reset: what they hold runs out while the layer is being reset)
        e_row = [_register(one.row, f"e_row_{s}") for s, one in enumerate(lists)]
        e_word = [_register(one.word, f"e_word_{s}") for s, one in enumerate(lists)]
        e_fetch = Signal(fold.slices, reset_less=True)
        for s, one in enumerate(lists):
            m.d.comb += one.proceed.eq(meet)
            m.d.sync += [e_row[s].eq(one.row), e_word[s].eq(one.word), e_fetch[s].eq(one.fetch)]
        e_first = Signal()  # slices meet after every pass: one flag is true for all
        m.d.sync += [
            token.eq(meet | clearing),
            token_last.eq(lists[0].token_last),
            e_first.eq(Cat(one.first_pass & one.event for one in lists).any()),
        ]
        self._count(m, e_fetch, e_word, e_first)

        # --- rows of the weight memories: those of the pass, or what the load bus reads
        bits = row_bits(max(p.weight_depth, p.drain_rows))
        base = Signal(bits)
        if p.passes > 1:
            with m.If(token):
                m.d.sync += base.eq(Mux(token_last, 0, base + p.rows_per_pass))
        f_row = [Signal(bits, name=f"f_row_{s}", reset_less=True) for s in range(fold.slices)]
        f_word = [_register(e_word[s], f"f_word_{s}") for s in range(fold.slices)]
        f_fetch = Signal(fold.slices, reset_less=True)
        f_token, f_last = Signal(reset_less=True), Signal(reset_less=True)
        for s in range(fold.slices):
            address = Mux(self.load.read, self.load.address[:ROW_BITS], base + e_row[s])
            m.d.sync += [f_row[s].eq(address), f_word[s].eq(e_word[s])]
        m.d.sync += [
            f_fetch.eq(e_fetch | self.load.read.replicate(fold.slices)),
            f_token.eq(token),
            f_last.eq(token_last),
        ]

        bus = self._load_side(m)
        rows = NeuronRows(p)
        m.submodules.neuron_rows = held(rows)
        m.d.comb += [
            rows.load_read.eq(bus["read"]),
            rows.load_row.eq(f_row[0]),
            rows.write_row.eq(bus["row"]),
            rows.write_data.eq(bus["data"]),
            rows.write_bias.eq(bus["strobe"](Kind.BIAS, range(fold.fire_lanes))),
        ]
        if p.fires:
            strobe = bus["strobe"](Kind.THRESHOLD, range(fold.fire_lanes))
            m.d.comb += rows.write_threshold.eq(strobe)
        drain = Drain(p, group_lanes=self.group_lanes)
        m.submodules.drain = held(drain)
        self._groups(m, f_row, f_word, f_fetch, f_token, f_last, bus, rows, drain)

        with m.If(meet):
            m.d.sync += owned.eq(1)
        with m.Elif(drain.done):
            m.d.sync += owned.eq(0)
        with m.If(self.resetting):
            m.d.sync += [owned.eq(0), base.eq(0)]

        # --- bias
        free = Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            drain.take.eq(drain.valid & rows.valid & free),
            rows.take.eq(drain.take),
        ]
        payload = Signal(self.o.payload.shape(), reset_less=True)
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(drain.take),
                payload.first.eq(drain.first),
                payload.last.eq(drain.last),
            ]
            for k in range(fold.fire_lanes):
                m.d.sync += payload.potentials[k].eq(drain.head[k] + rows.bias[k])
                if p.fires:
                    m.d.sync += payload.thresholds[k].eq(rows.threshold[k])
        with m.If(self.resetting):
            m.d.sync += self.o.valid.eq(0)
        m.d.comb += self.o.payload.eq(payload)
        return m

    def _reset_sequence(self, m: Module) -> Signal:
        """After reset or ``abort``: first clear the accumulators, then let the clears run out."""
        cycles = 1 << (self.skew + 2).bit_length()
        count = Signal(range(2 * cycles), init=2 * cycles - 1)
        with m.If(self.abort):
            m.d.sync += [count.eq(2 * cycles - 1), self.resetting.eq(1)]
        with m.Elif(count.any()):
            m.d.sync += count.eq(count - 1)
        with m.Else():
            m.d.sync += self.resetting.eq(0)
        return count[-1]

    def _count(self, m: Module, fetch: Signal, words: Sequence[Signal], first_pass: Signal) -> None:
        """Count words and spikes on their first pass."""
        bits = [bit & first_pass for word in words for bit in word]
        m.d.sync += [
            self.events.eq(balanced_sum([bit & first_pass for bit in fetch])),
            self.spikes.eq(balanced_sum(bits)),
        ]

    def _load_side(self, m: Module) -> dict[str, Any]:
        """Register the load bus; reads and writes reach the memories in the order of the bus."""
        load = self.load
        read, write = Signal(), Signal()
        row = Signal(ROW_BITS, reset_less=True)
        fold = self.parameters.folding
        most = max(fold.slices * self.parameters.columns_per_slice, fold.fire_lanes)
        column = Signal(row_bits(most), reset_less=True)
        kind = Signal(2, reset_less=True)
        word = Signal(COLUMN_BITS, reset_less=True)
        m.d.sync += [
            read.eq(load.read),
            write.eq(load.write),
            row.eq(load.address[:ROW_BITS]),
            column.eq(load.address[ROW_BITS:]),
            kind.eq(load.address[KIND_SHIFT:]),
            word.eq(load.data),
        ]

        def strobe(kind_: Kind, columns_: Sequence[int]):
            return Cat(write & (kind == kind_) & (column == c) for c in columns_)

        return dict(
            read=read, write=write, row=row, column=column, kind=kind, data=word, strobe=strobe
        )

    def _groups(self, m, f_row, f_word, f_fetch, f_token, f_last, bus, rows, drain) -> None:
        """Connect the groups, a register after each other, and read back what they hold."""
        p, fold = self.parameters, self.parameters.folding
        slices = fold.slices

        def delay(value, cycles: int, name: str):
            for k in range(cycles):
                register = _register(value, f"{name}_{k}")
                m.d.sync += register.eq(value)
                value = register
            return value

        # what a group needs with the row, with the weights (two cycles later), and at the sum
        row, fetch = f_row, f_fetch
        word = [delay(f_word[s], 2, f"word_{s}") for s in range(slices)]
        token = delay(f_token, 2 + self.groups[0].latency, "token")
        last = delay(f_last, 1 + self.groups[0].latency + len(self.groups), "last")
        column = delay(bus["column"], 2, "column")
        kind = delay(bus["kind"], 2, "kind")
        write, write_row, write_data = bus["write"] & (bus["kind"] == 0), bus["row"], bus["data"]
        write_column = bus["column"]
        answer = self._select(kind, column, Kind.BIAS, rows.bias)
        if p.fires:
            answer |= self._select(kind, column, Kind.THRESHOLD, rows.threshold)
        is_weight = kind == Kind.WEIGHT

        for g, group in enumerate(self.groups):
            m.submodules[f"group_{g}"] = group
            first_column = g * self.group_columns
            columns = range(
                first_column, min(first_column + self.group_columns, p.columns_per_slice)
            )
            if g:
                row = [delay(row[s], 1, f"row_{g}_{s}") for s in range(slices)]
                word = [delay(word[s], 1, f"word_{g}_{s}") for s in range(slices)]
                fetch = delay(fetch, 1, f"fetch_{g}")
                token = delay(token, 1, f"token_{g}")
                column = delay(column, 1, f"column_{g}")
                is_weight = delay(is_weight, 1, f"is_weight_{g}")
                write = delay(write, 1, f"write_{g}")
                write_row = delay(write_row, 1, f"write_row_{g}")
                write_data = delay(write_data, 1, f"write_data_{g}")
                write_column = delay(write_column, 1, f"write_column_{g}")
            for s in range(slices):
                ids = [s * p.columns_per_slice + c for c in columns]
                ram = ColumnMemory(
                    columns=len(columns),
                    rows=p.weight_depth,
                    bits=p.lanes_per_column * p.weight_bits,
                    kind=fold.weight_memory,
                )
                m.submodules[f"weights_{g}_{s}"] = ram
                m.d.comb += [
                    ram.read_row.eq(row[s]),
                    ram.read.eq(fetch[s]),
                    ram.write_row.eq(write_row),
                    ram.write_data.eq(write_data),
                    ram.write.eq(Cat(write & (write_column == c) for c in ids)),
                    group.words[s].eq(word[s]),
                    group.weights[s].as_value().eq(ram.read_data.as_value()),
                ]
                for k, c in enumerate(ids):
                    picked = is_weight & (column == c)
                    answer |= ram.read_data[k] & picked.replicate(len(ram.read_data[k]))
            offset = sum(self.group_lanes[:g])
            m.d.comb += [group.clear.eq(token), drain.copy[g].eq(token)]
            m.d.comb += [
                drain.potentials[offset + k].eq(group.potentials[k])
                for k in range(self.group_lanes[g])
            ]
            gathered = Signal(COLUMN_BITS, name=f"answer_{g}", reset_less=True)
            m.d.sync += gathered.eq(answer)
            answer = gathered
        m.d.comb += [drain.finish.eq(token), drain.finish_last.eq(last)]
        m.d.comb += self.load.read_data.eq(answer)
        m.d.comb += self.load.read_valid.eq(delay(bus["read"], 2 + len(self.groups), "read_valid"))

    @staticmethod
    def _select(kind, column, wanted: Kind, words):
        """OR of the words of a memory, each masked unless the load bus reads it."""
        terms = []
        for k in range(words.shape().length):
            bits = words[k].as_unsigned() if words[k].shape().signed else words[k]
            picked = (kind == wanted) & (column == k)
            terms.append(bits & picked.replicate(len(bits)))
        return reduce(or_, terms)
