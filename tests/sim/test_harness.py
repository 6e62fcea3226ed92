"""The data-set harness: every form, multiplier and memory in one core, against plain integers."""

import numpy as np
import pytest
from spikeloom.errors import BuildError, InputError
from spikeloom.hardware.memory_image import memory_image
from spikeloom.hardware.parameters import Folding
from spikeloom_sim.harness import CoreHarness, Stalls
from spikeloom_sim.random_network import random_network, random_words, reference

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
