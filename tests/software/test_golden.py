"""The golden model of convolutional networks, against plain integers written apart from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom import golden
from spikeloom.errors import AccumulatorOverflowError
from spikeloom.golden import run_words, trace_words
from spikeloom.golden_steps import make_step
from spikeloom.network import Network
from spikeloom.ops import Add, AvgPool2d, Conv2d, Edge, Fire, Flatten, MaxPool2d, Pad2d, Readout
from spikeloom_sim.random_network import (
    BLOCKS,
    random_conv_network,
    random_words,
    reference,
    reference_trace,
)


def same(network: Network, words: np.ndarray, device: str = "cpu") -> None:
    """Every potential and every word of every layer is the oracle's."""
    traces, steps = trace_words(network, words, device=device), reference_trace(network, words)
    for trace, step in zip(traces, steps, strict=True):
        assert trace.name == step.name
        shape = (len(words), *network.edges[trace.name].shape)
        for ours, theirs, dtype in (
            (trace.potentials, step.potentials, np.int64),
            (trace.words, step.words, np.uint8),
        ):
            assert (ours is None) == (theirs is None), trace.name
            if ours is not None:
                assert ours.dtype == dtype
                assert ours.shape == shape
                assert np.array_equal(ours, theirs), trace.name
    assert np.array_equal(run_words(network, words, device=device), reference(network, words)[1])


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_networks_equal_plain_integers(seed):
    network = random_conv_network(seed)
    network.check_accumulators()
    same(network, random_words(network, 6, seed=seed))


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_equals_plain_integers(block):
    for seed in range(4):
        network = random_conv_network(seed, blocks=["pad", block], shape=(3, 6, 5))
        same(network, random_words(network, 6, seed=seed))


def test_random_networks_are_what_they_promise():
    """All ops; channels that never fire, that always saturate; every word of four bits."""
    kinds, silent, full, words = set(), 0, 0, set()
    for seed in range(60):
        network = random_conv_network(seed)
        kinds |= {op.kind for op in network.ops}
        for step in reference_trace(network, random_words(network, 8, seed=seed)):
            if step.words is None or step.potentials is None:
                continue
            flat = np.moveaxis(step.words, 1, 0).reshape(step.words.shape[1], -1)
            top = (1 << network.edges[step.name].bits) - 1
            silent += int((flat.max(1) == 0).sum())
            full += int((flat.min(1) == top).sum())
            if top == 15:
                words |= set(flat.ravel().tolist())
    assert len(kinds) == 9
    assert silent > 20
    assert full > 20
    assert words == set(range(16))


def conv(name: str = "conv", channels: int = 1, outputs: int = 1, **changes) -> Conv2d:
    fields = {
        "weight": np.ones((outputs, channels, 3, 3), int),
        "bias": np.zeros(outputs, int),
        "input_bits": 8,
        "weight_bits": 8,
        "accumulator_bits": 24,
        "padding": 1,
    }
    return Conv2d(name, **{**fields, **changes})


def readout(inputs: int, bits: int, **changes) -> Readout:
    weight = np.ones((2, inputs), int)
    fields = {
        "weight": weight, "bias": np.zeros(2, int), "input_bits": bits, "weight_bits": 8,
        "accumulator_bits": 32, "logit_scale": 1.0,
    }  # fmt: skip
    return Readout("out", **{**fields, **changes})


def fire(channels: int, bits: int, **changes) -> Fire:
    threshold = np.full(channels, 9)
    return Fire("fire", threshold, bits, 8, np.ones(channels), **changes)


def test_by_hand():
    """One 3x3 sample of ones to nines: box filter, greatest potential, mean, logits."""
    network = Network(
        [
            conv(),
            MaxPool2d("pool", 2, 1),
            fire(1, 24),
            AvgPool2d("mean", 2, 2, input_bits=8, output_bits=8, threshold=4, bias=2),
            Flatten("flat"),
            readout(1, 8),
        ],
        (1, 3, 3),
    )
    sample = np.arange(1, 10, dtype=np.uint8)[None]
    box, pool, fired, mean, logits = trace_words(network, sample)
    assert box.potentials is not None
    assert box.potentials[0, 0].tolist() == [[12, 21, 16], [27, 45, 33], [24, 39, 28]]
    assert box.words is None
    assert pool.potentials is not None
    assert pool.potentials[0, 0].tolist() == [[45, 45], [45, 45]]
    assert pool.words is None
    assert fired.words is not None
    assert fired.words[0, 0].tolist() == [[5, 5], [5, 5]]
    assert fired.potentials is not None
    assert mean.words is not None
    assert mean.words[0, 0].tolist() == [[5]]
    assert mean.potentials is None
    assert logits.potentials is not None
    assert logits.potentials.tolist() == [[5, 5]]


def test_padding_never_wins_a_maximum_of_potentials():
    network = Network(
        [
            conv(bias=[-9000]),
            MaxPool2d("pool", 3, 3, 1),
            fire(1, 24),
            Flatten("flat"),
            readout(1, 8),
        ],
        (1, 3, 3),
    )
    pooled = trace_words(network, np.zeros((1, 9), np.uint8))[1].potentials
    assert pooled is not None
    assert pooled.tolist() == [[[[-9000]]]]


