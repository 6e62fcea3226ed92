"""The cost model: memories as the gates declare them, blocks as synthesis cuts them."""

import dataclasses
import json
import re
import subprocess
from collections import Counter

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Elaboratable, Fragment, Module, Shape, Signal
from amaranth.hdl._mem import MemoryInstance
from amaranth.lib.wiring import Out
from spikeloom.errors import ToolError
from spikeloom.hardware.parameters import (
    AddParameters,
    ConvParameters,
    DenseParameters,
    DepthwiseParameters,
    FireParameters,
    Folding,
    NetworkParameters,
    PadParameters,
    PoolParameters,
    Window,
)
from spikeloom_boards.cost import Cost, layer_cost, link_memories, memories, network_cost
from spikeloom_boards.memory_map import Ram, map_ram
from spikeloom_boards.netlist import memory_hints
from spikeloom_boards.registry import board
from spikeloom_boards.toolchain import find_tool
from spikeloom_hdl.accelerator import Accelerator
from spikeloom_hdl.dual_memory import DualMemory
from spikeloom_hdl.memory import BlockMemory
from spikeloom_hdl.network import make_layer


def declared(component):
    """Memories that a component declares: (rows, bits) and how many."""
    found = Counter()

    def walk(fragment):
        if isinstance(fragment, MemoryInstance):
            found[fragment._data.depth, Shape.cast(fragment._data.shape).width] += 1
        for inner, *_ in fragment.subfragments:
            walk(inner)

    walk(Fragment.get(component, None))
    return found


def listed(rams):
    found = Counter()
    for ram in rams:
        if not ram.spram:
            found[max(2, ram.rows), ram.bits] += ram.count
    return found


def random_layer(seed):
    """A small layer of some kind, folded somehow; None where that does not fit."""
    rng = np.random.default_rng(seed)

    def pick(*values):
        return values[int(rng.integers(len(values)))]

    fire, channels, outputs = pick(1, 2, 4), pick(1, 2, 3, 6, 8, 16), pick(1, 4, 6, 10, 33)
    window = Window(
        *(pick(4, 5, 7, 12) for _ in range(2)),
        *(pick(1, 2, 3) for _ in range(2)),
        *(pick(1, 2) for _ in range(2)),
    )
    slices = pick(1, 2)
    folding = Folding(
        fire * pick(1, 2, 3, 5),
        slices,
        slices * pick(1, 2, 4),
        fire,
        pick("packed", "serial"),
        pick("lut", "mult18x18d"),
    )
    lanes = dataclasses.replace(folding, lanes=fire, slices=1)
    skip, out = pick(0, 0, 5), pick(0, 4)
    layers = {
        "dense": lambda: DenseParameters(pick(8, 30, 100), outputs, 4, out, 8, 20, folding=folding),
        "conv": lambda: ConvParameters(
            channels,
            outputs,
            window,
            4,
            out,
            8,
            20,
            skip_bits=skip,
            skip_weight_bits=pick(0, 6) if skip else 0,
            folding=dataclasses.replace(folding, units=pick(1, 1, 2, 3)),
        ),
        "depthwise": lambda: DepthwiseParameters(channels, window, 4, out, 8, 20, folding=lanes),
        "max": lambda: PoolParameters("max", channels, window, 4, folding=lanes),
        "average": lambda: PoolParameters(
            "average", channels, window, 4, output_bits=4, threshold=pick(3, 4), folding=lanes
        ),
        "fire": lambda: FireParameters(9, channels, 12, 4, folding=lanes),
        "add": lambda: AddParameters(9, channels, 4, 4, 9, 14, 4, folding=lanes),
        "pad": lambda: PadParameters(4, 4, 1, 1, 1, 1, channels, 4, folding=lanes),
    }
    try:
        return layers[pick(*layers)]()
    except ValueError:
        return None


@pytest.mark.parametrize("block", range(5))
def test_memories_are_those_that_the_gates_declare(block):
    tried = 0
    for seed in range(100 * block, 100 * block + 25):
        layer = random_layer(seed)
        if layer is None:
            continue
        tried += 1
        assert listed(memories(layer)) == declared(make_layer(layer)), layer
    assert tried > 10


@pytest.mark.parametrize("units", [2, 4])
def test_paired_units_declare_half_the_weight_memories(units):
    fold = Folding(6, 2, 2, 2, units=units)
    apart = ConvParameters(4, 12, Window(6, 6, 3, 3, 1, 1, 1, 1), 4, 4, 8, 20, folding=fold)
    pairs = dataclasses.replace(apart, folding=dataclasses.replace(fold, paired=True))
    one, other = declared(make_layer(apart)), declared(make_layer(pairs))
    assert listed(memories(pairs)) == other
    weights = apart.weight_depth, apart.lanes_per_column * apart.weight_bits
    assert one - other == Counter({weights: units * apart.columns_per_slice})
    assert not other - one


def network(*layers, sources=()):
    return NetworkParameters(tuple(layers), sources)


CONV = ConvParameters(
    2, 4, Window(8, 8, 3, 3, 1, 1, 1, 1), 4, 4, 8, 20, folding=Folding(4, 1, 2, 2)
)


