"""Images for bitstreams: every column of the memories once, or one line that says what is wrong."""

import dataclasses
import re

import numpy as np
import pytest
from spikeloom.hardware.fixed_image import fixed_crc, layer_contents, words_of
from spikeloom.hardware.memory_image import Kind, columns, image_crc, memory_image
from spikeloom.hardware.parameters import Folding, NetworkParameters
from spikeloom_sim.random_network import random_conv_network, random_foldings, random_network

FOLDINGS = (Folding(lanes=4, scan=4, fire_lanes=2), Folding(lanes=2, scan=2))


@pytest.fixture
def parameters():
    return random_network((16, 8, 4), seed=1).parameters(FOLDINGS)


@pytest.fixture
def image(parameters):
    return memory_image(random_network((16, 8, 4), seed=1), parameters)


def test_contents_are_the_words_of_every_layer():
    network = random_conv_network(3, blocks=["pad", "project", "maxfire", "depthwise", "add"])
    parameters = network.parameters(random_foldings(network, 3))
    image = memory_image(network, parameters)
    contents = layer_contents(parameters, image)
    assert len(contents) == len(parameters.layers)
    assert sum(map(len, contents)) == len(image)
    for column, words in image:
        assert contents[column.layer][column.kind, column.column] == words.tolist()
    for layer, held in zip(parameters.layers, contents, strict=True):
        assert bool(held) == (layer.kind != "pool")


def test_words_of_some_columns(parameters, image):
    first = layer_contents(parameters, image)[0]
    chosen = words_of(first, Kind.BIAS, [1, 0])
    assert chosen == [first[Kind.BIAS, 1], first[Kind.BIAS, 0]]
    assert words_of(None, Kind.BIAS, [1, 0]) is None


def test_the_crc_does_not_depend_on_the_order(image):
    assert fixed_crc(image) == fixed_crc(image[::-1]) == image_crc(image)
    assert image_crc(image[::-1]) != image_crc(image)


def refused(parameters, image, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        layer_contents(parameters, image)
    assert "\n" not in str(caught.value)


def test_wrong_images_are_refused(parameters, image):
    first, words = image[0]
    refused(
        parameters,
        image[1:],
        "the image has no layer 0, weight column 0: make it with memory_image",
    )
    refused(parameters, [*image, image[0]], "the image has layer 0, weight column 0 twice")
    other = dataclasses.replace(first, kind=Kind.SKIP)
    refused(
        parameters,
        [*image, (other, words)],
        "the image has layer 0, skip column 0, the device has none",
    )
    refused(
        parameters,
        [(first, words[:-1]), *image[1:]],
        f"the image has {first.rows - 1} rows of layer 0, weight column 0, the memory {first.rows}",
    )
    bias = next(k for k, (column, _) in enumerate(image) if column.kind == Kind.BIAS)
    column, _ = image[bias]
    wide = np.full(column.rows, 1 << column.bits)
    refused(
        parameters,
        [*image[:bias], (column, wide), *image[bias + 1 :]],
        f"the word {1 << column.bits} in row 0 of layer 0, bias column 0: a word there has"
        f" {column.bits} bits",
    )


def test_spram_holds_no_image(parameters):
    layers = list(parameters.layers)
    folding = dataclasses.replace(layers[1].folding, weight_memory="spram")
    layers[1] = dataclasses.replace(layers[1], folding=folding)
    spram = NetworkParameters(tuple(layers))
    image = [(column, np.zeros(column.rows, np.uint32)) for column in columns(spram)]
    refused(
        spram,
        image,
        "layer 1: fixed weights cannot lie in SPRAM, which powers up random: fold it with"
        " weight_memory 'block' or 'distributed'",
    )
