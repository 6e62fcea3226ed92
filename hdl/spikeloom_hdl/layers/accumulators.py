"""Events in, finished sums out: the accumulators of a layer, their weights, and their drain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.fixed_image import LayerContents, words_of
from spikeloom.hardware.memory_image import Kind
from spikeloom.hardware.parameters import COLUMN_BITS, ROW_BITS, SynapseParameters

from spikeloom_hdl.dual_memory import DualColumnMemory
from spikeloom_hdl.layers.drain import Drain
from spikeloom_hdl.layers.load_side import LocalBus, listen
from spikeloom_hdl.layers.row_queue import RowQueue
from spikeloom_hdl.layers.shared_weights import SharedWeights, borrow, lend
from spikeloom_hdl.memory import ColumnMemory, row_bits
from spikeloom_hdl.neuron.accumulate import Accumulate, balanced_sum
from spikeloom_hdl.stream import LoadBus, potentials_layout

__all__ = ["Accumulators", "rows_signature"]

#: lanes of a group, about: one group a register copy of what is broadcast to the lanes
GROUP_LANES = 16


def rows_signature(parameters: SynapseParameters) -> stream.Signature:
    """Stream of accumulators without bias, ``fire_lanes`` a transfer."""
    p = parameters
    return stream.Signature(potentials_layout(p.folding.fire_lanes, p.accumulator_bits))


def _register(value, name: str) -> Signal:
    return Signal(value.shape(), name=name, reset_less=True)


class Accumulators(wiring.Component):
    """The sum of weight times word over the events of a sample (a window), for every neuron.

    ``lists``, one a fan-in slice, give the events once a pass of ``lanes`` neurons. Rows, words and
    tokens travel through groups of lanes one after another, a register a group, so that nothing is
    broadcast further than a group; what is read back through the load bus comes along. A pass ends
    with a token that hands the accumulators to the drain and clears them.

    parameters: of a layer with weights; only what all of them share is looked at.
    lists: for each slice the reading members of an
        :class:`~spikeloom_hdl.layers.event_list.EventList`.
    unit: which one of a convolution. Each has a copy of the weights; of ``paired`` units an even
        one has the copy, with a second port for the odd one that follows.
    queued: a queue stands behind the drain, which then never waits: passes may follow each other
        every ``spacing`` cycles. Without, a pass leaves only when the drain is done with the one
        before. The queue's transfers come without ``first`` and ``last``.
    contents: of the layer, where they are fixed; then weights cannot be written.

    Rate: with e events in the fullest slice (non-zero words, or set bits in the serial form) a pass
    of r drain rows takes max(e + 1, r + ``skew``) cycles; queued max(e + 1, ``spacing(r)``), while
    transfers are taken.
    Latency: the first transfer leaves ``skew`` cycles after the token, 3 more if queued.

    Members: ``o``; ``load``, of which the layer bits are not looked at, and ``bus``, the same
    registered, for the memories of neurons; ``answer``, what those read, two cycles after
    ``bus.read``; ``partner``, of a paired unit, goes to the other one; ``abort`` drops everything
    inside; ``resetting`` while that (or reset) lasts; ``events`` and ``spikes`` count non-zero
    words and set bits on their first pass.
    """

    def __init__(
        self,
        parameters: SynapseParameters,
        lists: Sequence[Any],
        *,
        unit: int = 0,
        queued: bool = False,
        contents: LayerContents | None = None,
    ):
        self.contents = contents
        p, fold = parameters, parameters.folding
        self.parameters, self.lists, self.unit, self.queued = p, list(lists), unit, queued
        assert len(self.lists) == fold.slices
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
        columns = max(fold.copies * fold.slices * p.columns_per_slice, fold.fire_lanes)
        self.lends, self.borrows = fold.paired and unit % 2 == 0, fold.paired and unit % 2 == 1
        shared = SharedWeights(p, len(self.groups))
        super().__init__(
            ({"partner": In(shared)} if self.lends else {})
            | ({"partner": Out(shared)} if self.borrows else {})
            | {
                "o": Out(rows_signature(p)),
                "load": In(LoadBus()),
                "bus": Out(LocalBus(columns)),
                "answer": In(COLUMN_BITS),
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

    def spacing(self, rows: int) -> int:
        """Cycles from a token to the next, at least, if queued and a pass has ``rows`` rows."""
        # groups are copied into the drain one after another: it must be empty before the first
        return max(2, rows + len(self.groups) - 1)

    @property
    def queue_depth(self) -> int:
        """Transfers that the queue holds: so many that a free reader never slows passes down.

        A transfer's place is taken from the token on, until the transfer leaves. Of several units
        one gives out its pixel while the others go on: each has place for a pixel.
        """
        p, fold = self.parameters, self.parameters.folding
        rows = min(p.drain_rows, fold.lanes // fold.fire_lanes)
        depth = self.skew + 4 + 2 * rows
        if fold.units > 1:
            depth = max(depth, p.drain_rows + rows)
        return 1 << (depth - 1).bit_length()

    @property
    def load_latency(self) -> int:
        """Cycles from ``load.read`` to ``load.read_valid``."""
        return 3 + len(self.groups)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, fold, lists = self.parameters, self.parameters.folding, self.lists
        clearing = self._reset_sequence(m)
        listen(m, self.load, self.bus)
        drain = Drain(p, group_lanes=self.group_lanes, queued=self.queued)
        m.submodules.drain = ResetInserter(self.resetting)(drain)

        # --- the slices meet at their tokens; a token leaves when the drain will be free for it
        token, token_last, meet = Signal(), Signal(), Signal()
        free = self._queue(m, drain, meet) if self.queued else self._direct(m, drain, meet)
        m.d.comb += meet.eq(Cat(one.token for one in lists).all() & free)
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
        m.d.sync += [
            self.events.eq(balanced_sum([bit & e_first for bit in e_fetch])),
            self.spikes.eq(balanced_sum([bit & e_first for word in e_word for bit in word])),
        ]

        # --- rows of the weight memories: those of the pass, or what the load bus reads
        bits = row_bits(max(p.weight_depth, p.drain_rows))
        base = Signal(bits)
        if p.passes > 1:
            with m.If(token):
                m.d.sync += base.eq(Mux(token_last, 0, base + p.rows_per_pass))
            with m.If(self.resetting):
                m.d.sync += base.eq(0)
        f_row = [Signal(bits, name=f"f_row_{s}", reset_less=True) for s in range(fold.slices)]
        f_word = [_register(e_word[s], f"f_word_{s}") for s in range(fold.slices)]
        f_fetch = Signal(fold.slices, reset_less=True)
        f_token, f_last = Signal(reset_less=True), Signal(reset_less=True)
        # a shared memory is written at the row that it would read; nothing runs meanwhile
        from_bus = self.load.read | self.load.write if self.lends else self.load.read
        for s in range(fold.slices):
            address = base + e_row[s]
            if not self.borrows:
                address = Mux(from_bus, self.load.address[:ROW_BITS], address)
            m.d.sync += [f_row[s].eq(address), f_word[s].eq(e_word[s])]
        if not self.borrows:
            e_fetch = e_fetch | self.load.read.replicate(fold.slices)
        m.d.sync += [
            f_fetch.eq(e_fetch),
            f_token.eq(token),
            f_last.eq(token_last),
        ]
        self._groups(m, f_row, f_word, f_fetch, f_token, f_last, drain)
        return m

    def _direct(self, m: Module, drain: Drain, meet: Signal):
        """Connect the drain to ``o``; return whether it is free for a token."""
        m.d.comb += [
            self.o.valid.eq(drain.valid),
            self.o.p.potentials.eq(drain.head),
            self.o.p.first.eq(drain.first),
            self.o.p.last.eq(drain.last),
            drain.take.eq(drain.valid & self.o.ready),
        ]
        owned = Signal()  # a pass is on its way to the drain, or in it
        with m.If(meet):
            m.d.sync += owned.eq(1)
        with m.Elif(drain.done):
            m.d.sync += owned.eq(0)
        with m.If(self.resetting):
            m.d.sync += owned.eq(0)
        return ~owned

    def _queue(self, m: Module, drain: Drain, meet: Signal):
        """Put a queue behind the drain; return whether both will be free for a token of now."""
        queue = RowQueue(self.parameters, depth=self.queue_depth)
        m.submodules.queue = ResetInserter(self.resetting)(queue)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        m.d.comb += [
            drain.take.eq(drain.valid),
            queue.write.eq(drain.valid),
            queue.potentials.eq(drain.head),
        ]
        last = self.lists[0].token_last
        spaces = [self.spacing(rows) for rows in (drain.rows, drain.rows_last)]
        wait = Signal(range(max(spaces)))
        spaced = Signal(init=1)
        # Places are taken by the token. Comparing may be a cycle late, as `spacing` is 2 at least.
        space = Signal(range(queue.depth + 1), init=queue.depth)
        room, room_last = Signal(), Signal()
        taken = Mux(meet, Mux(last, drain.rows_last, drain.rows), 0)
        m.d.sync += [
            wait.eq(wait - 1),
            space.eq(space - taken + queue.left),
            room.eq(space >= drain.rows),
            room_last.eq(space >= drain.rows_last),
        ]
        with m.If(meet):
            m.d.sync += [wait.eq(Mux(last, spaces[1], spaces[0]) - 1), spaced.eq(0)]
        with m.Elif(wait == 1):
            m.d.sync += spaced.eq(1)
        with m.If(self.resetting):
            m.d.sync += [wait.eq(0), spaced.eq(1), space.eq(queue.depth)]
        return spaced & Mux(last, room_last, room)

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

    def _groups(self, m, f_row, f_word, f_fetch, f_token, f_last, drain) -> None:
        """Connect the groups, a register after each other, and read back what they hold."""
        p, fold, bus = self.parameters, self.parameters.folding, self.bus
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
        # a cycle ahead of the weights: which column is read is a register, the way is long
        column = delay(bus.column, 1, "column")
        is_weight = delay(bus.kind, 1, "kind") == Kind.WEIGHT
        write, write_row, write_data = bus.write & (bus.kind == Kind.WEIGHT), bus.row, bus.data
        write_column = bus.column
        answer = self.answer

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
                first, memory = s * p.columns_per_slice, g * slices + s
                if self.borrows:
                    taken = range(first + columns.start, first + columns.stop)
                    weights = borrow(m, self.partner, memory, taken, row[s], fetch[s])
                    m.d.comb += [
                        group.words[s].eq(word[s]),
                        group.weights[s].as_value().eq(weights),
                    ]
                    continue
                base = fold.copy_of(self.unit) * slices * p.columns_per_slice + first
                ids = [base + c for c in columns]
                shape = {
                    "columns": len(columns),
                    "rows": p.weight_depth,
                    "bits": p.lanes_per_column * p.weight_bits,
                    "contents": words_of(self.contents, Kind.WEIGHT, ids),
                }
                if self.lends:
                    ram = DualColumnMemory(**shape)
                    m.submodules[f"weights_{g}_{s}"] = ram
                    m.d.comb += [ram.row_a.eq(row[s]), ram.read_a.eq(fetch[s])]
                    lend(m, ram, self.partner, memory, first + columns.start)
                    weights = ram.data_a
                else:
                    ram = ColumnMemory(**shape, kind=fold.weight_memory)
                    m.submodules[f"weights_{g}_{s}"] = ram
                    m.d.comb += [
                        ram.read_row.eq(row[s]),
                        ram.read.eq(fetch[s]),
                        ram.write_row.eq(write_row),
                    ]
                    weights = ram.read_data
                m.d.comb += [
                    ram.write_data.eq(write_data),
                    ram.write.eq(Cat(write & (write_column == c) for c in ids)),
                    group.words[s].eq(word[s]),
                    group.weights[s].as_value().eq(weights.as_value()),
                ]
                for k, c in enumerate(ids):
                    picked = Signal(name=f"picked_{g}_{s}_{k}", reset_less=True)
                    m.d.sync += picked.eq(is_weight & (column == c))
                    answer |= weights[k] & picked.replicate(len(weights[k]))
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
        m.d.comb += self.load.read_valid.eq(delay(bus.read, 2 + len(self.groups), "read_valid"))
