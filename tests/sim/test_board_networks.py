"""Whole boards with networks on them, talked to by the driver: their own tops, and a netlist."""

import dataclasses
import json

import numpy as np
import pytest
from spikeloom.device import Device
from spikeloom.errors import DeviceError
from spikeloom.hardware.memory_image import image_crc, memory_image
from spikeloom.hardware.parameters import Folding, NetworkParameters
from spikeloom.hardware.protocol import Command, words_payload
from spikeloom.network import Network
from spikeloom_boards.build import MARGIN, build
from spikeloom_boards.netlist import post_synthesis_verilog
from spikeloom_boards.registry import board
from spikeloom_sim.random_network import (
    random_conv_network,
    random_foldings,
    random_network,
)
from spikeloom_sim.virtual_board import build_virtual_board


@pytest.fixture(scope="module")
def network():
    return random_network((30, 12, 5), seed=3, bits=(8, 4))


def images(network, count):
    generator = np.random.default_rng(1)
    pixels = generator.integers(0, 256, (count, network.inputs), dtype=np.uint8)
    pixels[generator.random(pixels.shape) < 0.6] = 0
    return pixels


@pytest.fixture(scope="module")
def ulx3s(network, tmp_path_factory):
    foldings = (
        Folding(lanes=6, slices=2, scan=8, fire_lanes=2, multiplier="mult18x18d"),
        Folding(lanes=1, scan=4),
    )
    parameters = network.parameters(foldings)
    out = tmp_path_factory.mktemp("ulx3s")
    return build_virtual_board("ulx3s-85f", parameters, out, optimise="-O1")


def test_the_driver_runs_a_board_at_one_bit_a_cycle(network, ulx3s):
    pixels = images(network, 60)
    with Device.open(f"sim://{ulx3s}") as device:
        device.load(network)
        assert np.array_equal(device.run(pixels), network.run(pixels))


def test_the_driver_runs_a_board_at_real_rates(network, ulx3s):
    pixels = images(network, 4)
    with Device.open(f"sim://{ulx3s}?uart=exact") as device:
        assert device.info.baud == 3_000_000
        device.load(network)
        assert np.array_equal(device.run(pixels), network.run(pixels))


@pytest.fixture(scope="module")
def convolutions():
    """Skip connections, pools, a depthwise layer: everything that streams pixels."""
    blocks = ["conv", "skip", "project", "maxpool", "depthwise", "avgpool"]
    network = random_conv_network(5, blocks=blocks, shape=(2, 8, 8))
    return network, network.parameters(random_foldings(network, 5))


def test_a_convolutional_network_runs_over_the_link(convolutions, tmp_path):
    network, parameters = convolutions
    folder = build_virtual_board("ulx3s-85f", parameters, tmp_path, optimise="-O1")
    pixels = images(network, 30).reshape(30, *network.input_shape)
    with Device.open(f"sim://{folder}") as device:
        device.load(network)
        assert np.array_equal(device.run(pixels), network.run(pixels))
        assert np.array_equal(device.run(pixels[:5]), network.run(pixels[:5]))


