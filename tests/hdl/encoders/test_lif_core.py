"""The leaky integrate-and-fire core, and its decoder, against their rules in plain integers."""

from __future__ import annotations

import pathlib
import random
import sys
from fractions import Fraction
from itertools import pairwise

import pytest
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import LIFDecoderParameters, LIFParameters
from spikeloom_hdl.encoders.lif import LIF
from spikeloom_hdl.encoders.lif_decoder import LIFDecoder

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from signal_bench import check, samples

GUARD = 8


def clip(v, low, high):
    return min(max(v, low), high)


def leaked(v, leak, p):
    if p.leak == "shift":
        return round(v - Fraction(v, 2**leak)) if leak else v
    return round(Fraction(v * leak, 2**p.leak_bits))


class Rule:
    """LIFParameters; Python's round() of a fraction is to the nearest, ties to even."""

    def __init__(self, p):
        self.p = p

    def __call__(self, payload, settings, begins):
        if begins:
            self.v, self.wait = 0, 0
        if self.wait:
            self.wait -= 1
            return {"spike": 0}
        theta = settings["threshold"] << GUARD
        v = leaked(self.v, settings["leak"], self.p)
        v += payload["sample"] << GUARD
        s = (v > theta) - (v < -theta)
        if s:
            v = 0 if self.p.reset == "zero" else clip(v - s * theta, -theta, theta)
            self.wait = settings.get("refractory", 0)
        self.v = v
        assert abs(v) <= theta
        return {"spike": s}


@pytest.mark.parametrize(
    ("width", "channels", "more"),
    [
        (16, 1, {}),
        (16, 8, {"reset": "subtract"}),
        (8, 2, {"leak_bits": 4}),
        (4, 7, {"refractory": 5}),
        (24, 64, {"reset": "subtract", "refractory": 1}),
        (16, 8, {"leak": "shift", "refractory": 3}),
        (24, 64, {}),
        (5, 1, {"leak": "shift", "refractory": 1}),
        (12, 2, {"leak": "shift", "reset": "subtract", "refractory": 3}),
        (9, 2, {"output": "events", "time_bits": 32, "leak_bits": 2}),
    ],
)
def test_lif(width, channels, more):
    p = LIFParameters(format=Fixed(width, 4), channels=channels, **more)
    core = LIF(p)
    cycles = check(
        core, samples(p), lambda: Rule(p), 1200, seed=width, channels_used=min(channels, 5)
    )
    assert cycles[0] == core.latency
    if p.output == "dense":
        assert all(b == a + 1 for a, b in pairwise(cycles)), "not one sample a cycle"


class DecoderRule:
    """LIFDecoderParameters, with fractions for both roundings."""

    def __init__(self, p):
        self.p = p

    def __call__(self, payload, settings, begins):
        width = self.p.format.width
        if begins:
            self.y = 0
        y = leaked(self.y, settings["leak"], self.p)
        top = 1 << (width + GUARD - 1)
        self.y = clip(y + payload["spike"] * settings["gain"], -top, top - 1)
        return {
            "sample": clip(
                round(Fraction(self.y, 1 << GUARD)), self.p.format.low, self.p.format.high
            )
        }


def spikes(rng: random.Random):
    """Spikes in runs, so that sums reach the ends of the format."""

    def source():
        nonlocal left, kind
        if not left:
            left, kind = rng.randint(1, 20), rng.choice((-1, 0, 1, None))
        left -= 1
        return {"spike": rng.choice((-1, 0, 1)) if kind is None else kind}

    left, kind = 0, None
    return source


@pytest.mark.parametrize(
    ("width", "channels", "more"),
    [
        (16, 1, {}),
        (16, 8, {}),
        (8, 2, {"leak_bits": 3}),
        (24, 64, {}),
        (16, 8, {"leak": "shift"}),
    ],
)
def test_lif_decoder(width, channels, more):
    p = LIFDecoderParameters(format=Fixed(width, 4), channels=channels, **more)
    core = LIFDecoder(p)
    cycles = check(
        core, spikes, lambda: DecoderRule(p), 1200, seed=width, channels_used=min(channels, 5)
    )
    assert cycles[0] == core.latency
    assert all(b == a + 1 for a, b in pairwise(cycles)), "not one sample a cycle"
