"""Chunks plus flush equal the whole, for every signal encoder, in every engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.encoders import (
    BSA,
    LIF,
    PWM,
    Delta,
    HoughSpiker,
    SignalEncoder,
    StepForward,
    engine,
)
from spikeloom.errors import InputError

#: Every signal encoder that streams: one entry for each way through its code. Signals are (2, time)
#: and above 0.
ENCODERS: dict[str, Callable[[], SignalEncoder]] = {
    "step-forward": lambda: StepForward([0.1, 0.3]),
    "step-forward first": lambda: StepForward(0.1, initial="first", offset=0.2, scale=[1.5, 2.0]),
    "step-forward adaptive": lambda: StepForward(0.05, levels=2),
    "step-forward compat": lambda: StepForward(0.1, profile="compat"),
    "lif": lambda: LIF([1.0, 0.4], 0.8, offset=0.5),
    "lif zero refractory": lambda: LIF(0.5, 0.9, reset="zero", refractory=[1, 3]),
    "lif compat": lambda: LIF(0.5, 0.9, profile="compat", normalise=False, offset=0.5),
    "delta": lambda: Delta([0.1, 0.2], quanta=3, hysteresis=0.05),
    "delta first": lambda: Delta(0.1, initial="first"),
    "delta log": lambda: Delta(0.2, quanta=15, initial="first", log=True),
    "pwm": lambda: PWM([0.05, 0.37], offset=0.1, scale=0.8),
    "pwm restart unipolar": lambda: PWM(0.07, carrier="restart", bipolar=False),
    "pwm compat": lambda: PWM([70.0, 333.0], profile="compat", normalise=False),
    "bsa": lambda: BSA([0.5, 0.2], order=6, scale=0.7),
    "bsa lengths": lambda: BSA(0.3, order=[9, 2], cutoff=[0.1, 0.3], scale=0.7),
    "bsa one tap": lambda: BSA(0.1, [0.3]),
    "bsa compat": lambda: BSA(0.3, order=[9, 2], profile="compat", normalise=False, scale=0.7),
    "hough-spiker": lambda: HoughSpiker(order=6, cutoff=0.3),
    "hough-spiker lengths": lambda: HoughSpiker([0.4, 0.2], order=[9, 2], cutoff=[0.1, 0.3]),
    "hough-spiker one tap": lambda: HoughSpiker(0.1, [0.3]),
}


@st.composite
def chunks(draw: st.DrawFn) -> tuple[int, list[int]]:
    """Length of a signal and where it is cut; cuts may be equal: empty chunks."""
    time = draw(st.integers(1, 60))
    return time, sorted(draw(st.lists(st.integers(0, time), max_size=8)))


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("engine_name", ["torch", "numba"])
@settings(deadline=None, max_examples=25)
@given(
    cut=chunks(), seed=st.integers(0, 2**31), dtype=st.sampled_from([torch.float32, torch.float64])
)
def test_chunks_and_flush_equal_the_whole(name, engine_name, cut, seed, dtype):
    encoder = ENCODERS[name]()
    time, cuts = cut
    time += encoder.latency  # a code that looks ahead needs that many more
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((2, time), generator=generator, dtype=dtype) * 1.5 + 0.01
    with engine(engine_name):
        whole = encoder(x)
        state, parts = None, []
        for low, high in zip([0, *cuts], [*cuts, time], strict=True):
            part, state = encoder.step(x[:, low:high], state)
            parts.append(part)
        assert state is not None
        parts.append(encoder.flush(state))
    assert torch.equal(torch.cat(parts, -1), whole)
    assert parts[0].dtype == dtype


@pytest.mark.parametrize("name", ENCODERS)
def test_a_state_can_be_used_twice(name):
    x = torch.rand((2, 40)) + 0.01
    encoder = ENCODERS[name]()
    _, state = encoder.step(x[:, :15])
    before = state.real.clone(), state.count.clone()
    once, _ = encoder.step(x[:, 15:], state)
    again, _ = encoder.step(x[:, 15:], state)
    assert torch.equal(once, again)
    assert torch.equal(state.real, before[0])
    assert torch.equal(state.count, before[1])


@pytest.mark.parametrize("name", ENCODERS)
def test_a_stream_keeps_its_shape_and_dtype(name):
    encoder = ENCODERS[name]()
    _, state = encoder.step(torch.rand(2, 9) + 0.01)
    with pytest.raises(InputError, match="does not continue a stream of shape"):
        encoder.step(torch.rand(3, 2, 9) + 0.01, state)
    with pytest.raises(InputError, match="does not continue"):
        encoder.step(torch.rand(2, 9, dtype=torch.float64) + 0.01, state)
