"""Operations refuse what does not fit, in one line that names the op; and say what leaves them."""

from __future__ import annotations

import numpy as np
import pytest
from spikeloom.errors import AccumulatorOverflowError
from spikeloom.network import Network
from spikeloom.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Edge,
    Fire,
    Flatten,
    MaxPool2d,
    Pad2d,
    Readout,
)
from spikeloom_sim.random_network import random_conv_network

IMAGE = Edge((2, 6, 5), 4)
POTENTIALS = Edge((2, 6, 5), 12, signed=True)


def conv(**changes) -> Conv2d:
    fields = {
        "name": "c", "weight": np.ones((3, 2, 3, 3), int), "bias": np.zeros(3, int),
        "input_bits": 4, "weight_bits": 4, "accumulator_bits": 16, "output_bits": 4,
        "threshold": np.full(3, 5), "output_scale": np.ones(3), "padding": 1,
    }  # fmt: skip
    return Conv2d(**{**fields, **changes})


def silent(**changes) -> Conv2d:
    """One that gives its potentials."""
    return conv(**{"output_bits": 0, "threshold": None, "output_scale": None, **changes})


def depthwise(**changes) -> Conv2d:
    fields = {
        "weight": np.ones((2, 1, 3, 3), int), "bias": np.zeros(2, int), "groups": 2,
        "threshold": np.ones(2, int), "output_scale": np.ones(2),
    }  # fmt: skip
    return conv(**{**fields, **changes})


def fire(**changes) -> Fire:
    fields = {
        "name": "f", "threshold": np.full(2, 5), "accumulator_bits": 12, "output_bits": 3,
        "output_scale": np.ones(2),
    }  # fmt: skip
    return Fire(**{**fields, **changes})


def add(**changes) -> Add:
    fields = {
        "name": "a", "weight": np.ones((2, 2), int), "bias": np.zeros(2, int),
        "input_bits": (4, 4), "accumulator_bits": 12, "threshold": np.full(2, 5),
        "output_bits": 3, "output_scale": np.ones(2), "other": "input",
    }  # fmt: skip
    return Add(**{**fields, **changes})


def mean(**changes) -> AvgPool2d:
    fields = {"input_bits": 4, "output_bits": 4, "threshold": 4, "bias": 2}
    place = {"kernel": 2, "stride": 2}
    return AvgPool2d("m", **{**place, **fields, **changes})


def pad(word=(1, 2), padding=(1, 0, 2, 0), **changes) -> Pad2d:
    return Pad2d("p", np.array(word, dtype=int), padding, **changes)


@pytest.mark.parametrize(
    ("edge", "op", "out"),
    [
        (IMAGE, conv(), Edge((3, 6, 5), 4)),
        (IMAGE, conv(stride=(2, 3), padding=(0, 2), output_bits=2), Edge((3, 2, 3), 2)),
        (IMAGE, silent(), Edge((3, 6, 5), 16, signed=True)),
        (IMAGE, depthwise(stride=2), Edge((2, 3, 3), 4)),
        (IMAGE, MaxPool2d("m", 2, 2), Edge((2, 3, 2), 4)),
        (IMAGE, MaxPool2d("m", (3, 2), (1, 2), (1, 1)), Edge((2, 6, 3), 4)),
        (POTENTIALS, MaxPool2d("m", 6, 1), None),
        (POTENTIALS, MaxPool2d("m", 2, 2), Edge((2, 3, 2), 12, signed=True)),
        (IMAGE, mean(output_bits=7, threshold=1), Edge((2, 3, 2), 7)),
        (POTENTIALS, fire(), Edge((2, 6, 5), 3)),
        (IMAGE, pad(), Edge((2, 7, 7), 4)),
        (IMAGE, Flatten("f"), Edge((60,), 4)),
        (POTENTIALS, Flatten("f"), Edge((60,), 12, signed=True)),
    ],
)
def test_what_leaves(edge, op, out):
    if out is None:
        with pytest.raises(ValueError, match="op 'm': a kernel 6 wide does not fit"):
            op.infer(edge)
    else:
        assert op.infer(edge) == out


