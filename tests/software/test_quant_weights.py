"""Weights trained on the integers of the gates: what lowering finds is what was trained."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import spikeloom as sl
import torch
from spikeloom.conversion import lowering_report
from spikeloom.conversion.grid import odd, on_grid, quantised_weights
from spikeloom.conversion.tuning import Tuned
from spikeloom.models import BasicBlock
from spikeloom.ops import Add, Conv2d, Dense, Readout
from torch import Tensor, nn


class TwoStreams(nn.Module):
    """Two activated convolutions whose words are added."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(2, 6, 1)
        self.act, self.head = nn.ModuleList(nn.ReLU() for _ in range(3)), nn.Linear(6 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act[2](self.act[0](self.a(x)) + self.act[1](self.b(x)))
        return self.head(torch.flatten(y, 1))


def models() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Random networks with every kind of layer; batch norms with signs and scales of all sizes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        linear = nn.Sequential(
            nn.Flatten(), nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(),
            nn.Linear(12, 4),
        )  # fmt: skip
        pools = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(32, 4),
        )  # fmt: skip
        residual = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), BasicBlock(8, 8),
            BasicBlock(8, 12, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4),
        )  # fmt: skip
        found = {
            "linear": (linear, (1, 5, 6)),
            "pools": (pools, (2, 8, 8)),
            "residual": (residual, (2, 8, 8)),
            "sum": (TwoStreams(), (2, 8, 8)),
        }
        for model, _ in found.values():
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    nn.init.normal_(module.weight, 1, 0.5)
                    nn.init.normal_(module.bias, 0, 0.5)
                    nn.init.normal_(module.running_mean, 0, 0.3)  # type: ignore[arg-type]
            model.eval()
    return found


MODELS = models()


def images(n: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def shaken(snn: sl.conversion.SpikingNetwork, weight_bits: int) -> Tuned:
    """A network in the middle of training: every parameter has moved."""
    tuned = Tuned(snn, weight_bits)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in tuned.parameters():
            size = 0.05 * float(parameter.abs().mean())
            parameter += size * torch.randn(parameter.shape, generator=generator)
    return tuned


@pytest.mark.parametrize(("steps", "weight_bits"), [(1, 8), (2, 2), (2, 3), (4, 4), (4, 8)])
@pytest.mark.parametrize("name", MODELS)
def test_training_and_integers_agree_to_the_bit(name, steps, weight_bits):
    model, shape = MODELS[name]
    snn = sl.convert(model, images(100, shape), steps=steps)
    tuned = shaken(snn, weight_bits)
    test = torch.from_numpy(images(200, shape, seed=1))
    with torch.no_grad():
        trained = tuned(test)
        frozen = tuned.frozen()
        floats = frozen(test)
    assert torch.equal(trained, floats)
    network = sl.lower(frozen, weight_bits)
    assert all(r.clipped == r.raised == 0 for r in lowering_report(network))
    assert all(r.weight_error < 1e-6 for r in lowering_report(network))
    logits, scale = network.run(test.numpy()), network.layers[-1].logit_scale  # type: ignore[union-attr]
    assert logits.std() > 0
    assert torch.equal(floats, torch.from_numpy(logits * scale).to(floats.dtype))
    assert np.array_equal(floats.argmax(1).numpy(), logits.argmax(1))


@pytest.mark.parametrize("name", MODELS)
def test_lowered_numbers_are_the_trained_ones(name):
    model, shape = MODELS[name]
    tuned = shaken(sl.convert(model, images(100, shape), steps=4), 4)
    frozen = tuned.frozen()
    network = sl.lower(frozen, 4)
    layers = {layer.name: layer for layer in frozen.spiking_layers}
    checked = 0
    for op in network.layers:
        if isinstance(op, (Dense, Conv2d, Add, Readout)):
            grid = layers[op.name].grid.double().numpy()
            assert (op.weight.reshape(len(op.weight), -1) != 0).any()
            if op.threshold is not None:
                alive = layers[op.name].alive.numpy()
                theta = layers[op.name].neuron.threshold.double().numpy()
                assert (op.threshold[alive] % 2 == 1).all()
                np.testing.assert_allclose((op.threshold * grid)[alive], theta[alive], rtol=1e-6)
                checked += 1
    assert checked >= 2


def test_without_odd_thresholds_floats_would_decide_otherwise(monkeypatch):
    """Guards the tests above: ties are what odd thresholds keep away."""
    import spikeloom.conversion.tuning as module

    monkeypatch.setattr(module, "odd", lambda x: odd(x) + 1)
    model, shape = MODELS["pools"]
    test, differ = images(200, shape, seed=1), 0
    for weight_bits in (2, 3, 4):
        tuned = shaken(sl.convert(model, images(100, shape), steps=4), weight_bits)
        frozen = tuned.frozen()
        with torch.no_grad():
            floats = frozen(torch.from_numpy(test))
        network = sl.lower(frozen, weight_bits)
        scale = network.layers[-1].logit_scale  # type: ignore[union-attr]
        differ += int((np.round(floats.double().numpy() / scale) != network.run(test)).sum())
    assert differ > 0


def test_codes_are_clipped_and_gradients_straight_through():
    weight = torch.tensor([[0.26, -0.9, 0.1], [3.0, 0.0, -0.3]], requires_grad=True)
    scale = torch.tensor([0.25, 0.5], dtype=torch.float64, requires_grad=True)
    w = quantised_weights(weight, scale, torch.ones(3), 3)
    assert w.tolist() == [[0.25, -0.75, 0.0], [1.5, 0.0, -0.5]]
    w.sum().backward()
    # -0.9 / 0.25 = -3.6 and 3.0 / 0.5 = 6 are clipped
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1, 0, 1], [0, 1, 1]]
    # inside: code - units; clipped: the code
    assert scale.grad is not None
    expected = [(1 - 1.04) - 3 + (0 - 0.4), 3 + 0 + (-1 + 0.6)]
    np.testing.assert_allclose(scale.grad.numpy(), expected, rtol=1e-6)


def test_scales_of_the_inputs_are_divided_out():
    inputs = torch.tensor([0.5, 2.0])
    w = quantised_weights(torch.tensor([[1.0, 0.25]]), torch.tensor([0.5]), inputs, 7)
    assert (w * inputs / 0.5).tolist() == [[1.0, 1.0]]


def test_rounding_to_a_grid():
    x = torch.tensor([0.3, -0.8], requires_grad=True)
    y = on_grid(x, torch.tensor([0.25, 0.5]))
    assert y.tolist() == [0.25, -1.0]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1]
    assert odd(torch.tensor([0.1, 3.9, 4.1, 254.0, 1e9])).tolist() == [3, 3, 5, 255, 65535]


@pytest.mark.parametrize("weight_bits", [1, 9, 4.0])
def test_bad_widths_are_refused(weight_bits):
    model, shape = MODELS["linear"]
    with pytest.raises(ValueError, match=r"weight_bits must be an integer in 2\.\.8"):
        Tuned(sl.convert(model, images(50, shape)), weight_bits)


def test_names_with_dots_and_of_methods():
    model = nn.Sequential()
    model.add_module("items", nn.Linear(6, 5))
    model.add_module("relu", nn.ReLU())
    model.add_module("keys", nn.Linear(5, 3))
    nested = nn.Sequential(nn.Flatten(), model)
    for bits, _ in itertools.product((None, 4), range(1)):
        tuned = Tuned(sl.convert(nested, images(50, (6,))), bits)
        assert tuned(torch.from_numpy(images(3, (6,)))).shape == (3, 3)
