"""A depthwise convolution: every channel has its own kernel, ``lanes`` channels side by side."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.fixed_image import LayerContents, words_of
from spikeloom.hardware.folding import ROW_BITS
from spikeloom.hardware.memory_image import Kind
from spikeloom.hardware.synapses import DepthwiseParameters

from spikeloom_hdl.layers.lane_sums import LaneSums
from spikeloom_hdl.layers.lanes import port_signature
from spikeloom_hdl.layers.loaded_rows import LoadedRows
from spikeloom_hdl.layers.reset_cycle import connect_input, reset_cycle
from spikeloom_hdl.layers.skid import Skid
from spikeloom_hdl.layers.window_beats import WindowBeats
from spikeloom_hdl.memory import ColumnMemory, row_bits
from spikeloom_hdl.neuron.accumulate import balanced_sum
from spikeloom_hdl.neuron.fire import Fire, membranes_signature
from spikeloom_hdl.stream import LoadBus, potentials_signature

__all__ = ["Depthwise"]


class _Membranes(wiring.Component):
    """Potentials of windows, with biases (and thresholds, if the layer fires).

    Members: ``i``; ``o``, ``fire_lanes`` potentials a transfer; ``load``; ``clear`` sets sums to
    zero, for a few cycles before the first sample.
    """

    def __init__(self, parameters: DepthwiseParameters, contents: LayerContents | None):
        p, fold = parameters, parameters.folding
        self.parameters, self.contents = p, contents
        if p.fires:
            output = membranes_signature(fold.fire_lanes, p.accumulator_bits, p.threshold_bits)
        else:
            output = potentials_signature(fold.fire_lanes, p.accumulator_bits)
        self.sums = LaneSums(
            lanes=fold.lanes,
            input_bits=p.input_bits,
            weight_bits=p.weight_bits,
            accumulator_bits=p.accumulator_bits,
            multiplier=fold.multiplier,
        )
        super().__init__(
            {
                "i": In(port_signature(p.ports_in[0])),
                "o": Out(output),
                "load": In(LoadBus()),
                "clear": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, fold = self.parameters, self.parameters.folding
        m.submodules.beats = beats = WindowBeats(p.window, p.ports_in[0])
        wiring.connect(m, wiring.flipped(self.i), beats.i)
        m.submodules.rows = rows = self._rows(m)

        # --- a group is finished while at most two are on their way out: sums wait for nobody
        beat = beats.o.p
        inside = Signal(range(3))
        left = Signal()  # the last potentials of a group left
        full, gap = Signal(), Signal()
        accept, ends = Signal(), Signal()
        m.d.comb += [
            full.eq(inside == 2),
            beats.o.ready.eq(~(full & beat.last_tap) & ~gap),
            accept.eq(beats.o.valid & beats.o.ready),
            ends.eq(accept & beat.last_tap),
        ]
        m.d.sync += inside.eq(inside + ends - left)
        if self.sums.needs_gap:
            m.d.sync += gap.eq(ends)

        # --- weights: row group * taps + tap
        base = Signal(range(p.weight_depth))
        if p.passes > 1:
            with m.If(ends):
                m.d.sync += base.eq(Mux(beat.group == p.passes - 1, 0, base + p.window.taps))
        row = Signal(row_bits(p.weight_depth), reset_less=True)
        fetch = Signal(reset_less=True)
        words = Signal(beat.words.shape(), reset_less=True)
        m.d.sync += [
            row.eq(Mux(self.load.read, self.load.address[:ROW_BITS], base + beat.tap)),
            fetch.eq(accept | self.load.read),
            words.eq(Mux(accept, beat.words.as_value(), 0)),
        ]
        ram = ColumnMemory(
            columns=p.columns_per_slice,
            rows=p.weight_depth,
            bits=p.lanes_per_column * p.weight_bits,
            kind=fold.weight_memory,
            contents=words_of(self.contents, Kind.WEIGHT, range(p.columns_per_slice)),
        )
        m.submodules.weights = ram
        m.d.comb += [
            ram.read_row.eq(row),
            ram.read.eq(fetch),
            ram.write.eq(rows.write_weight),
            ram.write_row.eq(rows.write_row),
            ram.write_data.eq(rows.write_data),
            rows.weight.eq(ram.read_data),
        ]

        # --- words and marks come along: two cycles to the weights, some to the sums
        def late(value: Any, cycles: int, name: str, **settings: Any) -> Signal:
            for k in range(cycles):
                register = Signal(value.shape(), name=f"{name}_{k}", **settings)
                m.d.sync += register.eq(value)
                value = register
            return value

        sums = self.sums
        m.submodules.sums = sums
        m.d.comb += [
            sums.words.eq(late(words, 2, "words", reset_less=True)),
            sums.weights.as_value().eq(ram.read_data.as_value()),
            sums.first.eq(late(accept & beat.first_tap, 3, "starts", reset_less=True)),
            sums.clear.eq(self.clear),
        ]
        marks = data.StructLayout({"first": 1, "last": 1, "last_group": 1})
        mark = Signal(marks)
        m.d.comb += [
            mark.first.eq(beat.first),
            mark.last.eq(beat.last),
            mark.last_group.eq(beat.group == p.passes - 1),
        ]
        done = late(ends, 3 + sums.latency, "ends")
        m.d.comb += sums.last.eq(done)
        self._drain(m, done, late(mark, 3 + sums.latency, "mark", reset_less=True), rows, left)
        return m

    def _rows(self, m: Module) -> LoadedRows:
        """Biases and thresholds, and the load bus."""
        p, lanes = self.parameters, self.parameters.folding.fire_lanes
        memories = {Kind.BIAS: (lanes, signed(p.accumulator_bits))}
        if p.fires:
            memories[Kind.THRESHOLD] = (lanes, unsigned(p.threshold_bits))
        weights = (p.columns_per_slice, p.lanes_per_column * p.weight_bits)
        rows = LoadedRows(p.drain_rows, memories, weights=weights, contents=self.contents)
        wiring.connect(m, wiring.flipped(self.load), rows.load)
        return rows

    def _drain(self, m: Module, done, mark, rows: LoadedRows, left: Signal) -> None:
        """Hold the sums of a group, give out those of the one before, add the bias."""
        p, fold = self.parameters, self.parameters.folding
        count = fold.lanes // fold.fire_lanes
        count_last = p.drain_rows - (p.passes - 1) * count
        held = Signal(self.sums.potentials.shape(), reset_less=True)
        held_mark = Signal(mark.shape(), reset_less=True)
        held_valid = Signal()
        shifted = Signal(held.shape(), reset_less=True)
        shifted_mark = Signal(mark.shape(), reset_less=True)
        first = Signal(reset_less=True)
        rest = Signal(range(count + 1))  # transfers still in `shifted`
        take, one, free, move = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            one.eq(rest == 1),
            free.eq(~self.o.valid | self.o.ready),
            take.eq(rest.any() & rows.valid & free),
            rows.take.eq(take),
            left.eq(take & one),
            move.eq(held_valid & (~rest.any() | left)),
        ]
        with m.If(move):
            m.d.sync += held_valid.eq(0)
        with m.If(done):
            m.d.sync += [held_valid.eq(1), held.eq(self.sums.potentials), held_mark.eq(mark)]
        with m.If(move):
            m.d.sync += [
                shifted.eq(held),
                shifted_mark.eq(held_mark),
                first.eq(held_mark.first),
                rest.eq(Mux(held_mark.last_group, count_last, count)),
            ]
        with m.Elif(take):
            m.d.sync += [rest.eq(rest - 1), first.eq(0)]
            m.d.sync += [
                shifted[k].eq(shifted[k + fold.fire_lanes])
                for k in range(fold.lanes - fold.fire_lanes)
            ]
        payload = Signal(self.o.p.shape(), reset_less=True)
        m.d.comb += self.o.p.eq(payload)
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(take),
                payload.first.eq(first),
                payload.last.eq(shifted_mark.last & one),
            ]
            m.d.sync += [
                payload.potentials[k].eq(shifted[k] + rows.bias[k]) for k in range(fold.fire_lanes)
            ]
            if p.fires:
                m.d.sync += payload.thresholds.eq(rows.threshold)


class Depthwise(wiring.Component):
    """v0 = kernel * window + bias of every channel, which fires, or leaves as it is.

    Rate: with n taps of a window in the sample, r = lanes / fire_lanes and L = ``sums.latency``
    a window takes max(n, r, (r + L + 5) / 2) cycles for each ``lanes`` channels (with sb_mac16,
    n + 1 for n); a sample the sum over its windows, with the wait that
    :class:`~spikeloom_hdl.layers.window_beats.WindowBeats` states, or its transfers if these are
    more.

    Members: ``i``; ``o``, words, or potentials without ``output_bits``; ``load``; ``abort`` drops
    everything inside, ``resetting`` while that lasts; ``events`` and ``spikes`` count non-zero
    words and set bits as they enter; ``probe_valid`` marks the cycle in which the potentials
    ``probe`` go into the fire stage, or leave.

    contents: of the memories, where they are fixed; then ``load`` only reads.
    """

    def __init__(self, parameters: DepthwiseParameters, *, contents: LayerContents | None = None):
        p, fold = parameters, parameters.folding
        self.parameters = p
        self.membranes = _Membranes(p, contents)
        super().__init__(
            {
                "i": In(port_signature(p.ports_in[0])),
                "o": Out(port_signature(p.port_out)),
                "load": In(LoadBus()),
                "abort": In(1),
                "resetting": Out(1, init=1),
                "events": Out(range(fold.lanes + 1)),
                "spikes": Out(range(fold.lanes * p.input_bits + 1)),
                "probe_valid": Out(1),
                "probe": Out(data.ArrayLayout(signed(p.accumulator_bits), fold.fire_lanes)),
            }
        )

    @property
    def load_latency(self) -> int:
        """Cycles from ``load.read`` to ``load.read_valid``."""
        return LoadedRows.load_latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        membranes, skid = self.membranes, Skid(self.o.payload.shape())
        # words on their way to the sums take four cycles to run out
        clear = membranes.sums.clear_cycles
        held = reset_cycle(m, self, 4 + clear if clear else 1)
        m.submodules.membranes, m.submodules.skid = held(membranes), held(skid)
        connect_input(m, self, self.i, membranes.i)
        wiring.connect(m, wiring.flipped(self.load), membranes.load)
        wiring.connect(m, skid.o, wiring.flipped(self.o))
        if p.fires:
            fire = Fire(
                lanes=p.folding.fire_lanes,
                bits=p.accumulator_bits,
                steps=p.output_bits,
                threshold_bits=p.threshold_bits,
            )
            m.submodules.fire = held(fire)
            wiring.connect(m, membranes.o, fire.i)
            wiring.connect(m, fire.o, skid.i)
        else:
            wiring.connect(m, membranes.o, skid.i)
        m.d.comb += [
            membranes.clear.eq(self.resetting),
            self.probe_valid.eq(membranes.o.valid & membranes.o.ready),
            self.probe.eq(membranes.o.p.potentials),
        ]
        # words are counted a cycle late, and added up in the next
        taken = self.i.valid & self.i.ready
        words = [Signal(range(p.input_bits + 1), name=f"bits_{k}") for k in range(p.folding.lanes)]
        for word, count in zip(self.i.p.words, words, strict=True):
            m.d.sync += count.eq(Mux(taken, balanced_sum(list(word)), 0))
        m.d.sync += [
            self.events.eq(balanced_sum([count.any() for count in words])),
            self.spikes.eq(balanced_sum(words)),
        ]
        return m
