"""Weights fitted to what reaches them: what is measured, what it is for, what is refused."""

import numpy as np
import pytest
import spikeloom as sl
import torch
from spikeloom.conversion.reconstruct import Samples
from spikeloom.errors import InputError
from torch import nn

SHAPE = (2, 8, 8)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Block(nn.Module):
    """Two convolutions and what is added to them."""

    def __init__(self, a, b, stride, shortcut):
        super().__init__()
        self.first = nn.Conv2d(a, b, 3, stride, 1)
        self.second = nn.Conv2d(b, b, 3, 1, 1)
        self.shortcut = shortcut

    def forward(self, x):
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


def stem(channels=6):
    return [nn.Conv2d(2, channels, 3, padding=1), nn.ReLU()]


def head(channels, pixels):
    return [nn.Flatten(), nn.Linear(channels * pixels, 4)]


MODELS = {
    "linear": lambda: [nn.Flatten(), nn.Linear(128, 24), nn.ReLU(), nn.Linear(24, 4)],
    "convolutions": lambda: [
        *stem(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU(), *head(8, 1),
    ],
    "depthwise": lambda: [
        *stem(), nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.ReLU(),
        nn.Conv2d(6, 8, 1), nn.ReLU(), nn.AvgPool2d(8), *head(8, 1),
    ],
    "skip": lambda: [*stem(), Block(6, 6, 1, nn.Identity()), nn.AvgPool2d(4), *head(6, 4)],
    "projection": lambda: [*stem(), Block(6, 8, 2, nn.Conv2d(6, 8, 1, 2)), *head(8, 16)],
}  # fmt: skip


def model(name):
    made = nn.Sequential(*MODELS[name]())
    for m in made.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(m.weight)
            assert m.bias is not None
            nn.init.normal_(m.bias, 0, 0.2)
    return made.eval()


def images(n=400, seed=0):
    """Smooth pictures: neighbouring pixels know of each other, as in real ones."""
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(n, 2, 3, 3, generator=generator)
    smooth = nn.functional.interpolate(rough, SHAPE[1:], mode="bilinear", align_corners=True)
    return (255 * smooth).round().to(torch.uint8).numpy()


def logits(net, x):
    return net.run(x) * net.layers[-1].logit_scale


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weight_bits", [2, 3, 4])
def test_logits_of_few_bits_come_nearer(name, weight_bits):
    made, data, test = model(name), images(), images(300, seed=1)
    snn = sl.convert(made, data, steps=4)
    with torch.no_grad():
        exact = made(torch.from_numpy(test).float() / 255).numpy()
    plain = sl.lower(snn, weight_bits, allow_few_bits=True)
    fitted = sl.lower(snn, weight_bits, reconstruct=data, allow_few_bits=True)
    off = [np.square(logits(net, test) - exact).mean() for net in (plain, fitted)]
    assert off[1] < 0.8 * off[0]
    assert [op.kind for op in fitted.ops] == [op.kind for op in plain.ops]
    fitted.check_accumulators()
    scale = fitted.layers[-1].logit_scale
    twin = fitted.dequantised()(torch.from_numpy(test)) / scale
    assert torch.round(twin).to(torch.int64).tolist() == fitted.run(test).tolist()


@pytest.mark.parametrize("name", MODELS)
def test_layers_see_the_words_of_the_network_that_is_made(name, monkeypatch):
    seen = []
    plain = Samples.__init__

    def remember(self, *given):
        plain(self, *given)
        seen.append(self)

    monkeypatch.setattr(Samples, "__init__", remember)
    data = images(70)
    net = sl.lower(sl.convert(model(name), data), 4, reconstruct=data)
    (samples,) = seen
    for trace in net.trace(data):
        given = trace.potentials if trace.words is None else trace.words
        assert np.array_equal(samples.words[trace.name].numpy(), given), trace.name
    assert set(samples.twin) == {net.layers[-1].name}  # the rest was let go


@pytest.mark.parametrize("depthwise", [False, True])
def test_moments_are_those_of_all_windows(depthwise):
    made = nn.Sequential(
        *stem(), nn.Conv2d(6, 6, 3, 2, 1, groups=6 if depthwise else 1), nn.ReLU(), *head(6, 16)
    ).eval()
    data = images(100)
    snn = sl.convert(made, data)
    samples = Samples(snn, data)
    net = sl.lower(snn)
    layer = snn.spiking_layers[1]
    samples.ran(net.ops[0])
    samples.passed(snn.spiking_layers[0])
    with torch.no_grad():
        mean, wanted, gram, cross = samples._moments(layer, layer.sources[0], ())
    words = net.trace(data)[0].words.astype(np.float64)
    with torch.no_grad():
        values = snn.spiking_layers[0](snn.encode(torch.from_numpy(data)))
        t = layer.conv(values).movedim(1, -1).reshape(-1, 6).double().numpy()
    padded = np.pad(words, ((0, 0), (0, 0), (1, 1), (1, 1)))
    x = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2, ::2]
    x = x.transpose(0, 2, 3, 1, 4, 5).reshape(len(t), 6, 9)
    np.testing.assert_allclose(wanted, t.mean(0), atol=1e-5)
    for k in range(6):
        rows = x[:, k] if depthwise else x.reshape(len(t), 54)
        both = np.cov(np.concatenate([rows, t[:, k : k + 1]], 1).T, bias=True)
        at = k if depthwise else ...
        np.testing.assert_allclose(mean[at], rows.mean(0), atol=1e-4)
        np.testing.assert_allclose(gram[at], both[:-1, :-1], atol=1e-3)
        np.testing.assert_allclose(cross[k], both[-1, :-1], atol=1e-3)


