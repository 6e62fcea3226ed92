"""Adds two streams of words, each with a weight a channel, and fires."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.fixed_image import LayerContents
from spikeloom.hardware.memory_image import Kind
from spikeloom.hardware.plain_layers import AddParameters

from spikeloom_hdl.layers.lanes import port_signature
from spikeloom_hdl.layers.loaded_rows import LoadedRows
from spikeloom_hdl.layers.reset_cycle import connect_input, reset_cycle
from spikeloom_hdl.layers.skid import Skid
from spikeloom_hdl.neuron.fire import Fire, membranes_signature
from spikeloom_hdl.neuron.multiply import MULT18_LATENCY, mult18, multiply
from spikeloom_hdl.stream import LoadBus

__all__ = ["AddLayer"]


class _WeightedSum(wiring.Component):
    """v0 = weight[0] q + weight[1] r + bias of ``lanes`` channels a cycle.

    The registers of the products, and one for the sum. Members: ``i``, ``skip``, ``o``; ``load``.
    """

    def __init__(self, parameters: AddParameters, contents: LayerContents | None):
        p = self.parameters = parameters
        self.contents = contents
        first, second = p.ports_in
        lanes = p.folding.lanes
        super().__init__(
            {
                "i": In(port_signature(first)),
                "skip": In(port_signature(second)),
                "o": Out(membranes_signature(lanes, p.accumulator_bits, p.threshold_bits)),
                "load": In(LoadBus()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, lanes = self.parameters, self.parameters.folding.lanes
        m.submodules.rows = rows = LoadedRows(
            p.drain_rows,
            {
                Kind.BIAS: (lanes, signed(p.accumulator_bits)),
                Kind.THRESHOLD: (lanes, unsigned(p.threshold_bits)),
                Kind.SKIP: (2 * lanes, signed(p.weight_bits)),
            },
            contents=self.contents,
        )
        wiring.connect(m, wiring.flipped(self.load), rows.load)
        free, taken = Signal(), Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            taken.eq(self.i.valid & self.skip.valid & rows.valid & free),
            self.i.ready.eq(self.skip.valid & rows.valid & free),
            self.skip.ready.eq(self.i.valid & rows.valid & free),
            rows.take.eq(taken),
        ]

        # --- products; what comes along is delayed as long as the later ones
        products = [
            self._product(m, k, lane, rows.skip, free) for lane in range(lanes) for k in (0, 1)
        ]
        slowest = max(latency for _, latency in products)

        def late(value, latency: int, name: str, **settings):
            for k in range(latency, slowest):
                register = Signal(value.shape(), name=f"{name}_{k}", **settings)
                with m.If(free):
                    m.d.sync += register.eq(value)
                value = register
            return value

        terms = [
            late(value, latency, f"term_{k}", reset_less=True)
            for k, (value, latency) in enumerate(products)
        ]
        bias = late(rows.bias, 0, "bias", reset_less=True)
        thresholds = late(rows.threshold, 0, "thresholds", reset_less=True)
        marks = late(Cat(self.i.p.first, self.i.p.last), 0, "marks", reset_less=True)
        valid = late(taken, 0, "valid")
        payload = Signal(self.o.p.shape(), reset_less=True)
        m.d.comb += self.o.p.eq(payload)
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(valid),
                payload.thresholds.eq(thresholds),
                Cat(payload.first, payload.last).eq(marks),
            ]
            for lane, (q, r) in enumerate(zip(terms[::2], terms[1::2], strict=True)):
                m.d.sync += payload.potentials[lane].eq(q + r + bias[lane])
        return m

    def _product(self, m: Module, k: int, lane: int, weights, advance):
        """Weight times word of stream ``k``, and its latency."""
        p, name = self.parameters, f"product_{lane}_{k}"
        weight, word = weights[k * p.folding.lanes + lane], (self.i, self.skip)[k].p.words[lane]
        if p.folding.multiplier != "mult18x18d":
            return multiply(m, weight, word, advance=advance, name=name)
        product = Signal(signed(len(weight) + len(word)), name=name)
        m.submodules[name] = mult18(weight, word, product, advance=advance)
        return product, MULT18_LATENCY


class AddLayer(wiring.Component):
    """clip(floor((weight[0] q + weight[1] r + bias) / threshold), 0, 2^output_bits - 1).

    Both streams are taken together. Rate: a transfer a cycle. Latency: ``output_bits`` cycles and
    2, 3 if one of the streams has words of more than 2 bits, 4 if of more than 4 bits, or with
    multiplier mult18x18d (with any other it multiplies in LUTs).

    Members: ``i``, q; ``skip``, r; ``o``, words; ``load``; ``abort`` drops everything inside,
    ``resetting`` while that lasts; ``probe_valid`` marks the cycle in which the potentials
    ``probe`` go into the fire stage.

    contents: of the memories, where they are fixed; then ``load`` only reads.
    """

    def __init__(self, parameters: AddParameters, *, contents: LayerContents | None = None):
        p = self.parameters = parameters
        self.contents = contents
        first, second = p.ports_in
        lanes = p.folding.lanes
        super().__init__(
            {
                "i": In(port_signature(first)),
                "skip": In(port_signature(second)),
                "o": Out(port_signature(p.port_out)),
                "load": In(LoadBus()),
                "abort": In(1),
                "resetting": Out(1, init=1),
                "probe_valid": Out(1),
                "probe": Out(data.ArrayLayout(signed(p.accumulator_bits), lanes)),
            }
        )

    @property
    def load_latency(self) -> int:
        """Cycles from ``load.read`` to ``load.read_valid``."""
        return LoadedRows.load_latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        held = reset_cycle(m, self)
        sums, skid = _WeightedSum(p, self.contents), Skid(self.o.payload.shape())
        fire = Fire(
            lanes=p.folding.lanes,
            bits=p.accumulator_bits,
            steps=p.output_bits,
            threshold_bits=p.threshold_bits,
        )
        m.submodules.sums, m.submodules.fire, m.submodules.skid = held(sums), held(fire), held(skid)
        connect_input(m, self, self.i, sums.i)
        connect_input(m, self, self.skip, sums.skip)
        wiring.connect(m, wiring.flipped(self.load), sums.load)
        wiring.connect(m, sums.o, fire.i)
        wiring.connect(m, fire.o, skid.i)
        wiring.connect(m, skid.o, wiring.flipped(self.o))
        m.d.comb += [
            self.probe_valid.eq(sums.o.valid & sums.o.ready),
            self.probe.eq(sums.o.p.potentials),
        ]
        return m
