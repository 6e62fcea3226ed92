"""Whether a network fits a bitstream: one line that names the first layer that differs."""

import dataclasses

import pytest
from spikeloom.device.identity import check_network
from spikeloom.errors import AccumulatorOverflowError, DeviceError
from spikeloom.hardware.parameters import NetworkParameters
from spikeloom_sim.random_network import random_conv_network, random_foldings

BLOCKS = ["pad", "project", "maxfire", "add"]


@pytest.fixture(scope="module")
def network():
    return random_conv_network(3, blocks=BLOCKS, shape=(2, 6, 5), channels=4, bits=4)


@pytest.fixture(scope="module")
def parameters(network):
    return network.parameters(random_foldings(network, 3))


def changed(parameters, kind, **changes):
    """The first layer of a kind with other fields; accepts what no network could be."""
    layers = list(parameters.layers)
    k = next(k for k, layer in enumerate(layers) if layer.kind == kind)
    layers[k] = dataclasses.replace(layers[k], **changes)
    other = object.__new__(NetworkParameters)
    object.__setattr__(other, "layers", tuple(layers))
    object.__setattr__(other, "sources", parameters.sources)
    return k, other


def test_a_network_fits_what_was_built_for_it(network, parameters):
    check_network(network, parameters)
    wider = [
        dataclasses.replace(layer, accumulator_bits=30) if layer.kind == "add" else layer
        for layer in parameters.layers
    ]
    check_network(network, NetworkParameters(tuple(wider), parameters.sources))


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("conv", {"weight_bits": 3}, r"has weight_bits \d, 3 on the board"),
        ("conv", {"output_bits": 7}, r"has output_bits \d, 7 on the board"),
        ("pad", {"top": 9}, r"has top \d, 9 on the board"),
        ("pool", {"bits": 31}, r"has bits \d+, 31 on the board"),
        ("add", {"other_bits": 7}, r"has other_bits 4, 7 on the board"),
    ],
)
def test_the_first_layer_that_differs_is_named(network, parameters, kind, changes, message):
    k, other = changed(parameters, kind, **changes)
    name = network.layers[k].name
    with pytest.raises(DeviceError, match=rf"not built for .*: layer {k} \('{name}'\) {message}"):
        check_network(network, other, " at x")


def test_another_window_is_named(network, parameters):
    pool = next(layer for layer in parameters.layers if layer.kind == "pool")
    stride = pool.window.stride_x
    window = dataclasses.replace(pool.window, stride_x=stride + 1)
    k, other = changed(parameters, "pool", window=window)
    message = rf"layer {k} .* has stride_x {stride}, {stride + 1} on the board"
    with pytest.raises(DeviceError, match=message):
        check_network(network, other)


def test_other_wiring_and_other_kinds_are_named(network, parameters):
    sources = list(parameters.sources)
    k = next(k for k, feeds in enumerate(sources) if len(feeds) > 1)
    sources[k] = (sources[k][0], sources[k][0])
    other = object.__new__(NetworkParameters)
    object.__setattr__(other, "layers", parameters.layers)
    object.__setattr__(other, "sources", tuple(sources))
    with pytest.raises(DeviceError, match=rf"layer {k} .* takes what layers .* give"):
        check_network(network, other)
    chain = random_conv_network(3, blocks=["conv"], shape=(2, 6, 5), channels=4, bits=4)
    with pytest.raises(DeviceError, match=r"runs 2x6x5-pad2d-.*, the network is 2x6x5-\d+c"):
        check_network(chain, parameters)


def test_an_addition_that_could_overflow_is_refused(network, parameters):
    k, other = changed(parameters, "add", accumulator_bits=4)
    name = network.layers[k].name
    with pytest.raises(AccumulatorOverflowError, match=rf"'{name}'.*of 4 bits holds -8..7"):
        check_network(network, other)


def test_a_threshold_that_does_not_fit_is_refused(network, parameters):
    _, other = changed(parameters, "fire", threshold_bits=1)
    with pytest.raises(DeviceError, match=r"threshold \d+ exceeds the 1 bits"):
        check_network(network, other)