def test_dead_channels_stay_dead_and_the_result_is_always_the_same():
    made = model("convolutions")
    with torch.no_grad():
        made[0].bias[2] = -100.0
    data = images()
    snn = sl.convert(made, data)
    a, b = (sl.lower(snn, 4, reconstruct=data) for _ in range(2))
    assert not a.layers[0].weight[2].any()
    assert (a.layers[0].bias[2], a.layers[0].threshold[2]) == (-1, 1)
    assert not a.layers[2].weight[:, 2].any()
    for one, other in zip(a.layers, b.layers, strict=True):
        if hasattr(one, "weight"):
            assert np.array_equal(one.weight, other.weight)
            assert np.array_equal(one.bias, other.bias)


def test_mean_logits_survive_two_bits():
    made, data = model("linear"), images()
    net = sl.lower(sl.convert(made, data), 2, reconstruct=data, allow_few_bits=True)
    with torch.no_grad():
        exact = made(torch.from_numpy(data).float() / 255).mean(0).numpy()
    scale = net.layers[-1].logit_scale
    assert np.abs(net.run(data).mean(0) * scale - exact).max() <= 0.51 * scale


@pytest.mark.parametrize("shape", [(0, 2, 8, 8), (5, 8, 8), (5, 2, 8, 9)])
def test_samples_of_another_shape_are_refused(shape):
    snn = sl.convert(model("linear"), images())
    with pytest.raises(InputError, match=r"samples to reconstruct with .* takes \(n, 2, 8, 8\)"):
        sl.lower(snn, reconstruct=np.zeros(shape, np.uint8))


def error(net, made, test):
    with torch.no_grad():
        exact = made(torch.from_numpy(test).float() / 255).numpy()
    return np.square(logits(net, test) - exact).mean()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("steps", [1, 2])
def test_logits_of_few_steps_come_nearer_to_the_original(name, steps):
    made, data, test = model(name), images(1500), images(300, seed=1)
    snn = sl.convert(made, data[:300], steps=steps)
    plain, twin = sl.lower(snn), sl.lower(snn, reconstruct=data)
    fitted = sl.lower(snn, reconstruct=data, original=made)
    off = error(fitted, made, test)
    assert off < 0.95 * error(plain, made, test)
    assert off < 0.95 * error(twin, made, test)
    fitted.check_accumulators()


def test_another_original_is_refused():
    data = images(50)
    snn = sl.convert(model("convolutions"), data)
    with pytest.raises(InputError, match="a Sequential, has other layers"):
        sl.lower(snn, reconstruct=data, original=model("linear"))
    with pytest.raises(InputError, match="original needs the images"):
        sl.lower(snn, original=model("convolutions"))