def test_what_leaves_a_join():
    assert add().infer(IMAGE, IMAGE) == Edge((2, 6, 5), 3)
    assert conv(skip="x", skip_bits=4).infer(IMAGE, Edge((3, 6, 5), 4)) == Edge((3, 6, 5), 4)
    potentials = Edge((3, 6, 5), 20, signed=True)
    op = conv(skip="x", skip_bits=20, skip_signed=True, accumulator_bits=22)
    assert op.infer(IMAGE, potentials) == Edge((3, 6, 5), 4)


BUILD = [
    (lambda: conv(name=""), "needs a name"),
    (lambda: conv(name="input"), "cannot be named 'input'"),
    (lambda: conv(input_bits=0), r"op 'c': input_bits must be an integer in 1\.\.8, not 0"),
    (lambda: conv(output_bits=9), r"output_bits must be an integer in 0\.\.8"),
    (lambda: conv(weight_bits=1), r"weight_bits must be an integer in 2\.\.8"),
    (lambda: conv(accumulator_bits=33), r"accumulator_bits must be an integer in 2\.\.32"),
    (lambda: conv(threshold_bits=17), r"threshold_bits must be an integer in 1\.\.16"),
    (lambda: conv(weight=np.ones((3, 2, 3), int)), r"expected \(out, in / groups, height, width\)"),
    (lambda: conv(weight=np.ones((3, 0, 3, 3), int)), "weight has shape"),
    (lambda: conv(weight=np.full((3, 2, 3, 3), 8)), r"weight holds 8\.\.8, allowed are -7\.\.7"),
    (lambda: conv(weight=np.ones((3, 2, 3, 3))), "weight must be integers, not float64"),
    (lambda: conv(bias=np.zeros(2, int)), r"bias has shape \(2,\), expected \(3,\)"),
    (lambda: conv(bias=np.full(3, 1 << 15)), "bias holds 32768"),
    (lambda: conv(stride=0), r"stride must be one or two integers in 1\.\.255, not 0"),
    (lambda: conv(stride=(1, 2, 3)), "stride must be one or two integers"),
    (lambda: conv(stride=(1, 1.0)), "stride must be one or two integers"),
    (lambda: conv(padding=-1), "padding must be one or two integers"),
    (lambda: conv(groups=3), "groups must be 1, or the number of input and output channels"),
    (lambda: conv(groups=0), r"groups must be an integer in 1\.\.65535"),
    (lambda: conv(threshold=None), "needs threshold and output_scale"),
    (lambda: conv(output_scale=None), "needs threshold and output_scale"),
    (lambda: conv(threshold=np.zeros(3, int)), "threshold holds 0"),
    (lambda: conv(threshold=np.ones(2, int)), "threshold has shape"),
    (lambda: conv(output_scale=np.zeros(3)), "output_scale must be finite and above 0"),
    (lambda: silent(threshold=np.ones(3, int)), "without output_bits it does not fire"),
    (lambda: conv(skip_bits=4), "skip_weight, skip_bits and skip_signed need a skip"),
    (lambda: conv(skip_signed=True), "need a skip"),
    (lambda: conv(skip_weight=np.ones(3, int)), "need a skip"),
    (lambda: conv(skip="x", skip_bits=9), r"skip_bits must be an integer in 1\.\.8, not 9"),
    (lambda: conv(skip="x", skip_bits=33, skip_signed=True), r"skip_bits must be .* in 1\.\.32"),
    (lambda: conv(skip="x", skip_bits=4, skip_signed=1), "skip_signed must be True or False"),
    (lambda: depthwise(skip="x", skip_bits=4), "takes no skip: add an Add after it"),
    (
        lambda: conv(skip="x", skip_bits=4, skip_weight=np.full(3, 32768)),
        r"skip_weight holds 32768\.\.32768",
    ),
    (lambda: MaxPool2d("m", 0, 1), r"kernel must be one or two integers in 1\.\.255"),
    (lambda: MaxPool2d("m", 2, 256), "stride must be one or two integers"),
    (lambda: MaxPool2d("m", 2, 2, 2), "padding 2 is more than half of kernel 2"),
    (lambda: MaxPool2d("m", (2, 3), 1, (0, 2)), "padding 2 is more than half of kernel 3"),
    (lambda: mean(input_bits=9), "input_bits"),
    (lambda: mean(output_bits=0), r"output_bits must be an integer in 1\.\.8"),
    (lambda: mean(threshold=0), r"threshold must be an integer in 1\.\.65535"),
    (lambda: mean(bias=1 << 16), r"bias must be an integer in -65536\.\.65535"),
    (lambda: fire(threshold=np.zeros(2, int)), "threshold holds 0"),
    (lambda: fire(output_bits=0), r"op 'f': output_bits must be an integer in 1\.\.8"),
    (lambda: fire(accumulator_bits=1), "accumulator_bits"),
    (lambda: fire(threshold_bits=0), "threshold_bits"),
    (lambda: fire(output_scale=np.ones(3)), r"output_scale is float64 \(3,\)"),
    (lambda: add(input_bits=4), "input_bits must be two integers, not 4"),
    (lambda: add(input_bits=(4, 9)), r"input_bits must be an integer in 1\.\.8, not 9"),
    (lambda: add(weight=np.ones(2, int)), r"weight has shape \(2,\), expected \(2, 2\)"),
    (lambda: add(weight=np.full((2, 2), -32769)), "weight holds -32769"),
    (lambda: add(bias=np.zeros(3, int)), "bias has shape"),
    (lambda: add(output_bits=9), "output_bits"),
    (lambda: pad(padding=(1, 2, 3)), r"padding must be four integers, not \(1, 2, 3\)"),
    (lambda: pad(padding=1), "padding must be four integers, not 1"),
    (lambda: pad(padding=(0, 0, 0, 256)), r"padding at the right must be an integer in 0\.\.255"),
    (lambda: pad(word=(256, 0)), r"word holds 0\.\.256"),
    (lambda: pad(word=()), "it needs one word a channel"),
]


