"""The picture: its spikes and potentials are those of the network, and it is drawn."""

import numpy as np
import pytest
from spikeloom.golden import trace_words
from spikeloom.network import Dense, Flatten, Network, Readout
from spikeloom.ops import Conv2d
from spikeloom.study.picture import draw, membrane, mosaic, planes
from spikeloom_sim.random_network import random_conv_network, random_words


def network() -> Network:
    rng = np.random.default_rng(3)
    hidden = Dense(
        name="hidden",
        weight=rng.integers(-31, 32, (13, 12)).astype(np.int8),
        bias=rng.integers(-200, 900, 13),
        threshold=rng.integers(20, 400, 13),
        input_bits=8,
        output_bits=4,
        weight_bits=6,
        accumulator_bits=22,
        output_scale=np.ones(13),
    )
    readout = Readout(
        name="readout",
        weight=rng.integers(-31, 32, (3, 13)).astype(np.int8),
        bias=np.zeros(3, dtype=np.int64),
        input_bits=4,
        weight_bits=6,
        accumulator_bits=22,
        logit_scale=1.0,
    )
    ops = (Flatten("flatten"), hidden, readout)
    return Network(ops, input_shape=(3, 4), input_bits=8, metadata={})


def test_planes_weigh_the_first_step_most():
    words = np.array([0, 1, 8, 10, 15])
    assert planes(words, 4).tolist() == [
        [0, 0, 1, 1, 1],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 1, 1],
        [0, 1, 0, 0, 1],
    ]


def test_the_drawn_potentials_are_those_of_the_network():
    net = network()
    image = np.random.default_rng(4).integers(0, 256, (1, 3, 4), dtype=np.uint8)
    trace = net.trace(image)[0]
    layer, neurons = net.layers[0], np.arange(13)
    rise, fall = membrane(layer, net.encode(image)[0], neurons)
    assert rise.shape == (9, 13)
    assert np.array_equal(rise[-1] + layer.bias, trace.potentials[0])
    assert np.array_equal(fall[0], trace.potentials[0])
    spent = fall[0] - fall[-1]
    assert trace.words is not None
    assert np.array_equal(spent, trace.words[0] * layer.threshold)


def test_a_picture_is_written(tmp_path):
    image = np.random.default_rng(4).integers(0, 256, (3, 4), dtype=np.uint8)
    path = draw(network(), image, tmp_path / "folder" / "one.png", label=1)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("block", ["conv", "depthwise"])
@pytest.mark.parametrize("seed", range(6))
def test_the_drawn_potentials_of_a_convolution(block, seed):
    """Every neuron of a layer that fires, any kernel, stride and padding."""
    net = random_conv_network(seed, blocks=[block], shape=(3, 6, 5))
    layer, words = net.layers[0], random_words(net, 2, seed=seed)[1]
    if not isinstance(layer, Conv2d) or layer.threshold is None:
        pytest.skip("its potentials leave")
    neurons = np.arange(net.edges[layer.name].size)
    trace = trace_words(net, words[None])[0]
    assert trace.potentials is not None
    assert trace.words is not None
    rise, fall = membrane(layer, words.reshape(net.input_shape), neurons)
    assert rise.shape == (layer.input_bits + 1, len(neurons))
    assert np.array_equal(fall[0], trace.potentials.reshape(-1))
    channels = neurons // net.edges[layer.name].pixels
    spent = trace.words.reshape(-1) * layer.threshold[channels]
    assert np.array_equal(fall[0] - fall[-1], spent)
    assert np.array_equal(rise[-1] + layer.bias[channels], fall[0])


def test_channels_lie_side_by_side():
    sheet = mosaic(np.arange(24).reshape(4, 2, 3))
    assert sheet.shape == (5, 7)
    assert sheet[:2, :3].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert sheet[3:, 4:].tolist() == [[18, 19, 20], [21, 22, 23]]
    assert bool(sheet.mask[2].all())
    assert bool(sheet.mask[:, 3].all())
    assert int(sheet.mask.sum()) == 5 * 7 - 24
    assert mosaic(np.arange(12).reshape(2, 6, 1)).tolist() == [
        [0, 1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10, 11],
    ]


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 8, 8), (6, 8, 1)])
def test_a_picture_of_a_convolutional_network(tmp_path, shape):
    net = random_conv_network(3, blocks=["fire", "skip", "maxpool", "dense"], shape=shape)
    image = np.random.default_rng(4).integers(0, 256, shape, dtype=np.uint8)
    assert draw(net, image, tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_where_nothing_fires(tmp_path):
    net = random_conv_network(3, blocks=[], shape=(2, 3, 3))
    image = np.zeros((2, 3, 3), np.uint8)
    assert draw(net, image, tmp_path / "one.png").exists()
