from __future__ import annotations

import numpy as np
import pytest
import spikeloom as sl
import torch
from spikeloom.conversion import Normalise
from spikeloom.conversion.fold import fold
from spikeloom.conversion.thresholds import Choice, Codes
from spikeloom.conversion.thresholds import thresholds as _thresholds
from spikeloom.conversion.trace import trace
from spikeloom.errors import InputError, UnsupportedModelError
from torch import nn


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def settled(model: nn.Module, shape=(12,)) -> nn.Module:
    """Give the batch norms statistics and parameters that are not trivial."""
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d) and m.affine:
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.uniform_(m.bias, -0.5, 0.5)
    model.train()
    for _ in range(20):
        model(torch.rand(64, *shape))
    return model.eval()


def folded(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return fold(trace(model), x.shape[1:])(x)


class Functional(nn.Module):
    """Straight-line forward with functional calls and methods."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.drop = nn.Linear(12, 9), nn.Linear(9, 4), nn.Dropout()

    def forward(self, x):
        x = torch.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc2(nn.functional.dropout(self.drop(x), training=self.training).relu())


MODELS = {
    "one layer": lambda: nn.Linear(12, 4),
    "plain": lambda: nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4)),
    "no bias": lambda: nn.Sequential(
        nn.Linear(12, 9, bias=False), nn.ReLU(), nn.Linear(9, 4, bias=False)
    ),
    "batch norm everywhere": lambda: nn.Sequential(
        nn.BatchNorm1d(12), nn.Linear(12, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.BatchNorm1d(9),
        nn.Dropout(), nn.Linear(9, 4), nn.BatchNorm1d(4, affine=False),
    ),
    "linears in a row": lambda: nn.Sequential(
        nn.Linear(12, 20), nn.Dropout(), nn.Linear(20, 9), nn.ReLU(), nn.ReLU(), nn.Linear(9, 4)
    ),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Identity(), nn.Flatten()),
        nn.Sequential(nn.Sequential(nn.Linear(12, 9), nn.BatchNorm1d(9)), nn.ReLU()),
        nn.Linear(9, 4),
    ),
    "functional": Functional,
    "normalised": lambda: nn.Sequential(
        Normalise(0.3, 0.2), nn.Flatten(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_folding_keeps_the_function(name):
    model = settled(MODELS[name]())
    x = torch.rand(50, 12)
    with torch.no_grad():
        exact = model.double()(x.double())
    torch.testing.assert_close(folded(model, x), exact, rtol=1e-12, atol=1e-12)


def test_normalisation_per_channel_folds_before_flatten():
    model = nn.Sequential(
        Normalise(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 1.0, 2.0])),
        nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2),
    ).eval()  # fmt: skip
    x = torch.rand(10, 3, 2, 2)
    with torch.no_grad():
        exact = model.double()(x.double())
    torch.testing.assert_close(folded(model, x), exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_converted_models_stay_close_and_unchanged(name):
    model = settled(MODELS[name]())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()  # conversion must not care, and must not leave the mode changed
    x = torch.rand(400, 12)
    snn = sl.convert(model, x, steps=8)
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    model.eval()
    with torch.no_grad():
        y, exact = snn(x), model(x)
    assert float((y - exact).std() / exact.std()) < 0.02


def test_more_steps_err_less():
    model = settled(MODELS["plain"]())
    x = torch.rand(500, 12)
    errors = [sl.convert(model, x, steps=t).report()[1].error for t in range(1, 9)]
    assert errors == sorted(errors, reverse=True)
    assert errors[7] < 0.01 < errors[0]


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_threshold_is_the_best_of_those_tried(granularity):
    g = torch.Generator().manual_seed(0)
    v = torch.randn(300, 4, generator=g, dtype=torch.float64) * torch.tensor([1, 2, 5, 0.1])
    target = v.clamp(min=0)

    def error(theta):
        words = torch.floor(v / theta + 0.5).clamp(0, 7)
        return (words * theta - target).square().sum(0)

    best = _thresholds(v, target, Codes(0, 7), Choice(granularity, "mse"))
    for clip in (0.3, 0.5, 0.8, 1.0, 1.2):
        peak = target.amax(0) if granularity == "channel" else target.max().expand(4)
        other = error(clip * peak / 7)
        if granularity == "channel":
            assert (error(best) <= other * (1 + 1e-9)).all()
        else:
            assert float(error(best).sum()) <= float(other.sum()) * (1 + 1e-9)
    assert (granularity == "tensor") == bool((best == best[0]).all())
    most = _thresholds(v, target, Codes(0, 7), Choice("channel", "max"))
    assert torch.equal(most, target.amax(0) / 7)


def test_bias_correction_keeps_the_mean():
    model = settled(MODELS["plain"]())
    x = torch.rand(500, 12)
    with torch.no_grad():
        exact = model(x).mean(0)
        on = sl.convert(model, x, steps=2)(x).mean(0)
        off = sl.convert(model, x, steps=2, bias_correction=False)(x).mean(0)
    torch.testing.assert_close(on, exact, rtol=1e-4, atol=1e-4)
    assert float((off - exact).abs().max()) > 1e-3


@pytest.mark.parametrize("bias_correction", [True, False])
@pytest.mark.parametrize("steps", [2, 8])
def test_dead_and_constant_channels_are_pruned_without_a_trace(steps, bias_correction):
    model = nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    first, second = model[0], model[2]
    with torch.no_grad():
        first.bias[1] = -100  # never fires
        first.weight[2], first.bias[2] = 0, 0.7  # always the same
        first.weight[3], first.bias[3] = 0, -0.7  # always zero
        second.weight[:, [0, 4, 5]] = second.weight[:, [0, 4, 5]].abs()
        second.weight[4] = 0  # fed by pruned and constant channels only
        second.weight[4, 2] = 1.5
    x = torch.rand(500, 12)
    snn = sl.convert(model, x, steps=steps, bias_correction=bias_correction)
    report = snn.report()
    assert set(report[1].pruned) >= {1, 2, 3}
    assert 4 in report[2].pruned
    with torch.no_grad():
        y, exact = snn(x), model(x)
    tolerance = 0.03 if steps == 8 else 0.3
    torch.testing.assert_close(y, exact, rtol=tolerance, atol=tolerance)
    net = sl.lower(snn)
    images = (x * 255).round().to(torch.uint8)
    words = net.trace(images)[0].words
    assert words is not None
    assert not words[:, [1, 2, 3]].any()
    op = net.layers[0]
    assert op.threshold is not None
    for c in (1, 2, 3):
        assert (op.weight[c].any(), int(op.threshold[c]), int(op.bias[c])) == (False, 1, -1)
    twin = torch.from_numpy(net.run(images) * net.layers[-1].logit_scale)  # type: ignore
    torch.testing.assert_close(twin, exact.double(), rtol=2 * tolerance, atol=2 * tolerance)


def test_report_describes_every_edge():
    snn = sl.convert(settled(MODELS["plain"]()), torch.rand(100, 12), steps=3, input_bits=5)
    report = snn.report()
    assert [(e.name, e.steps, e.granularity) for e in report] == [
        ("input", 5, "tensor"),
        ("0", 3, "channel"),
    ]
    assert report[1].thresholds.shape == (9,)
    assert 0 < report[1].error < 0.2
    assert 0 < report[1].rate < 1
    lines = str(report).splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["edge", "T", "scale", "threshold", "error", "rate", "pruned"]


@pytest.mark.parametrize("bits", range(1, 9))
def test_float_input_words_equal_the_integer_ones(bits):
    """uint8, the same as floats, and the formula of the integer network: one set of words."""
    encode = sl.convert(nn.Linear(3, 2), torch.rand(5, 3), input_bits=bits).encode
    x = torch.arange(256, dtype=torch.uint8)
    top = 2**bits - 1
    expected = [(2 * k * top + 255) // 510 for k in range(256)]
    assert torch.round(encode(x) * top).tolist() == expected
    assert torch.round(encode(x.float() / 255) * top).tolist() == expected


def test_spiking_network_fine_tunes():
    snn = sl.convert(settled(MODELS["plain"]()), torch.rand(100, 12))
    snn(torch.rand(8, 12)).sum().backward()
    grads = {name for name, p in snn.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"layers.0.linear.weight", "layers.1.linear.weight"} <= grads


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x + y


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(12, 12), nn.Linear(12, 12)

    def forward(self, x):
        return torch.relu(self.b(torch.relu(self.a(x))) + self.a(x))


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        (
            nn.Sequential(nn.Linear(12, 4), nn.GELU(), nn.Sequential(nn.Tanh()), nn.Softmax(1)),
            ["3 problem(s)", "1: GELU", "train with nn.ReLU", "2.0: Tanh", "3: Softmax", "drop it"],
        ),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2)),
         ["0: it is given samples of shape (12,)", "images (channels, height, width)"]),
        (nn.Sequential(nn.Linear(12, 4), nn.ReLU()), ["must end with a Linear"]),
        (nn.Sequential(Normalise(0.5, 1.0), nn.ReLU(), nn.Linear(12, 2)), ["needs a Linear"]),
        (nn.Sequential(nn.BatchNorm1d(12, track_running_stats=False), nn.Linear(12, 2)),
         ["0: it normalises by each batch", "track_running_stats=True"]),
        (nn.Sequential(nn.Flatten(0), nn.Linear(12, 2)), ["0: it keeps some axes"]),
        (nn.Sequential(nn.Linear(13, 2)), ["takes 13 inputs, it is given 12"]),
        (Skip(), ["a residual sum of Linear layers has no spiking form"]),
        (Branches(), ["cannot be followed", "no branches on data"]),
        (TwoInputs(), ["y: a second input"]),
        (nn.Sequential(), ["must end with a Linear"]),
        ("a cat", ["expected a torch.nn.Module, not str"]),
    ],
)  # fmt: skip
def test_unsupported_models_are_refused_with_every_reason(model, parts):
    with pytest.raises(UnsupportedModelError) as caught:
        sl.convert(model, torch.rand(10, 12), integers=True)
    for part in parts:
        assert part in str(caught.value)


def test_nan_weights_are_refused():
    model = nn.Linear(12, 2)
    with torch.no_grad():
        model.weight[0, 0] = torch.nan
    with pytest.raises(UnsupportedModelError, match="NaN"):
        sl.convert(model, torch.rand(10, 12))


def test_linear_on_unflattened_images_is_refused():
    with pytest.raises(UnsupportedModelError, match=r"put nn.Flatten\(\) before"):
        sl.convert(nn.Linear(4, 2), torch.rand(10, 3, 4), integers=True)


@pytest.mark.parametrize(
    ("calibration", "match"),
    [
        (torch.rand(10, 12) * 2, r"allowed are 0\.\.1"),
        (torch.rand(10, 12) - 0.5, r"allowed are 0\.\.1"),
        (torch.full((10, 12), torch.nan), "^calibration holds NaN or infinite values$"),
        (torch.zeros(10, 12, dtype=torch.int64), "images are torch.int64"),
        (torch.rand(12), r"calibration must be \(n, \*sample shape\)"),
        (torch.rand(10, 12, device="meta"), "calibration is on meta, the model on cpu: move one"),
        (torch.ones(10, 12, dtype=torch.complex64), "calibration is torch.complex64: use floats"),
        (None, "calibration is NoneType: give some hundred samples"),
        ([], "calibration is list: give some hundred samples"),
        (torch.rand(0, 12), "n > 0"),
    ],
)
def test_wrong_calibration_is_refused(calibration, match):
    with pytest.raises(InputError, match=match) as refused:
        sl.convert(nn.Linear(12, 2), calibration, integers=True)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("recipe", [sl.Classification(), sl.RateCoding()])
def test_a_network_that_never_fires_is_refused(recipe):
    model = nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        model[0].bias.fill_(-100)
        model[2].bias.fill_(-1)
    text = (
        "Sequential: activations of 0, 2 are never positive on the calibration data, and the output"
        " never changes: train it, or calibrate on data like that it was trained on"
    )
    with pytest.raises(UnsupportedModelError, match=f"^{text}$"):
        sl.convert(model, torch.rand(10, 12), recipe=recipe)


def test_a_branch_that_never_fires_is_no_reason_to_refuse():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1)
            self.out = nn.Linear(8, 2)
            with torch.no_grad():
                self.b.bias.fill_(-100)
                self.a.weight.abs_()
                self.a.bias.zero_()

        def forward(self, x):
            x = torch.relu(self.a(x))
            return self.out((torch.relu(self.b(x)) + x).flatten(1))

    snn = sl.convert(Branch(), torch.rand(50, 1, 2, 2), integers=True)
    assert next(e for e in snn.report() if e.name == "b").pruned == (0, 1)


@pytest.mark.parametrize(
    "arguments",
    [{"steps": 0}, {"steps": 9}, {"steps": 4.0}, {"input_bits": 0}, {"rule": "best"},
     {"granularity": "row"}],
)  # fmt: skip
def test_wrong_options_are_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        sl.convert(nn.Linear(12, 2), torch.rand(10, 12), **arguments)


def test_spiking_network_checks_its_input():
    snn = sl.convert(nn.Linear(12, 2), torch.rand(10, 12))
    with pytest.raises(InputError, match=r"the network takes \(n, 12\)"):
        snn(torch.rand(3, 13))
    with pytest.raises(InputError, match=r"allowed are 0\.\.1"):
        snn(torch.full((1, 12), 7.0))


def test_calibration_may_be_numpy_bytes():
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 4), dtype=np.uint8)
    model = nn.Sequential(nn.Flatten(), *settled(MODELS["plain"]()))
    a = sl.convert(model, images)
    b = sl.convert(model, images.astype(np.float32) / 255)
    assert torch.equal(a(torch.from_numpy(images)), b(torch.from_numpy(images)))
    assert a.sample_shape == (3, 4)


@pytest.mark.parametrize("arguments", [(0.0, 0.0), (0.0, -1.0), (torch.zeros(2, 2), 1.0)])
def test_normalise_checks_its_parameters(arguments):
    with pytest.raises(ValueError, match="must be"):
        Normalise(*arguments)
