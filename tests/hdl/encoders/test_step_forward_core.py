"""The step-forward core against its rule, written out sample by sample."""

from __future__ import annotations

import pathlib
import sys
from itertools import pairwise

import pytest
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import StepForwardParameters
from spikeloom_hdl.encoders.channel_table import ChannelWords
from spikeloom_hdl.encoders.step_forward import StepForward

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from signal_bench import check, samples


class Rule:
    """StepForwardParameters, in plain integers."""

    def __init__(self, levels: int, initial: str):
        self.levels, self.initial = levels, initial

    def __call__(self, payload, settings, begins):
        x = payload["sample"]
        if begins:
            self.base = x if self.initial == "first" else settings["initial"]
            self.level, self.before = 0, 0
        theta = settings["threshold"] * 2**self.level
        if x > self.base + theta:
            s = 1
        elif x < self.base - theta:
            s = -1
        else:
            s = 0
        if begins and self.initial == "first":
            s = 0
        self.base += s * theta
        if s == self.before and s != 0:
            self.level = min(self.level + 1, self.levels)
        else:
            self.level = max(self.level - 1, 0)
        self.before = s
        return {"spike": s, **({"start": x} if self.initial == "first" else {})}


@pytest.mark.parametrize(
    ("width", "channels", "more"),
    [
        (16, 1, {}),
        (16, 8, {}),
        (8, 2, {}),
        (4, 7, {}),
        (6, 9, {}),
        (24, 64, {}),
        (5, 1024, {}),
        (16, 2, {"output": "events", "time_bits": 3}),
        (16, 2, {"initial": "value"}),
        (8, 1, {"initial": "value", "output": "events"}),
        (16, 3, {"levels": 3}),
        (6, 2, {"levels": 1, "initial": "value"}),
    ],
)
def test_step_forward(width, channels, more):
    p = StepForwardParameters(format=Fixed(width, 4), channels=channels, **more)
    core = StepForward(p)
    used = min(channels, 5)
    cycles = check(
        core,
        samples(p),
        lambda: Rule(p.levels, p.initial),
        1200,
        seed=width + channels,
        channels_used=used,
    )
    assert cycles[0] == core.latency
    if p.output == "dense":
        assert all(b == a + 1 for a, b in pairwise(cycles)), "not one sample a cycle"


@pytest.mark.parametrize("channels", [1, 9])
def test_words_are_for_a_few_channels(channels):
    with pytest.raises(ValueError, match=f"channels must be 2..8, not {channels}"):
        ChannelWords(channels=channels, state={"base": 4})
