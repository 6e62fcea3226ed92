"""A whole network in gates: layers in a chain, one load bus, run-time counters."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from operator import or_

from amaranth.hdl import Cat, Module, ResetInserter, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.parameters import COUNTER_BITS, NetworkParameters

from spikeloom_hdl.layers.dense import Dense
from spikeloom_hdl.layers.readout import Readout
from spikeloom_hdl.layers.regroup import Regroup
from spikeloom_hdl.stream import LoadBus, potentials_signature, words_signature

__all__ = ["NetworkCore"]

LAYER_SHIFT = 26  #: the layer in an address of the load bus


class NetworkCore(wiring.Component):
    """Packed words in, potentials of the readout out; several samples are inside at once.

    parameters: structure and folding. probe: add the potentials of every layer as outputs.

    Members
    i: words, ``scan`` of the first layer a transfer; the producer pads the last with zeros.
        ``first`` while a sample is partly received drops that part.
    o: potentials, ``fire_lanes`` of the last layer a transfer.
    load: memories, while not busy.
    busy: a sample, even a part of one, is inside, or the core is being reset.
    counters: ``NetworkParameters.counter_names``; ``clear_counters`` sets them to zero.
    abort: drops every sample inside; weights and counters stay.
    probe_<l>_valid, probe_<l>: every potential v0 of layer l, once.
    """

    def __init__(self, parameters: NetworkParameters, *, probe: bool = False):
        self.parameters, self.probe = parameters, probe
        self.layers = [Dense(p) if p.fires else Readout(p) for p in parameters.layers]
        layers = parameters.layers
        members = {
            "i": In(words_signature(layers[0].folding.scan, layers[0].input_bits)),
            "o": Out(
                potentials_signature(layers[-1].folding.fire_lanes, layers[-1].accumulator_bits)
            ),
            "load": In(LoadBus()),
            "busy": Out(1),
            "counters": Out(
                data.ArrayLayout(unsigned(COUNTER_BITS), len(parameters.counter_names))
            ),
            "clear_counters": In(1),
            "abort": In(1),
        }
        if probe:
            for k, layer in enumerate(layers):
                potential = signed(layer.accumulator_bits)
                members[f"probe_{k}_valid"] = Out(1)
                members[f"probe_{k}"] = Out(data.ArrayLayout(potential, layer.folding.fire_lanes))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layers = self.layers
        resetting = Cat(layer.resetting for layer in layers).any()
        for k, layer in enumerate(layers):
            m.submodules[f"layer_{k}"] = layer
            m.d.comb += layer.abort.eq(self.abort)
            if self.probe:
                m.d.comb += [
                    getattr(self, f"probe_{k}_valid").eq(layer.probe_valid),
                    getattr(self, f"probe_{k}").eq(layer.probe),
                ]
        wiring.connect(m, layers[-1].o, wiring.flipped(self.o))
        m.d.comb += [
            layers[0].i.payload.eq(self.i.payload),
            layers[0].i.valid.eq(self.i.valid & ~resetting),
            self.i.ready.eq(layers[0].i.ready & ~resetting),
        ]
        for k, (a, b) in enumerate(pairwise(layers)):
            regroup = Regroup(
                lanes_in=a.parameters.folding.fire_lanes,
                lanes_out=b.parameters.folding.scan,
                bits=b.parameters.input_bits,
            )
            m.submodules[f"regroup_{k}"] = ResetInserter(resetting)(regroup)
            wiring.connect(m, a.o, regroup.i)
            wiring.connect(m, regroup.o, b.i)
        self._connect_load(m, layers)
        self._count(m, layers, resetting)
        return m

    def _connect_load(self, m: Module, layers: list[Dense | Readout]) -> None:
        """Every layer sees the bus; answers of layers with fewer groups wait for the slowest."""
        slowest = max(layer.load_latency for layer in layers)
        answers = []
        for k, layer in enumerate(layers):
            mine = self.load.address[LAYER_SHIFT:] == k
            m.d.comb += [
                layer.load.address.eq(self.load.address),
                layer.load.data.eq(self.load.data),
                layer.load.read.eq(self.load.read & mine),
                layer.load.write.eq(self.load.write & mine),
            ]
            valid, word = layer.load.read_valid, layer.load.read_data
            answer = Cat(word & valid.replicate(len(word)), valid)
            for stage in range(slowest - layer.load_latency):
                late = Signal(len(answer), name=f"answer_{k}_{stage}", reset_less=True)
                m.d.sync += late.eq(answer)
                answer = late
            answers.append(answer)
        m.d.sync += Cat(self.load.read_data, self.load.read_valid).eq(reduce(or_, answers))

    def _count(self, m: Module, layers: list[Dense | Readout], resetting: Value) -> None:
        """Samples inside, and the counters, which are a cycle late."""
        partial = Signal()  # the last beat of the newest sample has not come yet
        inside = Signal(range(8 * len(layers) + 8))
        enters, leaves = Signal(), Signal()
        taken = self.i.valid & self.i.ready
        given = self.o.valid & self.o.ready
        m.d.comb += [
            enters.eq(taken & ~partial),
            leaves.eq(given & self.o.p.last),
            self.busy.eq(inside.any() | resetting),
        ]
        with m.If(taken):
            m.d.sync += partial.eq(~self.i.p.last)
        m.d.sync += inside.eq(inside + enters - leaves)
        with m.If(self.abort | resetting):
            m.d.sync += [partial.eq(0), inside.eq(0)]

        steps = {
            "cycles": inside.any(),
            "samples": leaves,
            "stalls": self.o.valid & ~self.o.ready,
            "starved": inside.any() & self.i.ready & ~self.i.valid,
            "occupancy": inside,
        }
        for k, layer in enumerate(layers):
            steps |= {f"events_{k}": layer.events, f"spikes_{k}": layer.spikes}
        for k, name in enumerate(self.parameters.counter_names):
            step = Signal(len(steps[name]), name=f"step_{name}", reset_less=True)
            m.d.sync += [step.eq(steps[name]), self.counters[k].eq(self.counters[k] + step)]
            with m.If(self.clear_counters):
                m.d.sync += self.counters[k].eq(0)
