from __future__ import annotations

import itertools

import numpy as np
import pytest
import spikeloom as sl
import torch
from spikeloom.conversion import Normalise, lowering_report
from spikeloom.conversion.fold import fold
from spikeloom.conversion.scales import Folded, skip_scales, sum_scales
from spikeloom.conversion.spike import average_threshold
from spikeloom.conversion.trace import trace
from spikeloom.errors import InputError, UnsupportedModelError
from spikeloom.models import MODELS as SHIPPED
from spikeloom.ops import Add, AvgPool2d, Conv2d, MaxPool2d, Pad2d
from torch import nn
from torch.nn import functional


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def settled(model: nn.Module, shape=(2, 8, 8)) -> nn.Module:
    """Weights of a useful size, biases, and batch norms that are not trivial."""
    for m in model.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(m.weight)
            if m.bias is not None:
                nn.init.normal_(m.bias, 0, 0.2)
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) and m.affine:
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.uniform_(m.bias, -0.5, 0.5)
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.rand(64, *shape))
    return model.eval()


def images(n=300, shape=(2, 8, 8), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def conv_bn(a, b, k=3, **kw) -> list[nn.Module]:
    kw.setdefault("padding", k // 2)
    return [nn.Conv2d(a, b, k, bias=False, **kw), nn.BatchNorm2d(b)]


class Residual(nn.Module):
    """Two convolutions; the skip is the identity, or what is given."""

    def __init__(self, a, b, stride=1, shortcut=None, before=True):
        super().__init__()
        self.f = nn.Sequential(
            *conv_bn(a, b, stride=stride),
            nn.ReLU(),
            *conv_bn(b, b),
            *([] if before else [nn.ReLU()]),
        )
        self.shortcut = shortcut or nn.Sequential()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.f(x) + self.shortcut(x))


class Activated(nn.Module):
    """The sum of two activated streams, used without an activation of its own."""

    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(*conv_bn(2, 5), nn.ReLU())
        self.b = nn.Sequential(*conv_bn(5, 5), nn.ReLU())
        self.c = nn.Sequential(*conv_bn(5, 4), nn.ReLU())
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.a(x)
        x = torch.add(x, self.b(x))
        return self.fc(self.c(x).mean((2, 3)))


class Functional(nn.Module):
    """Calls and methods instead of modules; ReLU in place, and += on a residual."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding="same")
        self.n, self.fc = nn.BatchNorm2d(6), nn.Linear(24, 3)

    def forward(self, x):
        x = functional.relu(self.a(x), inplace=True)
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        y = self.n(self.b(x))
        y += x
        x = functional.avg_pool2d(torch.relu_(y), 2)
        x = functional.dropout(x, 0.5, self.training)
        return self.fc(x.view(x.size(0), -1))


class InPlaceInput(nn.Module):
    """The skip sees what the ReLU in place left, as torch does."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

    def forward(self, x):
        x = self.a(x)
        y = self.b(functional.relu(x, inplace=True))
        x = functional.relu(y + x)
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def head(channels=6, classes=3) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def scaled(channels: int, low: float, high: float) -> nn.BatchNorm2d:
    """A batch norm with weights of both signs, kept by ``settled``."""
    norm = nn.BatchNorm2d(channels, affine=False)
    norm.running_mean = torch.zeros(channels)  # type: ignore[assignment]
    norm.register_buffer("extra", torch.linspace(low, high, channels))
    return norm


MODELS = {
    "convolutions": lambda: nn.Sequential(
        *conv_bn(2, 6), nn.ReLU(), nn.Conv2d(6, 5, (3, 1), (2, 1), (1, 0)), nn.ReLU(),
        nn.Flatten(), nn.Linear(160, 3),
    ),
    "max pools": lambda: nn.Sequential(
        *conv_bn(2, 6), nn.ReLU(), nn.MaxPool2d(2), *conv_bn(6, 6, 5), nn.MaxPool2d(3, 1, 1),
        nn.ReLU(), nn.Flatten(), nn.Linear(96, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3),
    ),
    "pool before batch norm": lambda: nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.MaxPool2d(2), nn.BatchNorm2d(6), nn.ReLU(), *head(),
    ),
    "average pools": lambda: nn.Sequential(
        nn.AvgPool2d(2, padding=1), *conv_bn(2, 6), nn.ReLU(), nn.AvgPool2d((3, 2), 1),
        *conv_bn(6, 6), nn.ReLU(), *head(),
    ),
    "adaptive pool to 2x2": lambda: nn.Sequential(
        *conv_bn(2, 6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3)
    ),
    "depthwise": lambda: nn.Sequential(
        *conv_bn(2, 6), nn.ReLU(), *conv_bn(6, 6, 3, groups=6, stride=2), nn.ReLU(),
        *conv_bn(6, 6, 1), nn.ReLU(), *head(),
    ),
    "batch norm after activation": lambda: nn.Sequential(
        *conv_bn(2, 6), nn.ReLU(), nn.BatchNorm2d(6), nn.AvgPool2d(2), nn.Conv2d(6, 5, 3),
        nn.BatchNorm2d(5), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout2d(), nn.Flatten(),
        nn.BatchNorm1d(20), nn.Linear(20, 3), nn.BatchNorm1d(3),
    ),
    "normalised": lambda: nn.Sequential(
        Normalise(torch.tensor([0.2, 0.6]), torch.tensor([0.2, 0.4])), *conv_bn(2, 6), nn.ReLU(),
        nn.MaxPool2d(2), *conv_bn(6, 6), nn.ReLU(), *head(),
    ),
    "batch norm before Flatten": lambda: nn.Sequential(
        *conv_bn(2, 6), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(6), nn.Flatten(),
        nn.Linear(96, 3),
    ),
    "batch norm of the input": lambda: nn.Sequential(
        nn.BatchNorm2d(2, affine=False), *conv_bn(2, 6), nn.ReLU(), *head()
    ),
    "batch norm and ReLU of words": lambda: nn.Sequential(
        *conv_bn(2, 6), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(6), nn.ReLU(),
        *conv_bn(6, 6), nn.ReLU(), *head(),
    ),
    "identity skip": lambda: nn.Sequential(
        *conv_bn(2, 6), nn.ReLU(), Residual(6, 6), Residual(6, 6), *head()
    ),
    "scaled skip": lambda: nn.Sequential(
        *conv_bn(2, 6), nn.ReLU(), Residual(6, 6, shortcut=nn.BatchNorm2d(6)), *head()
    ),
    "projection": lambda: nn.Sequential(
        *conv_bn(2, 6), nn.ReLU(),
        Residual(6, 8, 2, nn.Sequential(*conv_bn(6, 8, 1, stride=2))), *head(8),
    ),
    "projection of the input": lambda: nn.Sequential(
        Normalise(0.4, 0.3),
        Residual(2, 6, 1, nn.Sequential(*conv_bn(2, 6, 1))), *head(),
    ),
    "depthwise projection": lambda: nn.Sequential(
        *conv_bn(2, 6), nn.ReLU(), Residual(6, 6, 1, nn.Sequential(*conv_bn(6, 6, 1, groups=6))),
        *head(),
    ),
    "sum of words": lambda: nn.Sequential(
        *conv_bn(2, 6), nn.ReLU(), Residual(6, 6, before=False), *head()
    ),
    "sum of words without ReLU": Activated,
    "functional": Functional,
    "in place": InPlaceInput,
    "convolution as readout": lambda: nn.Sequential(
        *conv_bn(2, 6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 3, 1), nn.Flatten()
    ),
}  # fmt: skip


