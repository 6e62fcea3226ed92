"""Pad in Amaranth's simulator: a frame of constant words."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.hardware.folding import Folding
from spikeloom.hardware.plain_layers import PadParameters
from spikeloom.ops import Pad2d
from spikeloom_hdl.layers.pad import Pad

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from layer_bench import image, random_samples, run


def check(p, numbers, samples=4, **settings_):
    rng = np.random.default_rng(numbers)
    words = rng.integers(0, 1 << p.bits, p.channels)
    op = Pad2d("pad", words, (p.top, p.bottom, p.left, p.right))
    sent = random_samples(rng, p.ports_in[0], samples)
    bench = run(Pad(p), p.ports_in, p.port_out, sent, columns=image(op, p), **settings_)
    framed = []
    for sample in sent:
        rows = [sample[k : k + p.width] for k in range(0, len(sample), p.width)]
        word = words.tolist()
        rows = [[word] * p.left + row + [word] * p.right for row in rows]
        line = [[word] * p.out_width]
        framed.append([pixel for r in line * p.top + rows + line * p.bottom for pixel in r])
    assert bench.samples(p.port_out) == framed
    return bench


def parameters(size, sides, channels, bits, lanes):
    return PadParameters(*size, *sides, channels, bits, folding=Folding(lanes=lanes))


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize(
    "shape",
    [
        ((1, 1), (0, 0, 0, 0), 1, 1, 1),
        ((1, 1), (1, 0, 0, 1), 1, 8, 1),
        ((3, 4), (1, 1, 1, 1), 5, 4, 2),
        ((2, 3), (0, 2, 3, 0), 9, 3, 1),
        ((2, 3), (3, 0, 0, 2), 3, 3, 8),
    ],
)
def test_bit_for_bit(shape, seed):
    check(parameters(*shape), 5, seed=seed)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    st.builds(
        parameters,
        st.tuples(st.integers(1, 5), st.integers(1, 5)),
        st.tuples(*[st.integers(0, 3)] * 4),
        st.integers(1, 6),
        st.integers(1, 8),
        st.integers(1, 4),
    ),
    st.integers(0, 99),
)
def test_random(p, seed):
    check(p, seed, seed=seed if seed % 2 else None)


@pytest.mark.parametrize("after", [2, 9, 35])
def test_abort(after):
    check(parameters((3, 4), (1, 1, 1, 1), 5, 4, 2), after, seed=after, abort_after=after)


def test_rate():
    """An output transfer a cycle, from one sample to the next too."""
    p = parameters((3, 4), (1, 2, 2, 1), 5, 4, 2)
    bench = check(p, 1)
    assert bench.cycles[-1] - bench.cycles[0] == 4 * p.port_out.transfers - 1


def test_a_frame_waits_for_its_sample():
    """Nothing leaves before a sample comes: the constants may not be there yet."""
    p = parameters((3, 4), (1, 2, 2, 1), 5, 4, 2)
    assert check(p, 1, samples=0).outputs == []
