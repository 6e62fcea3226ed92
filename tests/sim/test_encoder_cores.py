"""Encoder and decoder cores equal their golden models, bit for bit, on a million samples each."""

import dataclasses
import functools

import numpy as np
import pytest
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import BSAParameters, StepForwardParameters
from spikeloom_hdl.encoders.step_forward import StepForward
from spikeloom_sim.encoder_traffic import compare, make_traffic
from spikeloom_sim.encoder_variants import VARIANTS, make_components, variant_parameters
from spikeloom_sim.harness import Stalls
from spikeloom_sim.stream_harness import StreamHarness

SAMPLES = 1_000_000

#: one transfer out for each in, at any time
ONE_TO_ONE = (
    "step-forward", "lif", "pwm", "delta", "threshold-based", "moving-window", "sigma-delta",
    "rate", "poisson", "latency", "phase", "burst",
    "step-forward-decoder", "lif-decoder", "bsa-decoder",
)  # fmt: skip


@functools.cache
def harnesses(core):
    return StreamHarness.bundle(make_components(core))


@pytest.mark.parametrize("core", VARIANTS)
def test_a_core_equals_its_golden_model(core):
    """Many widths, 1, 2, 7 and 64 channels, parameters that change between frames, with stalls."""
    variants = variant_parameters(core)
    done = 0
    for k, (name, parameters) in enumerate(variants.items()):
        traffic = make_traffic(parameters, -(-SAMPLES // len(variants)), seed=k)
        stalls = (Stalls(k, 0.3, 0.3), Stalls(k, 0.0, 0.7), None, Stalls(k, 0.1, 0.0))[k % 4]
        result = harnesses(core)[name].run(
            traffic.inputs, writes=traffic.writes, stalls=stalls, expect=len(traffic)
        )
        found = compare(traffic, result.outputs)
        assert found.count == 0, f"{name}: {found.count} differ; {found.text}"
        done += traffic.samples
    assert done >= SAMPLES


@pytest.mark.parametrize("core", ONE_TO_ONE)
def test_a_sample_a_cycle_whatever_the_order_of_channels(core):
    components = make_components(core)
    checked = 0
    for name, parameters in variant_parameters(core).items():
        if parameters.output != "dense":
            continue
        traffic = make_traffic(parameters, 3000, seed=5, epochs=1)
        result = harnesses(core)[name].run(traffic.inputs, expect=len(traffic))
        assert components[name].interval == 1
        assert (np.diff(result.taken) == 1).all(), name
        assert (result.given - result.taken == components[name].latency).all(), name
        checked += 1
    assert checked


@pytest.mark.parametrize("form", ["parallel", "interleaved", "serial"])
def test_rates_of_bsa(form):
    """In turn and in the middle of frames: one sample in every ``interval`` cycles."""
    components = make_components("bsa")
    checked = 0
    for name, parameters in variant_parameters("bsa").items():
        assert isinstance(parameters, BSAParameters)
        core, channels = components[name], parameters.channels
        busy = channels * core.interval >= core.spacing
        if parameters.form != form or not busy:
            continue
        time = 40 + parameters.taps
        marks = np.zeros((time, channels), dtype=int)
        marks[0] = 1
        rng = np.random.default_rng(3)
        format = parameters.format
        inputs = {
            "channel": np.tile(np.arange(channels), time),
            "sample": rng.integers(format.low, format.high, time * channels),
            "first": marks.reshape(-1),
            "last": marks[::-1].reshape(-1),
        }
        result = harnesses("bsa")[name].run(inputs, expect=time * channels)
        steady = np.diff(result.taken)[parameters.taps * channels : (time - 2) * channels]
        assert (steady == core.interval).all(), name
        checked += 1
    assert checked


def test_a_core_that_is_wrong_by_one_is_caught():
    class OffByOne(StepForward):
        def step(self, m, values, state, marks):
            values = {**values, "threshold": values["threshold"] + 1}
            return super().step(m, values, state, marks)

    parameters = StepForwardParameters(channels=3, format=Fixed(12, 11))
    traffic = make_traffic(parameters, 3000, seed=1)
    harness = StreamHarness(OffByOne(parameters))
    result = harness.run(traffic.inputs, writes=traffic.writes, expect=len(traffic))
    found = compare(traffic, result.outputs)
    assert found.count > 0
    assert "step-forward: channel " in found.text


@pytest.mark.parametrize("core", ["step-forward", "rate", "packer", "population"])
def test_a_mismatch_names_its_place(core):
    parameters = list(variant_parameters(core).values())[1]
    traffic = make_traffic(parameters, 2000, seed=2)
    rng = np.random.default_rng(3)
    # what a core may do: send the channels in another order among each other
    order = np.argsort(
        traffic.expected["channel"] // traffic.lanes + rng.random(len(traffic)) * 0.9
    )
    order = np.sort(order.reshape(1, -1), axis=1).reshape(-1)
    outputs = {name: array[order].copy() for name, array in traffic.expected.items()}
    assert compare(traffic, outputs).count == 0
    field = next(name for name in ("spike", "word", "value") if name in outputs)
    outputs[field][700] ^= 1
    found = compare(traffic, outputs)
    assert found.count == 1
    channel = traffic.expected["channel"][700] // traffic.lanes
    place = f"channel {channel}, frame {traffic.frame[700]}, sample {traffic.sample[700]}: got "
    assert f"{core}: {place}" in found.text
    assert f"wanted {field} {traffic.expected[field][700]}" in found.text
    short = {name: array[:-3] for name, array in traffic.expected.items()}
    assert compare(traffic, short).count == 3


def test_traffic_holds_what_it_should():
    parameters = StepForwardParameters(channels=7, format=Fixed(8, 7))
    traffic = make_traffic(parameters, 20_000, seed=4)
    inputs = traffic.inputs
    assert traffic.samples >= 20_000
    assert set(inputs["channel"]) == set(range(7))
    assert {inputs["sample"].min(), inputs["sample"].max()} == {-128, 127}
    at, stream, fields = zip(*traffic.writes, strict=True)
    assert stream == ("p",) * 3
    assert len(set(np.concatenate([f["threshold"] for f in fields]).tolist())) > 5
    for c in range(7):
        mine = np.flatnonzero(inputs["channel"] == c)
        first, last = inputs["first"][mine], inputs["last"][mine]
        # no frame runs into the next one unseen, and some begin without a mark
        starts = (first == 1) | np.concatenate([[True], last[:-1] == 1])
        assert (first[starts] == 0).any()
        assert (last == 0).any()
        # parameters change between frames only
        for indices, numbers in zip(at, fields, strict=True):
            index = indices[numbers["channel"] == c][0]
            assert starts[np.searchsorted(mine, index)]
    dense = dataclasses.replace(parameters, channels=1)
    assert not np.diff(make_traffic(dense, 100, seed=1).inputs["channel"]).any()
