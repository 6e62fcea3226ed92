"""Models of many kinds: captured exactly, nothing left out, and closer and closer as T grows."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from pathlib import Path

import pytest
import spikeloom as sl
import torch
from spikeloom.conversion.general import capture, convert_general
from spikeloom.conversion.general.data import arguments_of
from spikeloom.conversion.general.module_rules import WEIGHTED
from spikeloom.errors import UnsupportedModelError
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent))
from zoo import ZOO, outputs, run, settled
from zoo_refused import REFUSED


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


def test_the_zoo_is_large():
    assert len(ZOO) >= 30
    assert not {id(make) for make, _ in ZOO.values()} & {id(make) for make, *_ in REFUSED.values()}


@pytest.mark.parametrize("name", ZOO)
def test_captured_graph_is_the_model(name):
    model, given, test = settled(name)
    captured = capture(model, arguments_of(model, given))
    for sample in (given, test):
        with torch.no_grad():
            y = captured.module(*arguments_of(model, sample))
            exact = run(model, sample)
        for a, b in zip(outputs(y), outputs(exact), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))


#: Operations that conversion neither folds nor writes out: all of the model's are in the graph.
KEPT = {
    "convolution", "relu", "hardtanh", "clamp", "sigmoid", "hardsigmoid", "tanh",
    "silu", "gelu", "hardswish", "elu", "leaky_relu", "_prelu_kernel", "softplus", "abs",
    "native_layer_norm", "native_group_norm", "max_pool2d_with_indices", "avg_pool2d",
    "_adaptive_avg_pool2d", "mean", "amax", "max", "upsample_nearest2d", "upsample_bilinear2d",
    "embedding", "cat", "pixel_shuffle", "masked_fill",
}  # fmt: skip


class Executed(TorchDispatchMode):
    """Counts what really runs, by operation, its numbers, and the shape that comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[tuple] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__.rstrip("_")
        if name in KEPT:
            first = result[0] if isinstance(result, (tuple, list)) else result
            numbers = [
                a
                for a in args
                if isinstance(a, (int, float, bool, list))
                and not (isinstance(a, list) and any(isinstance(x, torch.Tensor) for x in a))
            ]
            self.seen[(name, str(numbers), tuple(first.shape))] += 1
        return result


def executed(function, given) -> tuple[Counter, int, int]:
    """What runs, and the multiplications in convolutions and in matrix products."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # which hides a whole encoder in one call
    try:
        # attention as the matrix products that it is, which the counter knows
        plain, counter = sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False)
        with torch.no_grad(), plain, Executed() as counted, counter as flops:
            function(*given)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    work = {str(op): n for op, n in flops.get_flop_counts()["Global"].items()}
    convolved = work.pop("aten.convolution", 0)
    return counted.seen, convolved, sum(work.values())


@pytest.mark.parametrize("name", ZOO)
def test_nothing_is_left_out_or_doubled(name):
    """Operations with their attributes and shapes, and all multiplications, are the model's."""
    model, given, _ = settled(name)
    samples = arguments_of(model, given)
    captured = capture(model, samples)
    seen, *work = executed(model, samples)
    ours, *our_work = executed(captured.module, samples)
    assert ours == seen
    assert our_work == work
    assert sum(work) > 0


def called(model, given) -> set[str]:
    """Every call of a module with weights, as a report names it."""
    calls: Counter[str] = Counter()
    names: set[str] = set()

    def hook(path):
        def count(*_):
            calls[path] += 1
            names.add(path if calls[path] == 1 else f"{path} (call {calls[path]})")

        return count

    hooks = [
        m.register_forward_hook(hook(path))
        for path, m in model.named_modules()
        if isinstance(m, WEIGHTED)
    ]
    run(model, given)
    for h in hooks:
        h.remove()
    for path, m in model.named_modules():
        if isinstance(m, nn.MultiheadAttention):  # calls none of its layers
            names |= {f"{path}.{part}" for part in ("query", "key", "value", "out_proj")}
    return names


@pytest.mark.parametrize("name", ZOO)
def test_error_falls_with_steps(name):
    model, given, test = settled(name)
    with torch.no_grad():
        exact = run(model, test)
        networks = [convert_general(model, given, t, granularity="tensor") for t in (2, 4, 6, 8)]
        errors = [off(run(snn, test), exact) for snn in networks]
        shown = {e.name for e in networks[0].report()}
        assert called(model, test) <= shown
    print(name, [f"{e:.4f}" for e in errors])
    assert all(more > less for more, less in itertools.pairwise(errors))
    assert errors[-1] < 0.02


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_is_reported_completely(name):
    make, data, expected = REFUSED[name]
    torch.manual_seed(0)
    with pytest.raises(UnsupportedModelError) as refused:
        sl.convert(make().eval(), data(20))
    problems = refused.value.problems
    assert len(problems) == len(expected)
    for start, reason in expected.items():
        (problem,) = (p for p in problems if p.startswith(start))
        assert reason in problem
        assert "; " in problem or "no branches or loops on data" in problem  # what to do
        assert "\n" not in problem
