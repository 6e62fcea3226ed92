from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.errors import AccumulatorOverflowError, InputError
from spikeloom.golden import run_words, trace_words
from spikeloom.hardware.parameters import Folding
from spikeloom.network import Dense, Flatten, Network, Readout, accumulator_width

VECTORS = json.loads((Path(__file__).parent / "vectors" / "spikepack.json").read_text())


def dense(name="fc1", inputs=12, outputs=5, seed=0, **changes) -> Dense:
    rng = np.random.default_rng(seed)
    fields = {
        "weight": rng.integers(-127, 128, (outputs, inputs)),
        "bias": rng.integers(-99, 100, outputs),
        "input_bits": 8,
        "weight_bits": 8,
        "accumulator_bits": 24,
        "threshold": rng.integers(1, 9999, outputs),
        "output_bits": 4,
        "output_scale": np.full(outputs, 0.25),
    }
    return Dense(name, **{**fields, **changes})


def readout(name="fc2", inputs=5, outputs=3, seed=1, **changes) -> Readout:
    rng = np.random.default_rng(seed)
    fields = {
        "weight": rng.integers(-127, 128, (outputs, inputs)),
        "bias": rng.integers(-99, 100, outputs),
        "input_bits": 4,
        "weight_bits": 8,
        "accumulator_bits": 18,
        "logit_scale": 0.5,
    }
    return Readout(name, **{**fields, **changes})


def small() -> Network:
    return Network([Flatten("flat"), dense(), readout()], (3, 4))


def test_frozen_network():
    v = VECTORS["network"]
    first, last = v["layers"]
    net = Network(
        [
            dense(
                weight=first["weight"], bias=first["bias"], threshold=first["threshold"],
                inputs=4, outputs=3, output_bits=first["steps"], input_bits=v["input_bits"],
                output_scale=np.ones(3),
            ),
            readout(weight=last["weight"], bias=last["bias"], input_bits=first["steps"]),
        ],
        (4,),
        v["input_bits"],
    )  # fmt: skip
    images = np.array(v["images"], dtype=np.uint8)
    assert net.encode(images).tolist() == [e["encoded"] for e in v["expected"]]
    for index, trace in enumerate(net.trace(images)):
        assert trace.potentials.tolist() == [
            e["layers"][index]["potentials"] for e in v["expected"]
        ]
        words = [e["layers"][index]["words"] for e in v["expected"]]
        assert (trace.words is None) == (words[0] is None)
        assert trace.words is None or trace.words.tolist() == words
    assert net.run(images).tolist() == [e["layers"][-1]["potentials"] for e in v["expected"]]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_golden_equals_the_oracle(oracle, data):
    integer = st.integers
    t_in, t_mid = data.draw(integer(1, 8)), data.draw(integer(1, 8))
    w_bits = data.draw(integer(2, 8))
    n_in, n_mid, n_out = (data.draw(integer(1, 6)) for _ in range(3))
    rng = np.random.default_rng(data.draw(integer(0, 2**32 - 1)))
    top = 2 ** (w_bits - 1) - 1
    first = dense(
        inputs=n_in, outputs=n_mid, input_bits=t_in, output_bits=t_mid, weight_bits=w_bits,
        weight=rng.integers(-top, top + 1, (n_mid, n_in)),
        bias=rng.integers(-(2**10), 2**10, n_mid),
        threshold=rng.integers(1, 2 ** int(rng.integers(1, 16)), n_mid),
        output_scale=np.ones(n_mid),
    )  # fmt: skip
    last = readout(
        inputs=n_mid, outputs=n_out, input_bits=t_mid, weight_bits=w_bits,
        weight=rng.integers(-top, top + 1, (n_out, n_mid)),
        bias=rng.integers(-(2**10), 2**10, n_out),
    )  # fmt: skip
    net = Network([first, last], (n_in,), t_in)
    words = rng.integers(0, 2**t_in, (4, n_in)).astype(np.uint8)
    traces = trace_words(net, words)
    layers = [
        (first.weight.tolist(), first.bias.tolist(), first.threshold.tolist(), t_mid),
        (last.weight.tolist(), last.bias.tolist(), None, 0),
    ]
    for n, sample in enumerate(words.tolist()):
        for trace, (v, p) in zip(traces, oracle.run(layers, sample), strict=True):
            assert trace.potentials[n].tolist() == v
            assert (None if trace.words is None else trace.words[n].tolist()) == p
    assert run_words(net, words).tolist() == traces[-1].potentials.tolist()


