"""AddLayer in Amaranth's simulator against plain integers."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.hardware.folding import Folding
from spikeloom.hardware.plain_layers import AddParameters
from spikeloom.ops import Add
from spikeloom_hdl.layers import add
from spikeloom_hdl.layers.add import AddLayer

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from layer_bench import image, random_samples, run


def make_op(p, rng):
    low = -(1 << p.weight_bits - 1)
    weight = rng.integers(low, -low, (2, p.channels))
    weight[:, 0] = low
    most = 1 << p.accumulator_bits - 2
    bias = rng.integers(-most, most, p.channels)
    threshold = rng.integers(1, min(1 << p.threshold_bits, most >> 2) + 1, p.channels)
    threshold = np.minimum(threshold, (1 << p.threshold_bits) - 1)
    return Add(
        "add",
        weight,
        bias,
        (p.input_bits, p.other_bits),
        p.accumulator_bits,
        threshold,
        p.output_bits,
        np.ones(p.channels),
        threshold_bits=p.threshold_bits,
        other="r",
    )


def potentials(op, q, r):
    return [
        int(k0) * a + int(k1) * b + int(bias)
        for k0, k1, a, b, bias in zip(*op.weight, q, r, op.bias, strict=True)
    ]


def check(p, numbers, **settings_):
    rng = np.random.default_rng(numbers)
    op = make_op(p, rng)
    q = random_samples(rng, p.ports_in[0], 5)
    r = random_samples(rng, p.ports_in[1], 5)[::-1]
    r[2] = q[1]
    r[2], q[2] = random_samples(rng, p.ports_in[1], 3)[2], random_samples(rng, p.ports_in[0], 3)[2]
    bench = run(AddLayer(p), p.ports_in, p.port_out, q, r, columns=image(op, p), **settings_)
    top = 2**p.output_bits - 1
    v0 = [
        [potentials(op, *pair) for pair in zip(*samples, strict=True)]
        for samples in zip(q, r, strict=True)
    ]
    assert bench.samples(p.port_out) == [
        [
            [min(max(v // int(t), 0), top) for v, t in zip(pixel, op.threshold, strict=True)]
            for pixel in sample
        ]
        for sample in v0
    ]
    lanes = p.folding.lanes
    padding = [-1] * (-p.channels % lanes)
    flat = [v for sample in v0 for pixel in sample for v in pixel + padding]
    assert [v for row in bench.probes for v in row] == flat
    return bench


def parameters(pixels, channels, bits, weight_bits, steps, threshold_bits, lanes, **folding):
    width = weight_bits + max(bits) + 3
    folding = Folding(lanes=lanes, **folding)
    return AddParameters(
        pixels, channels, *bits, weight_bits, width, steps, threshold_bits, folding=folding
    )


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, (1, 1), 1, 1, 1, 1),
        (6, 5, (4, 4), 9, 4, 12, 2),
        (4, 8, (8, 8), 16, 8, 16, 4),
        (9, 3, (3, 8), 10, 3, 16, 8),
        (9, 40, (3, 4), 10, 3, 16, 20),
    ],
)
def test_bit_for_bit(shape, seed):
    check(parameters(*shape), 5, seed=seed)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    st.builds(
        parameters,
        st.integers(1, 8),
        st.integers(1, 9),
        st.tuples(st.integers(1, 8), st.integers(1, 8)),
        st.integers(1, 16),
        st.integers(1, 8),
        st.integers(1, 16),
        st.integers(1, 4),
    ),
    st.integers(0, 99),
)
def test_random(p, seed):
    check(p, seed, seed=seed if seed % 2 else None)


@pytest.mark.parametrize("after", [2, 9, 15])
def test_abort(after):
    check(parameters(6, 5, (4, 8), 9, 4, 12, 2), after, seed=after, abort_after=after)


@pytest.mark.parametrize("seed", [None, 3])
def test_vendor_multiplier(monkeypatch, seed):
    """With a model of the cell: its registers stand still when the layer does."""

    def model(a, b, product, *, advance):
        m = Module()
        late = [Signal(product.shape(), reset_less=True, name=f"late_{k}") for k in range(2)]
        with m.If(advance):
            m.d.sync += [late[0].eq(a * b), late[1].eq(late[0]), product.eq(late[1])]
        return m

    monkeypatch.setattr(add, "mult18", model)
    p = parameters(6, 5, (8, 3), 12, 4, 12, 2, multiplier="mult18x18d")
    bench = check(p, 1, seed=seed)
    if seed is None:
        assert bench.cycles[0] - bench.taken[0][0] == p.output_bits + 4


@pytest.mark.parametrize(("bits", "latency"), [((2, 1), 2), ((4, 4), 3), ((4, 5), 4), ((8, 8), 4)])
def test_rate_and_latency(bits, latency):
    p = parameters(6, 5, bits, 9, 4, 12, 2)
    bench = check(p, 1)
    assert bench.taken[0] == bench.taken[1]
    assert bench.taken[0][-1] - bench.taken[0][0] == 5 * p.ports_in[0].transfers - 1
    assert bench.cycles[0] - bench.taken[0][0] == p.output_bits + latency
