"""The three forms of BSA against the rule: the same spikes, in order, for every channel."""

from __future__ import annotations

import pathlib
import re
import sys
from itertools import pairwise

import pytest
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import BSAParameters
from spikeloom_hdl.encoders.bsa import BSA, FORMS

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bsa_traffic import Traffic, by_channel, rule
from value_bench import run


def core_of(form, width, channels, taps, **more):
    return BSA(
        BSAParameters(
            form=form, format=Fixed(width, width - 1), channels=channels, taps=taps, **more
        )
    )


def test_rule_by_hand():
    """h = (2, 1), threshold 2: three frames worked out on paper."""
    assert rule([2, 1, 0], [2, 1], [2] * 3) == [1, 0, 0]  # e = 3, -1 - 1, -2 (the last: no tap 1)
    assert rule([4, 3, 1], [2, 1], [2] * 3) == [1, 1, 0]  # e = 3; r = 2 1 0 -> e = 3; r = 0 -> -2
    assert rule([1, 9], [2, 1], [0] * 2) == [1, 1]  # e = 0 + 1; r = 8: e = 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("width", "channels", "taps", "frames"),
    [
        (16, 1, 10, 12),
        (16, 8, 10, 16),
        (8, 2, 3, 40),
        (4, 7, 1, 60),
        (24, 64, 2, 50),
        (12, 3, 17, 9),
    ],
)
def test_spikes(form, width, channels, taps, frames):
    """Random pauses on both sides, a reset in the middle, taps and thresholds that change."""
    core = core_of(form, width, channels, taps)
    cut = Traffic(core.parameters, core.default_taps, seed=taps)
    cut.epoch(max(4, frames // 4))
    whole = Traffic(core.parameters, core.default_taps, seed=taps + 100)
    whole.epoch(frames // 4)  # with the default taps and the default thresholds
    while whole.count < 12 * frames:
        whole.write_taps()
        whole.epoch(frames // 4)
    cut_at = cut.count - 3
    found, _ = run(core, (cut.items, cut_at), (whole.items, whole.count), seed=width)
    before = by_channel(found[0], channels)
    assert all(before[c] == cut.spikes[c][: len(before[c])] for c in range(channels))
    assert by_channel(found[1], channels) == whole.spikes
    spikes = [s for c in range(channels) for s, _, _ in whole.spikes[c]]
    assert 0.05 < sum(spikes) / len(spikes) < 0.95, "a test without spikes tests nothing"


@pytest.mark.parametrize("form", FORMS)
def test_events(form):
    core = core_of(form, 8, 3, 4, output="events", time_bits=4)
    traffic = Traffic(core.parameters, core.default_taps, seed=5)
    traffic.epoch(20)
    expected = {}
    for channel, spikes in traffic.spikes.items():
        events, time = [], 0
        for spike, first, last in spikes:
            time = 0 if first else time + 1
            if spike or first or last:
                events.append((spike, first, last, time % 16))
        expected[channel] = events
    count = sum(len(events) for events in expected.values())
    (found,), _ = run(core, (traffic.items, count), seed=2)
    assert {
        c: [
            (f["spike"], bool(f["first"]), bool(f["last"]), f["time"])
            for f in found
            if f["channel"] == c
        ]
        for c in expected
    } == expected


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("taps", [1, 6])
def test_latency_and_rate(form, taps):
    """As many channels as it takes to keep the core busy; no pauses."""
    spacing = core_of(form, 8, 1, taps).spacing
    channels = 1 if form != "interleaved" else spacing
    core = core_of(form, 8, channels, taps)
    assert core.spacing == spacing
    traffic = Traffic(core.parameters, core.default_taps, seed=1)
    length = taps + 30
    for n in range(length * channels):
        mark = {"first": n < channels, "last": n >= (length - 1) * channels}
        traffic.items.append(("i", {"sample": 5, "channel": n % channels, **mark}))
    _, cycles = run(core, (traffic.items, length * channels))
    to_fill = 8 if form == "serial" else 1
    assert cycles[0] == channels * (taps - 1) * to_fill + core.latency
    # all but what comes of the closing steps
    steady = list(pairwise(cycles[: 31 * channels]))
    assert {b - a for a, b in steady} == {core.interval}
    if form != "serial":
        assert {b - a for a, b in pairwise(cycles)} == {1}, "closing steps go round without a gap"


@pytest.mark.parametrize("form", FORMS)
def test_one_channel_alone(form):
    """A sample of the same channel follows after ``spacing`` cycles."""
    core = core_of(form, 8, 2, 3)
    items = [
        ("i", {"sample": n, "channel": 0, "first": n == 0, "last": n == 29}) for n in range(30)
    ]
    _, cycles = run(core, (items, 30))
    assert {b - a for a, b in pairwise(cycles[:28])} == {core.spacing}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", ["low", "high"])
def test_thresholds_at_the_ends(form, value):
    """The lowest threshold always fires, and residuals reach the ends of their range."""
    core = core_of(form, 4, 1, 3)
    field = core.parameters.fields[0]
    traffic = Traffic(core.parameters, core.default_taps, seed=3)
    for h in ((-16, 0, 0), (0, 0, 15), (-5, -5, -6), (5, 5, 5)):
        traffic.h = list(h)
        traffic.items += [("taps", {"index": k, "tap": tap}) for k, tap in enumerate(h)]
        traffic.write_threshold(0, getattr(field, value))
        traffic.epoch(4, writes=0)
    found, _ = run(core, (traffic.items, traffic.count))
    assert by_channel(found[0], 1) == traffic.spikes
    assert {s for s, _, _ in traffic.spikes[0]} == {int(value == "low")}


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        ((1, 2), "the filter has 3 taps, not 2"),
        ((0, 256, 0), "tap 1 must be an integer in -256..255, not 256"),
        ((0.5, 0, 0), "tap 0 must be an integer in -256..255, not 0.5"),
        ((100, -100, 57), "add up to 257, at most 2^8 = 256 is allowed: scale them down"),
    ],
)
def test_wrong_taps(taps, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        BSA(BSAParameters(format=Fixed(8, 7), taps=3), taps)