@pytest.mark.parametrize(("build", "match"), BUILD)
def test_what_cannot_be_built(build, match):
    with pytest.raises(ValueError, match=match) as caught:
        build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("op", "edges", "match"),
    [
        (conv(), [Edge((60,), 4)], r"op 'c' needs samples \(channels, height, width\)"),
        (conv(), [Edge((2, 6, 5), 3)], "takes words of 4 bits, it is given words of 3 bits"),
        (conv(), [POTENTIALS], "takes words of 4 bits, it is given potentials"),
        (conv(), [Edge((3, 6, 5), 4)], "takes 2 channels, it is given 3"),
        (conv(padding=0), [Edge((2, 2, 9), 4)], "op 'c': a kernel 3 high does not fit samples 2"),
        (conv(padding=3), [IMAGE], "op 'c': padding 3 must be smaller than the kernel"),
        (conv(skip="x", skip_bits=4), [IMAGE, IMAGE], "adds 'x' to samples .* same shape"),
        (conv(skip="x", skip_bits=4), [IMAGE, Edge((3, 6, 5), 5)], "skip_bits 4, it is words of 5"),
        (
            conv(skip="x", skip_bits=4),
            [IMAGE, Edge((3, 6, 5), 4, signed=True)],
            "it is potentials of 4 bits",
        ),
        (depthwise(), [Edge((3, 6, 5), 4)], "takes 2 channels, it is given 3"),
        (MaxPool2d("m", 2, 2), [Edge((60,), 4)], "op 'm' needs samples"),
        (MaxPool2d("m", 6, 1), [IMAGE], "a kernel 6 wide does not fit"),
        (mean(), [POTENTIALS], "takes words of 4 bits, it is given potentials"),
        (mean(), [Edge((2, 6, 5), 5)], "takes words of 4 bits"),
        (fire(), [IMAGE], "op 'f' fires on 2 channels of potentials of 12 bits"),
        (fire(), [Edge((3, 6, 5), 12, signed=True)], "it is given potentials of 12 bits, 3x6x5"),
        (fire(accumulator_bits=13), [POTENTIALS], "potentials of 13 bits"),
        (add(), [IMAGE, Edge((2, 6, 5), 3)], "takes words of 4 bits"),
        (add(), [IMAGE, Edge((2, 5, 6), 4)], "adds 2 channels of equal shapes"),
        (add(), [Edge((3, 6, 5), 4)] * 2, "adds 2 channels"),
        (pad(), [Edge((3, 6, 5), 4)], "2 words up to 2 do not fit"),
        (pad(word=(16, 0)), [IMAGE], "2 words up to 16 do not fit words of 4 bits"),
        (pad(), [POTENTIALS], "it is given potentials"),
        (pad(), [Edge((60,), 4)], "op 'p' needs samples"),
    ],
)
def test_what_does_not_fit_what_feeds_it(op, edges, match):
    with pytest.raises(ValueError, match=match) as caught:
        op.infer(*edges)
    assert "\n" not in str(caught.value)


