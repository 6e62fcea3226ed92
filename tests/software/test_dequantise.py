"""The float twin fires the integer network's words, word for word, in real units."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.data import Images, as_rgb32, mnist_5k, motion_windows
from spikeloom.network import Network
from spikeloom.ops import AvgPool2d, Flatten, Readout
from spikeloom.shipped import names, open_network
from spikeloom_sim.random_network import BLOCKS, random_conv_network, random_network


def decide_alike(network: Network, seed: int, images: np.ndarray | None = None) -> None:
    if images is None:
        shape = (5, *network.input_shape)
        images = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    twin, seen = network.dequantised(), {}
    for op, layer in zip(network.ops, twin.layers, strict=True):
        layer.register_forward_hook(lambda m, i, o, name=op.name: seen.update({name: (o, m.scale)}))
    with torch.no_grad():
        logits = twin(torch.from_numpy(images))
    assert logits.dtype == torch.float64
    assert logits.argmax(1).tolist() == network.run(images).argmax(1).tolist()
    for trace in network.trace(images):
        values, scale = seen[trace.name]
        scale = scale.reshape(-1, *[1] * (values.ndim - 2))
        integers = torch.round(values / scale).numpy()
        expected = trace.potentials if trace.words is None else trace.words
        assert np.array_equal(integers, expected), trace.name


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_networks_decide_alike(seed):
    decide_alike(random_conv_network(seed), seed)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_decides_alike(block):
    for seed in range(3):
        decide_alike(random_conv_network(seed, blocks=["pad", block], shape=(2, 6, 5)), seed)


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_of_every_width_decide_alike(bits):
    for seed in range(4):
        decide_alike(random_conv_network(seed, weight_bits=bits), seed)
        sizes = [9, 12, 7, 4]
        decide_alike(random_network(sizes, seed=seed, weight_bits=bits, bits=[8, 3, 5]), seed)


@cache
def digits() -> Images:
    return mnist_5k()


@pytest.mark.parametrize("name", names())
def test_shipped_networks_decide_alike(name):
    """On real data of their shape; noise as well, which reaches other words."""
    network = open_network(name)
    if name == "imu-cnn":
        images = motion_windows().test_images
    else:
        images = (as_rgb32(digits()) if network.input_shape[0] == 3 else digits()).test_images
    decide_alike(network, 0, images[:40])
    decide_alike(network, 0)


def test_a_mean_is_a_mean():
    """Four pixels of 0..1 to their mean, then to its double."""
    pool = AvgPool2d("mean", 2, 2, input_bits=8, output_bits=8, threshold=4, bias=2)
    readout = Readout("out", np.array([[2]]), np.array([0]), 8, 8, 20, logit_scale=1 / 255)
    network = Network([pool, Flatten("flat"), readout], (1, 2, 2))
    images = np.array([[[[10, 20], [30, 41]]]], np.uint8)
    assert network.dequantised()(images).item() == pytest.approx(2 * 25 / 255)
    # the sum itself: threshold 1, an LSB worth a quarter
    wide = dataclasses.replace(pool, threshold=1, bias=0)
    network = Network([wide, Flatten("flat"), readout], (1, 2, 2))
    twin = network.dequantised()
    assert twin.layers[0].scale.item() == 1 / 255 / 4
    assert twin.layers[0](torch.full((1, 1, 2, 2), 10 / 255)).item() == pytest.approx(10 / 255)
