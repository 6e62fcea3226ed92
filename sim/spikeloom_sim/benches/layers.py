"""Dense, Readout and networks, in every form and with every multiplier, against plain integers.

The reference is ``W p + B`` and ``clip(floor(v / theta))`` in numpy; the cores get the same weights
through their load bus.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import cocotb
import numpy as np
from spikeloom.hardware.memory_image import memory_image
from spikeloom.hardware.parameters import Folding, NetworkParameters
from spikeloom.network import Network

from spikeloom_sim.load_port import LoadPort
from spikeloom_sim.random_network import random_network, random_words
from spikeloom_sim.runner import Design, component_verilog
from spikeloom_sim.streams import Bench, FieldPacker, StreamDriver, StreamSink, differing, settings

WORDS = 100_000  #: input words of the long test of a layer

MULT, MAC = {"multiplier": "mult18x18d"}, {"multiplier": "sb_mac16"}

#: name: sizes, T of each layer, folding of each layer. ``dense`` tests the first layer alone,
#: ``readout`` the last.
VARIANTS: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[dict[str, Any], ...]]] = {
    "dense/lut": ((196, 12, 3), (4, 4), ({"lanes": 4, "fire_lanes": 2}, {})),
    "dense/mult18x18d": (
        (200, 32, 3),
        (8, 4),
        ({"lanes": 16, "slices": 2, "scan": 8, "fire_lanes": 4, **MULT}, {}),
    ),
    "dense/sb_mac16-spram": (
        (123, 17, 3),
        (8, 4),
        ({"lanes": 8, "fire_lanes": 1, "weight_memory": "spram", **MAC}, {}),
    ),
    "dense/serial": (
        (100, 9, 3),
        (3, 5),
        ({"lanes": 8, "slices": 4, "scan": 8, "fire_lanes": 4, "form": "serial"}, {}),
    ),
    "readout/lut": ((16, 96, 10), (4, 4), ({}, {"lanes": 2, "slices": 2, "scan": 4})),
    "network/lut": (
        (40, 20, 12, 5),
        (8, 4, 2),
        (
            {"lanes": 5, "scan": 8, "slices": 2},
            {"lanes": 4, "form": "serial"},
            {"lanes": 2, "scan": 2},
        ),
    ),
    "network/mult18x18d": (
        (64, 24, 10),
        (8, 4),
        ({"lanes": 24, "fire_lanes": 8, **MULT}, {"lanes": 2, "slices": 2, "scan": 8, **MULT}),
    ),
    "network/sb_mac16-spram": (
        (64, 16, 10),
        (8, 4),
        ({"lanes": 8, "weight_memory": "spram", **MAC}, {"lanes": 1, "scan": 4}),
    ),
}


def build(name: str) -> tuple[str, Network, NetworkParameters]:
    """Return a variant's kind (``dense``, ``readout``, ``network``), network and parameters."""
    sizes, bits, foldings = VARIANTS[name]
    network = random_network(sizes, seed=len(name), bits=bits)
    folded = [dataclasses.replace(Folding(lanes=1), **options) for options in foldings]
    return name.split("/")[0], network, network.parameters(folded)


def designs(names: Iterable[str] = VARIANTS) -> Iterator[Design]:
    """Yield variants of the cores that are tested."""
    from spikeloom_hdl.layers.dense import Dense
    from spikeloom_hdl.layers.readout import Readout
    from spikeloom_hdl.network import NetworkCore

    for name in names:
        kind, _, parameters = build(name)
        layers: Any = parameters.layers  # dense ones here
        if kind == "dense":
            core = Dense(layers[0])
        elif kind == "readout":
            core = Readout(layers[-1])
        else:
            core = NetworkCore(parameters)
        yield Design(name, __name__, component_verilog(core), {"name": name})


