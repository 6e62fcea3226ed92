"""Which word of which memory holds which weight: against a reading of the layout, word by word."""

import dataclasses
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.errors import SpikeloomError
from spikeloom.hardware.memory_image import Kind, columns, image_crc, memory_image
from spikeloom.hardware.parameters import (
    AddParameters,
    DenseParameters,
    DepthwiseParameters,
    FireParameters,
    Folding,
    PadParameters,
    PoolParameters,
    SynapseParameters,
)
from spikeloom.network import Dense, Flatten, Network, Readout
from spikeloom.ops import Add
from spikeloom_sim.random_network import random_conv_network, random_foldings


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


# Any network of any layers, read back from the documented addresses, one number at a time.


def signed_code(code: int, bits: int) -> int:
    return code - (code >> (bits - 1) << bits)


def stored_weight(image, index, layer, unit: int, o: int, slice_: int, row_of_pass: int) -> int:
    """Weight of output o at a row of its pass, in one slice's memory of one unit."""
    fold, bits = layer.folding, layer.weight_bits
    lane, row = o % fold.lanes, (o // fold.lanes) * layer.rows_per_pass + row_of_pass
    copy = unit // 2 if fold.paired else unit
    column = (
        copy * fold.slices + slice_
    ) * layer.columns_per_slice + lane // layer.lanes_per_column
    word = int(image[index, Kind.WEIGHT, column][row])
    return signed_code(word >> lane % layer.lanes_per_column * bits & (1 << bits) - 1, bits)


def position(layer, channel: int) -> tuple[int, int]:
    """(slice, number in that slice) of a channel of a pixel: by transfers of ``scan`` words."""
    fold = layer.folding
    beat, word = divmod(channel, fold.scan)
    return word % fold.slices, beat * (fold.scan // fold.slices) + word // fold.slices


def check_weights(image, index, op, layer) -> int:
    """Compare every weight; how many rows hold one."""
    used = set()
    for unit in range(layer.folding.units):
        for at in np.ndindex(op.weight.shape):
            if isinstance(layer, DenseParameters):
                o, flat = at
                channel, pixel = divmod(flat, layer.pixels)
                s, number = position(layer, channel)
                row = pixel * (layer.rows_per_pass // layer.pixels) + number
            elif isinstance(layer, DepthwiseParameters):
                o, _, ky, kx = at
                s, row = 0, ky * op.kernel[1] + kx
            else:
                o, channel, ky, kx = at
                s, number = position(layer, channel)
                row = (ky * op.kernel[1] + kx) * layer.slice_channels + number
            stored = stored_weight(image, index, layer, unit, o, s, row)
            assert stored == op.weight[at], (index, unit, at)
            used.add((unit, o, s, row))
    return len(used)


def check_neurons(image, index, kind: Kind, values, lanes: int, bits: int, first: int = 0) -> None:
    """Neuron n lies in column first + n % lanes, row n // lanes."""
    for n, value in enumerate(values):
        word = int(image[index, kind, first + n % lanes][n // lanes])
        assert word == int(value) & ((1 << bits) - 1), (index, kind, n)


def check_layer(image, index, op, layer) -> None:
    plain = not isinstance(layer, SynapseParameters)
    lanes = layer.folding.lanes if plain else layer.folding.fire_lanes
    units = 1 if plain else layer.folding.units
    if not plain:
        assert check_weights(image, index, op, layer) == op.weight.size * units
    if isinstance(layer, PadParameters):
        check_neurons(image, index, Kind.BIAS, op.word, lanes, layer.bits)
        return
    if isinstance(layer, AddParameters):
        for stream in (0, 1):
            values = op.weight[stream]
            first = stream * lanes
            check_neurons(image, index, Kind.SKIP, values, lanes, layer.weight_bits, first)
    if hasattr(op, "bias"):
        check_neurons(image, index, Kind.BIAS, op.bias, lanes, layer.accumulator_bits)
    if op.threshold is not None:
        check_neurons(image, index, Kind.THRESHOLD, op.threshold, lanes, layer.threshold_bits)
    if getattr(op, "skip_weight", None) is not None:
        check_neurons(image, index, Kind.SKIP, op.skip_weight, lanes, layer.skip_weight_bits)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_any_network_lies_where_the_layout_says(seed, folding):
    net = random_conv_network(seed)
    parameters = net.parameters(random_foldings(net, folding))
    listed = memory_image(net, parameters)
    assert [c for c, _ in listed] == list(columns(parameters))
    assert all(len(words) == c.rows and int(words.max()) < 1 << c.bits for c, words in listed)
    assert len({c.address + row for c, _ in listed for row in range(c.rows)}) == sum(
        c.rows for c, _ in listed
    )
    image = {(c.layer, c.kind, c.column): words for c, words in listed}
    for index, (op, layer) in enumerate(zip(net.layers, parameters.layers, strict=True)):
        kinds = {c.kind for c, _ in listed if c.layer == index}
        if isinstance(layer, PoolParameters):
            assert not kinds
        elif isinstance(layer, FireParameters):
            assert kinds == {Kind.THRESHOLD}
            check_neurons(
                image, index, Kind.THRESHOLD, op.threshold, layer.folding.lanes,  # type: ignore
                layer.threshold_bits,
            )  # fmt: skip
        else:
            check_layer(image, index, op, layer)


def test_every_unit_has_its_own_weights():
    net = random_conv_network(3, blocks=["conv"], shape=(3, 5, 6))
    width = net.edges[net.layers[0].name].shape[2]
    fold = Folding(lanes=2, slices=3, scan=6, fire_lanes=2, units=min(3, width))
    parameters = net.parameters([fold, Folding(lanes=1, scan=2)])
    image = {(c.layer, c.kind, c.column): words for c, words in memory_image(net, parameters)}
    check_layer(image, 0, net.layers[0], parameters.layers[0])
    count = max(c for layer, kind, c in image if (layer, kind) == (0, Kind.WEIGHT)) + 1
    assert count == fold.units * fold.slices


def test_paired_units_share_their_weights():
    net = random_conv_network(3, blocks=["conv"], shape=(3, 5, 6))
    assert net.edges[net.layers[0].name].shape[2] >= 4
    fold = Folding(lanes=2, slices=3, scan=6, fire_lanes=2, units=4, paired=True)
    parameters = net.parameters([fold, Folding(lanes=1, scan=2)])
    image = {(c.layer, c.kind, c.column): words for c, words in memory_image(net, parameters)}
    check_layer(image, 0, net.layers[0], parameters.layers[0])
    count = max(c for layer, kind, c in image if (layer, kind) == (0, Kind.WEIGHT)) + 1
    assert count == 2 * fold.slices


def test_padding_of_a_joined_transfer_never_fires():
    net = random_conv_network(1, blocks=["add"], shape=(3, 4, 4))
    parameters = net.parameters([Folding(lanes=4, fire_lanes=4, scan=4) for _ in net.layers])
    image = {(c.layer, c.kind, c.column): words for c, words in memory_image(net, parameters)}
    index = next(k for k, op in enumerate(net.layers) if op.kind == "add")
    layer = parameters.layers[index]
    assert isinstance(layer, AddParameters)
    assert image[index, Kind.BIAS, 3][0] == (1 << layer.accumulator_bits) - 1
    assert image[index, Kind.THRESHOLD, 3][0] == 1
    assert image[index, Kind.SKIP, 3][0] == image[index, Kind.SKIP, 7][0] == 0


def test_wider_gates_hold_the_same_numbers():
    """A device made for another network of the structure may have wider widths, not others."""
    net = random_conv_network(1, blocks=["skip", "add"], shape=(3, 4, 4), weight_bits=5)
    foldings = [Folding(lanes=2, fire_lanes=2, scan=2) for _ in net.layers]
    parameters = net.parameters(foldings)
    wide = []
    for layer in parameters.layers:
        names = [n for n in ("accumulator_bits", "weight_bits") if hasattr(layer, n)]
        wide.append(dataclasses.replace(layer, **{n: getattr(layer, n) + 1 for n in names}))
    wider = dataclasses.replace(parameters, layers=tuple(wide))
    image = {(c.layer, c.kind, c.column): words for c, words in memory_image(net, wider)}
    for index, (op, layer) in enumerate(zip(net.layers, wider.layers, strict=True)):
        check_layer(image, index, op, layer)
    narrow = dataclasses.replace(
        parameters.layers[0],
        accumulator_bits=parameters.layers[0].accumulator_bits - 1,  # type: ignore
    )
    narrower = dataclasses.replace(parameters, layers=(narrow, *parameters.layers[1:]))
    with pytest.raises(SpikeloomError, match=r"accumulator_bits \d+ in the network, and conv with"):
        memory_image(net, narrower)


def test_a_flatten_before_anything_else_is_no_structure():
    ops = [
        Flatten("flat"),
        Add(
            "add", np.ones((2, 8), int), np.zeros(8, int), (4, 4), 20, np.ones(8, int), 4,
            np.ones(8), source="flat", other="flat",
        ),
        Readout("out", np.ones((2, 8), int), np.zeros(2, int), 4, 4, 20, logit_scale=1.0),
    ]  # fmt: skip
    net = Network(ops, (2, 2, 2), 4)
    with pytest.raises(ValueError, match=r"layer 0 \(add\): only fully connected layers take"):
        net.parameters([Folding(lanes=1, scan=1)] * 2)
