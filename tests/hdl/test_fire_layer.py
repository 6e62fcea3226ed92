"""FireLayer in Amaranth's simulator against plain integers."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.hardware.folding import Folding
from spikeloom.hardware.plain_layers import FireParameters
from spikeloom.ops import Fire
from spikeloom_hdl.layers.fire_layer import FireLayer

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from layer_bench import image, random_samples, run, transfers


def make_op(p, rng):
    top = min((1 << p.threshold_bits) - 1, max(1, (1 << p.accumulator_bits) >> p.output_bits))
    threshold = rng.integers(1, top + 1, p.channels)
    scale = np.ones(p.channels)
    return Fire(
        "fire", threshold, p.accumulator_bits, p.output_bits, scale, threshold_bits=p.threshold_bits
    )


def check(p, numbers, **settings_):
    rng = np.random.default_rng(numbers)
    op = make_op(p, rng)
    samples = random_samples(rng, p.ports_in[0], 5, 0.9)
    bench = run(FireLayer(p), p.ports_in, p.port_out, samples, columns=image(op, p), **settings_)
    top = 2**p.output_bits - 1
    thresholds = op.threshold.tolist()
    assert bench.samples(p.port_out) == [
        [[min(max(v // t, 0), top) for v, t in zip(pixel, thresholds, strict=True)] for pixel in s]
        for s in samples
    ]
    sent = [t["potentials"] for s in samples for t in transfers(p.ports_in[0], s)]
    assert bench.probes == sent
    return bench


def parameters(pixels, channels, bits, steps, threshold_bits, lanes):
    folding = Folding(lanes=lanes)
    return FireParameters(pixels, channels, bits, steps, threshold_bits, folding=folding)


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 2, 1, 1, 1), (6, 5, 12, 4, 8, 2), (4, 8, 32, 8, 16, 4), (9, 3, 20, 3, 16, 8)],
)
def test_bit_for_bit(shape, seed):
    check(parameters(*shape), 5, seed=seed)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    st.builds(
        parameters,
        st.integers(1, 8),
        st.integers(1, 9),
        st.integers(2, 24),
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
    check(parameters(6, 5, 12, 4, 8, 2), after, seed=after, abort_after=after)


def test_rate_and_latency():
    p = parameters(6, 5, 12, 4, 8, 2)
    bench = check(p, 1)
    assert bench.taken[0][-1] - bench.taken[0][0] == 5 * p.ports_in[0].transfers - 1
    assert bench.cycles[0] - bench.taken[0][0] == p.output_bits