class LayerBench:
    """A bench around one variant, its memories loaded, and what samples must become."""

    def __init__(
        self, dut: Any, *, stall_in: float = 0.0, stall_out: float = 0.0, shy: bool = False
    ):
        from spikeloom_hdl.stream import potentials_layout, words_layout

        kind, network, parameters = build(settings()["name"])
        self.network, self.parameters, self.kind = network, parameters, kind
        layers: Any = parameters.layers  # dense ones here
        self.chosen = {"dense": [0], "readout": [len(layers) - 1]}.get(kind, range(len(layers)))
        self.first, self.last = layers[self.chosen[0]], layers[self.chosen[-1]]
        lanes = self.last.folding.fire_lanes
        if self.last.fires:
            out, self.field = words_layout(lanes, self.last.output_bits), "words"
        else:
            out = potentials_layout(lanes, self.last.accumulator_bits)
            self.field = "potentials"
        self.input = FieldPacker(words_layout(self.first.folding.scan, self.first.input_bits))
        self.output = FieldPacker(out)
        self.bench = Bench(dut)
        self.source = StreamDriver(self.bench, "i", stall=stall_in)
        self.sink = StreamSink(self.bench, "o", stall=stall_out, shy=shy)
        self.port = LoadPort(self.bench)
        self.dut = dut
        dut.abort.value = 0
        if kind == "network":
            dut.clear_counters.value = 0

    async def start(self) -> None:
        """Start, and load the memories."""
        await self.bench.start()
        image = memory_image(self.network, self.parameters)
        if self.kind != "network":
            # a layer alone is layer 0 of its load bus
            image = [
                (dataclasses.replace(column, layer=0), words)
                for column, words in image
                if column.layer == self.chosen[0]
            ]
        await self.port.load(image)

    def words(self, samples: int) -> np.ndarray:
        """Random samples of the first layer's words: sparse, dense, empty and full ones."""
        seed = self.bench.random.getrandbits(32)
        if self.chosen[0] == 0:
            return random_words(self.network, samples, seed=seed)
        top = 1 << self.first.input_bits
        generator = np.random.default_rng(seed)
        shape = (samples, self.first.inputs)
        words = generator.integers(0, top, shape) * (generator.random(shape) < 0.5)
        return words.astype(np.uint8)

    def transfers(self, words: np.ndarray) -> list[int]:
        """Transfers of samples, the last of each padded with zero words."""
        scan, beats = self.first.folding.scan, self.first.beats
        padded = np.zeros((len(words), beats * scan), dtype=np.uint8)
        padded[:, : self.first.inputs] = words
        rows = padded.reshape(len(words), beats, scan).tolist()
        return [
            self.input.pack(words=row, first=int(k == 0), last=int(k == beats - 1))
            for sample in rows
            for k, row in enumerate(sample)
        ]

    def expected(self, words: np.ndarray) -> list[int]:
        """Transfers that samples must become."""
        p = words.astype(np.int64)
        for index in self.chosen:
            op: Any = self.network.layers[index]
            v0 = p @ op.weight.astype(np.int64).T + op.bias
            p = v0
            if op.threshold is not None:
                p = np.clip(v0 // op.threshold, 0, (1 << op.output_bits) - 1)
        lanes, rows = self.last.folding.fire_lanes, self.last.drain_rows
        padded = np.zeros((len(p), rows * lanes), dtype=np.int64)
        padded[:, : self.last.outputs] = p
        groups = padded.reshape(len(p), rows, lanes).tolist()
        return [
            self.output.pack(**{self.field: row}, first=int(k == 0), last=int(k == rows - 1))
            for sample in groups
            for k, row in enumerate(sample)
        ]

    async def run(self, words: np.ndarray) -> int:
        """Send samples; return the number of transfers out that differ, surplus ones included."""
        expected = self.expected(words)
        start = len(self.sink.received)
        self.source.send(self.transfers(words))
        slowest = 60 * self.first.inputs * self.first.passes * self.first.input_bits + 5000
        await self.bench.until(
            lambda: len(self.sink.received) - start >= len(expected),
            cycles=slowest * len(words),
            what=f"{len(words)} samples",
        )
        await self.bench.ticks(100)
        return differing(self.sink.received[start:], expected)


@cocotb.test()
async def back_pressure(dut):
    """Many words with random pauses on both sides."""
    layer = LayerBench(dut, stall_in=0.2, stall_out=0.3)
    await layer.start()
    samples = -(-WORDS // layer.first.inputs) if layer.kind == "dense" else 300
    before = layer.bench.cycle
    wrong = await layer.run(layer.words(samples))
    cycles = layer.bench.cycle - before
    count = samples * layer.first.inputs
    layer.bench.report(f"{count} words in {cycles} cycles, {wrong} transfers differ")
    assert wrong == 0


@cocotb.test()
async def never_starved(dut):
    """Samples back to back without a pause: the same sample twice, then others."""
    layer = LayerBench(dut)
    await layer.start()
    one = layer.words(6)
    words = np.concatenate([one[:1], one[:1], one, one[::-1]])
    assert await layer.run(words) == 0


@cocotb.test()
async def empty_samples(dut):
    """Samples without a single spike still fire: the bias may exceed the threshold."""
    layer = LayerBench(dut, stall_out=0.2, shy=True)
    await layer.start()
    words = np.zeros((5, layer.first.inputs), dtype=np.uint8)
    assert await layer.run(words) == 0
    words[2, -1] = 1
    assert await layer.run(words) == 0


@cocotb.test()
async def extreme_potentials(dut):
    """Samples that drive neurons of the first layer to the bounds of their accumulators."""
    layer = LayerBench(dut)
    await layer.start()
    op: Any = layer.network.layers[layer.chosen[0]]
    weight = op.weight
    top = (1 << layer.first.input_bits) - 1
    neurons = range(0, len(weight), max(1, len(weight) // 4))
    words = [np.where(sign * weight[n] > 0, top, 0) for n in neurons for sign in (1, -1)]
    assert await layer.run(np.array(words, dtype=np.uint8)) == 0


@cocotb.test()
async def first_restarts(dut):
    """A transfer marked first drops the sample that is only partly there."""
    layer = LayerBench(dut, stall_out=0.2)
    await layer.start()
    beats = layer.first.beats
    for cut in sorted({1, beats // 2, beats - 1} & set(range(1, beats))):
        layer.source.send(layer.transfers(layer.words(1))[:cut])
        assert await layer.run(layer.words(3)) == 0


@cocotb.test()
async def abort_anywhere(dut):
    """Abort drops what is inside, at any moment, and the next samples are right."""
    layer = LayerBench(dut, stall_out=0.3)
    await layer.start()
    for _ in range(8):
        layer.source.send(layer.transfers(layer.words(4)))
        await layer.bench.ticks(layer.bench.random.randrange(1, 400))
        layer.source.clear()
        dut.abort.value = 1
        await layer.bench.ticks(1)
        dut.abort.value = 0
        for _ in range(4):  # what waited at the output goes, which is no breach here
            for agent in layer.bench.agents:
                agent.reset()
            await layer.bench.ticks(1)
        assert await layer.run(layer.words(2)) == 0


@cocotb.test()
async def reset_in_a_sample(dut):
    """A reset in the middle of a sample: idle afterwards, and the memories still hold."""
    layer = LayerBench(dut)
    await layer.start()
    for _ in range(3):
        layer.source.send(layer.transfers(layer.words(3)))
        await layer.bench.ticks(layer.bench.random.randrange(1, 200))
        layer.source.clear()
        await layer.bench.reset()
        assert await layer.run(layer.words(2)) == 0


@cocotb.test(skip=not settings().get("name", "").startswith("network/"))
async def counters_count(dut):
    """A network's counters equal what the samples hold."""
    layer = LayerBench(dut)
    await layer.start()
    words = layer.words(20)
    assert await layer.run(words) == 0
    packed = int(dut.counters.value)
    names = layer.parameters.counter_names
    found = {name: packed >> (32 * k) & 0xFFFFFFFF for k, name in enumerate(names)}
    assert found["samples"] == len(words)
    assert found["events_0"] == int((words != 0).sum())
    assert found["spikes_0"] == int(np.unpackbits(words).sum())
