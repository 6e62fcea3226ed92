"""A convolution: packed words in, packed words or potentials out, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import and_, or_
from typing import Any

from amaranth.hdl import Module, ResetInserter, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.fixed_image import LayerContents
from spikeloom.hardware.synapses import ConvParameters

from spikeloom_hdl.layers.accumulators import Accumulators
from spikeloom_hdl.layers.bias import AddBias
from spikeloom_hdl.layers.skid import Skid
from spikeloom_hdl.layers.skip_add import SkipAdd, skip_signature
from spikeloom_hdl.layers.units import Collect
from spikeloom_hdl.layers.window_scanner import WindowScanner
from spikeloom_hdl.neuron.fire import Fire
from spikeloom_hdl.stream import LoadBus, potentials_signature, words_signature

__all__ = ["Conv2d"]


class Conv2d(wiring.Component):
    """v0 = sum of w p over the window + B (+ k q), then clip(floor(v0 / theta), 0, 2^T - 1).

    Each of ``units`` units works on every units-th output column: a
    :class:`~spikeloom_hdl.layers.window_scanner.WindowScanner` replays the events of a window once
    a pass of ``lanes`` output channels, into
    :class:`~spikeloom_hdl.layers.accumulators.Accumulators` of its own, which hold a copy of the
    weights; ``paired`` units 2k and 2k + 1 read one copy, each through a port of its own. Every
    unit takes all inputs. Their sums come together again in raster order; biases, skip connection
    and fire stage are there once.

    Rate: with e events in the fullest slice of a window (non-zero words, or set bits in the serial
    form) a pass of r = lanes / fire_lanes transfers takes a unit max(e + 1, ``spacing``) cycles,
    ``spacing`` = max(2, r + groups of lanes - 1); units work at the same time. The output gives a
    transfer a cycle at most. What the scanner needs to find its events comes on top where windows
    are short.

    Members: ``i``; ``skip``, if ``skip_bits`` are not 0, a transfer taken with the potentials that
    it is added to; ``o``, words, or potentials if ``output_bits`` is 0; ``load``, of which the
    layer bits are not looked at; ``abort`` drops everything inside; ``resetting`` while that (or
    reset) lasts, with ``i`` not ready; ``events`` and ``spikes`` count non-zero words and set bits
    as they enter; ``probe_valid`` marks the cycle in which the potentials ``probe`` of a transfer
    go into the fire stage (or leave), once each.

    scanner: makes the source of a unit's events, for tests.
    contents: of the memories, where they are fixed; then ``load`` only reads.
    """

    def __init__(
        self,
        parameters: ConvParameters,
        *,
        scanner: Callable[[ConvParameters, int], Any] = WindowScanner,
        contents: LayerContents | None = None,
    ):
        self.contents = contents
        p, fold = parameters, parameters.folding
        self.parameters = p
        self.scanners = [scanner(p, unit) for unit in range(fold.units)]
        self.units = [
            Accumulators(p, one.lists, unit=unit, queued=True, contents=contents)
            for unit, one in enumerate(self.scanners)
        ]
        out = (
            words_signature(fold.fire_lanes, p.output_bits)
            if p.fires
            else potentials_signature(fold.fire_lanes, p.accumulator_bits)
        )
        super().__init__(
            {"i": In(words_signature(fold.scan, p.input_bits))}
            | ({"skip": In(skip_signature(p))} if p.skip_bits else {})
            | {
                "o": Out(out),
                "load": In(LoadBus()),
                "abort": In(1),
                "resetting": Out(1),
                "events": Out(range(fold.slices + 1)),
                "spikes": Out(range(fold.slices * p.input_bits + 1)),
                "probe_valid": Out(1),
                "probe": Out(data.ArrayLayout(signed(p.accumulator_bits), fold.fire_lanes)),
            }
        )

    @property
    def skew(self) -> int:
        """Cycles from the token of a pass to the first cycle of its drain."""
        return self.units[0].skew

    @property
    def spacing(self) -> int:
        """Cycles that a pass takes a unit at least."""
        fold = self.parameters.folding
        return self.units[0].spacing(fold.lanes // fold.fire_lanes)

    @property
    def load_latency(self) -> int:
        """Cycles from ``load.read`` to ``load.read_valid``."""
        return self.units[0].load_latency + (len(self.units) > 1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, fold = self.parameters, self.parameters.folding
        held = ResetInserter(self.resetting)
        m.d.comb += self.resetting.eq(self.units[0].resetting)

        ready = reduce(and_, (one.i.ready for one in self.scanners)) & ~self.resetting
        m.d.comb += self.i.ready.eq(ready)
        m.submodules.collect = collect = held(Collect(p))
        for k, (scanner, unit) in enumerate(zip(self.scanners, self.units, strict=True)):
            m.submodules[f"scanner_{k}"] = held(scanner)
            m.submodules[f"unit_{k}"] = unit
            m.d.comb += [
                scanner.i.payload.eq(self.i.payload),
                scanner.i.valid.eq(self.i.valid & ready),
                unit.abort.eq(self.abort),
                unit.load.address.eq(self.load.address),
                unit.load.data.eq(self.load.data),
                unit.load.read.eq(self.load.read),
                unit.load.write.eq(self.load.write),
            ]
            wiring.connect(m, unit.o, getattr(collect, f"i_{k}"))
            if unit.borrows:
                wiring.connect(m, self.units[k - 1].partner, unit.partner)
        m.d.comb += [
            self.events.eq(self.scanners[0].entered_events),
            self.spikes.eq(self.scanners[0].entered_spikes),
        ]

        bias = AddBias(p, self.units[0].bus.signature, contents=self.contents)
        m.submodules.bias = held(bias)
        wiring.connect(m, self.units[0].bus, bias.bus)
        wiring.connect(m, collect.o, bias.i)
        m.d.comb += self.units[0].answer.eq(bias.answer)
        self._answer(m)

        membranes = bias.o
        if p.skip_bits:
            skip_add = SkipAdd(p)
            m.submodules.skip_add = held(skip_add)
            wiring.connect(m, bias.o, skip_add.i)
            wiring.connect(m, wiring.flipped(self.skip), skip_add.skip)
            m.d.comb += skip_add.weights.eq(bias.skip_weights)
            membranes = skip_add.o
        m.d.comb += [
            self.probe_valid.eq(membranes.valid & membranes.ready),
            self.probe.eq(membranes.p.potentials),
        ]
        leaving = membranes
        if p.fires:
            fire = Fire(
                lanes=fold.fire_lanes,
                bits=p.accumulator_bits,
                steps=p.output_bits,
                threshold_bits=p.threshold_bits,
            )
            m.submodules.fire = held(fire)
            wiring.connect(m, membranes, fire.i)
            leaving = fire.o
        # `ready` is cut here: behind it many registers stall
        skid = Skid(self.o.payload.shape())
        m.submodules.skid = held(skid)
        wiring.connect(m, leaving, skid.i)
        wiring.connect(m, skid.o, wiring.flipped(self.o))
        return m

    def _answer(self, m: Module) -> None:
        """What the load bus reads: the units that do not hold it give zero."""
        holders = (unit for unit in self.units if not unit.borrows)
        word = reduce(or_, (unit.load.read_data for unit in holders))
        valid = self.units[0].load.read_valid
        if len(self.units) > 1:
            late = Signal.like(self.load.read_data, name="answer", reset_less=True)
            late_valid = Signal(name="answer_valid")
            m.d.sync += [late.eq(word), late_valid.eq(valid)]
            word, valid = late, late_valid
        m.d.comb += [self.load.read_data.eq(word), self.load.read_valid.eq(valid)]
