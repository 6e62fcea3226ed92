"""The decoder of BSA against a convolution written out."""

from __future__ import annotations

import pathlib
import random
import re
import sys
from itertools import pairwise

import pytest
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import BSADecoderParameters
from spikeloom_hdl.encoders.bsa_decoder import BSADecoder

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from value_bench import run


def traffic(core, count, seed, *, writes=0.05):
    """Spikes on random channels, repeats included; taps change at any time, for what follows."""
    p, rng = core.parameters, random.Random(seed)
    top = 1 << p.format.width
    h = list(core.default_taps)
    frames = {}  # spikes so far
    items, expected = [], []
    density, recent = 0.5, 0
    while len(expected) < count:
        if rng.random() < writes:
            k = rng.randrange(p.taps)
            h[k] = rng.choice((-top, top - 1, 0, rng.randrange(-top, top), rng.randint(-9, 9)))
            items.append(("taps", {"index": k, "tap": h[k]}))
            continue
        density = rng.choice((0, 0.2, 0.5, 1)) if rng.random() < 0.1 else density
        c = recent = rng.choice((recent, rng.randrange(min(p.channels, 5))))
        begins = c not in frames
        mark = rng.random() < (0.7 if begins else 0.02)
        if begins or mark:
            frames[c] = []
        frames[c].append(int(rng.random() < density))
        last = rng.random() < 0.06
        marks = {"channel": c, "last": last}
        items.append(("i", {"spike": frames[c][-1], "first": mark, **marks}))
        y = sum(h[k] * s for k, s in enumerate(reversed(frames[c][-p.taps :])))
        y = min(max(y, p.format.low), p.format.high)
        expected.append({"sample": y, "first": int(begins or mark), **marks, "last": int(last)})
        if last:
            del frames[c]
    return items, expected


@pytest.mark.parametrize(
    ("width", "channels", "taps"), [(16, 1, 10), (8, 8, 5), (4, 2, 1), (24, 64, 2), (12, 7, 19)]
)
def test_samples(width, channels, taps):
    core = BSADecoder(
        BSADecoderParameters(format=Fixed(width, width - 1), channels=channels, taps=taps)
    )
    cut, before = traffic(core, 100, seed=1, writes=0)
    items, expected = traffic(core, 400, seed=2)
    found, _ = run(core, (cut, 90), (items, 400), seed=3)
    assert found == [before[:90], expected]
    samples = [e["sample"] for e in expected]
    assert core.parameters.format.high in samples
    assert core.parameters.format.low in samples

    items, expected = traffic(core, 100, seed=4, writes=0)
    found, cycles = run(core, (items, 100))
    assert found == [expected]
    assert cycles[0] == core.latency
    assert all(b == a + 1 for a, b in pairwise(cycles)), "not one sample a cycle"


def test_impulse_by_hand():
    """One spike gives the taps, and nothing of it reaches the next frame."""
    core = BSADecoder(BSADecoderParameters(format=Fixed(8, 7), taps=3), (5, -6, 7))
    spikes = [1, 0, 0, 0, 1, 1, 0]
    items = [
        ("i", {"spike": s, "channel": 0, "first": n == 0, "last": n == 4})
        for n, s in enumerate(spikes)
    ]
    found, _ = run(core, (items, 7))
    assert [f["sample"] for f in found[0]] == [5, -6, 7, 0, 5, 5, -6]
    assert [f["first"] for f in found[0]] == [1, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("options", "taps", "message"),
    [
        ({"output": "events"}, None, "output must be 'dense', not 'events'"),
        ({}, (1,), "the filter has 10 taps, not 1"),
        ({}, (0,) * 9 + (65536,), "tap 9 must be an integer in -65536..65535"),
    ],
)
def test_wrong_parameters(options, taps, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        BSADecoder(BSADecoderParameters(**options), taps)
