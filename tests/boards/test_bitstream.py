"""What synthesis makes of the memories of a network (bitstreams: tests/sim, with their netlist)."""

import dataclasses
import json
import subprocess

import pytest
from spikeloom.hardware.parameters import DenseParameters, Folding, NetworkParameters
from spikeloom_boards.netlist import prepare
from spikeloom_boards.registry import board
from spikeloom_boards.toolchain import find_tool


def small(name, inputs=16, hidden=8, outputs=4):
    """A network folded onto a board."""
    layers = (
        DenseParameters(inputs, hidden, 8, 4, 8, 20, folding=Folding()),
        DenseParameters(hidden, outputs, 4, 0, 8, 18, folding=Folding(lanes=outputs)),
    )
    foldings = board(name).foldings(NetworkParameters(layers))
    return NetworkParameters(
        tuple(dataclasses.replace(n, folding=f) for n, f in zip(layers, foldings, strict=True))
    )


RAM_CELLS = ("SB_RAM40_4K", "DP16KD", "SB_SPRAM256KA")


@pytest.mark.parametrize(
    # the last two have the weight memories of the shipped networks: SPRAM, and 784 rows of 32 bits
    ("name", "sizes"),
    [
        ("icebreaker", (16, 8, 4)),
        ("ulx3s-12f", (64, 32, 10)),
        ("icebreaker", (784, 128, 10)),
        ("ulx3s-12f", (784, 16, 10)),
    ],
)
def test_nothing_is_built_around_a_memory(tmp_path, name, sizes):
    """Old-data reads would cost a LUT or two and a flip-flop for each bit of each block."""
    device = board(name)
    design = prepare(device, small(name, *sizes))
    design.write(tmp_path)
    script = (tmp_path / "top.ys").read_text()
    hierarchical = script.replace(f"synth_{device.family}", f"synth_{device.family} -noflatten")
    assert hierarchical != script
    (tmp_path / "top.ys").write_text(hierarchical)
    subprocess.run([*find_tool("yosys").command, "-q", "top.ys"], cwd=tmp_path, check=True)
    modules = json.loads((tmp_path / "stat.json").read_text())["modules"]
    columns = {
        name: module["num_cells_by_type"]
        for name, module in modules.items()
        if ".layer_0." in name
        and ".weights_" in name
        and name.rsplit(".", 1)[-1].startswith("column_")
    }
    assert len(columns) >= 1
    for name, cells in columns.items():
        assert sum(count for cell, count in cells.items() if cell in RAM_CELLS) >= 1, name
        # an inverter of a clock enable is all that a block may need; the one port of an SPRAM needs
        # a choice between the addresses to read and to write, and its select
        allowed = 15 if "SB_SPRAM256KA" in cells else 1
        others = {cell: n for cell, n in cells.items() if cell not in RAM_CELLS}
        assert sum(others.values()) <= allowed, (name, cells)
