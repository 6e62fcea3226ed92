"""A small network as a real bitstream, and what synthesis makes of its memories."""

import dataclasses
import json
import subprocess

import pytest
from spikeloom.hardware.parameters import DenseParameters, Folding, NetworkParameters
from spikeloom_boards.build import MARGIN, build
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


def test_small_network_on_the_icebreaker(tmp_path):
    parameters = small("icebreaker")
    lines = []

    def once(out):
        return build(
            "icebreaker",
            parameters,
            out_dir=tmp_path / out,
            cache_dir=tmp_path / "cache",
            progress=lines.append,
        )

    report = once("first")
    assert report.build_id == f"{parameters.build_id:016x}"
    assert report.multipliers == sum(
        layer.folding.lanes for layer in parameters.layers if layer.folding.multiplier != "lut"
    )
    assert report.fmax_hz >= MARGIN * report.clock_hz == MARGIN * 24e6
    assert 0 < report.luts < 5280
    assert 0 < report.block_rams <= 30
    described = json.loads((tmp_path / "first" / "structure.json").read_text())
    assert NetworkParameters.from_words(tuple(described["words"])) == parameters
    lines.clear()
    assert once("second") == report
    assert "cache" in lines[-1]
    for name in (report.bitstream, "report.json", "report.txt"):
        first, second = (tmp_path / out / name for out in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


RAM_CELLS = ("SB_RAM40_4K", "DP16KD")


@pytest.mark.parametrize(
    # no deeper than a block, where there would be multiplexers; no smaller than an ECP5's block RAM
    ("name", "sizes"),
    [("icebreaker", (16, 8, 4)), ("ulx3s-12f", (64, 32, 10))],
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
        if ".weights_" in name and "column_" in name.rsplit(".", 1)[-1]
    }
    assert len(columns) >= 2
    for name, cells in columns.items():
        rams = sum(count for cell, count in cells.items() if cell in RAM_CELLS)
        assert rams >= 1, name
        # an inverter of a clock enable is all that a block may need
        others = {cell: n for cell, n in cells.items() if cell not in RAM_CELLS}
        assert sum(others.values()) <= 1, (name, cells)