def readout(inputs: int, bits: int = 4) -> Readout:
    weight = np.ones((2, inputs), int)
    return Readout("out", weight, np.zeros(2, int), bits, 4, 20, logit_scale=1.0)


@pytest.mark.parametrize(
    ("ops", "match"),
    [
        ([conv(source="b"), Flatten("f"), readout(90)], "takes 'b', which is no op before it"),
        ([conv(source="out"), Flatten("f"), readout(90)], "takes 'out', which is no op before"),
        ([conv(), readout(90)], "needs flat input"),
        (
            [conv(), conv(name="d", source="input"), Flatten("f"), readout(90)],
            "nothing uses .* 'c'",
        ),
        ([add(source="input"), conv(source="input"), Flatten("f"), readout(90)], "output of 'a'"),
        ([silent(), Flatten("f"), readout(90, 8)], "given 90 of 16"),
    ],
)
def test_networks_that_do_not_fit(ops, match):
    with pytest.raises(ValueError, match=match) as caught:
        Network(ops, (2, 6, 5), 4)
    assert "\n" not in str(caught.value)


def test_sources_are_looked_up_and_through():
    first = conv(weight=np.ones((2, 2, 3, 3), int), bias=np.zeros(2, int),
                 threshold=np.ones(2, int), output_scale=np.ones(2))  # fmt: skip
    join = add(source="c", input_bits=(4, 4), output_bits=4)
    network = Network([first, join, Flatten("f"), readout(60)], (2, 6, 5), 4)
    assert network.sources(first) == ("input",)
    assert network.sources(join) == ("c", "input")
    assert network.layer_sources(network.ops[-1]) == ("a",)
    assert [op.name for op in network.layers] == ["c", "a", "out"]
    assert network.edges["a"] == Edge((2, 6, 5), 4)
    assert repr(network).startswith("Network(2x6x5-2c3-add-2,")


def test_arrays_cannot_be_changed():
    for op in random_conv_network(1, blocks=["pad", "add", "fire"], shape=(2, 5, 5)).ops:
        for value in vars(op).values():
            if isinstance(value, np.ndarray):
                with pytest.raises(ValueError, match="read-only"):
                    value[...] = 0


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("k", [3, -3])
def test_bounds_are_reached(sign, k):
    """Both ends of v0 of a convolution with a skip, and of an Add."""
    weight = np.full((1, 1, 1, 1), 7 * sign)
    op = Conv2d(
        "c", weight, np.array([5]), 4, 4, 20, skip="input", skip_bits=4, skip_weight=np.array([k])
    )
    low, high = op.potential_bounds()
    terms = (15 * 7 * sign, 15 * k)
    assert low[0] == 5 + sum(min(t, 0) for t in terms)
    assert high[0] == 5 + sum(max(t, 0) for t in terms)
    joined = add(weight=np.array([[7 * sign] * 2, [k] * 2]), bias=np.array([5, 5]))
    low, high = joined.potential_bounds()
    assert (low[0], high[0]) == (
        5 + sum(min(t, 0) for t in terms),
        5 + sum(max(t, 0) for t in terms),
    )


def test_bounds_with_potentials_that_are_added():
    op = silent(skip="x", skip_bits=10, skip_signed=True, skip_weight=np.array([1, -2, 0]))
    low, high = op.potential_bounds()
    most = 18 * 15
    assert low.tolist() == [-512, -2 * 511, 0]
    assert high.tolist() == [most + 511, most + 1024, most]


def test_an_accumulator_that_could_overflow_is_named():
    op = conv(accumulator_bits=9, bias=np.array([0, -5, 0]))
    network = Network([op, Flatten("f"), readout(90)], (2, 6, 5), 4)
    with pytest.raises(
        AccumulatorOverflowError, match=r"layer 'c', neuron 0 \(one of 3\): .* use 10"
    ):
        network.check_accumulators()