def near(y, exact) -> float:
    """Share of the variance that is lost, square root of."""
    return float(np.std(np.asarray(y) - np.asarray(exact)) / np.std(np.asarray(exact)))


@pytest.mark.parametrize("name", MODELS)
def test_folding_keeps_the_function(name):
    model = settled(MODELS[name]())
    x = torch.rand(20, 2, 8, 8)
    with torch.no_grad():
        exact = model.double()(x.double())
    y = fold(trace(model), x.shape[1:])(x)
    torch.testing.assert_close(y, exact.flatten(1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_converted_models_stay_close_and_unchanged(name):
    model = settled(MODELS[name]())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()  # conversion must not care, and must not leave the mode changed
    x = torch.from_numpy(images()).float() / 255
    snn = sl.convert(model, x, steps=8)
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    model.eval()
    with torch.no_grad():
        assert near(snn(x), model(x).flatten(1)) < 0.04


@pytest.mark.parametrize("name", MODELS)
def test_more_steps_err_less(name):
    model, data = settled(MODELS[name]()), images()
    x = torch.from_numpy(images(seed=1))
    with torch.no_grad():
        exact = model(x.float() / 255).flatten(1)
        errors = [near(sl.convert(model, data, steps=t)(x), exact) for t in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.04 < errors[0]


@pytest.mark.parametrize("name", MODELS)
def test_dequantised_twin_decides_like_the_integers(name):
    snn = sl.convert(settled(MODELS[name]()), images(), steps=3)
    test = images(200, seed=1)
    for weight_bits in (3, 8):
        net = sl.lower(snn, weight_bits, allow_few_bits=True)
        logits = net.run(test)
        twin = net.dequantised()(test)
        scale = net.layers[-1].logit_scale  # type: ignore[union-attr]
        assert torch.round(twin / scale).to(torch.int64).tolist() == logits.tolist()
        assert twin.argmax(1).tolist() == logits.argmax(1).tolist()


@pytest.mark.parametrize("name", MODELS)
def test_integers_follow_the_float_spikes(name):
    """8-bit weights move the logits a little; the words of a layer differ seldom, and by one."""
    snn = sl.convert(settled(MODELS[name]()), images(), steps=4)
    net = sl.lower(snn)
    test = images(200, seed=1)
    with torch.no_grad():
        y = snn(torch.from_numpy(test))
    logits = net.run(test) * net.layers[-1].logit_scale  # type: ignore[union-attr]
    assert near(logits, y) < 0.15
    net.check_accumulators()
    for op in net.layers:
        if isinstance(op, (Conv2d, Add, sl.network.Dense, sl.network.Readout)):
            low, high = op.potential_bounds()  # one bit to spare, no more
            assert sl.network.accumulator_width(low, high) + 1 == op.accumulator_bits


@pytest.mark.parametrize("name", SHIPPED)
def test_models_that_ship_convert(name):
    spec = SHIPPED[name]
    model = settled(spec.build(spec.classes), spec.sample)
    data = images(40, spec.sample)
    snn = sl.convert(model, data, steps=8)
    x = torch.from_numpy(images(20, spec.sample, 1))
    with torch.no_grad():
        exact = model(x.float() / 255)
        assert near(snn(x), exact) < 0.1
    net = sl.lower(snn)
    logits = net.run(x.numpy()) * net.layers[-1].logit_scale  # type: ignore[union-attr]
    assert near(logits, exact) < 0.15


# ----------------------------------------------------------------------------- scales and integers


def lowered(model, steps=4, weight_bits=8, **options):
    snn = sl.convert(model, images(), steps=steps, **options)
    return snn, sl.lower(snn, weight_bits)


def op_named(net, name):
    return next(op for op in net.ops if op.name == name)


def test_identity_skip_is_exact_on_its_own_accumulator_scale():
    """k * S is the scale of the skip's words and theta * S that of the output: nothing rounded."""
    snn, net = lowered(settled(MODELS["identity skip"]()))
    source, op = op_named(net, "0"), op_named(net, "3.f.3")
    assert isinstance(op, Conv2d)
    assert op.skip == "0"
    assert (op.skip_bits, op.skip_signed) == (4, False)
    S = op.output_scale / op.threshold
    np.testing.assert_allclose(op.skip_weight * S, source.output_scale, rtol=1e-12)
    layer = next(m for m in snn.spiking_layers if m.name == "3.f.3")
    V = (
        layer.conv.weight.detach().double().numpy()
        * op_named(net, "3.f.0").output_scale[:, None, None]
    )
    codes = V / S[:, None, None, None]
    inside = np.abs(codes) < 127
    assert np.array_equal(op.weight[inside], np.rint(codes[inside]))
    assert np.abs(op.weight.reshape(6, -1)).max(1).min() > 60  # the weights' own resolution is kept
    asked = layer.neuron.threshold.double().numpy()
    np.testing.assert_allclose(op.output_scale, asked, rtol=0.5 / op.threshold.min())
    assert max(report.skip_error for report in lowering_report(net)) < 1e-12


def folded_rows(weight_bits: int) -> Folded:
    V = np.random.default_rng(0).normal(size=(60, 40))
    ones, kept = np.ones(40), np.ones(60, dtype=bool)
    return Folded("layer", V, np.zeros(60), kept, ones, ones, 4, weight_bits)


@pytest.mark.parametrize("weight_bits", [4, 8])
def test_scales_with_a_skip_stay_near_those_that_fit_the_weights(weight_bits):
    f = folded_rows(weight_bits)
    S0, kept = f.best_scale(), np.ones(60, dtype=bool)
    sign = np.where(np.arange(60) % 2, 1, -1)
    G = sign * S0 * np.geomspace(0.6, 40000, 60)
    fired, k, off = skip_scales(f, G, 100 * S0, kept)
    assert off < 1e-12
    np.testing.assert_allclose(k * fired.S, G, rtol=1e-12)
    moved = np.maximum(fired.S / S0, S0 / fired.S)
    assert moved.max() <= 2
    fine = (np.abs(k) >= 10) & (np.abs(k) < 32767)  # 32767 is the most that k can be
    assert (moved[fine] < 1.11).all()
    np.testing.assert_allclose(fired.theta * fired.S, fired.output)
    # a word worth less than half an LSB is rounded, and that is reported
    fired, k, off = skip_scales(f, 0.2 * S0, 100 * S0, kept)
    assert not k.any()
    assert off == 1


def test_sums_of_words_round_the_smaller_weight_only():
    G = np.stack([np.full(50, 0.3), np.geomspace(0.003, 0.3, 50)])
    fired, k, off = sum_scales(G, np.full(50, 0.1), np.ones(50, dtype=bool))
    np.testing.assert_allclose(k[0] * fired.S, G[0], rtol=1e-12)
    np.testing.assert_allclose(k[1] * fired.S, G[1], rtol=off + 1e-12)
    assert off < 0.01
    assert np.abs(k).max() < 1024


def test_negative_and_zero_factors_of_a_skip():
    model = settled(MODELS["scaled skip"]())
    norm = model[3].shortcut
    with torch.no_grad():
        norm.weight[1] *= -1
        norm.weight[2] = 0
    _, net = lowered(model, steps=8)
    op = op_named(net, "3.f.3")
    assert np.sign(op.skip_weight).tolist() == [1, -1, 0, 1, 1, 1]
    x = images(100, seed=3)
    with torch.no_grad():
        exact = model(torch.from_numpy(x).float() / 255)
    assert near(net.run(x) * net.layers[-1].logit_scale, exact) < 0.05


def test_projection_shares_one_accumulator_scale():
    snn, net = lowered(settled(MODELS["projection"]()))
    names = [op.name for op in net.ops]
    assert names == ["0", "3.f.0", "3.shortcut.0", "3.f.3", "4", "flatten", "6"]
    main, side = op_named(net, "3.f.3"), op_named(net, "3.shortcut.0")
    assert (side.output_bits, side.threshold, main.skip_weight) == (0, None, None)
    assert (main.skip, main.skip_signed) == ("3.shortcut.0", True)
    assert main.skip_bits == side.accumulator_bits
    assert not side.bias.any()
    S = (main.output_scale / main.threshold)[:, None, None, None]
    for op, source in ((main, "3.f.0"), (side, "0")):
        layer = next(m for m in snn.spiking_layers if m.name == op.name)
        a = op_named(net, source).output_scale[:, None, None]
        codes = layer.conv.weight.detach().double().numpy() * a / S
        inside = np.abs(codes) < 127
        assert np.array_equal(op.weight[inside], np.rint(codes[inside]))
        assert inside.mean() > 0.9


def test_sum_of_words_has_weights_that_are_near_enough():
    _, net = lowered(settled(MODELS["sum of words"]()))
    op = next(op for op in net.ops if isinstance(op, Add))
    S = op.output_scale / op.threshold
    scales = np.stack([op_named(net, name).output_scale for name in net.sources(op)])
    np.testing.assert_allclose(op.weight * S, scales, rtol=0.01)
    report = next(r for r in lowering_report(net) if r.name == op.name)
    assert report.skip_error < 0.01


def test_a_dead_convolution_with_a_live_skip_is_kept():
    model = settled(MODELS["identity skip"]())
    block = model[3]
    with torch.no_grad():
        block.f[4].weight[1] = 0  # the batch norm of the last convolution
        block.f[4].bias[1] = 0
        block.f[4].weight[2], block.f[4].bias[2] = 0, -100  # never fires, skip or not
    snn, net = lowered(model, steps=8)
    assert [e.pruned for e in snn.report() if e.name == "3.f.3"] == [(2,)]
    op = op_named(net, "3.f.3")
    assert not op.weight[1].any()
    assert op.skip_weight[1] > 0
    assert (op.skip_weight[2], op.threshold[2], op.bias[2]) == (0, 1, -1)
    x = images(50, seed=3)
    words = {t.name: t.words for t in net.trace(x)}
    assert np.array_equal(words["3.f.3"][:, 1] > 0, words["3.f.3"][:, 1] != 0)
    # a word of the skip passes through on a threshold of its own
    real = words["0"][:, 1] * op_named(net, "0").output_scale[1]
    out = words["3.f.3"][:, 1] * op.output_scale[1]
    assert np.abs(real - out).max() <= 0.51 * op.output_scale[1] + 0.25 * real.max()
    assert not words["3.f.3"][:, 2].any()


def test_a_pruned_projection_adds_nothing():
    model = settled(MODELS["projection"]())
    with torch.no_grad():
        model[3].f[4].bias[3] = -100
    snn, net = lowered(model)
    fired = {}
    for layer in snn.spiking_layers:
        layer.register_forward_hook(lambda m, _, y: fired.__setitem__(m.name, y))
    snn(torch.from_numpy(images(50)))
    assert not fired["3.f.3"][:, 3].any()
    assert (fired["3.shortcut.0"][:, 3] > snn.report()[3].thresholds[3]).any()
    main, side = op_named(net, "3.f.3"), op_named(net, "3.shortcut.0")
    assert not main.weight[3].any()
    assert not side.weight[3].any()
    assert (main.threshold[3], main.bias[3]) == (1, -1)


def test_dead_and_constant_channels_of_images():
    model = settled(MODELS["max pools"]())
    with torch.no_grad():
        model[1].weight[1], model[1].bias[1] = 0, -1  # never fires
        model[1].weight[2], model[1].bias[2] = 0, 0.7  # always the same, and padded with zeros
    snn, net = lowered(model, steps=8)
    assert snn.report()[1].pruned == (1,)
    words = net.trace(images(20))[0].words
    assert words is not None
    assert not words[:, 1].any()
    assert np.unique(words[:, 2]).size == 1
    x = images(100, seed=3)
    with torch.no_grad():
        exact = model(torch.from_numpy(x).float() / 255)
    assert near(net.run(x) * net.layers[-1].logit_scale, exact) < 0.05


def test_pad_words_are_the_mean_of_the_input():
    model = settled(MODELS["normalised"]())
    _, net = lowered(model)
    op = net.ops[0]
    assert isinstance(op, Pad2d)
    assert (op.word.tolist(), op.padding) == ([51, 153], (1, 1, 1, 1))
    assert isinstance(net.ops[1], Conv2d)
    assert net.ops[1].padding == (0, 0)
    # near the border too: without the frame it would be off by far
    snn = sl.convert(model, images(), steps=8)
    x = torch.from_numpy(images(50, seed=5)).float() / 255
    with torch.no_grad():
        layer = nn.Sequential(*model[:4])(x)
        first = snn.spiking_layers[1](snn.spiking_layers[0](snn.encode(x)))
    assert float((first - layer)[..., 0].std() / layer.std()) < 0.02


def test_max_pools_stand_behind_the_fire():
    _, net = lowered(settled(MODELS["max pools"]()))
    kinds = [op.kind for op in net.ops]
    assert kinds == ["conv2d", "maxpool2d", "conv2d", "maxpool2d", "flatten", "dense", "readout"]
    pool = net.ops[3]
    assert isinstance(pool, MaxPool2d)
    assert (pool.kernel, pool.stride, pool.padding) == ((3, 3), (1, 1), (1, 1))
    assert net.edges[pool.name].bits == 4


@pytest.mark.parametrize(
    ("taps", "bits", "steps", "expected"),
    [
        (64, 4, None, (4, 8)),
        (4, 4, None, (1, 6)),
        (49, 4, None, (3, 8)),
        (17, 4, None, (1, 8)),
        (1, 8, None, (1, 8)),
        (4, 4, 4, (4, 4)),
        (64, 4, 4, (64, 4)),
        (4, 8, 4, (68, 4)),
        (9, 1, None, (1, 4)),
    ],
)
def test_average_thresholds(taps, bits, steps, expected):
    assert average_threshold(taps, bits, steps) == expected


@pytest.mark.parametrize(
    ("taps", "bits", "steps"), list(itertools.product([1, 2, 9, 64, 1024], [1, 4, 8], [None, 4, 8]))
)
def test_average_words_always_fit(taps, bits, steps):
    threshold, out = average_threshold(taps, bits, steps)
    most = (taps * ((1 << bits) - 1) + threshold // 2) // threshold
    assert 1 << (out - 1) <= most < 1 << out
    assert out <= (steps or 8)


def test_average_pools_as_wide_sums_or_in_t_bits():
    model = settled(MODELS["average pools"]())
    x = torch.from_numpy(images(200, seed=1))
    with torch.no_grad():
        exact = model(x.float() / 255)
        off = {}
        for average, bits in (("wide", [8, 7, 8]), ("steps", [4, 4, 4])):
            snn, net = lowered(model, average=average)
            pools = [op for op in net.ops if isinstance(op, AvgPool2d)]
            assert [op.output_bits for op in pools] == bits
            assert all(op.bias == op.threshold // 2 for op in pools)
            off[average] = near(snn(x), exact)
    assert off["wide"] < off["steps"]
    with pytest.raises(ValueError, match="average must be one of"):
        sl.convert(model, images(), average="no")  # type: ignore[arg-type]


def test_flatten_repeats_the_scale_of_each_channel():
    snn, net = lowered(settled(MODELS["max pools"]()))
    op = next(op for op in net.ops if isinstance(op, sl.network.Dense))
    conv = op_named(net, "4")
    layer = next(m for m in snn.spiking_layers if m.name == op.name)
    V = layer.linear.weight.detach().double().numpy() * np.repeat(conv.output_scale, 16)
    codes = V / (op.output_scale / op.threshold)[:, None]
    inside = np.abs(codes) < 127
    assert np.array_equal(op.weight[inside], np.rint(codes[inside]))


def test_bias_makes_up_for_rounded_weights_at_the_border_too():
    """Mean potentials on the calibration data survive 3-bit weights, zero padding included."""
    model = settled(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(),
                                  nn.Linear(256, 3)))  # fmt: skip
    data = images()
    net = sl.lower(sl.convert(model, data, steps=8), 3, allow_few_bits=True)
    trace = net.trace(data)[0]
    op = net.ops[0]
    assert trace.potentials is not None
    v = (trace.potentials - op.threshold[:, None, None] // 2).mean((0, 2, 3))
    S = op.output_scale / op.threshold
    with torch.no_grad():
        exact = model[0](torch.from_numpy(data).float() / 255).double().mean((0, 2, 3)).numpy()
    assert (np.abs(v * S - exact) <= 0.51 * S).all()


def test_bias_makes_up_for_rounded_weights_of_a_projection():
    snn = sl.convert(settled(MODELS["projection of the input"]()), images(), steps=8)
    off = []
    for weight_bits in (3, 8):
        net = sl.lower(snn, weight_bits, allow_few_bits=True)
        op = next(op for op in net.ops if op.name == "1.f.3")
        potentials = {t.name: t.potentials for t in net.trace(images())}[op.name]
        S = (op.output_scale / op.threshold)[:, None, None]
        off.append(((potentials - op.threshold[:, None, None] // 2) * S).mean((0, 2, 3)))
    # the words of the first convolution differ a little between the two
    assert np.abs(off[0] - off[1]).max() < 0.1 * np.abs(off[1]).mean()


def test_report_has_an_edge_for_everything_that_fires():
    snn, net = lowered(settled(MODELS["projection"]()))
    assert [(e.name, e.steps) for e in snn.report()] == [
        ("input", 8), ("0", 4), ("3.f.0", 4), ("3.f.3", 4), ("4", 8)
    ]  # fmt: skip
    assert all(0 <= e.error < 0.5 and 0 < e.rate < 1 for e in snn.report())
    assert [r.name for r in lowering_report(net)] == ["0", "3.f.0", "3.shortcut.0", "3.f.3", "6"]


def test_images_of_one_channel_may_come_without_it():
    model = settled(nn.Sequential(*conv_bn(1, 4), nn.ReLU(), *head(4)), (1, 8, 8))
    data = images(100, (8, 8))
    a, b = sl.convert(model, data), sl.convert(model, data[:, None])
    assert a.sample_shape == (1, 8, 8)
    x = torch.from_numpy(data)
    assert torch.equal(a(x), b(x[:, None]))
    assert torch.equal(a(x.float() / 255), a(x))
    with pytest.raises(InputError, match=r"the network takes \(n, 1, 8, 8\)"):
        a(x[:, :4])


def test_lowering_is_deterministic(tmp_path):
    model, data = settled(MODELS["projection"]()), images()
    a, b = (sl.lower(sl.convert(model, data)) for _ in range(2))
    a.save(tmp_path / "a")
    b.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_spiking_network_fine_tunes():
    snn = sl.convert(settled(MODELS["projection"]()), images())
    snn(torch.rand(8, 2, 8, 8)).sum().backward()
    grads = {name for name, p in snn.named_parameters() if p.grad is not None and p.grad.any()}
    assert {f"layers.{k}.conv.weight" for k in range(4)} <= grads


# --------------------------------------------------------------------------------- what is refused


class Unfinished(nn.Module):
    """A residual sum that is not activated before the next convolution."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
        self.head = nn.Sequential(*head(2))

    def forward(self, x):
        x = torch.relu(self.a(x))
        return self.head(torch.relu(self.c(x + self.b(x))))


class Nine(Unfinished):
    def forward(self, x):
        y = torch.relu(self.a(x))
        for _ in range(8):
            x = x + self.b(y)
        return self.head(torch.relu(x))


class Means(Unfinished):
    def forward(self, x):
        return self.head(torch.relu(self.a(x)).mean((1, 2), keepdim=True))


class Sizes(Unfinished):
    def forward(self, x):
        return self.head(torch.relu(self.a(x)).squeeze().clamp(0.5, 1))


class Different(Unfinished):
    def forward(self, x):
        return self.head(torch.relu(self.a(x) + functional.max_pool2d(self.b(x).relu(), 2)))


class Scaled(Unfinished):
    def forward(self, x):
        x = torch.add(self.a(x), x, alpha=2).relu()
        return self.head((x * x.relu()).relu())


def after_conv(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), *layers)


UNSUPPORTED = [
    (
        nn.Sequential(
            nn.MaxPool2d(2, dilation=2), nn.MaxPool2d(2, return_indices=True), nn.LeakyReLU(),
            nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.Hardtanh(),
            nn.AvgPool2d(2, padding=1, count_include_pad=False), nn.ConstantPad2d(1, 0.5),
            nn.ReflectionPad2d(1), nn.ConvTranspose2d(4, 8, 2), *head(8),
        ),
        ["9 problem(s)", "0: dilation is 2", "1: it returns indices", "2: LeakyReLU has no spiking",
         "3: padding_mode", "'reflect'", "4: it cuts to -1", "cut to 0..a",
         "5: count_include_pad=False", "6: it pads with 0.5", "7: ReflectionPad2d has no",
         "8: ConvTranspose2d has no"],
    ),
    (Unfinished(), ["c: it is given the sum 'add', which is not activated", "nn.ReLU after"]),
    (Nine(), ["add_7: it is a sum of 9 that are not activated, 8 at most"]),
    (Means(), ["mean: it is over axes (1, 2); use all positions"]),
    (Sizes(), ["2 problem(s)", "squeeze: it is over axes None; name them", "clamp: it cuts to 0"]),
    (nn.Sequential(nn.AvgPool2d(3, 2, ceil_mode=True), *head(2)), ["0: ceil_mode divides the"]),
    (nn.Sequential(nn.ConstantPad3d(1, 0.0), *head(2)), ["0: ConstantPad3d has no spiking form"]),
    (nn.Sequential(nn.Conv2d(2, 2, 3, dilation=400, padding=400), nn.ReLU(), *head(2)),
     ["0: dilation (400, 400) are 2566404 weights in gates", "1048576 at most"]),
    (nn.Sequential(nn.Conv1d(2, 4, 3), nn.Conv2d(4, 4, 1), nn.ReLU(), *head(4)),
     ["it mixes layers of 1-D and 2-D"]),
    (Different(), ["add: it adds samples (2, 8, 8) and (2, 4, 4)", "the same shape"]),
    (Scaled(), ["2 problem(s)", "add: alpha is not 1", "mul: it takes two tensors for mul"]),
    (nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU(), *head(4)),
     ["1: it is given the potentials of '0'", "put nn.ReLU between"]),
    (after_conv(nn.Linear(8, 3)), ["2: Linear is given samples of shape (6, 8, 8)", "Flatten()"]),
    (after_conv(nn.Conv2d(5, 4, 1), nn.ReLU(), *head(4)), ["2: it takes 5 channels"]),
    (after_conv(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(54, 3)), ["sizes that divide"]),
    (after_conv(nn.MaxPool2d(9), *head()), ["2: its kernel (9, 9) does not fit"]),
    (nn.Sequential(Normalise(-1.0, 1.0), nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), *head()),
     ["1: zeros that it pads with would be -1..-1", "padding=0"]),
    (after_conv(), ["must end with a Linear"]),
    (after_conv(nn.AdaptiveAvgPool2d(2), nn.Flatten()), ["a pooling to one pixel may come last"]),
    (nn.Sequential(nn.Conv2d(2, 6, 3), *head()), ["1: it is given the potentials of '0'"]),
    (nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.ReLU(), nn.MaxPool2d(2)),
     ["3: it is given samples of shape (4,)"]),
    (nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)),
     ["its 1-D layers are given samples (2, 8, 8)", "they take (channels, length)"]),
]  # fmt: skip


@pytest.mark.parametrize(("model", "parts"), UNSUPPORTED)
def test_unsupported_models_are_refused_with_every_reason(model, parts):
    with pytest.raises(UnsupportedModelError) as caught:
        sl.convert(model, torch.rand(10, 2, 8, 8), integers=True)
    for part in parts:
        assert part in str(caught.value)


def test_negative_weights_between_pool_and_activation_are_refused():
    model = settled(MODELS["pool before batch norm"]())
    with torch.no_grad():
        model[2].weight[0] *= -1
    with pytest.raises(
        UnsupportedModelError, match="2: it follows a max pooling without activation"
    ):
        sl.convert(model, images(), integers=True)


def test_a_wide_depthwise_convolution_takes_no_skip():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.head = nn.Conv2d(400, 400, 3, padding=1, groups=400), nn.Linear(400, 2)

        def forward(self, x):
            return self.head(torch.relu(self.a(x) + x).mean((2, 3)))

    with pytest.raises(
        UnsupportedModelError, match="a depthwise convolution with a skip are 1440000"
    ):
        sl.convert(nn.Sequential(nn.Conv2d(2, 400, 1), nn.ReLU(), Block()), images(), integers=True)
