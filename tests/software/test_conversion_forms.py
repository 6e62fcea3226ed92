"""Forms of layers that gates have by another name: each becomes integers, and says its cost."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import spikeloom as sl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeloom.conversion import Normalise, SpikingNetwork, lowering_report
from spikeloom.conversion.fold import fold
from spikeloom.conversion.spiking import as_images
from spikeloom.conversion.trace import trace
from spikeloom.errors import InputError, UnsupportedModelError
from spikeloom.ops import Conv2d, Pad2d
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
from test_conversion_cnn import conv_bn, head, images, near, settled


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Clamps(nn.Module):
    """Bounds as calls and methods, in place and not."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.c, self.d = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = functional.relu6(self.a(x))
        x = functional.hardtanh(self.b(x), 0, 1.5)
        x = self.c(x).clamp_(0, 0.75)
        x = torch.clamp(self.d(x), min=0)
        return self.fc(x.clamp_min(0).mean((2, 3)))


class Lengths(nn.Module):
    """1-D calls: pads of both kinds, pools, and a view that flattens."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(3, 6, 4), nn.Conv1d(6, 8, 3, dilation=2)
        self.norm, self.fc = nn.BatchNorm1d(6), nn.Linear(16, 3)

    def forward(self, x):
        x = functional.relu(self.norm(self.a(functional.pad(x, (2, 1)))))
        x = functional.max_pool1d(x, 2)
        x = functional.relu6(self.b(functional.pad(x, (2, 2))))
        x = functional.avg_pool1d(x, 2)
        x = functional.adaptive_avg_pool1d(x, 2)
        return self.fc(x.reshape(x.shape[0], -1))


class Wave(nn.Module):
    """A mean and a squeeze over the axis of time."""

    def __init__(self, squeezes: bool):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv1d(3, 6, 3), nn.Conv1d(6, 6, 3), nn.Linear(6, 3)
        self.pool = nn.AdaptiveMaxPool1d(1) if squeezes else nn.Identity()
        self.squeezes = squeezes

    def forward(self, x):
        x = self.pool(torch.relu(self.b(torch.relu(self.a(x)))))
        return self.fc(x.squeeze(-1) if self.squeezes else x.mean(dim=2))


class Summed(nn.Module):
    """relu of a sum of what ``parts`` name: convolutions of two streams, and the streams."""

    def __init__(self, parts: str, act: nn.Module | None = None):
        super().__init__()
        self.x, self.y, self.z = (nn.Sequential(*conv_bn(2, 6), nn.ReLU()) for _ in range(3))
        self.c = nn.ModuleList(nn.Sequential(*conv_bn(6, 6, k)) for k in (3, 1, 3))
        self.d = nn.Sequential(*conv_bn(6, 6, 3, groups=6))
        self.n, self.act = nn.BatchNorm2d(6), act or nn.ReLU()
        self.head, self.parts = nn.Sequential(*head()), parts

    def forward(self, given):
        x, y, z = self.x(given), self.y(given), self.z(given)
        terms = {
            "0": lambda: self.c[0](x), "1": lambda: self.c[1](y), "2": lambda: self.c[2](y),
            "d": lambda: self.d(x), "x": lambda: x, "y": lambda: y, "z": lambda: z,
            "n": lambda: self.n(x),
        }  # fmt: skip
        total = terms[self.parts[0]]()
        for name in self.parts[1:]:
            total = total + terms[name]()
        return self.head(self.act(total))


class PreActivation(nn.Module):
    """A residual network whose sums are normalised and activated behind, and used twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(4))
        self.a = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1, bias=False) for _ in range(3))
        self.b = nn.ModuleList(nn.Sequential(*conv_bn(6, 6), nn.ReLU()) for _ in range(3))
        self.head = nn.Sequential(*head())

    def forward(self, x):
        x = self.stem(x)
        for norm, a, b in zip(self.norms, self.a, self.b, strict=False):
            x = x + a(b(torch.relu(norm(x))))
        return self.head(torch.relu(self.norms[3](x)))


class Arithmetic(nn.Module):
    """Numbers and tensors of the model before, between and behind layers."""

    mean: torch.Tensor
    gain: torch.Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.3, 0.5]).view(1, 2, 1, 1))
        self.gain = nn.Parameter(torch.tensor([0.5, 2.0, 1.0, 1.5]).view(4, 1, 1))
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = (x - self.mean) / 0.25
        x = torch.relu(self.a(x) * self.gain + 0.1)
        x = 1.5 - self.b(x.mul(2))
        x /= 2
        return self.fc(torch.relu(x).mean((-1, -2))) * 3


IMAGE, WAVE = (2, 8, 8), (3, 16)