def test_batches_join(monkeypatch):
    net = small()
    images = np.random.default_rng(3).integers(0, 256, (11, 3, 4), dtype=np.uint8)
    whole = net.trace(images)
    monkeypatch.setattr("spikeloom.golden._BATCH", 4)
    for a, b in zip(whole, net.trace(images), strict=True):
        assert a.potentials.tolist() == b.potentials.tolist()
    assert net.run(images[:0]).shape == (0, 3)
    assert [t.potentials.shape for t in net.trace(images[:0])] == [(0, 5), (0, 3)]


@pytest.mark.parametrize("bits", range(1, 9))
def test_encode_rounds_to_nearest(bits):
    """Every pixel value; ties cannot occur (255 is odd)."""
    net = Network([readout(inputs=256, outputs=1, input_bits=bits)], (256,), bits)
    top = 2**bits - 1
    assert net.encode(np.arange(256, dtype=np.uint8)).tolist() == [
        [round(x * top / 255) for x in range(256)]
    ]


def test_encode_takes_batches_rows_and_single_samples():
    net = small()
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4), dtype=np.uint8)
    expected = images.reshape(2, 12).tolist()
    assert net.encode(images).tolist() == expected
    assert net.encode(images.reshape(2, 12)).tolist() == expected
    assert net.encode(images[0]).tolist() == expected[:1]
    assert net.encode(images[0].reshape(12)).tolist() == expected[:1]
    assert net.encode(torch.from_numpy(images)).tolist() == expected


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (np.zeros((2, 3, 5), np.uint8), r"shape \(2, 3, 5\), the network takes \(n, 3, 4\)"),
        (np.zeros((2, 11), np.uint8), "shape"),
        (np.uint8(3), "shape"),
        (np.zeros((2, 3, 4)), "images are float64"),
        (np.full((2, 3, 4), 300), "images are int64"),
        (np.full((2, 3, 4), np.nan, np.float32), "images are float32"),
        (["a cat"], "images are <U5"),
    ],
)
def test_wrong_images_are_refused_in_one_line(images, match):
    with pytest.raises(InputError, match=match) as caught:
        small().run(images)
    assert "\n" not in str(caught.value)


def test_wrong_words_are_refused():
    net = Network([readout(inputs=4, outputs=2, input_bits=2)], (4,), 2)
    with pytest.raises(InputError, match=r"words reach 4, 2 bits hold 0\.\.3"):
        run_words(net, np.full((1, 4), 4, np.uint8))
    with pytest.raises(InputError, match="expected uint8"):
        run_words(net, np.zeros((1, 5), np.uint8))


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: dense(weight=np.full((5, 12), -128)), r"weight holds -128\.\.-128"),
        (lambda: dense(weight_bits=4), r"allowed are -7\.\.7"),
        (lambda: dense(weight=np.zeros((5, 12))), "weight must be integers, not float64"),
        (lambda: dense(weight=np.zeros(12, int)), "expected \\(outputs, inputs\\)"),
        (lambda: dense(bias=np.zeros(4, int)), r"bias has shape \(4,\), expected \(5,\)"),
        (lambda: dense(bias=np.full(5, 2**23)), "bias holds"),
        (lambda: dense(threshold=np.zeros(5, int)), "threshold holds 0"),
        (lambda: dense(threshold=np.full(5, 2**16)), "threshold holds"),
        (lambda: dense(output_scale=np.array([1, 1, np.nan, 1, 1])), "finite and above 0"),
        (lambda: dense(output_scale=np.zeros(5)), "finite and above 0"),
        (lambda: dense(output_scale=np.ones(5, int)), "expected floats"),
        (lambda: dense(input_bits=9), r"input_bits must be an integer in 1\.\.8, not 9"),
        (lambda: dense(output_bits=0), "output_bits"),
        (lambda: dense(accumulator_bits=33), "accumulator_bits"),
        (lambda: dense(threshold_bits=17), "threshold_bits"),
        (lambda: dense(name=""), "needs a name"),
        (lambda: readout(logit_scale=float("nan")), "logit_scale"),
        (lambda: readout(logit_scale=0.0), "logit_scale"),
        (lambda: Network([], (4,)), "at least a readout"),
        (lambda: Network([dense()], (12,)), "ends with its only readout"),
        (lambda: Network([readout("a"), readout("b")], (5,), 4), "ends with its only readout"),
        (lambda: Network([dense(), readout()], (3, 4)), "add a Flatten"),
        (lambda: Network([dense(), readout()], (13,)), "takes 12 words of 8 bits"),
        (lambda: Network([dense(output_bits=3), readout()], (12,)), "given 5 of 3"),
        (lambda: Network([dense("x"), readout("x")], (12,)), "names must differ"),
        (lambda: Network([dense(), readout()], (12,), 9), "input_bits"),
        (lambda: Network([dense(), readout()], (0,)), "input_shape"),
        (lambda: Network([dense(), readout()], (12,), 8, {"a": 1}), "metadata"),  # type: ignore
    ],
)
def test_what_does_not_fit_is_refused(build, match):
    with pytest.raises(ValueError, match=match) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_arrays_cannot_be_changed():
    op = dense()
    with pytest.raises(ValueError, match="read-only"):
        op.weight[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        op.input_bits = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(0, 0, 1), (-1, 0, 1), (0, 1, 2), (-2, 1, 2), (-3, 0, 3), (-128, 127, 8), (-129, 0, 9),
     (0, 128, 9), (-5, 2**30, 32)],
)  # fmt: skip
def test_accumulator_width(low, high, bits):
    assert accumulator_width(low, high) == bits


