"""The pulse width modulation core against its rule in plain integers."""

from __future__ import annotations

import pathlib
import sys
from itertools import pairwise

import pytest
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import PWMParameters
from spikeloom_hdl.encoders.pwm import PWM

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from signal_bench import check, samples


class Rule:
    """PWMParameters."""

    def __init__(self, p):
        self.p = p

    def __call__(self, payload, settings, begins):
        p = self.p
        if begins:
            self.phase, self.before = 0, 0
        full = 2**p.phase_bits
        a = max(payload["sample"], 0) * 2 ** (p.phase_bits - p.format.fraction)
        if p.bipolar and a > full - self.phase:
            level = -1
        elif a < self.phase:
            level = 1
        else:
            level = 0
        s = level if level != self.before else 0
        self.before = level
        self.phase += settings["step"]
        if self.phase >= full:
            self.phase = 0 if p.carrier == "restart" else self.phase - full
        return {"spike": s}


@pytest.mark.parametrize(
    ("format", "channels", "more"),
    [
        (Fixed(16, 15), 1, {}),
        (Fixed(16, 15), 8, {"carrier": "restart"}),
        (Fixed(8, 6), 2, {"phase_bits": 8, "bipolar": False}),
        (Fixed(9, 8), 7, {"phase_bits": 8}),
        (Fixed(24, 20), 64, {"phase_bits": 20, "carrier": "restart", "bipolar": False}),
        (Fixed(5, 8), 2, {"phase_bits": 9, "output": "events"}),
    ],
)
def test_pwm(format, channels, more):
    p = PWMParameters(format=format, channels=channels, **more)
    core = PWM(p)
    cycles = check(
        core, samples(p), lambda: Rule(p), 1200, seed=channels, channels_used=min(channels, 5)
    )
    assert cycles[0] == core.latency
    if p.output == "dense":
        assert all(b == a + 1 for a, b in pairwise(cycles)), "not one sample a cycle"
