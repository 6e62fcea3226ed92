from __future__ import annotations

import math

import pytest
import torch
from spikeloom.lif import LIF


class _Surrogate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, alpha):
        ctx.save_for_backward(u)
        ctx.alpha = alpha
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx, grad):
        (u,) = ctx.saved_tensors
        return grad * ctx.alpha / 2 / (1 + (math.pi / 2 * ctx.alpha * u) ** 2), None


def by_autograd(x, leak, threshold, alpha, through_reset):
    """The two equations, step by step, with torch's own graph over time."""
    v, s, spikes = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
    for current in x:
        reset = s if through_reset else s.detach()
        v = leak * v + current - threshold * reset
        s = _Surrogate.apply(v - threshold, alpha)
        spikes.append(s)
    return torch.stack(spikes)


def test_by_hand():
    # 0.75; 0.375 + 0.75 = 1.125 fires; 0.5625 - 1 + 0.75 = 0.3125
    x = torch.full((3, 1), 0.75)
    assert LIF(0.5, 1.0)(x)[:, 0].tolist() == [0, 1, 0]


def test_exactly_the_threshold_does_not_fire():
    assert LIF(0.5, 1.0)(torch.ones(1, 1)).tolist() == [[0]]


@pytest.mark.parametrize("through_reset", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize(("leak", "threshold", "alpha"), [(0.5, 1.0, 2.0), (0.9, 0.3, 4.0)])
def test_spikes_and_gradients_equal_those_of_a_graph_over_time(
    steps, leak, threshold, alpha, through_reset
):
    generator = torch.Generator().manual_seed(steps)
    x = torch.randn(steps, 5, 3, generator=generator, dtype=torch.float64) + 0.4
    weight = torch.randn(steps, 5, 3, generator=generator, dtype=torch.float64)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    neuron = LIF(leak, threshold, alpha=alpha, through_reset=through_reset)
    y, wanted = neuron(ours), by_autograd(theirs, leak, threshold, alpha, through_reset)
    assert torch.equal(y, wanted)
    assert 0 < float(y.detach().mean()) < 1
    (y * weight).sum().backward()
    (wanted * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_no_state_between_calls():
    neuron, x = LIF(), torch.rand(4, 2, 3)
    assert torch.equal(neuron(x), neuron(x))


def test_dtype_and_memory_order_are_kept():
    x = torch.rand(4, 2, 3, 5, 5).to(torch.bfloat16)
    assert LIF()(x).dtype == torch.bfloat16
    assert "leak=0.5" in repr(LIF())


@pytest.mark.parametrize(
    "arguments", [{"leak": -0.1}, {"leak": 1.1}, {"threshold": 0.0}, {"alpha": math.inf}]
)
def test_bad_parameters_are_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        LIF(**arguments)


def test_bad_inputs_are_refused():
    with pytest.raises(TypeError, match="floating point"):
        LIF()(torch.ones(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="T > 0"):
        LIF()(torch.ones(0, 2))
