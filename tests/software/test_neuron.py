from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from math import floor

import pytest
import torch
from spikeloom import SpikePack, encoders
from spikeloom.spikepack import pack_spikes


def near_ties(theta: float, steps: int, dtype: torch.dtype) -> torch.Tensor:
    """Multiples of theta, and their neighbours in floating point, some potentials between."""
    k = torch.arange(-2, 2**steps + 3, dtype=torch.float64)
    exact = (k * theta).to(dtype)
    up = torch.nextafter(exact, torch.full_like(exact, torch.inf))
    down = torch.nextafter(exact, torch.full_like(exact, -torch.inf))
    g = torch.Generator().manual_seed(steps)
    some = (torch.rand(500, generator=g, dtype=torch.float64) * 1.3 - 0.1) * theta * 2**steps
    return torch.cat([exact, up, down, some.to(dtype)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("theta", [0.25, 0.1, 1 / 3, 0.7, 1e-3, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 12])
def test_parallel_equals_serial_equals_exact_arithmetic(steps, theta, dtype):
    neuron = SpikePack(steps, theta)
    neuron.threshold = torch.tensor(theta, dtype=dtype)  # all its bits, or no multiple is rounded
    v = near_ties(float(neuron.threshold), steps, dtype)
    exact_theta = Fraction(float(neuron.threshold))
    expected = [min(max(floor(Fraction(x) / exact_theta), 0), 2**steps - 1) for x in v.tolist()]
    assert neuron.pack(v).tolist() == expected
    spikes = neuron.spikes(v)
    assert spikes.shape == (steps, *v.shape)
    assert spikes.dtype == torch.uint8
    assert pack_spikes(spikes).tolist() == expected
    y = neuron(v)
    assert y.dtype == dtype
    assert torch.equal(y, neuron.pack(v).to(dtype) * neuron.threshold)


def test_without_the_correction_near_ties_would_differ():
    """Guards the test above: the plain quotient is wrong somewhere on its inputs."""
    v = near_ties(0.1, 8, torch.float32)
    theta = torch.tensor(0.1)
    plain = torch.floor(v / theta).clamp(0, 255).to(torch.int64)
    assert not torch.equal(plain, SpikePack(8, 0.1).pack(v))


def test_infinities_saturate():
    v = torch.tensor([torch.inf, -torch.inf])
    assert SpikePack(4, 0.25).pack(v).tolist() == [15, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_in_and_out(dtype):
    v = torch.tensor([-1.0, 0.3, 0.5, 9.0], dtype=dtype)
    y = SpikePack(4, 0.25)(v)
    assert y.dtype == dtype
    assert y.tolist() == [0.0, 0.25, 0.5, 3.75]


def test_rounding_is_half_up():
    neuron = SpikePack(4, 0.25, rounding=True)
    assert neuron.pack(torch.tensor([0.124, 0.125, 0.374, 0.375])).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(("dim", "shape"), [(1, (5, 3)), (1, (2, 3, 4, 4)), (-1, (5, 3))])
def test_threshold_per_channel(dim, shape):
    theta = torch.tensor([0.1, 0.25, 2.0])
    neuron = SpikePack(4, theta, channel_dim=dim)
    v = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 4
    for c in range(3):
        one = SpikePack(4, theta[c])
        assert torch.equal(neuron(v).select(dim, c), one(v.select(dim, c)))
        assert torch.equal(neuron.spikes(v).select(dim if dim < 0 else dim + 1, c),
                           one.spikes(v.select(dim, c)))  # fmt: skip
    with pytest.raises(ValueError, match="has not 3 channels"):
        neuron(torch.rand(5, 4))


def test_gradient_is_straight_through_and_clipped():
    v = torch.tensor([-0.1, 0.0, 0.1, 1.0, 3.75, 3.76], requires_grad=True)
    SpikePack(4, 0.25)(v).sum().backward()
    assert v.grad is not None
    assert v.grad.tolist() == [0, 1, 1, 1, 1, 0]


def test_gradient_with_rounding_covers_the_same_range():
    v = torch.tensor([-0.1, 0.0, 3.75, 3.8], requires_grad=True)
    SpikePack(4, 0.25, rounding=True)(v).sum().backward()
    assert v.grad is not None
    assert v.grad.tolist() == [0, 1, 1, 0]


def test_gradient_of_a_trained_threshold():
    neuron = SpikePack(2, 0.5, trainable=True, lean=False)
    v = torch.tensor([-1.0, 0.75, 9.0])
    neuron(v).sum().backward()
    # below: 0; inside: word - v / theta = 1 - 1.5; above: 2^T - 1
    assert neuron.threshold.grad is not None
    assert float(neuron.threshold.grad) == 0 - 0.5 + 3
    per_channel = SpikePack(2, torch.tensor([0.5, 1.0]), trainable=True)
    per_channel(torch.rand(7, 2)).sum().backward()
    assert per_channel.threshold.grad is not None
    assert per_channel.threshold.grad.shape == (2,)


def test_drop_in_for_relu_trains():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(2, 16), SpikePack(4, 0.25), torch.nn.Linear(16, 2)
        )
        x = torch.rand(256, 2)
        y = (x[:, 0] > x[:, 1]).long()
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(150):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
        assert float((model(x).argmax(1) == y).float().mean()) > 0.95


def test_tau_below_two_warns_and_fires_greedily():
    with pytest.warns(UserWarning, match="hardware runs tau = 2"):
        neuron = SpikePack(3, 1.0, tau=1.5)
    v = torch.tensor([3.3])  # levels 2.25, 1.5, 1: 3.3 - 2.25 = 1.05 -> not 1.5, then 1
    assert neuron.spikes(v)[:, 0].tolist() == [1, 0, 1]
    assert neuron.pack(v).tolist() == [5]
    assert neuron(v).tolist() == [3.25]


def test_tau_above_two_needs_consent():
    with pytest.raises(ValueError, match="allow_gaps=True"):
        SpikePack(4, 0.25, tau=3.0)
    assert SpikePack(2, 1.0, tau=3.0, allow_gaps=True)(torch.tensor([2.9])).tolist() == [1.0]


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": 0},
        {"steps": 17},
        {"steps": 4.0},
        {"threshold": 0.0},
        {"threshold": float("nan")},
        {"threshold": torch.ones(2, 2)},
        {"tau": 1.0},
        {"tau": float("inf"), "allow_gaps": True},
    ],
)
def test_bad_parameters_are_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        SpikePack(**arguments)


