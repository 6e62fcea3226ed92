"""Models of many kinds: captured exactly, and converted closer and closer as T grows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from spikeloom.conversion.general import capture, convert_general
from spikeloom.conversion.general.data import arguments_of

sys.path.insert(0, str(Path(__file__).parent))
from zoo import ZOO, outputs, run, settled


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def off(y, exact) -> float:
    """Relative L2 error of the worst output."""
    return max(
        float((a - b).norm() / b.norm()) for a, b in zip(outputs(y), outputs(exact), strict=True)
    )


@pytest.mark.parametrize("name", ZOO)
def test_captured_graph_is_the_model(name):
    model, given, data = settled(name)
    captured = capture(model, arguments_of(model, given))
    for sample in (given, data(5)):
        with torch.no_grad():
            y = captured.module(*arguments_of(model, sample))
            exact = run(model, sample)
        for a, b in zip(outputs(y), outputs(exact), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))


@pytest.mark.parametrize("name", ZOO)
def test_error_falls_with_steps(name):
    model, given, data = settled(name)
    test = data(32)
    with torch.no_grad():
        exact = run(model, test)
        errors = [
            off(run(convert_general(model, given, t, granularity="tensor"), test), exact)
            for t in (2, 4, 6, 8)
        ]
    print(name, [f"{e:.4f}" for e in errors])
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02
