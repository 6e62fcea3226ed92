"""The rate-coded baseline: integrate and fire by its definition, and what it takes and refuses."""

import numpy as np
import pytest
import spikeloom as sl
import torch
from spikeloom.conversion import RateNetwork
from spikeloom.errors import InputError, UnsupportedModelError
from torch import nn


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def mlp():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.s = (
            nn.Conv2d(4, 5, 3, padding=1), nn.Conv2d(5, 5, 3, padding=1), nn.Conv2d(4, 5, 1)
        )  # fmt: skip

    def forward(self, x):
        y = torch.relu(self.b(torch.relu(self.a(x))) + self.s(x))
        return torch.relu(y + nn.functional.max_pool2d(y, 3, 1, 1))


def cnn():
    return nn.Sequential(
        nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), Block(),
        nn.AvgPool2d(3), nn.Flatten(), nn.Linear(5, 3),
    ).eval()  # fmt: skip


def test_neurons_are_those_of_the_definition():
    """Every spike of a scalar network in plain numbers: charge, compare, subtract."""
    model, x = mlp(), torch.rand(40, 6)
    net = sl.convert(model, x, steps=9, recipe=sl.RateCoding(rule="max", charge=0.25))
    words = np.floor(x.numpy()[:5] * 255 + 0.5) / 255
    layers = [m for m in model if isinstance(m, nn.Linear)]
    weights = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in layers]
    activations, thetas = x.numpy(), []
    for W, b in weights[:-1]:
        activations = np.maximum(activations @ W.T + b, 0)
        peak = activations.max(0)
        thetas.append(np.where(peak > 0, peak, peak.max()))
    total, spikes = np.zeros((5, 3)), [0, 0]
    v = [0.25 * theta * np.ones((5, 1)) for theta in thetas]
    for _ in range(9):
        signal = words
        for k, (W, b) in enumerate(weights[:-1]):
            v[k] = v[k] + signal @ W.T + b
            fires = v[k] >= thetas[k]
            v[k] = v[k] - fires * thetas[k]
            spikes[k] += fires.sum()
            signal = fires * thetas[k]
        total += signal @ weights[-1][0].T + weights[-1][1]
    np.testing.assert_allclose(net(x[:5]).numpy(), total / 9, atol=1e-5)
    assert net.spikes_per_neuron == pytest.approx(
        {"0": spikes[0] / (5 * 8), "2": spikes[1] / (5 * 7)}
    )


@pytest.mark.parametrize("make", [mlp, cnn])
@pytest.mark.parametrize("rule", ["max", "percentile"])
def test_many_steps_come_near_the_original(make, rule):
    model = make().eval()
    x = torch.rand(300, 6) if make is mlp else torch.rand(100, 2, 8, 8)
    with torch.no_grad():
        exact = model(x)
        size = (exact - exact.mean(0)).norm()
        off = [
            float(
                (sl.convert(model, x, steps=t, rule=rule, recipe=sl.RateCoding())(x) - exact).norm()
                / size
            )
            for t in (4, 32, 256)
        ]
    assert off == sorted(off, reverse=True)
    assert off[-1] < 0.05 < off[0]


def test_half_a_threshold_of_charge_helps():
    model, x = mlp(), torch.rand(400, 6)
    with torch.no_grad():
        exact = model(x)
        off = [
            float((sl.convert(model, x, steps=6, recipe=sl.RateCoding(charge=c))(x) - exact).norm())
            for c in (0.0, 0.5)
        ]
    assert off[1] < 0.7 * off[0]


def test_pooled_spikes_count_what_the_greatest_neuron_does():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                          nn.Linear(8, 8, bias=False))  # fmt: skip
    with torch.no_grad():
        model[0].weight.abs_()
        model[0].bias.zero_()
        model[4].weight.copy_(torch.eye(8))
    x = torch.rand(50, 1, 4, 4)
    pooled = sl.convert(model, x, steps=13, recipe=sl.RateCoding())
    plain = sl.convert(nn.Sequential(*model[:2], nn.Flatten(), nn.Linear(32, 32, bias=False)), x,
                       steps=13, recipe=sl.RateCoding())  # fmt: skip
    with torch.no_grad():
        plain.stages[-1].weight.copy_(torch.eye(32))
    rates = nn.functional.max_pool2d(plain(x).view(-1, 2, 4, 4), 2).flatten(1)
    torch.testing.assert_close(pooled(x), rates)


def test_it_says_what_it_is_and_what_it_is_not():
    model, x = mlp(), torch.rand(40, 6)
    net = sl.convert(model, x, steps=100, recipe=sl.RateCoding())
    assert isinstance(net, RateNetwork)
    assert "steps=100" in repr(net)
    with pytest.raises(UnsupportedModelError, match="^a RateNetwork counts spikes") as refused:
        sl.lower(net)
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match=r"the network takes \(n, 6\)"):
        net(x[:, :5])
    other = sl.convert(mlp(), x, steps=100, recipe=sl.RateCoding())
    assert not torch.equal(other(x), net(x))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "steps must be an integer in 1..4096, not 0"),
        ({"average": "wide"}, "RateCoding has no average, only granularity, rule, charge"),
        ({"bias_correction": True}, "RateCoding has no bias_correction"),
        ({"rule": "mse"}, "rule must be one of .'max', 'percentile'., not 'mse'"),
        ({"granularity": "auto"}, "granularity must be one of .*, not 'auto'"),
        ({"integers": True}, "leave weight_bits and integers out"),
        ({"weight_bits": 8}, "leave weight_bits and integers out"),
    ],
)
def test_what_does_not_go_together_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        sl.convert(mlp(), torch.rand(9, 6), **{"recipe": sl.RateCoding(), **given})


def test_models_without_integers_are_refused():
    smooth = nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 2))
    with pytest.raises(UnsupportedModelError, match="1: GELU has no spiking form yet"):
        sl.convert(smooth, torch.rand(9, 6), recipe=sl.RateCoding())
    fires = nn.Sequential(nn.Linear(6, 4), sl.SpikePack(4, 0.1), nn.Linear(4, 2))
    with pytest.raises(UnsupportedModelError, match="the model fires already"):
        sl.convert(fires, torch.rand(9, 6), recipe=sl.RateCoding())
