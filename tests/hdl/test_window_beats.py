"""WindowBeats in Amaranth's simulator: every tap of every window, in order, without a gap."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.hardware.port import Port
from spikeloom.hardware.window import Window
from spikeloom_hdl.layers.window_beats import WindowBeats

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from layer_bench import LayerBench, random_samples, transfers
from window_oracle import SHAPES, taps, windows


def expected_beats(window, port, sample):
    """(words, tap, group, first_tap, last_tap, first, last) of every transfer."""
    rows = [t["potentials" if port.signed else "words"] for t in transfers(port, sample)]
    groups = port.transfers_per_pixel
    beats = []
    for position in range(window.out_pixels):
        inside = taps(window, position)
        for group in range(groups):
            for k, (tap, pixel) in enumerate(inside):
                beats.append(
                    (
                        rows[pixel * groups + group],
                        tap,
                        group,
                        k == 0,
                        k == len(inside) - 1,
                        position == 0 and group == 0,
                        position == window.out_pixels - 1 and group == groups - 1,
                    )
                )
    return beats


def check(window, port, samples, seed=None):
    beats = [b for sample in samples for b in expected_beats(window, port, sample)]
    stream = [t for sample in samples for t in transfers(port, sample)]
    bench = LayerBench(WindowBeats(window, port), [stream], len(beats), seed=seed)
    found = [
        (list(o.words), o.tap, o.group, o.first_tap, o.last_tap, o.first, o.last)
        for o in bench.outputs
    ]
    assert found == beats
    return bench, beats


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape, seed):
    window = SHAPES[shape]
    port = Port(window.pixels, 5, 3, lanes=2)
    check(window, port, random_samples(np.random.default_rng(1), port, 4), seed)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(windows(), st.integers(1, 5), st.integers(1, 3), st.booleans(), st.integers(0, 9))
def test_random_shapes(window, channels, lanes, signed, seed):
    port = Port(window.pixels, channels, 4, signed, lanes)
    samples = random_samples(np.random.default_rng(seed), port, 4)
    check(window, port, samples, seed if seed % 2 else None)


@pytest.mark.parametrize("channels", [2, 6])
def test_no_gap(channels):
    """Windows that look at more transfers than come in follow each other without a gap."""
    window = Window(6, 8, 3, 3, 1, 1, 1, 1)
    port = Port(window.pixels, channels, 4, lanes=2)
    samples = random_samples(np.random.default_rng(1), port, 4)
    bench, beats = check(window, port, samples)
    started = bench.cycles[len(beats) // 4]  # the second sample: the ring has filled up
    assert bench.cycles[-1] - started == len(beats) - len(beats) // 4 - 1


def test_one_in_one_out():
    """A transfer in every cycle while windows look at each once."""
    window = Window(6, 8, 1, 1)
    port = Port(window.pixels, 3, 4, lanes=1)
    bench, beats = check(window, port, random_samples(np.random.default_rng(1), port, 3))
    assert bench.cycles[-1] - bench.cycles[0] == len(beats) - 1
    assert bench.taken[0][-1] - bench.taken[0][0] == len(beats) - 1


def test_starts_as_soon_as_it_can():
    """The first window leaves while its sample still comes in, as many cycles later as stated."""
    window = Window(6, 8, 3, 3, 1, 1, 1, 1)
    port = Port(window.pixels, 1, 4)
    bench, _ = check(window, port, random_samples(np.random.default_rng(1), port, 1))
    assert bench.cycles[0] - bench.taken[0][window.needs(0) - 1] == 5


def test_wrong_marks_are_a_fault():
    window = Window(2, 2, 1, 1)
    port = Port(4, 1, 4)
    stream = transfers(port, [[1]] * 4)
    stream[2]["last"] = True
    with pytest.raises(AssertionError, match="transfer 0 of row 1 has wrong marks"):
        LayerBench(WindowBeats(window, port), [stream], 4)


def test_refuses():
    with pytest.raises(ValueError, match="3 pixels are not 2 x 2"):
        WindowBeats(Window(2, 2, 1, 1), Port(3, 1, 4))
