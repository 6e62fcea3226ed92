"""The decoder of step-forward against its rule in plain integers."""

from __future__ import annotations

import pathlib
import random
import sys
from itertools import pairwise

import pytest
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import LIFDecoderParameters, StepForwardDecoderParameters
from spikeloom_hdl.encoders.step_forward_decoder import StepForwardDecoder

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from signal_bench import check


class Rule:
    """StepForwardDecoderParameters."""

    def __init__(self, p):
        self.p = p

    def __call__(self, payload, settings, begins):
        p, s = self.p, payload["spike"]
        if begins:
            self.base = payload["start"] if p.initial == "first" else settings["initial"]
            self.level, self.before = 0, 0
            if p.initial == "first":
                s = 0
        self.base += s * (settings["threshold"] << self.level)
        self.base = min(max(self.base, p.format.low), p.format.high)
        grows = s != 0 and s == self.before
        self.level = min(self.level + 1, p.levels) if grows else max(self.level - 1, 0)
        self.before = s
        return {"sample": self.base}


@pytest.mark.parametrize(
    ("width", "channels", "more"),
    [
        (16, 1, {}),
        (16, 8, {"initial": "value"}),
        (8, 2, {"levels": 3}),
        (24, 64, {"levels": 1, "initial": "value"}),
    ],
)
def test_step_forward_decoder(width, channels, more):
    p = StepForwardDecoderParameters(format=Fixed(width, 4), channels=channels, **more)
    core = StepForwardDecoder(p)
    low, high = p.format.low, p.format.high

    def draw(rng: random.Random):
        def source():
            nonlocal left, kind
            if not left:
                left, kind = rng.randint(1, 12), rng.choice((-1, 1, None))
            left -= 1
            payload = {"spike": rng.choice((-1, 0, 1)) if kind is None else kind}
            if p.initial == "first":
                payload["start"] = rng.choice((low, high, rng.randint(low, high)))
            return payload

        left, kind = 0, None
        return source

    cycles = check(core, draw, lambda: Rule(p), 1200, seed=width, channels_used=min(channels, 5))
    assert cycles[0] == core.latency
    assert all(b == a + 1 for a, b in pairwise(cycles)), "not one sample a cycle"


@pytest.mark.parametrize("parameters", [StepForwardDecoderParameters, LIFDecoderParameters])
def test_decoders_give_samples_only(parameters):
    with pytest.raises(ValueError, match="a decoder gives samples, not spikes: output is 'dense'"):
        parameters(output="events")


def test_decoder_refuses_wrong_structure():
    with pytest.raises(ValueError, match=r"levels must be an integer in 0\.\.3, not 4"):
        StepForwardDecoderParameters(levels=4)
    with pytest.raises(ValueError, match=r"leak_bits must be an integer in 2\.\.16, not 17"):
        LIFDecoderParameters(leak_bits=17)