def test_integers_are_refused_as_potentials():
    with pytest.raises(TypeError, match="floating point"):
        SpikePack()(torch.tensor([1]))


def test_state_survives_saving():
    a, b = SpikePack(4, torch.tensor([0.1, 0.2])), SpikePack(4, torch.tensor([1.0, 1.0]))
    b.load_state_dict(a.state_dict())
    assert torch.equal(a.threshold, b.threshold)
    assert "2 channels" in repr(b)


class _Definition(torch.autograd.Function):
    """The gradient as it is defined, from the serial form: see neuron_kernels.reference."""

    @staticmethod
    def forward(ctx, v, theta, y, top):
        ctx.save_for_backward(v, theta, y)
        ctx.top = top
        return y.clone()

    @staticmethod
    def backward(ctx, *grads):
        v, theta, y = ctx.saved_tensors
        inside = (v >= 0) & (v <= theta * ctx.top)
        slope = torch.where(inside, y - v, y) / theta
        return grads[0] * inside, (grads[0] * slope).sum_to_size(theta.shape), None, None


def defined(neuron: SpikePack, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Values and gradients, of potential and threshold, by the T-step serial form alone."""
    work = v.detach().to(torch.promote_types(v.dtype, torch.float32)).requires_grad_()
    theta = neuron.threshold.detach().to(work.dtype).requires_grad_()
    level = theta.view(1, -1, *[1] * (v.ndim - 2)) if theta.ndim else theta
    words = pack_spikes(neuron.spikes(v)).to(work.dtype)
    y = _Definition.apply(work, level, words * level.detach(), neuron.top)
    (y * pattern(y)).sum().backward()
    assert work.grad is not None
    assert theta.grad is not None
    return y.detach().to(v.dtype), work.grad.to(v.dtype), theta.grad


def pattern(y: torch.Tensor) -> torch.Tensor:
    """An upstream gradient, the same for every engine: small integers, by place."""
    count = torch.arange(y.numel(), dtype=torch.float64).reshape(y.shape)
    return (count * 7919 % 11 - 5).to(y.dtype)


def potentials(shape: tuple[int, ...], theta: torch.Tensor, steps: int) -> torch.Tensor:
    """Random, half of them exact multiples of the threshold, some far out; float64."""
    generator = torch.Generator().manual_seed(steps)
    v = torch.randn(shape, generator=generator, dtype=torch.float64) * 0.6 * 2**steps * 0.3
    level = theta.double().view(1, -1, *[1] * (len(shape) - 2)) if theta.ndim else theta.double()
    ties = torch.rand(shape, generator=generator) < 0.5
    return torch.where(ties, torch.round(v / level) * level, v)


ENGINES = ["torch", "numba"]
LAYOUTS = {
    "contiguous": lambda v: v,
    "channels last": lambda v: v.contiguous(memory_format=torch.channels_last),
    "strided": lambda v: v[:, :, ::2],
    "expanded": lambda v: v[:, :, :1].expand(v.shape),
    "cut": lambda v: v.contiguous(memory_format=torch.channels_last)[:, :, 1:],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_has_the_bits_of_the_serial_form(engine, dtype, layout):
    if engine == "numba":
        pytest.importorskip("numba")
    for steps in (1, 4, 8, 16):
        for theta in (torch.tensor(0.3137), torch.tensor([0.3, 0.11, 0.47, 0.25, 1 / 3])):
            v = LAYOUTS[layout](potentials((3, 5, 7, 9), theta, steps).to(dtype))
            neuron = SpikePack(steps, theta, trainable=True, lean=False)
            wanted = defined(neuron, v)
            for trainable in (True, False):
                one = SpikePack(steps, theta, trainable=trainable, lean=False)
                x = v.detach().clone(memory_format=torch.preserve_format).requires_grad_()
                with encoders.engine(engine):
                    y = one(x)
                    (y * pattern(y)).sum().backward()
                assert torch.equal(y, wanted[0]), (steps, theta)
                assert x.grad is not None
                assert torch.equal(x.grad, wanted[1]), (steps, theta)
                if trainable:
                    scale = float(wanted[2].abs().max()) + 5 * 2**steps
                    torch.testing.assert_close(
                        one.threshold.grad / scale, wanted[2].float() / scale, rtol=0, atol=1e-5
                    )


@pytest.mark.parametrize("rounding", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_lean_gradients_are_those_of_potentials_half_a_bin_off_at_most(engine, rounding):
    if engine == "numba":
        pytest.importorskip("numba")
    theta = torch.tensor([0.3, 0.11, 0.47])
    v = potentials((4, 3, 20, 13), theta, 4).float()
    exact, lean = (
        SpikePack(4, theta, trainable=True, rounding=rounding, lean=lean) for lean in (False, True)
    )
    grads = []
    with encoders.engine(engine):
        for neuron in (exact, lean):
            x = v.clone().requires_grad_()
            y = neuron(x)
            (y * pattern(y)).sum().backward()
            grads.append((y, x.grad, neuron.threshold.grad))
    (y, dv, dtheta), (lean_y, lean_dv, lean_dtheta) = grads
    assert torch.equal(y, lean_y)
    assert torch.equal(dv, lean_dv)
    most = pattern(y).abs().sum((0, 2, 3)) / 26
    assert bool(((dtheta - lean_dtheta).abs() <= most * 1.001).all())
    assert not torch.equal(dtheta, lean_dtheta)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("engine", ENGINES)
def test_lean_gradients_have_no_bias(engine, dtype, layout):
    """Where all potentials of a channel lie alike, errors of rounding alone would add up."""
    if engine == "numba":
        pytest.importorskip("numba")
    theta = torch.full((3,), 0.5)
    for fortieths in range(1, 140, 11):
        v = torch.full((8, 3, 30, 40), fortieths / 40, dtype=dtype)
        v[:, 1] += 0.01
        v = LAYOUTS[layout](v)
        neuron = SpikePack(3, theta, trainable=True)
        with encoders.engine(engine):
            neuron(v).sum().backward()
        u = v[0, :, 0, 0].double() / 0.5
        wanted = u.floor() - u
        assert neuron.threshold.grad is not None
        error = neuron.threshold.grad.double() / v[:, 0].numel() - wanted
        # rounding to the middle of a bin is up to half a bin off: 0.038
        assert float(error.abs().max()) < 0.0005


def test_nan_stays_nan_and_has_no_gradient():
    for engine in ENGINES:
        v = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.5], requires_grad=True)
        with encoders.engine(engine):
            y = SpikePack(4, 0.25)(v)
        assert y.isnan().tolist() == [True, False, False, False]
        y.sum().backward()
        assert v.grad is not None
        assert v.grad.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "bits"),
    [
        ({}, 1),
        ({"trainable": True}, 4),
        ({"trainable": True, "lean": False}, 32),
    ],
)
def test_memory_kept_for_the_backward(arguments, bits):
    pytest.importorskip("numba")
    for steps in (1, 4, 16):
        v, kept = torch.rand(8, 16, 32, requires_grad=True), []
        # v itself counts where it is kept: a batch norm, say, does not keep what it gives
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, kept=kept: kept.append(x.nbytes) or x, lambda x: x
        ):
            SpikePack(steps, 0.1, **arguments)(v)
        assert sum(kept) - (4 if bits == 32 else 0) == v.numel() * bits // 8


def test_threads_give_the_same_bits():
    pytest.importorskip("numba")
    theta = torch.rand(5, generator=torch.Generator().manual_seed(1)) + 0.1
    v = torch.randn(3, 5, 333, 211, generator=torch.Generator().manual_seed(2)) * 2
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            x = v.clone().requires_grad_()
            y = SpikePack(4, theta)(x)
            (y * pattern(y)).sum().backward()
            results.append((y, x.grad))
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_empty_scalar_and_odd_sizes():
    for shape in ((), (0,), (0, 3), (1,), (7,), (1023,), (1025,)):
        for engine in ENGINES:
            v = torch.full(shape, 0.6, requires_grad=True)
            with encoders.engine(engine):
                y = SpikePack(2, 0.5)(v)
            y.sum().backward()
            assert torch.equal(y, torch.full(shape, 0.5))
            assert v.grad is not None
            assert torch.equal(v.grad, torch.ones(shape))


def test_a_second_derivative_is_refused():
    v = torch.rand(5, requires_grad=True)
    (grad,) = torch.autograd.grad(SpikePack()(v).square().sum(), v, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_under_autocast():
    linear = torch.nn.Linear(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        y = SpikePack(4, 0.25)(linear(torch.rand(3, 4)))
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()


TRITON = """
import torch
from spikeloom import SpikePack, encoders
torch.manual_seed(0)
checked = 0
for dtype in (torch.float32, torch.float64, torch.float16):
    for steps in (1, 4, 8, 16):
        for theta in (torch.tensor(0.3137), torch.rand(5) + 0.1):
            for options in ({}, {"trainable": True}, {"trainable": True, "lean": False}):
                v = torch.randn(3, 5, 7, 9, dtype=torch.float64) * 0.2 * 2**steps
                level = theta.double().view(1, -1, 1, 1) if theta.ndim else theta.double()
                v = torch.where(torch.rand(v.shape) < 0.5, torch.round(v / level) * level, v)
                v = v.to(dtype, memory_format=torch.channels_last)
                results = []
                for engine in ("torch", "triton"):
                    neuron = SpikePack(steps, theta, rounding=bool(checked % 2), **options)
                    x = v.clone(memory_format=torch.preserve_format).requires_grad_()
                    with encoders.engine(engine):
                        y = neuron(x)
                        y.backward(v.sin())
                    results.append((y.detach(), x.grad, neuron.threshold.grad))
                (y, dv, dt), (y2, dv2, dt2) = results
                assert torch.equal(y, y2) and torch.equal(dv, dv2), (dtype, steps, theta, options)
                if options:
                    torch.testing.assert_close(dt, dt2, rtol=1e-4, atol=1e-4 * 2**steps)
                checked += 1
print(checked)
"""


def test_interpreted_cuda_kernel_equals_the_reference():
    pytest.importorskip("triton", reason="triton is not installed: pip install triton")
    done = subprocess.run(
        [sys.executable, "-c", TRITON],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["72"]
