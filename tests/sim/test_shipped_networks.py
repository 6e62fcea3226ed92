"""The shipped networks in gates, as their board's plan folds them: 50 real samples, every value."""

import math

import pytest
from spikeloom.data import as_rgb32, mnist_5k, motion_windows
from spikeloom.shipped import open_network
from spikeloom_boards.registry import board
from spikeloom_sim.harness import CoreHarness, Stalls
from spikeloom_sim.trace import run_trace

SAMPLES = 50


def samples(name):
    """Real data of the network's shape: digits, or windows of motion."""
    if name == "imu-cnn":
        return motion_windows().test_images[:SAMPLES]
    digits = mnist_5k()
    return (as_rgb32(digits) if name == "resnet8" else digits).test_images[:SAMPLES]


@pytest.mark.parametrize("name", ["mnist-mlp", "lenet", "scnn5", "resnet8", "imu-cnn"])
def test_every_potential_word_and_logit_is_equal(name):
    network, device = open_network(name), board("ulx3s-85f")
    parameters = network.parameters(device.fold(network))
    words = network.encode(samples(name))
    assert len(words) == SAMPLES
    record = run_trace(
        network,
        parameters,
        words,
        harness=CoreHarness(parameters, name=f"core-{name}"),
        stalls=Stalls(1, 0.02, 0.02, inside=0.02),
    )
    # what leaves every layer, and the logits once more; potentials of layers that fire come on top
    leaving = sum(math.prod(network.edges[op.name].shape) for op in network.layers)
    assert record.compared >= SAMPLES * (leaving + network.classes)
    assert not record.differing, record.verdict()