def test_accumulator_bound_is_exact():
    """Both ends reachable: a width that holds them passes, one bit less is refused by name."""
    weight = np.array([[127, 127], [-127, -127], [0, 0]])
    bias = np.array([3, -3, 0])
    high = 2 * 127 * 255 + 3
    bits = accumulator_width(-high, high)
    op = readout(weight=weight, bias=bias, input_bits=8, accumulator_bits=bits)
    net = Network([op], (2,))
    net.check_accumulators()
    assert net.run(np.full((1, 2), 255, np.uint8)).tolist() == [[high, -high, 0]]
    tight = Network([dataclasses.replace(op, accumulator_bits=bits - 1)], (2,))
    with pytest.raises(AccumulatorOverflowError, match=r"'fc2', neuron 0 \(one of 2\)"):
        tight.check_accumulators()
    with pytest.raises(AccumulatorOverflowError, match="layer 'fc2', neuron 0: v0 = 64773"):
        tight.run(np.full((1, 2), 255, np.uint8))
    # inside the declared width the golden model still runs: only v0 must fit
    assert tight.run(np.zeros((1, 2), np.uint8)).tolist() == [[3, -3, 0]]


def test_least_value_of_the_width_is_allowed():
    op = readout(weight=[[-1]], bias=[-1], input_bits=8, accumulator_bits=9)
    Network([op], (1,)).check_accumulators()  # reaches -256 exactly
    one_more = dataclasses.replace(op, bias=np.array([-2]))
    with pytest.raises(AccumulatorOverflowError):
        Network([one_more], (1,)).check_accumulators()


def test_greatest_value_of_the_width_is_allowed():
    op = readout(weight=[[1]], bias=[0], input_bits=8, accumulator_bits=9)
    Network([op], (1,)).check_accumulators()  # reaches 255 exactly
    one_more = dataclasses.replace(op, bias=np.array([1]))
    with pytest.raises(AccumulatorOverflowError):
        Network([one_more], (1,)).check_accumulators()


def test_parameters_follow_the_layers():
    parameters = small().parameters([Folding(), Folding(lanes=4)])
    first, last = parameters.layers
    assert (first.inputs, first.outputs, first.input_bits, first.output_bits) == (12, 5, 8, 4)
    assert (first.accumulator_bits, first.threshold_bits, first.fires) == (24, 16, True)
    assert (last.inputs, last.outputs, last.input_bits, last.fires) == (5, 3, 4, False)
    with pytest.raises(ValueError, match="2 layers need 2 foldings, not 1"):
        small().parameters([Folding()])


def test_readout_reads_like_a_layer_without_spikes():
    op = readout()
    assert (op.threshold, op.output_bits, op.threshold_bits) == (None, 0, 16)


def test_repr_is_short():
    assert repr(small()) == "Network(12-5-3, input_shape=(3, 4), input_bits=8)"
