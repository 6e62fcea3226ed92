"""The picture: its spikes and potentials are those of the network, and it is drawn."""

import numpy as np
from spikeloom.network import Dense, Flatten, Network, Readout
from spikeloom.study.picture import draw, membrane, planes


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