@pytest.mark.parametrize(
    "parameters",
    [
        network(DenseParameters(784, 10, 8, 0, 8, 22, folding=Folding(2, 1, 8))),
        network(
            CONV,
            dataclasses.replace(CONV, channels=4, skip_bits=4),
            DenseParameters(256, 4, 4, 0, 8, 22, folding=Folding(4), pixels=64),
            sources=((-1,), (0, 0), (1,)),
        ),
    ],
    ids=["one layer", "a fork"],
)
def test_memories_around_the_layers(parameters):
    gates = declared(Accelerator(parameters, clock_hz=25e6))
    model = listed(link_memories(parameters))
    for layer in parameters.layers:
        model += listed(memories(layer))
    extra = gates - model
    assert not model - gates
    # all that is left is the description of the structure, in logic where it is short
    assert all(bits == 32 for _, bits in extra)
    assert extra.total() <= 1


class Side(Elaboratable):
    """Memories side by side, each with ports of its own."""

    def __init__(self, shapes, make):
        self.shapes, self.make, self.ports = shapes, make, []

    def elaborate(self, platform):
        m = Module()
        for rows, bits in self.shapes:
            ram = self.make(rows=rows, bits=bits)
            m.submodules[f"m_{rows}_{bits}"] = ram
            for name, member in ram.signature.members.items():
                inner = getattr(ram, name)
                outer = Signal(len(inner), name=f"p_{rows}_{bits}_{name}")
                self.ports.append(outer)
                ends = (outer, inner) if member.flow == Out else (inner, outer)
                m.d.comb += ends[0].eq(ends[1])
        return m


SHAPES = {
    "ecp5": [
        *((rows, bits) for rows in (2, 3, 16, 17, 33, 64, 96, 128) for bits in (1, 5, 8, 20, 36)),
        *((rows, bits) for rows in (300, 513, 1152, 3000) for bits in (4, 9, 24, 32)),
    ],
    "ice40": [(rows, bits) for rows in (2, 256, 257, 513, 1025, 3000) for bits in (1, 6, 9, 20)],
    "ecp5 dual": [
        *((rows, bits) for rows in (2, 3, 16, 17, 33, 64, 96, 128) for bits in (1, 5, 8, 20, 36)),
        *((512, bits) for bits in (4, 18, 19, 36)),
        *((rows, bits) for rows in (300, 513, 1152, 3000, 5000) for bits in (4, 9, 16, 24, 32)),
        *((1024, 32), (2048, 32), (2304, 16), (4096, 8)),
    ],
}


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_blocks_are_those_that_synthesis_makes(kind, tmp_path):
    try:
        yosys = find_tool("yosys")
    except ToolError as error:
        pytest.skip(str(error))
    family, dual = kind.split()[0], kind.endswith("dual")
    side = Side(SHAPES[kind], DualMemory if dual else BlockMemory)
    text = rtlil.convert(Fragment.get(side, None), ports=side.ports, name="top", emit_src=False)
    (tmp_path / "top.il").write_text(memory_hints(text, family))
    synth = "synth_ecp5 -nodsp" if family == "ecp5" else "synth_ice40 -device u"
    (tmp_path / "top.ys").write_text(
        f"read_rtlil top.il\n{synth} -top top -noflatten -run begin:map_ffs\n"
        "tee -q -o stat.json stat -json\n"
    )
    subprocess.run([*yosys.command, "-q", "top.ys"], cwd=tmp_path, check=True)
    cells = {}
    for name, module in json.loads((tmp_path / "stat.json").read_text())["modules"].items():
        if found := re.search(r"m_(\d+)_(\d+)(\.ram)?$", name):
            known = cells.setdefault((int(found[1]), int(found[2])), Counter())
            known.update(module["num_cells_by_type"])
    assert len(cells) == len(SHAPES[kind])
    for (rows, bits), count in cells.items():
        mapped = map_ram(Ram(rows, bits, dual=dual), family)
        made = (count["DP16KD"] + count["SB_RAM40_4K"], count["TRELLIS_DPR16X4"])
        assert (mapped.blocks, mapped.lut_rams) == made, (rows, bits)


def test_two_readers_take_the_blocks_of_one_where_18_bits_are_enough():
    """The shapes that pairs are for: half of two copies; and one that gains nothing."""
    for rows, bits, blocks in ((1024, 32, 2), (2048, 32, 4), (2304, 16, 3), (4096, 8, 2)):
        assert map_ram(Ram(rows, bits), "ecp5").blocks == blocks
        assert map_ram(Ram(rows, bits, dual=True), "ecp5").blocks == blocks
    assert map_ram(Ram(512, 36, dual=True), "ecp5").blocks == 2
    with pytest.raises(ValueError, match="no block RAM of an ice40 has two ports that read"):
        map_ram(Ram(1024, 16, dual=True), "ice40")


def test_multipliers_are_counted():
    dsp = Folding(4, 2, 2, 2, multiplier="mult18x18d", units=3)
    layer = dataclasses.replace(CONV, folding=dsp)
    assert layer_cost(layer, "ecp5").multipliers == 4 * 2 * 3
    weighed = dataclasses.replace(layer, skip_bits=4, skip_weight_bits=8)
    assert layer_cost(weighed, "ecp5").multipliers == 4 * 2 * 3 + 2
    serial = dataclasses.replace(layer, folding=dataclasses.replace(dsp, form="serial"))
    assert layer_cost(serial, "ecp5").multipliers == 0


def test_costs_add_up():
    parameters = network(DenseParameters(784, 10, 8, 0, 8, 22, folding=Folding(2, 1, 8)))
    device = board("icebreaker")
    total = network_cost(parameters, device)
    layer = layer_cost(parameters.layers[0], device.family)
    assert total.luts > layer.luts > 0
    assert total.flip_flops > layer.flip_flops > 0
    assert Cost(1, 2, 3, 4, 5) + Cost(1, 1, 1, 1, 1) == Cost(2, 3, 4, 5, 6)
