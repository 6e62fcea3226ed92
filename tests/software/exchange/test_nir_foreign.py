"""NIR of others: a ReLU network with the same rates, or one line that names what is none."""

from itertools import pairwise

import nir
import numpy as np
import pytest
import spikeloom as sl
import torch
from spikeloom.errors import UnsupportedModelError
from spikeloom.exchange import from_nir, load_nir
from torch import nn


def neurons(count: int, theta: float = 1.0, r: float = 1.0, reset: float = 0.0) -> nir.IF:
    one = np.ones(count)
    return nir.IF(r=r * one, v_threshold=theta * one, v_reset=reset * one)


def foreign(*middle) -> nir.NIRGraph:
    rng = np.random.default_rng(3)
    first = nir.Affine(rng.normal(size=(6, 8)), rng.normal(size=6))
    last = nir.Linear(rng.normal(size=(3, 6)))
    return nir.NIRGraph.from_list(first, *middle, last)


def test_a_foreign_graph_folds_its_threshold():
    graph = foreign(neurons(6, theta=2.0, r=0.5))
    x = torch.rand(20, 8)
    first, last = graph.nodes["affine"], graph.nodes["linear"]
    v = x.numpy() @ first.weight.T + first.bias
    wanted = (np.maximum(v, 0) * 0.5 / 2.0) @ last.weight.T
    model = from_nir(graph)
    assert np.allclose(model(x).detach().numpy(), wanted, atol=1e-5)
    snn = sl.convert(model, x, steps=8)
    assert (snn(x) - model(x)).norm() / model(x).norm() < 0.03


def test_a_foreign_scale_may_have_any_sign():
    scale = np.array([1.0, -2.0, 0.0, 0.5, 3.0, -1.0])
    graph, x = foreign(neurons(6), nir.Scale(scale)), torch.rand(20, 8)
    first, last = graph.nodes["affine"], graph.nodes["linear"]
    v = x.numpy() @ first.weight.T + first.bias
    wanted = torch.tensor((np.maximum(v, 0) * scale) @ last.weight.T).float()
    model = from_nir(graph)
    assert torch.allclose(model(x), wanted, atol=1e-5)
    assert (sl.convert(model, x, steps=8)(x) - wanted).norm() / wanted.norm() < 0.03


def test_a_foreign_convolution_with_a_skip_reads_as_it_is(tmp_path):
    rng = np.random.default_rng(1)
    conv = [
        nir.Conv2d((6, 6), rng.normal(size=(2, 2, 3, 3)), 1, 1, 1, 1, rng.normal(size=2))
        for _ in range(2)
    ]
    fires = [nir.IF(r=np.ones((2, 6, 6)), v_threshold=np.ones((2, 6, 6))) for _ in range(2)]
    nodes = {
        "in": nir.Input({"input": np.array([2, 6, 6])}),
        "0.conv": conv[0],
        "0.if": fires[0],
        "1.conv": conv[1],
        "1.if": fires[1],
        "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flat": nir.Flatten({"input": np.array([2, 3, 3])}, start_dim=0),
        "fc": nir.Affine(rng.normal(size=(3, 18)), rng.normal(size=3)),
        "out": nir.Output({"output": np.array([3])}),
    }
    names = list(nodes)
    edges = [*pairwise(names), ("0.if", "1.if")]
    nir.write(tmp_path / "f.nir", nir.NIRGraph(nodes, edges))
    model = load_nir(tmp_path / "f.nir")
    x = torch.rand(4, 2, 6, 6)
    weights = [torch.tensor(c.weight).float() for c in conv]
    bias = [torch.tensor(c.bias).float() for c in conv]
    y = torch.relu(nn.functional.conv2d(x, weights[0], bias[0], padding=1))
    y = torch.relu(nn.functional.conv2d(y, weights[1], bias[1], padding=1) + y)
    y = 4 * nn.functional.avg_pool2d(y, 2).flatten(1)
    fc = nodes["fc"]
    wanted = y @ torch.tensor(fc.weight).float().T + torch.tensor(fc.bias).float()
    assert torch.allclose(model(x), wanted, rtol=1e-4, atol=1e-4)
    snn = sl.convert(model, x, steps=8)
    assert (snn(x) - wanted).norm() / wanted.norm() < 0.05


ONE = np.ones(6)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (nir.LIF(tau=ONE, r=ONE, v_leak=0 * ONE, v_threshold=ONE), "'lif': LIF: it leaks"),
        (
            nir.CubaLIF(tau_syn=ONE, tau_mem=ONE, r=ONE, v_leak=0 * ONE, v_threshold=ONE),
            "'cubalif': CubaLIF: it leaks and filters",
        ),
        (neurons(6, reset=-1.0), "'if': IF: it resets to v_reset = -1, only 0 is read"),
        (neurons(6, theta=0.0), "'if': IF: v_threshold and r must be above 0"),
        (nir.Threshold(ONE), "'threshold': Threshold: it compares without memory"),
        (nir.I(r=ONE), "'i': I: it sums for ever"),
        (nir.Delay(ONE), "'delay': Delay: it delays"),
    ],
)
def test_what_is_no_relu_network_is_refused_by_name(node, message):
    with pytest.raises(UnsupportedModelError) as error:
        from_nir(foreign(node))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_pixels_that_differ_within_a_channel_are_refused():
    shape = np.array([2, 1, 3])
    nodes = {
        "in": nir.Input({"input": shape}),
        "scale": nir.Scale(np.arange(6.0).reshape(2, 1, 3)),
        "out": nir.Output({"output": shape}),
    }
    with pytest.raises(UnsupportedModelError, match="'scale': scale differs within a channel"):
        from_nir(nir.NIRGraph(nodes, [("in", "scale"), ("scale", "out")]))


def test_all_problems_come_at_once():
    leaky = nir.LIF(tau=ONE, r=ONE, v_leak=0 * ONE, v_threshold=ONE)
    with pytest.raises(UnsupportedModelError, match="'lif'.*'delay'"):
        from_nir(foreign(leaky, nir.Delay(ONE)))


def test_reset_to_zero_is_refused_when_it_is_stated():
    graph = foreign(neurons(6))
    with pytest.raises(UnsupportedModelError, match="'if': IF: reset to zero"):
        from_nir(graph, reset="zero")
    with pytest.raises(ValueError, match="must be 'subtract' or 'zero', not 'soft'"):
        from_nir(graph, reset="soft")  # type: ignore[arg-type]


def test_a_recurrent_graph_is_refused():
    graph = foreign(neurons(6))
    graph.nodes["back"] = nir.Linear(np.ones((6, 6)))
    graph.edges += [("if", "back"), ("back", "if")]
    with pytest.raises(UnsupportedModelError, match="recurrent, a loop .*'back', 'if'"):
        from_nir(graph)


def test_integrators_right_before_the_output_are_factors():
    one = np.ones(3)
    graph = foreign(neurons(6), nir.Linear(np.eye(6)))
    plain = from_nir(graph)
    x = torch.rand(5, 8)
    for node in (nir.I(r=2 * one), nir.LI(tau=one, r=2 * one, v_leak=0 * one)):
        longer = nir.NIRGraph.from_list(
            *(n for k, n in graph.nodes.items() if k not in ("input", "output")), node
        )
        assert torch.allclose(from_nir(longer)(x), 2 * plain(x), rtol=1e-6)
