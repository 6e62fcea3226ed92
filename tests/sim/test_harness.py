"""The data-set harness: every form, multiplier and memory in one core, against plain integers.

And networks that fork and join, with buffers as deep as they must be, and one transfer less.
"""

import numpy as np
import pytest
from spikeloom.errors import BuildError, InputError
from spikeloom.hardware.memory_image import memory_image
from spikeloom.hardware.parameters import Folding
from spikeloom_sim.harness import CoreHarness, Stalls
from spikeloom_sim.random_network import (
    random_conv_network,
    random_foldings,
    random_network,
    random_words,
    reference,
)

FOLDINGS = (
    Folding(lanes=8, scan=8, multiplier="sb_mac16", weight_memory="spram"),
    Folding(lanes=6, slices=2, scan=4, fire_lanes=3, multiplier="mult18x18d"),
    Folding(lanes=4, slices=4, scan=12, fire_lanes=2, form="serial"),
    Folding(lanes=3, scan=2),
)


@pytest.fixture(scope="module")
def network():
    return random_network((43, 20, 13, 10, 7), seed=5, bits=(8, 4, 3, 6))


@pytest.fixture(scope="module")
def harness(network):
    return CoreHarness(network.parameters(FOLDINGS), optimise="-O1")


@pytest.fixture(scope="module")
def image(network):
    return memory_image(network, network.parameters(FOLDINGS))


@pytest.mark.parametrize("stalls", [None, 1, 2, Stalls(3, 0.0, 0.9), Stalls(4, 0.9, 0.0)])
def test_every_potential_equals_the_reference(network, harness, image, stalls):
    words = random_words(network, 400, seed=9)
    potentials, logits = reference(network, words)
    result = harness.run(image, words, stalls=stalls)
    assert [int((a != b).sum()) for a, b in zip(result.potentials, potentials, strict=True)] == [
        0, 0, 0, 0,
    ]  # fmt: skip
    assert np.array_equal(result.logits, logits)


def test_a_core_with_fixed_weights_reads_back_and_runs():
    """Nothing is written: a write would be a fault. Another image is noticed."""
    network = random_network((21, 9, 5), seed=6, bits=(4, 3))
    parameters = network.parameters((FOLDINGS[2], FOLDINGS[3]))
    image = memory_image(network, parameters)
    fixed = CoreHarness(parameters, optimise="-O0", image=image)
    words = random_words(network, 40, seed=9)
    assert np.array_equal(fixed.run(image, words).logits, reference(network, words)[1])
    column, held = image[0]
    wrong = [(column, held ^ np.uint32(1)), *image[1:]]
    with pytest.raises(BuildError, match=rf"address {column.address} reads back {held[0]}, exp"):
        fixed.run(wrong, words)


def test_counters_count_what_the_samples_hold(network, harness, image):
    words = random_words(network, 100, seed=10)
    potentials, _ = reference(network, words)
    counters = harness.run(image, words).counters
    streams = [words]
    for op, v0 in zip(network.layers[:-1], potentials, strict=False):
        fired = np.clip(v0 // op.threshold, 0, (1 << op.output_bits) - 1)
        streams.append(fired.astype(np.uint8))
    assert counters["samples"] == 100
    for k, stream in enumerate(streams):
        assert counters[f"events_{k}"] == int((stream != 0).sum())
        assert counters[f"spikes_{k}"] == int(np.unpackbits(stream).sum())


def test_memories_that_power_up_otherwise_change_nothing(network, harness, image):
    words = random_words(network, 30, seed=11)
    a, b = (harness.run(image, words, memory_seed=seed) for seed in (1, 2))
    assert np.array_equal(a.logits, b.logits)


def test_times_are_those_of_a_stream(network, harness, image):
    result = harness.run(image, random_words(network, 50, seed=12))
    assert (result.ends > result.starts).all()
    assert (np.diff(result.ends) > 0).all()
    counters = result.counters
    # Little's law: the counters give the mean latency too
    assert counters["occupancy"] / counters["samples"] == pytest.approx(result.latency, rel=0.05)


def test_a_changed_weight_is_seen(network, harness, image):
    words = random_words(network, 20, seed=13)
    _, logits = reference(network, words)
    column, values = image[0]
    changed = values.copy()
    changed[0] ^= 0x40
    assert not np.array_equal(harness.run([(column, changed), *image[1:]], words).logits, logits)


def test_a_memory_that_is_not_there_is_reported(network, harness, image):
    column, values = image[0]
    wrong = [(column, np.resize(values, 1 << 14) + np.uint32(1))]
    with pytest.raises(BuildError, match="reads back"):
        harness.run(wrong, random_words(network, 1, seed=1))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (np.zeros((2, 42), np.uint8), r"must be uint8 \(n, 43\)"),
        (np.zeros((2, 43), np.int64), r"must be uint8 \(n, 43\)"),
        (np.zeros(43, np.uint8), r"must be uint8 \(n, 43\)"),
    ],
)
def test_wrong_samples_are_refused(harness, image, words, message):
    with pytest.raises(InputError, match=message):
        harness.run(image, words)


