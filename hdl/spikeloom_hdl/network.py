"""A whole network in gates: layers and what lies between them, one load bus, run-time counters.

An output with several consumers goes through a fork, and then through buffers of the depth that
``NetworkParameters.buffers`` computes: a branch that waits at a join takes its pixels off the fork
while the other branch gets what it needs, so that nothing stands still for ever (the argument is in
:mod:`spikeloom.hardware.flow`). It counts on this of what is built here: a fork lets one consumer
be a transfer ahead of another; buffers hold exactly what they are asked for; converters of the
width keep no part of a pixel back once all of it has come. Nothing else that happens to hold a
transfer (an output register, a half-filled converter) is counted.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Const, Module, ResetInserter, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.fixed_image import Image, LayerContents, layer_contents
from spikeloom.hardware.parameters import (
    COUNTER_BITS,
    DenseParameters,
    LayerParameters,
    NetworkParameters,
)

from spikeloom_hdl.layers.fifo import Fifo
from spikeloom_hdl.layers.fork import Fork
from spikeloom_hdl.layers.lanes import convert, items, port_signature
from spikeloom_hdl.layers.mend import Mend
from spikeloom_hdl.layers.pause import Pause
from spikeloom_hdl.stream import LoadBus

__all__ = ["NetworkCore", "buffer_depths", "make_layer"]

LAYER_SHIFT = 26  #: the layer in an address of the load bus

_CLASSES = {
    "conv": ("conv2d", "Conv2d"),
    "depthwise": ("depthwise", "Depthwise"),
    "pool": ("pool", "Pool"),
    "fire": ("fire_layer", "FireLayer"),
    "add": ("add", "AddLayer"),
    "pad": ("pad", "Pad"),
}


def make_layer(parameters: LayerParameters, contents: LayerContents | None = None) -> Any:
    """Return the component of a layer. contents: of its memories, where they are fixed."""
    if isinstance(parameters, DenseParameters):
        module, name = ("dense", "Dense") if parameters.fires else ("readout", "Readout")
    else:
        module, name = _CLASSES[parameters.kind]
    found = importlib.import_module(f"spikeloom_hdl.layers.{module}")
    settings = {"contents": contents} if contents else {}  # a pool has no memories
    return getattr(found, name)(parameters, **settings)


def buffer_depths(
    parameters: NetworkParameters, depths: Mapping[tuple[int, int], int] | None = None
) -> dict[tuple[int, int], int]:
    """Return the depth of the buffer before every (layer, slot) that has one, in transfers.

    depths: others than those computed; 0 for none. ValueError for an input that is not there.
    """
    found = parameters.depths
    edges = {(k, slot) for k, feeds in enumerate(parameters.sources) for slot in range(len(feeds))}
    for edge, depth in (depths or {}).items():
        if edge not in edges or depth < 0:
            raise ValueError(f"no buffer of depth {depth} can stand before (layer, slot) {edge}")
        found[edge] = depth
    return {edge: depth for edge, depth in sorted(found.items()) if depth}


def _most_inside(parameters: NetworkParameters, depths: Mapping[tuple[int, int], int]) -> int:
    """Samples that can be inside at once, at most."""
    most = 8
    for layer in parameters.layers:
        rows = getattr(layer, "window", None)
        # two banks of events, a drain, what is between; rows of line memory may be whole samples
        most += 8 + (0 if rows is None else rows.kernel_height + rows.stride_y)
    for (layer, slot), depth in depths.items():
        most += depth // parameters.layers[layer].ports_in[slot].pixels + 1
    return most


class NetworkCore(wiring.Component):
    """Packed words in, potentials of the readout out; several samples are inside at once.

    parameters: structure and folding. probe: add the potentials and the outputs of every layer and
    the levels of the buffers as outputs, and a pause of every stream inside as an input.
    depths: of buffers, instead of those computed, by (layer, slot). image: what the memories hold
    for ever, as ``memory_image`` gives it; without, they are loaded at run time.
    Raises ValueError for depths of buffers that are not there, and for an image that is not exactly
    one of these parameters, or lies in SPRAM.

    Members
    i: words, as ``NetworkParameters.stream_words`` lays them out, ``input_port.lanes`` a transfer.
        ``first`` while a sample is partly received drops that part.
    o: potentials, ``fire_lanes`` of the last layer a transfer.
    load: memories, while not busy; with an image it only reads, and a write is a fault.
    busy: a sample, even a part of one, is inside, or the core is being reset.
    counters: ``NetworkParameters.counter_names``; ``clear_counters`` sets them to zero.
    abort: drops every sample inside; weights and counters stay.
    probe_<l>_valid, probe_<l>: every potential v0 of layer l, once, if it has potentials.
    words_<l>_valid, words_<l>: every transfer that leaves layer l, if it is more than potentials
        that the probe shows: words, or the greatest potentials of a pool.
    pause: a bit for each of ``parameters.edges``, in their order; no new transfer is offered to
        the layer while it is set.
    fifo_<l>_<s>_level, _full, _stalled: of the buffer before slot s of layer l; stalled while it
        is offered a transfer and has no room.
    flow_<l>: valid and ready of the input, the skip connection and the output of layer l.
    """

    def __init__(
        self,
        parameters: NetworkParameters,
        *,
        probe: bool = False,
        depths: Mapping[tuple[int, int], int] | None = None,
        image: Image | None = None,
    ):
        self.parameters, self.probe, self.fixed = parameters, probe, image is not None
        contents = [None] * len(parameters.layers)
        if image is not None:
            contents = layer_contents(parameters, image)
        self.layers = list(map(make_layer, parameters.layers, contents))
        self.depths = buffer_depths(parameters, depths)
        self.most_inside = _most_inside(parameters, self.depths)
        members = {
            "i": In(port_signature(parameters.input_port)),
            "o": Out(port_signature(parameters.layers[-1].port_out)),
            "load": In(LoadBus()),
            "busy": Out(1),
            "counters": Out(
                data.ArrayLayout(unsigned(COUNTER_BITS), len(parameters.counter_names))
            ),
            "clear_counters": In(1),
            "abort": In(1),
        }
        if probe:
            for k in parameters.potential_layers:
                layer: Any = parameters.layers[k]
                potential = signed(layer.accumulator_bits)
                members[f"probe_{k}_valid"] = Out(1)
                members[f"probe_{k}"] = Out(data.ArrayLayout(potential, layer.port_out.lanes))
            for k in parameters.output_layers:
                port = parameters.layers[k].port_out
                value = signed(port.bits) if port.signed else unsigned(port.bits)
                members[f"words_{k}_valid"] = Out(1)
                members[f"words_{k}"] = Out(data.ArrayLayout(value, port.lanes))
            members["pause"] = In(len(parameters.edges))
            members |= {f"flow_{k}": Out(6) for k in range(len(self.layers))}
            for (layer, slot), depth in self.depths.items():
                members[f"fifo_{layer}_{slot}_level"] = Out(range(depth + 1))
                members[f"fifo_{layer}_{slot}_full"] = Out(1)
                members[f"fifo_{layer}_{slot}_stalled"] = Out(1)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layers = self.layers
        resetting = Signal()
        m.d.comb += resetting.eq(Cat(layer.resetting for layer in layers).any())
        for k, layer in enumerate(layers):
            m.submodules[f"layer_{k}"] = layer
            m.d.comb += layer.abort.eq(self.abort)
        if self.probe:
            for k in self.parameters.potential_layers:
                m.d.comb += [
                    getattr(self, f"probe_{k}_valid").eq(layers[k].probe_valid),
                    getattr(self, f"probe_{k}").eq(layers[k].probe),
                ]
            for k in self.parameters.output_layers:
                m.d.comb += [
                    getattr(self, f"words_{k}_valid").eq(layers[k].o.valid & layers[k].o.ready),
                    getattr(self, f"words_{k}").as_value().eq(items(layers[k].o.p).as_value()),
                ]
            for k, layer in enumerate(layers):
                streams = [layer.i, getattr(layer, "skip", None), layer.o]
                flags = [Cat(s.valid, s.ready) if s is not None else Const(0, 2) for s in streams]
                m.d.comb += getattr(self, f"flow_{k}").eq(Cat(flags))
        # what follows is held by the layers' resets: nothing enters before all are clean
        entry = port_signature(self.parameters.input_port).create(path=("entry",))
        m.d.comb += [
            entry.payload.eq(self.i.payload),
            entry.valid.eq(self.i.valid & ~resetting),
            self.i.ready.eq(entry.ready & ~resetting),
        ]
        inside, leaves = Signal(range(self.most_inside + 1)), Signal()
        spoilt = Signal()
        if not self._drops_by_itself():
            mend = Mend(self.parameters.input_port, self.most_inside)
            m.submodules.mend = ResetInserter(resetting)(mend)
            wiring.connect(m, entry, mend.i)
            m.d.comb += [mend.inside.eq(inside), mend.leaves.eq(leaves), spoilt.eq(mend.spoilt)]
            entry = mend.o
        for source in range(-1, len(layers) - 1):
            self._feed(m, source, entry if source < 0 else layers[source].o, resetting)
        last = layers[-1].o
        m.d.comb += [
            self.o.payload.eq(last.payload),
            self.o.valid.eq(last.valid & ~spoilt),
            last.ready.eq(self.o.ready | spoilt),
            leaves.eq(last.valid & last.ready & last.p.last),
        ]
        self._connect_load(m)
        self._count(m, entry, resetting, inside, leaves, spoilt)
        return m

    def _drops_by_itself(self) -> bool:
        """Whether a sample that breaks off gets no further than the first layer's event lists."""
        edges = self.parameters.consumers(-1)
        return len(edges) == 1 and isinstance(self.parameters.layers[0], DenseParameters)

    def _feed(self, m: Module, source: int, stream: Any, resetting: Value) -> None:
        """Connect the output of a layer to everything that it feeds."""
        p = self.parameters
        held = ResetInserter(resetting)
        edges = p.consumers(source)
        heads = [stream]
        if len(edges) > 1:
            fork = Fork(stream.payload.shape(), len(edges))
            m.submodules[f"fork_{source}" if source >= 0 else "fork_input"] = held(fork)
            wiring.connect(m, stream, fork.i)
            heads = [fork.o[k] for k in range(len(edges))]
        for (layer, slot), head in zip(edges, heads, strict=True):
            if (layer, slot) in self.depths:
                head = self._buffer(m, layer, slot, head, held)
            converter = convert(p.port_of(source), p.layers[layer].ports_in[slot])
            if converter is not None:
                m.submodules[f"lanes_{layer}_{slot}"] = held(converter)
                wiring.connect(m, head, converter.i)
                head = converter.o
            if self.probe:
                pause = Pause(head.payload.shape())
                m.submodules[f"pause_{layer}_{slot}"] = held(pause)
                m.d.comb += pause.pause.eq(self.pause[p.edges.index((layer, slot))])
                wiring.connect(m, head, pause.i)
                head = pause.o
            wiring.connect(m, head, self.layers[layer].skip if slot else self.layers[layer].i)

    def _buffer(self, m: Module, layer: int, slot: int, head: Any, held: ResetInserter) -> Any:
        name = f"fifo_{layer}_{slot}"
        fifo = Fifo(head.payload.shape(), self.depths[layer, slot])
        m.submodules[name] = held(fifo)
        wiring.connect(m, head, fifo.i)
        if self.probe:
            m.d.comb += [
                getattr(self, f"{name}_level").eq(fifo.level),
                getattr(self, f"{name}_full").eq(fifo.full),
                getattr(self, f"{name}_stalled").eq(fifo.i.valid & ~fifo.i.ready),
            ]
        return fifo.o

    def _connect_load(self, m: Module) -> None:
        """Every layer sees the bus; answers of layers with fewer groups wait for the slowest."""
        loaded = {k: layer for k, layer in enumerate(self.layers) if hasattr(layer, "load")}
        slowest = max(layer.load_latency for layer in loaded.values())
        answers = []
        for k, layer in loaded.items():
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

    def _count(
        self, m: Module, entry: Any, resetting: Value, inside: Signal, leaves: Value, spoilt: Value
    ) -> None:
        """Samples inside, and the counters, which are a cycle late."""
        partial = Signal()  # the last transfer of the newest sample has not come yet
        enters = Signal()
        taken = entry.valid & entry.ready
        m.d.comb += [enters.eq(taken & ~partial), self.busy.eq(inside.any() | partial | resetting)]
        with m.If(taken):
            m.d.sync += partial.eq(~entry.p.last)
        m.d.sync += inside.eq(inside + enters - leaves)
        with m.If(self.abort | resetting):
            m.d.sync += [partial.eq(0), inside.eq(0)]

        steps = {
            "cycles": inside.any(),
            "samples": leaves & ~spoilt,
            "stalls": self.o.valid & ~self.o.ready,
            "starved": inside.any() & self.i.ready & ~self.i.valid,
            "occupancy": inside,
        }
        for k in self.parameters.synapse_layers:
            layer = self.layers[k]
            steps |= {f"events_{k}": layer.events, f"spikes_{k}": layer.spikes}
        for k, name in enumerate(self.parameters.counter_names):
            step = Signal(len(steps[name]), name=f"step_{name}", reset_less=True)
            m.d.sync += [step.eq(steps[name]), self.counters[k].eq(self.counters[k] + step)]
            with m.If(self.clear_counters):
                m.d.sync += self.counters[k].eq(0)
