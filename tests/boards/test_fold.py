"""Foldings: legal, within what a board has, and a clear line when there is none."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.errors import BuildError
from spikeloom.hardware.parameters import DenseParameters, Folding, NetworkParameters
from spikeloom.network import Dense, Network, Readout
from spikeloom_boards.cost import network_cost
from spikeloom_boards.registry import board, names


def structure(*sizes, weight_bits=8, accumulator_bits=22):
    layers = []
    for k, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers.append(
            DenseParameters(
                inputs,
                outputs,
                input_bits=8 if k == 0 else 4,
                output_bits=4 if k < len(sizes) - 2 else 0,
                weight_bits=weight_bits,
                accumulator_bits=accumulator_bits,
                folding=Folding(lanes=outputs),
            )
        )
    return NetworkParameters(tuple(layers))


def folded(name, network):
    foldings = board(name).foldings(network)
    layers = zip(network.layers, foldings, strict=True)
    return NetworkParameters(tuple(dataclasses.replace(n, folding=f) for n, f in layers))


def network(*sizes):
    ops = []
    for k, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        common = dict(
            name=f"layer{k}",
            weight=np.ones((outputs, inputs), np.int8),
            bias=np.zeros(outputs, np.int64),
            input_bits=8 if k == 0 else 4,
            weight_bits=8,
            accumulator_bits=20,
        )
        if k < len(sizes) - 2:
            threshold = np.ones(outputs, np.int64)
            ops.append(
                Dense(threshold=threshold, output_bits=4, output_scale=np.ones(outputs), **common)
            )
        else:
            ops.append(Readout(logit_scale=1.0, **common))
    return Network(tuple(ops), (sizes[0],), 8, {})


def test_registry():
    assert names() == ("ulx3s-12f", "ulx3s-25f", "ulx3s-45f", "ulx3s-85f", "icebreaker")
    assert len({board(name).board_id for name in names()}) == 5
    for name in names():
        assert board(name).name == name
        assert board(name).nearest_clock(board(name).clock_hz) == board(name).clock_hz
        assert board(name).platform().device == board(name).device
    with pytest.raises(BuildError, match=r"unknown board 'ulx4s': one of ulx3s-12f, .*icebreaker"):
        board("ulx4s")


def test_mnist_on_the_two_main_boards():
    first, second = folded("ulx3s-85f", structure(784, 128, 10)).layers
    assert first.folding == Folding(128, 1, 8, 8, "packed", "mult18x18d", "block")
    assert second.folding.multiplier == "mult18x18d"
    first, second = folded("icebreaker", structure(784, 128, 10)).layers
    assert first.folding == Folding(8, 1, 8, 1, "packed", "sb_mac16", "spram")
    assert (second.folding.multiplier, second.folding.weight_memory) == ("lut", "block")


def test_a_network_becomes_parameters():
    device = board("icebreaker")
    net = network(64, 16, 10)
    parameters = net.parameters(device.fold(net))
    assert [layer.outputs for layer in parameters.layers] == [16, 10]
    assert parameters.layers[0].folding.multiplier == "sb_mac16"


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(names()),
    st.lists(st.integers(1, 300), min_size=2, max_size=5),
    st.integers(2, 8),
)
def test_any_network_folds_or_is_refused(name, sizes, weight_bits):
    device = board(name)
    refusal = None
    try:
        result = folded(name, structure(*sizes, weight_bits=weight_bits))
    except BuildError as error:
        refusal = str(error)
    if refusal is not None:
        assert refusal.startswith(device.title)
        assert "layer" in refusal
        return
    total = network_cost(result, device)
    assert total.multipliers <= device.resources.multipliers
    assert total.block_rams <= device.resources.block_rams
    assert total.spram <= device.resources.spram
    assert total.luts <= device.resources.luts


def test_more_room_is_never_slower():
    def passes(name):
        return folded(name, structure(784, 64, 10)).layers[0].passes

    assert passes("ulx3s-12f") >= passes("ulx3s-45f") >= passes("ulx3s-85f") == 1


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("ulx3s-12f", (784, 256, 10), r"ULX3S-12F: .* block RAMs, the board has 56; layer 0"),
        ("ulx3s-85f", (784, 1000, 10), r"ULX3S-85F: .* block RAMs, the board has 208; layer 0"),
        (
            "icebreaker",
            (784, 256, 10),
            r"iCEBreaker: .* the board has \d+; layer 0 \(784 x 256\)",
        ),
        ("icebreaker", (100, 100, 100, 100, 10), r"iCEBreaker: .* the board has \d+; layer \d"),
    ],
)
def test_what_cannot_fit_is_named(name, sizes, message):
    with pytest.raises(BuildError, match=message):
        folded(name, structure(*sizes))