def differences(result, network, words):
    """Potentials and logits that are not those of the reference, by layer."""
    potentials, logits = reference(network, words)
    found = {"logits": int((result.logits != logits).sum())}
    for k, (ours, theirs) in enumerate(zip(result.potentials, potentials, strict=True)):
        if ours is not None:
            assert ours.shape == theirs.shape
            found[f"layer {k}"] = int((ours != theirs).sum())
    return {where: count for where, count in found.items() if count}


@pytest.fixture(scope="module")
def every_kind():
    """A network with every kind of layer, each with a folding of its own."""
    blocks = ["pad", "conv", "depthwise", "project", "maxfire", "add", "avgpool"]
    network = random_conv_network(1, blocks=blocks, shape=(3, 9, 8), channels=5, bits=4)
    kinds = {layer.kind for layer in network.layers}
    assert kinds >= {"pad2d", "conv2d", "maxpool2d", "avgpool2d", "fire", "add", "readout"}
    parameters = network.parameters(random_foldings(network, 3))
    return network, parameters, CoreHarness(parameters, optimise="-O1")


@pytest.mark.parametrize("stalls", [None, 1, Stalls(3, 0.0, 0.9), Stalls(4, 0.9, 0.0)])
def test_every_kind_of_layer_equals_the_reference(every_kind, stalls):
    network, parameters, harness = every_kind
    words = random_words(network, 20, seed=9)
    result = harness.run(memory_image(network, parameters), words, stalls=stalls)
    assert differences(result, network, words) == {}
    assert [k for k, v0 in enumerate(result.potentials) if v0 is not None] == list(
        parameters.potential_layers
    )
    assert result.counters["events_1"] > 0
    for name, use in result.buffers.items():
        assert 0 < use.most <= use.depth, name


#: no converter anywhere whose registers would hold a transfer more
PLAIN = Folding(lanes=2, scan=2, fire_lanes=2)


def joined(block):
    network = random_conv_network(7, blocks=["conv", block], shape=(3, 6, 7), channels=4, bits=4)
    return network, network.parameters([PLAIN] * len(network.layers))


@pytest.mark.parametrize("block", ["skip", "project", "nested"])
def test_least_buffers_never_stop(block):
    """Exactly the computed depths, and the worst that producer and consumer can do."""
    network, parameters = joined(block)
    assert len(parameters.buffers) == (2 if block == "nested" else 1)
    harness = CoreHarness(parameters, optimise="-O1", depths=parameters.least_depths)
    image, words = memory_image(network, parameters), random_words(network, 20, seed=9)
    for stalls in (
        None,
        Stalls(1, 0.0, 0.5, burst=400),
        Stalls(2, 0.5, 0.0, burst=400),
        Stalls(3, 0.5, 0.5, burst=97),
        Stalls(4),
    ):
        result = harness.run(image, words, stalls=stalls)
        assert differences(result, network, words) == {}
        if block != "project":  # a 1x1 convolution takes more than it promises
            assert all(use.most == use.depth for use in result.buffers.values())


def test_a_transfer_less_stops_and_the_watchdog_names_the_buffer():
    network, parameters = joined("skip")
    (buffer,) = parameters.buffers
    less = {(buffer.layer, buffer.slot): buffer.depth - 1}
    harness = CoreHarness(parameters, optimise="-O1", depths=less)
    image, words = memory_image(network, parameters), random_words(network, 5, seed=9)
    name = f"fifo_{buffer.layer}_{buffer.slot} of depth {buffer.depth - 1} full and blocked"
    with pytest.raises(BuildError, match=rf"nothing moves any more, \d samples in, 0 out: {name}"):
        harness.run(image, words)
