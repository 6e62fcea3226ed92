"""The three forms of Hough's spiker algorithm against the rule, written out in plain integers."""

from __future__ import annotations

import pathlib
import sys
from itertools import pairwise

import pytest
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import BSAParameters, HoughSpikerParameters
from spikeloom_hdl.encoders.bsa import BSA, FORMS
from spikeloom_hdl.encoders.hough_spiker import HoughSpiker

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bsa_traffic import Traffic, by_channel
from value_bench import run


def rule(x: list[int], h: list[int], thresholds: list[int], *, ended: bool = True) -> list[int]:
    """HoughSpikerParameters; arguments as in ``bsa_traffic.rule``."""
    r, spikes = list(x), []
    for t in range(len(x) if ended else len(x) - len(h) + 1):
        spike = 0
        if t + len(h) <= len(x):
            missing = [h[k] - r[t + k] for k in range(len(h))]
            spike = int(sum(e for e in missing if e > 0) <= thresholds[t + len(h) - 1])
        if spike:
            for k in range(len(h)):
                r[t + k] -= h[k]
        spikes.append(spike)
    return spikes


class HoughTraffic(Traffic):
    rule = staticmethod(rule)


def core_of(form, width, channels, taps, **more):
    format = Fixed(width, width - 1)
    return HoughSpiker(
        HoughSpikerParameters(form=form, format=format, channels=channels, taps=taps, **more)
    )


def test_rule_by_hand():
    """h = (2, 1): frames worked out on paper."""
    assert rule([2, 3, 1, 0, 9], [2, 1], [0] * 5) == [1, 1, 0, 0, 0]
    assert rule([9, 0, 0], [2, 1], [0, 1, 0]) == [1, 0, 0]  # 1 is missing, then 3
    assert rule([9], [2, 1], [9]) == [0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("width", "channels", "taps", "frames"),
    [(16, 1, 10, 12), (8, 2, 3, 40), (4, 7, 1, 60), (12, 7, 12, 12), (24, 2, 2, 30)],
)
def test_spikes(form, width, channels, taps, frames):
    """Random pauses on both sides, a reset in the middle, taps and thresholds that change."""
    core = core_of(form, width, channels, taps)
    cut = HoughTraffic(core.parameters, core.default_taps, seed=taps)
    cut.epoch(max(4, frames // 4))
    whole = HoughTraffic(core.parameters, core.default_taps, seed=taps + 100)
    whole.epoch(frames // 4)  # with the default taps and the default thresholds
    while whole.count < 12 * frames:
        whole.write_taps()
        whole.epoch(frames // 4)
    found, _ = run(core, (cut.items, cut.count - 3), (whole.items, whole.count), seed=width)
    before = by_channel(found[0], channels)
    assert all(before[c] == cut.spikes[c][: len(before[c])] for c in range(channels))
    assert by_channel(found[1], channels) == whole.spikes
    spikes = [s for c in range(channels) for s, _, _ in whole.spikes[c]]
    assert 0.05 < sum(spikes) / len(spikes) < 0.95, "a test without spikes tests nothing"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("taps", [4, 16, 33])
def test_a_sum_never_wraps(form, taps):
    """Every residual falls short as far as it can, a multiple of any narrower sum."""
    core = core_of(form, 4, 1, taps)
    p = core.parameters
    traffic = HoughTraffic(p, core.default_taps, seed=1)
    traffic.h = [16 // taps] * taps if taps <= 16 else [1] * 16 + [0] * (taps - 16)
    traffic.items += [("taps", {"index": k, "tap": h}) for k, h in enumerate(traffic.h)]
    traffic.write_threshold(0, p.fields[0].high)
    x = [p.format.high] * taps + [p.format.low] * (2 * taps) + [0] * taps
    for n, sample in enumerate(x):
        marks = {"first": n == 0, "last": n == len(x) - 1}
        traffic.items.append(("i", {"sample": sample, "channel": 0, **marks}))
    traffic._expect(0, rule(x, traffic.h, traffic.threshold * len(x)))
    (found,), _ = run(core, (traffic.items, traffic.count))
    assert by_channel(found, 1) == traffic.spikes
    assert {spike for spike, _, _ in traffic.spikes[0]} == {0, 1}


@pytest.mark.parametrize("form", FORMS)
def test_events(form):
    core = core_of(form, 8, 2, 4, output="events", time_bits=4)
    traffic = HoughTraffic(core.parameters, core.default_taps, seed=5)
    traffic.epoch(12)
    expected = {0: [], 1: []}
    for channel, spikes in traffic.spikes.items():
        time = 0
        for spike, first, last in spikes:
            time = 0 if first else time + 1
            if spike or first or last:
                expected[channel].append((spike, first, last, time % 16))
    (found,), _ = run(core, (traffic.items, sum(map(len, expected.values()))), seed=2)
    got = {0: [], 1: []}
    for f in found:
        got[f["channel"]].append((f["spike"], f["first"], f["last"], f["time"]))
    assert got == expected


@pytest.mark.parametrize("form", FORMS)
def test_times_are_those_of_bsa(form):
    core, taps = core_of(form, 8, 6, 6), 6
    bsa = BSA(BSAParameters(form=form, channels=6, taps=taps))
    assert (core.latency, core.interval, core.spacing) == (bsa.latency, bsa.interval, bsa.spacing)
    length = taps + 30
    items = []
    for n in range(length * 6):
        marks = {"first": n < 6, "last": n >= (length - 1) * 6}
        items.append(("i", {"sample": 5, "channel": n % 6, **marks}))
    _, cycles = run(core, (items, length * 6))
    assert {b - a for a, b in pairwise(cycles[: 30 * 6])} == {core.interval}
    assert cycles[0] == 6 * (taps - 1) * (8 if form == "serial" else 1) + core.latency
