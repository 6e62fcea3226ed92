"""Depthwise in Amaranth's simulator against plain integers, and its rate."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, Signal, signed
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.hardware.folding import Folding
from spikeloom.hardware.synapses import DepthwiseParameters
from spikeloom.hardware.window import Window
from spikeloom.ops import Conv2d
from spikeloom_hdl.layers import lane_sums
from spikeloom_hdl.layers.depthwise import Depthwise

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from layer_bench import image, random_samples, run
from window_oracle import SHAPES, taps, windows


def parameters(window, channels, bits=(3, 3), weight_bits=5, **folding):
    width = (window.taps * ((1 << bits[0]) - 1) << weight_bits).bit_length() + 1
    return DepthwiseParameters(
        channels, window, *bits, weight_bits, width, 12, folding=Folding(**folding)
    )


def make_op(p, rng):
    w = p.window
    top = (1 << p.weight_bits - 1) - 1
    reach = w.taps * top * ((1 << p.input_bits) - 1)
    fires = {}
    if p.fires:
        threshold = rng.integers(1, max(2, min(reach >> p.output_bits, 4095) + 1), p.outputs)
        fires = dict(threshold=threshold, output_scale=np.ones(p.outputs))
    return Conv2d(
        "depthwise",
        rng.integers(-top, top + 1, (p.outputs, 1, w.kernel_height, w.kernel_width)),
        rng.integers(-top, top + 1, p.outputs),
        p.input_bits,
        p.weight_bits,
        p.accumulator_bits,
        p.output_bits,
        threshold_bits=p.threshold_bits,
        stride=(w.stride_y, w.stride_x),
        padding=(w.pad_y, w.pad_x),
        groups=p.outputs,
        **fires,
    )


def oracle(p, op, sample):
    weight = op.weight.reshape(p.outputs, -1).astype(int).tolist()
    return [
        [
            int(op.bias[c]) + sum(weight[c][tap] * sample[pixel][c] for tap, pixel in inside)
            for c in range(p.outputs)
        ]
        for inside in (taps(p.window, k) for k in range(p.window.out_pixels))
    ]


def check(p, numbers, count=3, density=0.5, **settings_):
    rng = np.random.default_rng(numbers)
    op = make_op(p, rng)
    samples = random_samples(rng, p.ports_in[0], count, density)
    core = Depthwise(p)
    bench = run(core, p.ports_in, p.port_out, samples, columns=image(op, p), **settings_)
    v0 = [oracle(p, op, sample) for sample in samples]
    expected = v0
    if p.fires:
        top = 2**p.output_bits - 1
        expected = [
            [[min(max(v // int(t), 0), top) for v, t in zip(pixel, op.threshold, strict=True)]
             for pixel in sample]
            for sample in v0
        ]  # fmt: skip
    assert bench.samples(p.port_out) == expected
    padding = [-1 if p.fires else 0] * (-p.outputs % p.folding.fire_lanes)
    flat = [v for sample in v0 for pixel in sample for v in pixel + padding]
    assert [v for row in bench.probes for v in row] == flat
    words = [w for sample in samples for pixel in sample for w in pixel]
    if "abort_after" not in settings_:
        assert bench.events == sum(w > 0 for w in words)
        assert bench.spikes == sum(w.bit_count() for w in words)
    return bench, core


FOLDINGS = {
    "one": dict(lanes=1, fire_lanes=1),
    "drain": dict(lanes=4, fire_lanes=1),
    "wide": dict(lanes=3, fire_lanes=3),
    "all": dict(lanes=8, fire_lanes=2),
}


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("folding", FOLDINGS)
@pytest.mark.parametrize("shape", ["one pixel", "3x3 padded", "stride 2", "gaps", "wide padding"])
def test_bit_for_bit(shape, folding, seed):
    check(parameters(SHAPES[shape], 5, **FOLDINGS[folding]), 5, seed=seed)


@pytest.mark.parametrize("bits", [(1, 1), (4, 0), (5, 4), (8, 8)])
@pytest.mark.parametrize("weight_bits", [2, 8])
def test_widths(bits, weight_bits):
    check(parameters(SHAPES["3x3 padded"], 5, bits, weight_bits, lanes=4, fire_lanes=2), 6, seed=2)


@st.composite
def layers(draw):
    fire_lanes = draw(st.sampled_from([1, 1, 2, 3]))
    return parameters(
        draw(windows(5)),
        draw(st.integers(2, 9)),
        (draw(st.integers(1, 8)), draw(st.integers(0, 5))),
        draw(st.integers(2, 8)),
        lanes=fire_lanes * draw(st.integers(1, 4)),
        fire_lanes=fire_lanes,
        weight_memory=draw(st.sampled_from(["block", "distributed"])),
    )


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(layers(), st.integers(0, 99))
def test_random(p, seed):
    check(p, seed, 5, seed % 10 / 9, seed=seed if seed % 2 else None)


@pytest.mark.parametrize("after", [1, 9, 30, 47, 60])
@pytest.mark.parametrize("folding", FOLDINGS)
def test_abort(folding, after):
    p = parameters(SHAPES["3x3 padded"], 5, **FOLDINGS[folding])
    check(p, after, seed=after, abort_after=after)


@pytest.mark.parametrize("multiplier", ["mult18x18d", "sb_mac16"])
def test_vendor_multipliers(monkeypatch, multiplier):
    """With models of the cells: latency, the gap, and what an abort leaves behind."""
    monkeypatch.setattr(lane_sums, "mult18", mult18_model)
    monkeypatch.setattr(lane_sums, "mac16", mac16_model)
    for seed in (None, 1):
        p = parameters(
            SHAPES["3x3 padded"], 5, (4, 3), 8, lanes=4, fire_lanes=2, multiplier=multiplier
        )
        check(p, 3, seed=seed)
        check(p, 4, seed=seed, abort_after=50)


def mult18_model(a, b, product):
    m = Module()
    values = [Signal(product.shape(), reset_less=True, name=f"late_{k}") for k in range(2)]
    m.d.sync += [values[0].eq(a * b), values[1].eq(values[0]), product.eq(values[1])]
    return m


def mac16_model(a, b, clear, total):
    m = Module()
    late = [Signal(signed(32), reset_less=True, name=f"late_{k}") for k in range(3)]
    v = Signal(signed(32), reset_less=True, init=12345)
    m.d.sync += [late[0].eq(a * b), late[1].eq(late[0]), late[2].eq(late[1])]
    m.d.sync += v.eq(Mux(clear, 0, v + late[2]))
    m.d.comb += total.eq(v)
    return m


@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("bits", [3, 6])
@pytest.mark.parametrize("folding", FOLDINGS)
def test_rate(folding, kernel, bits):
    """Whole windows follow each other in the cycles that the documentation states."""
    window = Window(6, 6, kernel, kernel)
    p = parameters(window, 8, (bits, 3), **FOLDINGS[folding])
    bench, core = check(p, 2)
    r = p.folding.lanes // p.folding.fire_lanes
    group = max(kernel * kernel, r, (r + core.membranes.sums.latency + 5) / 2)
    least = window.out_pixels * p.passes * group
    wait = (window.needs(0) - window.width) * p.passes  # transfers that the ring had no room for
    ends = bench.cycles[p.port_out.transfers - 1 :: p.port_out.transfers]
    cycles = ends[-1] - ends[-2]
    assert least - 1 <= cycles <= least + 1 + (wait + 2 if wait > 0 else 0)
    if kernel == 3:  # taps set the rate: nothing hides the wait
        assert cycles == least + wait + 2
