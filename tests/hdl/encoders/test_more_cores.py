"""Threshold-based, sigma-delta and moving-window cores against their rules."""

from __future__ import annotations

import pathlib
import sys
from itertools import pairwise

import pytest
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders.more import (
    MovingWindowParameters,
    SigmaDeltaParameters,
    ThresholdBasedParameters,
)
from spikeloom_hdl.encoders.moving_window import MovingWindow
from spikeloom_hdl.encoders.sigma_delta import SigmaDelta
from spikeloom_hdl.encoders.threshold_based import ThresholdBased

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from signal_bench import check, samples


def threshold_based(parameters):
    past = []

    def rule(payload, settings, begins):
        x, theta = payload["sample"], settings["threshold"]
        d = 0 if begins else x - past[-1]
        past.append(x)
        return {"spike": (d > theta) - (d < -theta), "start": x}

    return rule


def moving_window(parameters):
    past = []

    def rule(payload, settings, begins):
        x, size = payload["sample"], 1 << parameters.window
        if begins:
            past[:] = [x] * size
        mean, theta = sum(past[-size:]), settings["threshold"] * size
        past.append(x)
        s = 0 if begins else (x * size > mean + theta) - (x * size < mean - theta)
        return {"spike": s, "start": x}

    return rule


def sigma_delta(parameters):
    state = [0, 0]
    limit = 1 << (parameters.format.width + 2)

    def rule(payload, settings, begins):
        a, b = (0, 0) if begins else state
        theta = settings["threshold"]
        s = (2 * b >= theta) - (2 * b <= -theta)
        if -limit <= a < limit and -limit <= b < limit:
            state[:] = a + payload["sample"] - s * theta, b + a - 2 * s * theta
        else:
            state[:] = 0, 0
        return {"spike": s}

    return rule


CORES = {
    "threshold-based": (ThresholdBasedParameters, ThresholdBased, threshold_based),
    "sigma-delta": (SigmaDeltaParameters, SigmaDelta, sigma_delta),
    "moving-window": (MovingWindowParameters, MovingWindow, moving_window),
}
CASES = [
    ("threshold-based", 16, 1, {}),
    ("threshold-based", 4, 7, {}),
    ("threshold-based", 16, 2, {"output": "events", "time_bits": 4}),
    ("sigma-delta", 16, 1, {}),
    ("sigma-delta", 5, 7, {}),
    ("sigma-delta", 24, 2, {"output": "events"}),
    ("moving-window", 16, 1, {"window": 0}),
    ("moving-window", 16, 1, {"window": 2}),
    ("moving-window", 8, 3, {"window": 0}),
    ("moving-window", 8, 2, {"window": 1}),
    ("moving-window", 16, 7, {"window": 3}),
    ("moving-window", 6, 2, {"window": 5, "output": "events"}),
]


@pytest.mark.parametrize(("name", "width", "channels", "more"), CASES)
def test_core_follows_its_rule(name, width, channels, more):
    make_parameters, make, rule = CORES[name]
    p = make_parameters(format=Fixed(width, 4), channels=channels, **more)
    core = make(p)
    cycles = check(
        core, samples(p), lambda: rule(p), 1200, seed=width + channels,
        channels_used=min(channels, 5),
    )  # fmt: skip
    assert cycles[0] == core.latency
    if p.output == "dense":
        assert all(b == a + 1 for a, b in pairwise(cycles)), "not one sample a cycle"
