"""Float networks: weights fitted to the words that reach them, and rounded with their moments."""

from __future__ import annotations

import pytest
import torch
from spikeloom.conversion import convert_general
from spikeloom.conversion.general import reconstruct
from spikeloom.conversion.general.columns import columns, fan_in
from spikeloom.conversion.general.reconstruct import fitted, moments_of, total
from spikeloom.conversion.general.weights import round_weights, rows_of
from torch import nn
from torch.nn import functional


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


LAYERS = [
    (nn.Linear(5, 3), (4, 7, 5)),
    (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 9, 8)),
    (nn.Conv2d(4, 6, (3, 2), padding="same", dilation=2), (2, 4, 9, 8)),
    (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", groups=4), (2, 4, 9, 8)),
    (nn.Conv2d(4, 2, 1, padding="valid"), (2, 4, 5, 8)),
    (nn.Conv1d(4, 6, 3, padding=2), (2, 4, 9)),
    (nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), (2, 4, 5, 6)),
    (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, dilation=2),
        (2, 4, 5, 6),
    ),
    (nn.ConvTranspose1d(4, 6, 4, stride=3, padding=2), (2, 4, 9)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
@pytest.mark.parametrize("most", [17, 10**6])
@torch.no_grad()
def test_rows_times_columns_are_what_the_layer_gives(layer, shape, most):
    x = torch.rand(shape)
    y = layer(x)
    found, beside = columns(layer, x, y, most, torch.Generator().manual_seed(1))
    positions = y.numel() // layer.bias.numel()
    assert found.shape[1:] == (fan_in(layer), min(most, positions))
    V = rows_of(layer, layer.weight).unflatten(0, (len(found), -1))
    torch.testing.assert_close(V @ found + layer.bias.view(len(found), -1, 1), beside)
    if most > positions:  # each position once
        axis = -1 if isinstance(layer, nn.Linear) else 1
        whole = y.movedim(axis, 0).flatten(1)
        assert torch.equal(beside.flatten(0, 1).sort(1).values, whole.sort(1).values)


def noisy(n=4000, groups=1):
    """Inputs that go together, and what rounding to few steps makes of them."""
    x = torch.randn(n, 3) @ torch.randn(3, 8 * groups) + 0.2 * torch.randn(n, 8 * groups)
    return x, (x / 1.5).round() * 1.5


def pairs(x, target):
    return list(zip(x.chunk(4), target.chunk(4), strict=True))


@torch.no_grad()
def test_fitted_weights_lose_less_on_samples_that_they_have_not_seen():
    layer = nn.Linear(8, 5)
    x, words = noisy()
    moments = moments_of(layer, pairs(words, layer(x)))
    V = fitted(layer, moments)
    assert V.shape == layer.weight.shape
    x, words = x[-500:], words[-500:]

    def off(weight):
        error = functional.linear(words - x.mean(0), weight) - functional.linear(
            x - x.mean(0), layer.weight
        )
        return float((error - error.mean(0)).square().mean())

    assert off(V) < 0.6 * off(layer.weight)
    # the moments know this error without the samples
    whole = total(moments_of(layer, [(words, layer(x))]))
    assert whole.error(V.double()[None]) == pytest.approx(5 * off(V), rel=1e-3)


@torch.no_grad()
def test_weights_stay_where_fitting_does_not_help():
    layer = nn.Linear(6, 3)
    x = torch.randn(80, 6)
    target = layer(x)
    target[:60] = torch.randn(60, 3)  # what is held out says otherwise
    moments = moments_of(layer, pairs(x, target))
    assert torch.equal(fitted(layer, moments), layer.weight)


@torch.no_grad()
def test_inputs_that_never_vary_keep_their_weights():
    layer = nn.Linear(8, 5)
    x, words = noisy()
    words[:, 2], x[:, 2] = 77.7, 77.7
    V = fitted(layer, moments_of(layer, pairs(words, layer(x))))
    assert torch.equal(V[:, 2], layer.weight[:, 2])
    assert float((V - layer.weight)[:, 3:].abs().max()) > 1e-2


@torch.no_grad()
def test_layers_of_too_many_inputs_are_left_alone(monkeypatch):
    layer = nn.Linear(8, 5)
    x, words = noisy()
    assert moments_of(layer, [(words, layer(x))]) is not None
    monkeypatch.setattr(reconstruct, "MOST_INPUTS", 7)
    assert moments_of(layer, [(words, layer(x))]) is None


@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize("groups", [1, 2, 16])
@torch.no_grad()
def test_codes_make_up_for_each_other(bits, groups):
    """Sums lose less than with codes rounded alone, and the codes are on the grid of the words."""
    layer = nn.Conv1d(16, 16, 1, groups=groups)
    x, _ = noisy(groups=2)
    scale = 10 ** torch.linspace(-1, 1, 16)[torch.randperm(16)]
    gram = total(moments_of(layer, [(x.T[None], layer(x.T[None]))])).gram
    assert gram.shape == (groups, 16 // groups, 16 // groups)
    loss = {}
    for name, given in (("alone", None), ("together", gram)):
        weight = round_weights(layer, bits, scale, given)
        error = functional.conv1d(x.T[None], weight - layer.weight, groups=groups)
        loss[name] = float((error - error.mean((0, 2), keepdim=True)).square().mean())
        for out, row in enumerate(weight[..., 0]):
            first = out // (16 // groups) * (16 // groups)
            V = row * scale[first : first + 16 // groups]
            steps = V / V.abs().max()
            tops = range(1, 1 << (bits - 1))
            assert min(float((steps * k - (steps * k).round()).abs().max()) for k in tops) < 1e-4
    if groups == 16:  # one weight a row: nothing to spread
        assert loss["together"] == pytest.approx(loss["alone"], rel=0.2)
    else:
        assert loss["together"] < 0.7 * loss["alone"]


class Net(nn.Module):
    """Depthwise, linear bottleneck, transposed: everything that is fitted."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 12, 3, padding=1)
        self.deep, self.narrow = nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.Conv2d(12, 5, 1)
        self.wide, self.up = nn.Conv2d(5, 12, 1), nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = functional.relu6(self.deep(functional.relu6(self.stem(x))))
        x = torch.relu(self.up(torch.relu(self.wide(self.narrow(x)))))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(1)
    made = Net().eval()
    for layer in made.children():
        nn.init.kaiming_normal_(layer.weight)
    return made


def images(n, seed):
    """Smooth pictures: neighbouring pixels know of each other, as in real ones."""
    rough = torch.rand(n, 2, 3, 3, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(rough, (10, 10), mode="bilinear", align_corners=True)


@pytest.mark.parametrize(("steps", "bits"), [(2, None), (8, 4), (8, 3)])
@torch.no_grad()
def test_outputs_of_few_bits_come_nearer(net, steps, bits):
    x, off = images(200, 1), []
    for reconstruct_ in (False, True):
        snn = convert_general(net, images(96, 0), steps, weight_bits=bits, reconstruct=reconstruct_)
        off.append(float((snn(x) - net(x)).square().mean()))
    assert off[1] < 0.7 * off[0]


@torch.no_grad()
def test_the_model_that_is_given_stays_as_it_is(net):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    snn = convert_general(net, images(32, 0), 3, reconstruct=True)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not torch.equal(snn.body.wide.weight, net.wide.weight)
    # the means are kept, with bias_correction=False too: fitted weights have biases of their own
    plain = convert_general(net, images(32, 0), 3, reconstruct=True, bias_correction=False)
    assert torch.equal(plain(images(5, 2)), snn(images(5, 2)))


def test_inputs_that_hardly_vary_are_no_noise():
    generator = torch.Generator().manual_seed(0)
    x = 100 + 0.01 * torch.randn(4000, 3, generator=generator)
    layer = nn.Linear(3, 2)
    gram = total(moments_of(layer, [(x[:900], layer(x[:900])), (x[900:], layer(x[900:]))])).gram[0]
    torch.testing.assert_close(gram, x.double().T.cov(correction=0), rtol=1e-3, atol=1e-9)
    assert float(torch.linalg.eigvalsh(gram)[0]) > 0
