"""The send-on-delta core against its rule in plain integers."""

from __future__ import annotations

import math
import pathlib
import sys
from itertools import pairwise

import pytest
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import DeltaParameters
from spikeloom_hdl.encoders.delta import Delta

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from signal_bench import check, samples


def logarithm(x):
    """Of a sample, in 1/256 octaves, linear in the table's index."""
    x = max(x, 1)
    e = x.bit_length() - 1
    f = (256 * x >> e) - 256
    return 256 * e + round(256 * math.log2(1 + f / 256))


class Rule:
    """DeltaParameters."""

    def __init__(self, p):
        self.p = p

    def __call__(self, payload, settings, begins):
        p = self.p
        x = logarithm(payload["sample"]) if p.log else payload["sample"]
        if begins:
            self.ref = x if p.initial == "first" else settings["initial"]
            self.before = 0
        d = x - self.ref
        sign = (d > 0) - (d < 0)
        m = abs(d) - (settings["hysteresis"] if sign * self.before < 0 else 0)
        n = min(m // settings["threshold"], p.quanta) if m > 0 else 0
        s = sign * n
        self.ref += s * settings["threshold"]
        self.before = s or self.before
        return {"spike": s, **({"start": x} if p.initial == "first" else {})}


@pytest.mark.parametrize(
    ("width", "channels", "more"),
    [
        (16, 1, {}),
        (16, 8, {"initial": "value"}),
        (8, 2, {"quanta": 3}),
        (6, 7, {"quanta": 15, "initial": "value"}),
        (24, 64, {"quanta": 5}),
        (4, 2, {"quanta": 2}),
        (16, 1, {"quanta": 10, "output": "events"}),
        (16, 2, {"log": True, "quanta": 3}),
        (8, 1, {"log": True, "initial": "value"}),
        (24, 2, {"log": True, "output": "events"}),
    ],
)
def test_delta(width, channels, more):
    p = DeltaParameters(format=Fixed(width, 4), channels=channels, **more)
    core = Delta(p)
    cycles = check(
        core, samples(p), lambda: Rule(p), 1200, seed=width, channels_used=min(channels, 5)
    )
    assert cycles[0] == core.latency
    if p.output == "dense":
        assert all(b == a + 1 for a, b in pairwise(cycles)), "not one sample a cycle"
