"""Which word of which memory holds which weight: against a reading of the layout, word by word."""

import zlib

import numpy as np
import pytest
from spikeloom.errors import SpikeloomError
from spikeloom.hardware.memory_image import Kind, columns, image_crc, memory_image
from spikeloom.hardware.parameters import Folding
from spikeloom.network import Dense, Network, Readout


def network(seed: int = 1) -> Network:
    rng = np.random.default_rng(seed)
    hidden = Dense(
        name="hidden",
        weight=rng.integers(-7, 8, (11, 21)).astype(np.int8),
        bias=rng.integers(-50, 50, 11),
        threshold=rng.integers(1, 200, 11),
        input_bits=8,
        output_bits=4,
        weight_bits=4,
        accumulator_bits=20,
        output_scale=np.ones(11),
    )
    readout = Readout(
        name="readout",
        weight=rng.integers(-127, 128, (3, 11)).astype(np.int8),
        bias=rng.integers(-50, 50, 3),
        input_bits=4,
        weight_bits=8,
        accumulator_bits=20,
        logit_scale=1.0,
    )
    return Network((hidden, readout), input_shape=(21,), input_bits=8, metadata={})


FOLDINGS = [
    (Folding(lanes=4, slices=2, scan=8, fire_lanes=2), Folding(lanes=3, scan=2)),
    (Folding(lanes=12, slices=1, scan=4, fire_lanes=4), Folding(lanes=6, scan=8, fire_lanes=3)),
    (Folding(lanes=1, slices=3, scan=3), Folding(lanes=1, scan=1)),
]


@pytest.mark.parametrize("foldings", FOLDINGS)
def test_every_weight_is_where_the_gates_read_it(foldings):
    net = network()
    parameters = net.parameters(foldings)
    image = {(c.layer, c.kind, c.column): words for c, words in memory_image(net, parameters)}
    for index, (op, layer) in enumerate(zip(net.layers, parameters.layers, strict=True)):
        fold, bits = layer.folding, layer.weight_bits
        for n in range(layer.outputs):
            for i in range(layer.inputs):
                lane, s = n % fold.lanes, i % fold.slices
                row = (n // fold.lanes) * layer.rows_per_pass + i // fold.slices
                column = s * layer.columns_per_slice + lane // layer.lanes_per_column
                word = int(image[index, Kind.WEIGHT, column][row])
                code = word >> (lane % layer.lanes_per_column) * bits & (1 << bits) - 1
                assert code - (code >> (bits - 1) << bits) == op.weight[n, i]
            row, lane = divmod(n, fold.fire_lanes)
            bias = int(image[index, Kind.BIAS, lane][row])
            sign = bias >> (layer.accumulator_bits - 1)
            assert bias - (sign << layer.accumulator_bits) == op.bias[n]
            if layer.fires:
                assert image[index, Kind.THRESHOLD, lane][row] == op.threshold[n]


def test_neurons_that_pad_a_transfer_never_fire():
    net = network()
    parameters = net.parameters(FOLDINGS[1])
    image = {(c.layer, c.kind, c.column): words for c, words in memory_image(net, parameters)}
    assert image[0, Kind.BIAS, 3][2] == (1 << 20) - 1  # neuron 11 of 11: -1
    assert image[0, Kind.THRESHOLD, 3][2] == 1


@pytest.mark.parametrize("foldings", FOLDINGS)
def test_image_lists_the_columns_and_its_crc_covers_them_in_order(foldings):
    net = network()
    parameters = net.parameters(foldings)
    image = memory_image(net, parameters)
    assert [c for c, _ in image] == list(columns(parameters))
    assert all(len(words) == c.rows and int(words.max()) < 1 << c.bits for c, words in image)
    data = b"".join(int(word).to_bytes(4, "little") for _, words in image for word in words)
    assert image_crc(image) == zlib.crc32(data)


def test_another_structure_is_refused():
    net = network()
    parameters = net.parameters(FOLDINGS[0])
    other = Network((net.ops[1],), input_shape=(11,), input_bits=4, metadata={})
    with pytest.raises(SpikeloomError, match="the network has 1 layers, the device 2"):
        memory_image(other, parameters)