def refused_write(device):
    """What the driver says when a memory of the board is written."""
    device._begin_session()
    device._link.send(Command.MEM_WRITE, words_payload(0, 1))
    with pytest.raises(DeviceError) as caught:
        device._link.flush()
    device._link.broken = True
    return str(caught.value)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_a_board_with_fixed_weights_runs_its_network_and_no_other(kind, tmp_path):
    """Nothing is uploaded, a write is refused, a reset changes nothing."""
    if kind == "mlp":
        network = random_network((30, 12, 5), seed=3, bits=(8, 4))
        foldings = (Folding(lanes=6, slices=2, scan=8, fire_lanes=2), Folding(lanes=1, scan=4))
    else:
        blocks = ["pad", "same", "maxfire", "depthwise", "add"]
        network = random_conv_network(5, blocks=blocks, shape=(2, 5, 5), channels=3)
        foldings = random_foldings(network, 5)
    other = one_weight_less(network)
    parameters = network.parameters(foldings)
    assert other.parameters(foldings).build_id == parameters.build_id
    image = memory_image(network, parameters)
    folder = tmp_path / "board"
    build_virtual_board("ulx3s-85f", parameters, folder, optimise="-O1", image=image)
    described = json.loads((folder / "board.json").read_text())
    assert described["weights_crc"] == f"{image_crc(image):08x}"
    pixels = images(network, 6).reshape(6, *network.input_shape)
    expected = network.run(pixels)
    with Device.open(f"sim://{folder}") as device:
        assert device.info.fixed_weights
        assert device.read_register("memory_crc") == image_crc(image)
        with pytest.raises(DeviceError, match="holds the weights of another network"):
            device.load(other)
        before = device.link_statistics["frames_sent"]
        device.load(network)
        assert device.link_statistics["frames_sent"] < before + len(image) + 10
        assert np.array_equal(device.run(pixels), expected)
        assert "the weights are fixed in the bitstream" in refused_write(device)
        assert np.array_equal(device.run(pixels), expected)
        device.reset()
        assert np.array_equal(device.run(pixels), expected)


def one_weight_less(network):
    """The same network, but for one weight."""
    op = next(op for op in network.layers if hasattr(op, "weight"))
    weight = op.weight.copy()
    weight[np.unravel_index(np.argmax(weight), weight.shape)] -= 1
    ops = [dataclasses.replace(op, weight=weight) if o is op else o for o in network.ops]
    return Network(ops, network.input_shape, network.input_bits)


@pytest.fixture(scope="module")
def icebreaker_parameters(network):
    """The small network with everything an iCE40 UP5K has: multiplier cells, SPRAM, block RAM."""
    foldings = (
        Folding(lanes=4, scan=8, multiplier="sb_mac16", weight_memory="spram"),
        Folding(lanes=1, scan=4),
    )
    return network.parameters(foldings)


def test_the_small_network_becomes_a_bitstream(icebreaker_parameters, tmp_path):
    lines = []

    def once(out):
        return build(
            "icebreaker",
            icebreaker_parameters,
            out_dir=tmp_path / out,
            cache_dir=tmp_path / "cache",
            progress=lines.append,
        )

    report = once("first")
    assert report.build_id == f"{icebreaker_parameters.build_id:016x}"
    assert (report.multipliers, report.spram) == (4, 2)
    assert report.fmax_hz >= MARGIN * report.clock_hz == MARGIN * 24e6
    assert 0 < report.luts < 5280
    assert 0 < report.block_rams <= 30
    described = json.loads((tmp_path / "first" / "structure.json").read_text())
    assert NetworkParameters.from_words(tuple(described["words"])) == icebreaker_parameters
    assert b"\x7e\xaa\x99\x7e" in (tmp_path / "first" / report.bitstream).read_bytes()[:256]
    lines.clear()
    assert once("second") == report
    assert "cache" in lines[-1]
    for name in (report.bitstream, "report.json", "report.txt"):
        first, second = (tmp_path / out / name for out in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_its_netlist_after_synthesis_gives_the_same_logits(
    network, icebreaker_parameters, tmp_path
):
    """iCE40: LUTs, carries, flip-flops, block RAM, SPRAM and SB_MAC16, nothing else."""
    netlist = post_synthesis_verilog(board("icebreaker"), icebreaker_parameters)
    cells = ("SB_LUT4", "SB_CARRY", "SB_DFF", "SB_RAM40_4K", "SB_SPRAM256KA", "SB_MAC16", "SB_IO")
    assert [cell for cell in cells if f"{cell}" not in netlist] == []
    assert "always @" not in netlist
    build_virtual_board(
        "icebreaker", icebreaker_parameters, tmp_path, verilog=netlist, optimise="-O1"
    )
    pixels = images(network, 40)
    with Device.open(f"sim://{tmp_path}") as device:
        device.load(network)
        assert np.array_equal(device.run(pixels), network.run(pixels))
