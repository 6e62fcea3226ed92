"""Verilog output: it reads alone, its header tells the truth, wrong settings are refused."""

import re

import numpy as np
import pytest
from amaranth.sim import Simulator
from spikeloom.errors import InputError
from spikeloom.hardware.memory_image import columns, image_crc, memory_image
from spikeloom.hardware.parameters import DenseParameters, Folding, NetworkParameters
from spikeloom_hdl.catalogue import CORES
from spikeloom_hdl.catalogue.network import NETWORK_CORES, dense_parameters
from spikeloom_hdl.verilog import core_verilog, network_verilog
from spikeloom_sim.random_network import random_conv_network, random_foldings, random_network


def header(text: str) -> str:
    """The comment on top, its lines joined."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("//"):
            break
        lines.append(line[2:].strip())
    return " ".join(lines)


def instances_without_module(text: str) -> set[str]:
    """Names instantiated in the text that no module of it defines."""
    defined = set(re.findall(r"^module (\S+?) ?\(", text, re.M))
    used = set(re.findall(r"^  (\\?[\w.$]+) (?:#\($| ?\\?[\w.$\[\]]+ +\($)", text, re.M))
    return {name for name in used if name not in defined} - {"module", "assign"}


@pytest.mark.parametrize("core", sorted(NETWORK_CORES))
def test_a_core_stands_alone(core):
    text = core_verilog(core)
    assert not instances_without_module(text)
    assert f"module spikeloom_{core}(" in text
    top = header(text)
    for word in ("Ports", "clk", "i__payload", "Rate:", "Latency:", "Settings:"):
        assert word in top


def test_the_search_for_missing_modules_finds_one():
    text = core_verilog("dense", ["multiplier=mult18x18d"])
    assert instances_without_module(text) == {"MULT18X18D"}
    assert "Uses the vendor's cells MULT18X18D" in header(text)


def test_every_port_of_the_module_is_in_the_header():
    text = core_verilog("readout", ["fire_lanes=2"])
    declared = re.search(r"^module spikeloom_readout\((.*?)\);", text, re.M)
    top = header(text)
    assert declared is not None
    for port in declared[1].split(", "):
        assert re.search(rf"(input|output) +(\[\d+:0\] )?{port}\b", top), port


def test_a_network_documents_its_memories():
    hidden = DenseParameters(20, 6, 8, 4, 8, 24, folding=Folding(lanes=4, fire_lanes=2, slices=2))
    readout = DenseParameters(6, 3, 4, 0, 8, 20, folding=Folding(lanes=3))
    parameters = NetworkParameters((hidden, readout))
    text = network_verilog(parameters, name="my-net")
    assert "module my_net(" in text
    top = header(text)
    assert not instances_without_module(text)
    assert f"{parameters.build_id:016x}" in top
    counts = {}
    for c in columns(parameters):
        counts[c.layer, int(c.kind)] = counts.get((c.layer, int(c.kind)), 0) + 1
    for (layer, kind), count in counts.items():
        assert re.search(rf"layer {layer} kind {kind} \(\w+\): {count} columns", top)


def test_a_network_with_fixed_weights_says_so():
    network = random_network((20, 6, 3), seed=2, bits=(4, 4))
    foldings = (Folding(lanes=4, fire_lanes=2, slices=2), Folding(lanes=3))
    parameters = network.parameters(foldings)
    image = memory_image(network, parameters)
    fixed = network_verilog(parameters, name="fixed", image=image)
    loaded = network_verilog(parameters, name="fixed")
    assert f"CRC-32 of the image: {image_crc(image):#010x}" in header(fixed)
    assert "load__write must stay 0" in header(fixed)
    assert "must stay 0" not in header(loaded)
    assert not instances_without_module(fixed)
    held = [word for _, words in image for word in words.tolist()]
    found = re.findall(r"^ +rom\[\d+\] = \d+'([hd])(\w+);", fixed, re.M)
    written = [int(word, {"h": 16, "d": 10}[base]) for base, word in found]
    assert sorted(written) == sorted(held)
    assert "rom[" not in loaded
    assert 'rom_style = "block"' in fixed


def test_a_network_that_forks_documents_its_layers_and_buffers():
    blocks = ["pad", "project", "maxfire", "add"]
    network = random_conv_network(3, blocks=blocks, shape=(2, 6, 5), channels=4, bits=4)
    parameters = network.parameters(random_foldings(network, 3))
    text = network_verilog(parameters, name="residual")
    assert not instances_without_module(text)
    top = header(text)
    for k, layer in enumerate(parameters.layers[:-1]):
        size = f"{layer.port_out.pixels} of {layer.port_out.channels}"
        assert re.search(rf"Layer {k}: [^:]* > {size}", top)
    for buffer in parameters.buffers:
        skip = "the skip of " if buffer.slot else ""
        depth = parameters.depths[buffer.layer, buffer.slot]
        line = f"A buffer of {depth} transfers stands before {skip}layer {buffer.layer}"
        assert line in top
    join = next(k for k, feeds in enumerate(parameters.sources) if len(feeds) > 1)
    a, b = parameters.sources[join]
    assert re.search(rf"Layer {join}: .*?, takes layer {a} and layer {b}", top)


@pytest.mark.parametrize(
    "changes",
    [
        ["conv2d", "slices=2", "units=3", "form=serial", "skip_bits=4", "skip_weight_bits=5"],
        ["conv2d", "units=4", "paired=true", "slices=2", "scan=8"],
        ["conv2d", "output_bits=0", "fire_lanes=2", "stride_y=2", "stride_x=2"],
        ["depthwise", "output_bits=0", "lanes=8", "fire_lanes=2"],
        ["maxpool", "signed=true", "bits=20", "kernel_height=3", "kernel_width=3"],
        ["avgpool", "threshold=3", "bias=1", "lanes=2"],
        ["add", "lanes=4", "weight_bits=9"],
        ["pad", "top=0", "left=3", "lanes=3"],
    ],
)
def test_layers_with_other_settings(changes):
    text = core_verilog(changes[0], changes[1:])
    assert not instances_without_module(text)
    assert f"{changes[1]}" in header(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["stepss=4"], "fire has no setting 'stepss=4'; it has lanes=1"),
        (["steps"], "fire has no setting 'steps'"),
        (["steps=four"], "fire: steps takes a whole number, not 'four'"),
        (["steps=99"], "fire: steps must be an integer in 1..16, not 99"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        core_verilog("fire", options)


def test_an_unknown_core():
    with pytest.raises(InputError, match="no core 'fires': one of .*dense, .*fire, .*readout, "):
        core_verilog("fires")


@pytest.mark.parametrize(
    "changes",
    [{}, {"lanes": 4, "slices": 2, "fire_lanes": 2}, {"form": "serial", "outputs": 5, "lanes": 3}],
)
def test_the_stated_latency_and_rate_bound_what_the_gates_take(changes):
    settings = {**CORES["dense"].defaults, **changes}
    layer = dense_parameters(settings)
    options = [f"{k}={v}" for k, v in changes.items()]
    top = header(core_verilog("dense", options))
    rng = np.random.default_rng(7)
    word_rows = rng.integers(0, 1 << layer.input_bits, (3, layer.beats, layer.folding.scan))
    word_rows *= rng.random(word_rows.shape) < 0.3
    starts, ends = transfer_times(CORES["dense"].make(settings), word_rows)
    busiest = [most_events(words, layer.folding) for words in word_rows]
    latency = re.search(r"Latency: at most (.+?) cycles", top)
    rate = re.search(r"Rate: a sample every (max\(.+?\)) cycles", top)
    assert latency is not None
    assert rate is not None
    assert ends[0] - starts[0] <= evaluate(latency[1], busiest[0])
    for k in (1, 2):
        assert ends[k] - ends[k - 1] <= evaluate(rate[1], max(busiest[k - 1 : k + 1]))


def most_events(words: np.ndarray, folding: Folding) -> int:
    """Non-zero words (packed) or set bits (serial) of the busiest slice of a sample."""
    cost = words != 0 if folding.form == "packed" else np.bitwise_count(words)
    return int(cost.reshape(-1, folding.slices).astype(int).sum(axis=0).max())


def evaluate(formula: str, e: int) -> int:
    """Value of a formula of the header, which holds only numbers, e, +, *, max."""
    assert re.fullmatch(r"[\d e+*(),max]+", formula)
    return eval(formula, {"e": e, "max": max})


def transfer_times(core, samples: np.ndarray) -> tuple[list[int], list[int]]:
    """Cycle of the first transfer in and of the last transfer out of each sample."""
    starts, ends = [], []

    async def source(ctx):
        for beats in samples:
            for index, words in enumerate(beats):
                payload = {
                    "words": [int(w) for w in words],
                    "first": index == 0,
                    "last": index == len(beats) - 1,
                }
                ctx.set(core.i.payload, payload)
                ctx.set(core.i.valid, 1)
                await ctx.tick().until(core.i.ready)
        ctx.set(core.i.valid, 0)

    async def monitor(ctx):
        ctx.set(core.o.ready, 1)
        tick = ctx.tick().sample(
            core.i.valid & core.i.ready & core.i.p.first, core.o.valid & core.o.p.last
        )
        cycle = 0
        async for _, _, enters, leaves in tick:
            starts.extend([cycle] * enters)
            ends.extend([cycle] * leaves)
            cycle += 1
            if len(ends) == len(samples):
                return
            assert cycle < 5000, "no end of the samples after 5000 cycles"

    simulator = Simulator(core)
    simulator.add_clock(1e-6)
    simulator.add_testbench(source)
    simulator.add_testbench(monitor)
    simulator.run()
    return starts, ends