@pytest.mark.parametrize("weight", [32767, -32768])
def test_sums_beyond_float32_are_exact(weight):
    """2^24 + 1 is no float32: odd potentials of 31 bits come out as they are."""
    join = Add(
        "add", np.array([[weight], [weight]]), np.array([1]), (8, 8), 32, np.array([1]), 8,
        np.ones(1), source="input", other="input",
    )  # fmt: skip
    network = Network([join, Flatten("flat"), readout(1, 8)], (1, 1, 1))
    potentials = trace_words(network, np.array([[255]], np.uint8))[0].potentials
    assert potentials is not None
    assert potentials.item() == 2 * 255 * weight + 1


def test_large_fan_in_is_exact():
    """4608 products of 127 * 255 each: beyond float32, where an odd sum would round."""
    channels = 512
    network = Network(
        [
            conv(
                "conv", channels, 1, weight=np.full((1, channels, 3, 3), 127), accumulator_bits=32
            ),
            fire(1, 32),
            Flatten("flat"),
            readout(9, 8),
        ],
        (channels, 3, 3),
    )
    words = np.full((2, channels * 9), 255, np.uint8)
    words[1, 0] = 254
    potentials = trace_words(network, words)[0].potentials
    assert potentials is not None
    assert potentials[0, 0, 1, 1] == 9 * channels * 127 * 255
    assert potentials[1, 0, 1, 1] == 9 * channels * 127 * 255 - 127


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("theta", [1, 3, 7, 255, 4096, 65535])
def test_fire_in_floats_is_the_integers(theta, bits):
    """Around every multiple of the threshold, near the end of float32 and beyond it."""
    top = (1 << bits) - 1
    multiples = np.arange(-2, top + 3) * theta
    v0 = np.concatenate([multiples + d for d in (-1, 0, 1)] + [[2**31 - 1, -(2**31)]])
    for reach in (int(np.abs(v0).max()), int(np.abs(multiples).max()) + 1):
        values = v0[np.abs(v0) <= reach]
        op = Fire("fire", np.array([theta]), 32, bits, np.ones(1))
        step = make_step(op, [reach], Edge((1,), bits), torch.device("cpu"))
        dtype = torch.float32 if reach < 1 << 24 else torch.float64
        _, fired = step(torch.from_numpy(values)[:, None].to(dtype))
        assert fired is not None
        assert fired[:, 0].tolist() == np.clip(values // theta, 0, top).tolist()


def test_an_overflow_names_layer_channel_and_place():
    weight = np.zeros((2, 1, 3, 3), int)
    weight[1, 0, 1, 1] = 100
    small = conv(outputs=2, weight=weight, accumulator_bits=14)
    network = Network([small, fire(2, 14), Flatten("flat"), readout(24, 8)], (1, 3, 4))
    words = np.zeros((3, 12), np.uint8)
    words[1, 6] = 81
    assert run_words(network, words)[1, 0] == 255  # the word of 8100 potentials
    words[1, 6] = 82
    message = r"layer 'conv', channel 1, row 1, column 2: v0 = 8200 leaves the accumulator of 14"
    with pytest.raises(AccumulatorOverflowError, match=message) as caught:
        run_words(network, words)
    assert "\n" not in str(caught.value)
    with pytest.raises(AccumulatorOverflowError, match=message):
        trace_words(network, words)


def test_batches_join(monkeypatch):
    network = random_conv_network(4, blocks=["project", "add", "dense"], shape=(2, 6, 6))
    words = random_words(network, 11, seed=1)
    whole = trace_words(network, words)
    logits = run_words(network, words)
    monkeypatch.setattr(golden, "_BATCH", 4)
    for a, b in zip(whole, trace_words(network, words), strict=True):
        for x, y in ((a.potentials, b.potentials), (a.words, b.words)):
            assert (x is None and y is None) or np.array_equal(x, y)
    assert np.array_equal(run_words(network, words), logits)


def test_no_samples_give_arrays_of_the_right_shape():
    for seed in range(8):
        network = random_conv_network(seed)
        none = np.zeros((0, network.inputs), np.uint8)
        assert run_words(network, none).shape == (0, network.classes)
        for trace in trace_words(network, none):
            shape = (0, *network.edges[trace.name].shape)
            assert all(a is None or a.shape == shape for a in (trace.potentials, trace.words))


def test_large_samples_come_in_small_batches():
    network = Network([Pad2d("pad", np.zeros(1, np.uint8), (0, 0, 0, 0)), Flatten("flat"),
                       readout(4096 * 1024, 8)], (1, 4096, 1024))  # fmt: skip
    assert golden._batch(network) == 2


def test_the_calls_of_a_network_go_through():
    network = random_conv_network(5, shape=(2, 5, 5), bits=4)
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 5, 5), dtype=np.uint8)
    words = network.encode(images)
    assert np.array_equal(network.run(images), run_words(network, words))
    assert [t.name for t in network.trace(images)] == [op.name for op in network.layers]


def test_cuda_has_the_same_bits():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    for seed in range(12):
        network = random_conv_network(seed)
        same(network, random_words(network, 6, seed=seed), "cuda")
