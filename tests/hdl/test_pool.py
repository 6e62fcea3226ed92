"""Pool in Amaranth's simulator against plain integers, and its rate."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.hardware.folding import Folding
from spikeloom.hardware.plain_layers import PoolParameters
from spikeloom.hardware.window import Window
from spikeloom_hdl.layers.pool import Pool, WindowWalk
from spikeloom_hdl.layers.tiles import Tiles

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from layer_bench import random_samples, run
from window_oracle import SHAPES, taps, windows


def oracle(p, sample):
    out = []
    for position in range(p.window.out_pixels):
        inside = [sample[pixel] for _, pixel in taps(p.window, position)]
        columns = list(zip(*inside, strict=True))
        if p.rule == "max":
            out.append([max(column) for column in columns])
        else:
            top = 2**p.output_bits - 1
            sums = [(sum(column) + p.bias) // p.threshold for column in columns]
            out.append([min(max(v, 0), top) for v in sums])
    return out


def check(p, samples, seed=None, **settings_):
    bench = run(Pool(p), p.ports_in, p.port_out, samples, seed=seed, **settings_)
    assert bench.samples(p.port_out) == [oracle(p, sample) for sample in samples]
    return bench


RULES = {
    "words": dict(rule="max", bits=3),
    "potentials": dict(rule="max", bits=7, signed=True),
    "mean": dict(rule="average", bits=3, output_bits=3, threshold=3, bias=1),
    "shift": dict(rule="average", bits=3, output_bits=3, threshold=4, bias=2),
    "sum": dict(rule="average", bits=3, output_bits=6, threshold=1),
    "bias that fires": dict(rule="average", bits=2, output_bits=4, threshold=5, bias=12),
    "less": dict(rule="average", bits=4, output_bits=2, threshold=8, bias=-30),
}


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("rule", ["words", "mean"])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape, rule, seed):
    p = PoolParameters(channels=5, window=SHAPES[shape], **RULES[rule], folding=Folding(lanes=2))
    samples = random_samples(np.random.default_rng(2), p.ports_in[0], 4)
    check(p, samples, seed)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", ["3x3 padded", "2x2 tiles and a rest"])
def test_rules(shape, rule):
    p = PoolParameters(channels=5, window=SHAPES[shape], **RULES[rule], folding=Folding(lanes=3))
    check(p, random_samples(np.random.default_rng(3), p.ports_in[0], 4), seed=2)


@st.composite
def pools(draw):
    rule = dict(RULES[draw(st.sampled_from(sorted(RULES)))])
    if rule["rule"] == "average":
        rule["threshold"] = draw(st.integers(1, 20))
        rule["bias"] = draw(st.integers(-20, 40))
    if draw(st.booleans()):
        kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        stride = [k + draw(st.integers(0, 1)) for k in kernel]
        size = [k + draw(st.integers(0, 5)) for k in kernel]
        window = Window(*size, *kernel, *stride)
    else:
        window = draw(windows())
    folding = Folding(lanes=draw(st.integers(1, 3)))
    return PoolParameters(channels=draw(st.integers(1, 9)), window=window, **rule, folding=folding)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(pools(), st.integers(0, 99))
def test_random(p, seed):
    samples = random_samples(np.random.default_rng(seed), p.ports_in[0], 5)
    check(p, samples, seed if seed % 2 else None)


@pytest.mark.parametrize("channels", [1, 3, 6, 8])
@pytest.mark.parametrize("rule", RULES)
def test_tiles_take_a_transfer_a_cycle(rule, channels):
    """2x2 with stride 2: samples follow each other in as many cycles as they have transfers."""
    p = PoolParameters(
        channels=channels, window=Window(6, 8, 2, 2, 2, 2), **RULES[rule], folding=Folding(lanes=2)
    )
    assert isinstance(Pool(p).windows, Tiles)
    samples = random_samples(np.random.default_rng(2), p.ports_in[0], 6)
    bench = check(p, samples)
    total = 6 * p.ports_in[0].transfers
    assert bench.taken[0][-1] - bench.taken[0][0] == total - 1
    assert bench.cycles[-1] - bench.taken[0][0] <= total + 6 + p.output_bits
    ends = bench.cycles[p.port_out.transfers - 1 :: p.port_out.transfers]
    assert ends[-1] - ends[-2] == p.ports_in[0].transfers


def test_walk_rate():
    """Overlapping windows take a cycle for each tap inside the sample."""
    window = Window(6, 8, 3, 3, 1, 1, 1, 1)
    p = PoolParameters("max", 4, window, 3, folding=Folding(lanes=2))
    assert isinstance(Pool(p).windows, WindowWalk)
    bench = check(p, random_samples(np.random.default_rng(2), p.ports_in[0], 4))
    ends = bench.cycles[p.port_out.transfers - 1 :: p.port_out.transfers]
    cycles = 2 * sum(len(taps(window, k)) for k in range(window.out_pixels))
    assert ends[-1] - ends[-2] == cycles


@pytest.mark.parametrize("window", [Window(4, 4, 2, 2, 2, 2), Window(4, 4, 3, 3, 1, 1, 1, 1)])
@pytest.mark.parametrize("after", [1, 7, 23, 40, 61])
@pytest.mark.parametrize("rule", ["words", "mean"])
def test_abort(window, after, rule):
    p = PoolParameters(channels=3, window=window, **RULES[rule], folding=Folding(lanes=2))
    samples = random_samples(np.random.default_rng(after), p.ports_in[0], 4)
    check(p, samples, after, abort_after=after)


def test_tiles_refuse_what_overlaps():
    p = PoolParameters("max", 1, Window(4, 4, 3, 3), 3)
    with pytest.raises(ValueError, match="windows that overlap, or padding: walk them"):
        Tiles(p.window, p.ports_in[0], None, None)