def stem(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*conv_bn(2, 6), nn.ReLU(), *layers)


FORMS = {
    "ReLU6 and Hardtanh": (lambda: nn.Sequential(
        *conv_bn(2, 6), nn.ReLU6(inplace=True), *conv_bn(6, 6, groups=6), nn.Hardtanh(0, 1),
        nn.Flatten(), nn.Linear(384, 8), nn.Hardtanh(0, 2), nn.Linear(8, 3)), IMAGE),
    "clamps": (Clamps, IMAGE),
    "bound of words": (lambda: stem(nn.MaxPool2d(2), nn.Hardtanh(0, 0.5), *head()), IMAGE),
    "bound of the input": (lambda: nn.Sequential(
        nn.Hardtanh(0, 0.7), *conv_bn(2, 6), nn.ReLU(), *head()), IMAGE),
    "bound of a sum": (lambda: Summed("0x", nn.Hardtanh(0, 1.5)), IMAGE),
    "bound of a sum of words": (lambda: Summed("ny", nn.ReLU6()), IMAGE),
    "1-D": (lambda: nn.Sequential(
        Normalise(0.4, 0.3), nn.Conv1d(3, 8, 5, 2, 2), nn.BatchNorm1d(8), nn.ReLU(),
        nn.Conv1d(8, 8, 3, padding=1, groups=8), nn.BatchNorm1d(8), nn.ReLU6(), nn.MaxPool1d(2),
        nn.Conv1d(8, 6, 3, padding="same", dilation=2), nn.ReLU(), nn.AvgPool1d(2),
        nn.Dropout1d(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 3)), WAVE),
    "1-D calls": (Lengths, WAVE),
    "1-D mean": (lambda: Wave(False), WAVE),
    "1-D squeeze": (lambda: Wave(True), WAVE),
    "dilation": (lambda: nn.Sequential(
        *conv_bn(2, 6, padding=2, dilation=2), nn.ReLU(),
        *conv_bn(6, 6, groups=6, dilation=(1, 2)), nn.ReLU(), *head()), IMAGE),
    "arithmetic": (Arithmetic, IMAGE),
    "groups": (lambda: stem(
        *conv_bn(6, 4, groups=2), nn.ReLU(), *conv_bn(4, 8, groups=4, padding=0, dilation=2),
        nn.ReLU(), *head(8)), IMAGE),
    "uneven pads": (lambda: nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1)), *conv_bn(2, 6, 3, stride=2, padding=0), nn.ReLU(),
        *conv_bn(6, 6, 2, padding="same"), nn.ReLU(), *conv_bn(6, 6, 1, padding=1), nn.ReLU(),
        nn.BatchNorm2d(6, affine=False), nn.ConstantPad2d(1, 0.0), *conv_bn(6, 6, padding=0),
        nn.ReLU(), *head()), IMAGE),
    "ceil mode": (lambda: nn.Sequential(
        *conv_bn(2, 6), nn.MaxPool2d(3, 2, ceil_mode=True), nn.ReLU(), *conv_bn(6, 6), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Flatten(), nn.Linear(6, 3)), IMAGE),
    "sizes of pools": (lambda: stem(
        nn.AdaptiveMaxPool2d((4, None)), *conv_bn(6, 6), nn.AdaptiveMaxPool2d(2), nn.ReLU(),
        nn.AdaptiveAvgPool2d((None, 1)), nn.Flatten(), nn.Linear(12, 3)), IMAGE),
    "fully convolutional": (lambda: stem(
        nn.Conv2d(6, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), IMAGE),
    "pool of the logits": (lambda: stem(
        nn.Dropout(), nn.Conv2d(6, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), IMAGE),
    "pool of potentials": (lambda: stem(nn.Conv2d(6, 5, 1), *head(5)), IMAGE),
    "three convolutions": (lambda: Summed("012"), IMAGE),
    "two convolutions and words": (lambda: Summed("01x"), IMAGE),
    "two convolutions, two words": (lambda: Summed("x0y1"), IMAGE),
    "words of three": (lambda: Summed("nyz"), IMAGE),
    "depthwise with a skip": (lambda: Summed("dy"), IMAGE),
    "pre-activation": (PreActivation, IMAGE),
}  # fmt: skip


def made(name: str):
    build, shape = FORMS[name]
    torch.manual_seed(0)
    return settled(build(), shape), shape


@pytest.mark.parametrize("name", FORMS)
def test_folding_keeps_the_function(name):
    model, shape = made(name)
    x = torch.rand(20, *shape)
    with torch.no_grad():
        exact = model.double()(x.double())
    traced = trace(model)
    shape = traced.sample(shape)
    y = fold(traced, shape)(x.reshape(20, *shape))
    torch.testing.assert_close(y, exact.flatten(1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FORMS)
def test_integers_are_those_of_the_twin_and_near_the_model(name):
    model, shape = made(name)
    data, test = images(200, shape), images(60, shape, seed=1)
    with torch.no_grad():
        exact = model(as_images(torch.from_numpy(test))).flatten(1)
    for steps, weight_bits in ((8, 8), (3, 3)):
        snn = sl.convert(model, data, steps=steps, integers=True)
        net = sl.lower(snn, weight_bits, allow_few_bits=True)
        net.check_accumulators()
        logits, scale = net.run(test), net.layers[-1].logit_scale  # type: ignore[union-attr]
        twin = net.dequantised()(test)
        assert torch.round(twin / scale).to(torch.int64).tolist() == logits.tolist()
        assert twin.argmax(1).tolist() == logits.argmax(1).tolist()
        if steps == 8:
            with torch.no_grad():
                assert near(snn(torch.from_numpy(test)), exact) < 0.05
            assert near(logits * scale, exact) < 0.06


@settings(max_examples=12)
@given(st.data())
def test_twin_and_integers_at_any_width(data):
    name = data.draw(st.sampled_from(sorted(FORMS)))
    model, shape = made(name)
    steps, bits, input_bits = (data.draw(st.integers(*r)) for r in ((1, 8), (2, 8), (1, 8)))
    options = {"granularity": data.draw(st.sampled_from(["channel", "tensor"]))}
    options["average"] = data.draw(st.sampled_from(["wide", "steps"]))
    snn = sl.convert(
        model, images(40, shape), steps, input_bits=input_bits, integers=True, **options
    )
    net = sl.lower(snn, bits, allow_few_bits=True)
    test = images(20, shape, seed=2)
    logits, scale = net.run(test), net.layers[-1].logit_scale  # type: ignore[union-attr]
    assert torch.round(net.dequantised()(test) / scale).long().tolist() == logits.tolist()


def converted(*layers: nn.Module, shape=IMAGE, **how) -> tuple[SpikingNetwork, sl.Network]:
    model = settled(nn.Sequential(*layers), shape)
    snn = sl.convert(model, images(100, shape), integers=True, **how)
    assert isinstance(snn, SpikingNetwork)
    return snn, sl.lower(snn)


@pytest.mark.parametrize("rule", ["max", "mse"])
@pytest.mark.parametrize("bound", [0.25, 6.0])
def test_words_end_where_a_bound_does(rule, bound):
    layers = [*conv_bn(2, 6), nn.Hardtanh(0, bound), *head()]
    snn, net = converted(*layers, rule=rule)
    top = snn.report()[1].thresholds * 15
    assert top.max() <= bound
    # what goes beyond the bound saturates at it, to the last bit of a float; else nothing is wasted
    assert (top.max() == bound) == (bound < 1)
    fired = snn.spiking_layers[0](snn.encode(torch.from_numpy(images(50)))).detach()
    assert float(fired.max()) <= np.float32(bound)
    assert (float(fired.max()) == np.float32(bound)) == (bound < 1)
    words = net.trace(images(50))[0].words
    real = words.max((0, 2, 3)) * net.ops[0].output_scale  # type: ignore[union-attr]
    assert real.max() <= bound * (1 + 1e-6)


def test_a_bound_caps_the_threshold_that_errs_least():
    """Words of 0, 0.4, 0.8 and 1.2 would fit these activations best; a bound of 1 forbids it."""
    model = nn.Sequential(nn.Linear(1, 1), nn.Hardtanh(0, 1), nn.Linear(1, 2))
    nn.init.ones_(model[0].weight)  # type: ignore[arg-type]
    nn.init.zeros_(model[0].bias)  # type: ignore[arg-type]
    data = np.array([102, 204] * 50 + [255], dtype=np.uint8)[:, None]
    tops = []
    for act in (nn.Hardtanh(0, 1), nn.ReLU()):
        model[1] = act
        tops.append(3 * sl.convert(model, data, 2, integers=True).report()[1].thresholds.item())
    assert tops[0] == 1
    assert tops[1] > 1.1


def test_samples_of_a_length_come_without_a_width():
    snn, net = converted(nn.Conv1d(3, 4, 3), nn.ReLU(), *head(4)[1:], shape=(3, 3))
    assert snn.sample_shape == net.input_shape == (3, 3, 1)
    x = images(20, (3, 3), seed=2)
    logits = net.run(x)
    assert net.run(x[..., None]).tolist() == logits.tolist()
    assert net.run(x[0]).tolist() == logits[:1].tolist()
    short, wide = torch.from_numpy(x), torch.from_numpy(x[..., None])
    assert torch.equal(snn(short), snn(wide))
    assert net.dequantised()(x).argmax(1).tolist() == logits.argmax(1).tolist()
    with pytest.raises(InputError, match=r"the network takes \(n, 3, 3, 1\)"):
        snn(short[:, :2])
    with pytest.raises(InputError, match=r"the network takes \(n, 3, 3, 1\)"):
        net.run(x[:, :2])


def test_a_trained_model_takes_the_shape_of_a_length():
    model = nn.Sequential(nn.Conv1d(3, 4, 3), sl.SpikePack(4, 0.1), nn.Flatten(), nn.Linear(56, 2))
    net = sl.lower(sl.conversion.spiking(model.eval(), WAVE))
    assert net.input_shape == (*WAVE, 1)
    x = images(30, WAVE)
    assert (net.run(x).argmax(1) == model(as_images(torch.from_numpy(x))).argmax(1).numpy()).all()


def test_zeros_that_are_stored_are_counted():
    _, net = converted(
        nn.Conv2d(2, 4, 3, dilation=2), nn.ReLU(), nn.Conv2d(4, 6, 2, groups=2), nn.ReLU(),
        nn.Conv2d(6, 6, 2, groups=6, dilation=(1, 2)), nn.ReLU(), *head(),
    )  # fmt: skip
    # 5 x 5 of which 3 x 3 are weights; 4 in of which 2 are; 2 x 3 of which 2 x 2 are
    zeros = {report.name: report.zeros for report in lowering_report(net)}
    assert zeros == {"0": 4 * 2 * 16, "2": 6 * 2 * 4, "4": 6 * 2, "8": 0}
    for op in net.ops[:3]:
        assert isinstance(op, Conv2d)
        assert (op.weight == 0).sum() >= zeros[op.name]
    assert (
        '"zeros"' not in converted(nn.Conv2d(2, 6, 3), nn.ReLU(), *head())[1].metadata["lowering"]
    )


def test_a_frame_of_zeros_is_the_padding_of_a_convolution_where_it_can_be():
    _, net = converted(
        nn.ZeroPad2d(1), nn.Conv2d(2, 6, 3), nn.ReLU(), nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(6, 6, 3, 2), nn.ReLU(), *head(),
    )  # fmt: skip
    first, frame, second = net.ops[:3]
    assert isinstance(first, Conv2d)
    assert isinstance(frame, Pad2d)
    assert isinstance(second, Conv2d)
    assert (first.padding, frame.padding, second.padding) == ((1, 1), (0, 1, 0, 1), (0, 0))


def test_a_sum_of_three_rounds_nothing_between():
    """Every convolution has the accumulator of the one that fires; the last adds the words."""
    model, _ = made("two convolutions and words")
    net = sl.lower(sl.convert(model, images(100), integers=True))
    ops = {op.name: op for op in net.ops}
    main, side = ops["c.0.0"], ops["c.1.0"]
    assert isinstance(main, Conv2d)
    assert isinstance(side, Conv2d)
    assert (main.skip, main.skip_signed, main.skip_weight) == ("c.1.0", True, None)
    assert (side.skip, side.skip_signed, side.output_bits) == ("x.0", False, 0)
    S = main.output_scale / main.threshold
    np.testing.assert_allclose(side.skip_weight * S, ops["x.0"].output_scale, rtol=1e-12)
    assert max(report.skip_error for report in lowering_report(net)) < 1e-12


def test_a_sum_of_three_is_not_trained_as_integers():
    model, _ = made("three convolutions")
    snn = sl.convert(model, images(60), integers=True)
    data, labels = images(8), np.zeros(8, dtype=np.int64)
    with pytest.raises(UnsupportedModelError, match="c.2.0: a sum of three or more|c.1.0: a sum"):
        sl.fine_tune(snn, data, labels)


def test_few_bits_fit_sums_of_three_to_samples():
    """Fitted weights of 3 bits come nearer to the twin than rounded ones."""
    model, _ = made("two convolutions and words")
    data, test = images(200), images(100, seed=1)
    snn = sl.convert(model, data, integers=True)
    with torch.no_grad():
        exact = snn(torch.from_numpy(test))
    plain = sl.lower(snn, 3, allow_few_bits=True)
    fitted = sl.lower(snn, 3, reconstruct=data, allow_few_bits=True)
    off = [near(n.run(test) * n.layers[-1].logit_scale, exact) for n in (plain, fitted)]  # type: ignore[union-attr]
    assert off[1] < off[0]
    twin = fitted.dequantised()(test)
    assert twin.argmax(1).tolist() == fitted.run(test).argmax(1).tolist()
