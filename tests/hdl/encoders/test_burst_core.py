"""The burst core against its rule, for every value."""

from __future__ import annotations

import pathlib
import sys

import pytest
from spikeloom.hardware.encoders.more import BurstParameters
from spikeloom_hdl.encoders.burst import Burst

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from value_bench import run, values


def word(v, p):
    n = -(-v * p.spikes // p.full)
    d = p.gap if n <= 1 else -((-p.gap * p.full + v * (p.gap - 1)) // p.full)
    return sum(1 << (p.steps - 1 - k * d) for k in range(n) if k * d < p.steps)


@pytest.mark.parametrize(
    ("bits", "steps", "spikes", "gap"),
    [(8, 15, 5, 3), (1, 1, 1, 1), (4, 8, 8, 1), (7, 32, 12, 9), (9, 12, 4, 6)],
)
def test_every_value(bits, steps, spikes, gap):
    p = BurstParameters(bits=bits, steps=steps, spikes=spikes, gap=gap, channels=3)
    items = values(list(range(1 << bits)), 3)
    core = Burst(p)
    for seed in (None, bits):
        (found,), cycles = run(core, (items, len(items)), seed=seed)
        expected = [
            {"word": word(f["value"], p)} | {k: f[k] for k in ("channel", "first", "last")}
            for _, f in items
        ]
        assert found == expected
        if seed is None:
            assert cycles == list(range(core.latency, core.latency + len(items)))
