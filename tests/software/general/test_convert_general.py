"""Where neurons are placed, what they hold, and what convert does with models without integers."""

from __future__ import annotations

import numpy as np
import pytest
import spikeloom as sl
import torch
from spikeloom.conversion import GeneralSpikingNetwork, Normalise, SpikingNetwork, convert_general
from spikeloom.conversion.general.inputs import RangeWords, span_of
from spikeloom.conversion.general.plan import Firing
from spikeloom.conversion.general.search import gather, search
from spikeloom.conversion.general.weights import input_scale, round_weights
from spikeloom.conversion.thresholds import Choice
from spikeloom.errors import InputError, UnsupportedModelError
from spikeloom.neuron import SpikePack
from spikeloom.signed import SignedSpikePack
from torch import nn
from torch.nn import functional


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def edges(snn):
    return {e.name: (e.form, e.bits) for e in snn.report()}


def images(n=64, channels=3, size=8):
    return torch.rand(n, channels, size, size)


class Bottleneck(nn.Module):
    """Everything that the placement of neurons tells apart."""

    def __init__(self):
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6()
        self.narrow, self.wide = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.silu, self.norm = nn.SiLU(), nn.BatchNorm2d(16)
        self.mix, self.head = nn.Conv2d(16, 6, 1), nn.Linear(6, 3)

    def forward(self, x):
        x = self.act(self.stem(x))
        y = self.narrow(x)  # a linear bottleneck
        z = self.silu(self.wide(y))
        x = functional.max_pool2d(torch.cat([x, z], 1), 2)
        x = torch.relu(self.mix(self.norm(x)))
        return torch.sigmoid(self.head(functional.avg_pool2d(x, 4).flatten(1)))


@pytest.fixture(scope="module")
def bottleneck():
    torch.manual_seed(1)
    model = Bottleneck().eval()
    return model, convert_general(model, images(), 5)


def test_neurons_stand_behind_what_made_real_values(bottleneck):
    _, snn = bottleneck
    assert edges(snn) == {
        "x": ("input words", 8),
        "stem": ("potentials", 0),
        "act": ("words", 5),
        "narrow": ("signed words", 5),
        "wide": ("potentials", 0),
        "silu": ("signed words", 5),
        "cat": ("signed words", 5),
        "max_pool2d": ("signed words", 5),
        "norm": ("signed words", 5),
        "mix": ("potentials", 0),
        "relu": ("words", 5),
        "avg_pool2d": ("wide words", 9),
        "flatten": ("words", 9),
        "head": ("potentials", 0),
        "sigmoid": ("float", 0),
    }
    assert [e.name for e in snn.report() if e.enters_weights] == [
        "x", "act", "narrow", "norm", "flatten",
    ]  # fmt: skip
    # a bound from above caps the threshold
    theta = next(e for e in snn.report() if e.name == "act").thresholds
    assert (theta <= 6 / 31 + 1e-9).all()


def test_every_weight_reads_words(bottleneck):
    """Values that enter weights are whole numbers of thresholds, undone one affine map at most."""
    _, snn = bottleneck
    seen, hooks = {}, []
    for name, module in snn.body.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            hooks.append(
                module.register_forward_pre_hook(lambda m, x, name=name: seen.update({name: x[0]}))
            )
    snn(images(4))
    for hook in hooks:
        hook.remove()
    spikes = dict(snn.body.spikes.named_children())
    for layer, spike in (("wide", "narrow"), ("narrow", "act"), ("head", "relu")):
        theta = spikes[spike].threshold.view(1, -1, *[1] * (seen[layer].ndim - 2))
        taps = 16 if layer == "head" else 1
        words = seen[layer].detach() * taps / theta
        torch.testing.assert_close(words, words.round(), rtol=0, atol=2e-3)
        assert float(words.abs().max()) <= 31 * taps
    assert isinstance(spikes["narrow"], SignedSpikePack)
    assert type(spikes["act"]) is SpikePack


def test_attention_and_norms_are_said_to_be_float():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.fc = nn.LayerNorm(6), nn.Linear(6, 6)
            self.attend = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x):
            y = self.norm(x)
            return self.fc(x + self.attend(y, y, y)[0])

    snn = convert_general(Model(), torch.randn(40, 5, 6))
    said = edges(snn)
    floats = {e.operation for e in snn.report().floats}
    assert floats >= {"softmax", "matmul"}
    assert said["norm"] == ("signed words", 4)
    assert said["attend.out_proj"] == ("potentials", 0)
    assert [f for _, f in said.items()].count(("signed words", 4)) >= 3
    assert "softmax" in str(snn.report())


def test_heads_of_attention_fire_where_they_are_channels_again():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.out, self.other = nn.Linear(6, 18), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):
            q, k, v = self.mix(x).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4).unbind(0)
            y = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            z = (q @ k.transpose(-2, -1)).softmax(-1) @ v
            return self.out(y), self.other(z.permute(0, 2, 1, 3).reshape(x.shape)), z

    model = Model()
    with torch.no_grad():
        model.mix.weight[12:] *= torch.tensor([1, 2, 4, 8, 16, 32.0])[:, None]
    snn = convert_general(model, torch.randn(40, 5, 6))
    fired = {e.name: e for e in snn.report() if e.granularity}
    assert set(fired) == {"x", "flatten", "reshape"}
    for name in ("flatten", "reshape"):
        assert (fired[name].granularity, fired[name].form) == ("channel", "signed words")
        theta = fired[name].thresholds
        assert theta.shape == (6,)
        assert theta[5] > 8 * theta[0]
    assert next(e for e in snn.report() if e.name == "transpose").form == "float"


def test_sentences_may_be_of_another_length():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.fc = nn.Embedding(30, 6), nn.Linear(6, 6)
            self.places = nn.Parameter(torch.randn(12, 6))

        def forward(self, ids, mask):
            x = self.fc(self.words(ids) + self.places[: ids.shape[1]])
            return x.masked_fill((mask == 0)[..., None], 0.0).sum(1)

    model, ids = Model().eval(), torch.randint(0, 30, (60, 7))
    snn = convert_general(model, (ids, torch.ones_like(ids)), 12)
    said = edges(snn)
    assert (said["ids"], said["add"]) == (("indices", 0), ("signed words", 12))
    longer, mask = torch.randint(0, 30, (5, 11)), torch.ones(5, 11, dtype=torch.int64)
    mask[:, 6:] = 0
    with torch.no_grad():
        torch.testing.assert_close(snn(longer, mask), model(longer, mask), rtol=0.01, atol=0.02)
    with pytest.raises(InputError, match="has shape"):
        snn(longer[0], mask[0])


def test_outputs_are_not_rounded():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):
            x = torch.tanh(self.a(x))
            return x, self.b(x)

    snn = convert_general(Model(), torch.rand(50, 6), 2)
    first, _ = snn(torch.rand(30, 6))
    assert len(first.unique()) > 100


def test_two_calls_of_a_module_have_thresholds_of_their_own():
    act, layer = nn.ReLU6(), nn.Linear(6, 6)
    snn = convert_general(
        nn.Sequential(layer, act, nn.Linear(6, 6), act, nn.Linear(6, 2)), torch.rand(50, 6)
    )
    first, second = snn.body.spikes["1"], snn.body.spikes["1_call_2_"]
    assert not torch.equal(first.threshold, second.threshold)
    assert {e.name for e in snn.report()} >= {"1", "1 (call 2)"}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_threshold_is_the_best_of_those_tried(signed, granularity):
    v = torch.randn(20000, 4, dtype=torch.float64) * torch.tensor([1.0, 2.0, 5.0, 0.1])
    target = v if signed else v.clamp(min=0)
    firing = Firing(3, signed, 1)
    g = gather([(v, target)], firing)

    def error(theta):
        return (firing.codes(v, theta) * theta - target).square().sum(0)

    best = search(g, firing, Choice(granularity, "mse"))
    assert (granularity == "tensor") == bool((best == best[0]).all())
    for clip in (0.3, 0.5, 0.8, 1.0, 1.2):
        peak = g.peak if granularity == "channel" else g.peak.max().expand(4)
        other = error(clip * peak / firing.codes.size)
        if granularity == "channel":
            assert (error(best) <= other * (1 + 1e-9)).all()
        else:
            assert float(error(best).sum()) <= float(other.sum()) * (1 + 1e-9)
    most = search(g, firing, Choice("channel", "max"))
    low, high = (-4, 3) if signed else (0, 7)
    assert torch.allclose(
        torch.maximum(target.amax(0) / high, (target.amin(0) / low).abs())
        if signed
        else target.amax(0) / high,
        most,
    )
    cut = search(g, firing, Choice("channel", "percentile"))
    assert (cut <= most).all()
    assert (cut < most).any()
    floored = search(g, firing, Choice("floor", "max"))
    assert torch.equal(floored, most.clamp(min=float(most.max()) / 8))
    assert (floored > most).any()
    capped = Firing(3, signed, 1, cap=0.7)
    assert float(search(g, capped, Choice("channel", "max")).max()) == pytest.approx(0.7 / high)


def test_words_of_the_input_span_the_data():
    byte = torch.arange(256.0)
    assert torch.equal(RangeWords(8, *span_of([byte / 255])).pack(byte / 255), byte.long())
    assert torch.equal(RangeWords(8, *span_of([byte])).pack(byte), byte.long())
    # pixels that were normalised a channel fall on their words
    pixels = torch.randint(0, 256, (8, 2, 16, 16)).float()
    pixels[0, :, 0, 0], pixels[0, :, 0, 1] = 0, 255
    mean, std = torch.tensor([120.0, 100.0]), torch.tensor([58.0, 61.0])
    x = (pixels - mean.view(1, 2, 1, 1)) / std.view(1, 2, 1, 1)
    words = RangeWords(8, *span_of([x]))
    assert torch.equal(words.pack(x), pixels.long())
    torch.testing.assert_close(words(x), x)
    assert span_of([torch.zeros(3, 2)])[1] > 0


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(12, 5),
        nn.Conv2d(12, 8, 3, groups=4),
        nn.Conv1d(12, 5, 2),
        nn.ConvTranspose2d(12, 8, 3, groups=4),
    ],
)
def test_weights_are_rounded_row_by_row_with_folded_scales(layer):
    """Rows of weight times scale are whole codes of one step, also where groups share rows."""
    scale = torch.rand(12) + 0.1
    rounded = round_weights(layer, 4, scale)
    assert rounded.shape == layer.weight.shape
    transposed = isinstance(layer, nn.ConvTranspose2d)
    groups = getattr(layer, "groups", 1)
    for out in range(8 if groups > 1 else 5):
        group = out * groups // 8
        inputs = range(12) if groups == 1 else range(3 * group, 3 * group + 3)
        row = torch.cat([
            (rounded[i, out % 2] if transposed else rounded[out, i - inputs[0]]).reshape(-1)
            * scale[i] for i in inputs
        ])  # fmt: skip
        steps = row / row.abs().max()
        best = min(float((steps * k - (steps * k).round()).abs().max()) for k in range(1, 8))
        assert best < 1e-5
    fine = round_weights(layer, 8, scale)
    error = ((fine - layer.weight).norm() / layer.weight.norm()).detach()
    assert 0 < float(error) < 0.02
    # a scale that differs between positions cannot be folded
    shape = (1, 12) if isinstance(layer, nn.Linear) else (1, 12, 4, 4)[: layer.weight.ndim]
    uneven = torch.rand(shape) + 0.5
    assert input_scale(layer, torch.ones(shape)) is not None
    if uneven.ndim > 2:
        assert input_scale(layer, uneven) is None


def test_rounded_weights_move_the_outputs_a_little(bottleneck):
    model, _ = bottleneck
    x = images(100)
    with torch.no_grad():
        exact = torch.logit(model(x))
        off = {}
        for bits in (None, 8, 4, 2):
            y = torch.logit(convert_general(model, images(), 8, weight_bits=bits)(x))
            off[bits] = float((y - exact).norm() / exact.norm())
    assert off[None] < off[4] < off[2]
    assert off[8] < 0.02


def test_bias_correction_keeps_the_mean():
    model = nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 3, bias=False))
    x = torch.randn(200, 6)
    with torch.no_grad():
        exact = model(x).mean(0)
        on = convert_general(model, x, 3)(x).mean(0)
        off = convert_general(model, x, 3, bias_correction=False)(x).mean(0)
    torch.testing.assert_close(on, exact, rtol=1e-3, atol=1e-4)
    assert float((off - exact).abs().max()) > 1e-3


def test_auto_takes_whichever_hurts_less():
    """A tiny channel with large weights cannot share the threshold of the others."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU6(), nn.Linear(8, 3))
    with torch.no_grad():
        model[0].weight[0] *= 0.01
        model[0].bias[0] = 0.005
        model[2].weight[:, 0] = 100
    snn = convert_general(model, torch.randn(400, 6), 4, granularity="auto")
    assert next(e for e in snn.report() if e.name == "1").granularity == "channel"
    # rounded to few bits, rows with one huge folded column lose the others
    with torch.no_grad():
        model[0].weight[0] *= 100
        model[2].weight[:, 0] = 0.3
        model[0].weight[1] *= 40
    snn = convert_general(model, torch.randn(400, 6), 8, granularity="auto", weight_bits=3)
    assert next(e for e in snn.report() if e.name == "1").granularity in ("tensor", "floor")


def test_many_steps_go_to_the_original(bottleneck):
    model, _ = bottleneck
    x = images()
    with torch.no_grad():
        exact = model(x)
        errors = []
        for steps in (8, 12, 16):
            y = convert_general(model, x, steps, input_bits=steps, rule="max")(x)
            errors.append(float((y - exact).norm() / exact.norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 2e-5


def test_fine_tunes(bottleneck):
    model, _ = bottleneck
    snn = convert_general(model, images())
    snn(images(8)).sum().backward()
    grads = {name for name, p in snn.named_parameters() if p.grad is not None and p.grad.any()}
    assert grads >= {f"body.{name}.weight" for name in ("stem", "narrow", "wide", "mix", "head")}


def test_state_dict_round_trip(bottleneck):
    model, snn = bottleneck
    other = convert_general(model, images(40) * 0.7, 5)
    x = images(10)
    assert not torch.equal(other(x), snn(x))
    other.load_state_dict(snn.state_dict())
    assert torch.equal(other(x), snn(x))


# ------------------------------------------------------------------------------ through sl.convert


def test_convert_prefers_integers_and_says_when_there_are_none():
    plain = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    assert isinstance(sl.convert(plain, torch.rand(50, 6)), SpikingNetwork)
    smooth = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3), nn.Softmax(1))
    snn = sl.convert(smooth, torch.rand(50, 6))
    assert isinstance(snn, GeneralSpikingNetwork)
    assert [p.split(":")[0] for p in snn.integer_problems] == ["1", "3"]
    assert "not for gates: 2 reason(s)" in repr(snn)
    assert "1: GELU has no spiking form yet" in str(snn.report())
    with pytest.raises(UnsupportedModelError, match="2 problem") as refused:
        sl.convert(smooth, torch.rand(50, 6), integers=True)
    assert refused.value.problems == snn.integer_problems
    with pytest.raises(UnsupportedModelError, match="without integers for gates") as lowered:
        sl.lower(snn)
    assert all(problem in str(lowered.value) for problem in snn.integer_problems)


def test_pixels_may_be_bytes_and_without_channel():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(144, 3))
    pixels = torch.randint(0, 256, (50, 8, 8), dtype=torch.uint8)
    a = sl.convert(model, pixels)
    b = sl.convert(model, (pixels.float() / 255).unsqueeze(1))
    assert isinstance(a, GeneralSpikingNetwork)
    assert torch.equal(a(pixels), b(pixels.float().unsqueeze(1) / 255))
    c = sl.convert(model, pixels.numpy())
    assert torch.equal(a(pixels), c(pixels.unsqueeze(1)))


def test_models_in_training_mode_are_converted_at_inference():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.GELU(),
                          nn.Linear(8, 3)).train()  # fmt: skip
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.rand(60, 6)
    snn = sl.convert(model, x, 8)
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    with torch.no_grad():
        exact = model.eval()(x)
        assert float((snn.train()(x) - exact).norm() / exact.norm()) < 0.02


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(5, 3)

    def forward(self, left, right):
        return self.a(left) * self.b(right)


def test_several_inputs_by_position_and_by_name():
    left, right = torch.rand(30, 4), torch.rand(30, 5) * 9 - 4
    a = sl.convert(Two(), (left, right))
    assert isinstance(a, GeneralSpikingNetwork)
    assert "tuple" in a.integer_problems[0] or "second input" in a.integer_problems[0]
    b = convert_general(Two(), {"right": right, "left": left})
    y = b(left, right)
    assert torch.equal(b(right=right, left=left), y)
    with pytest.raises(InputError, match="takes left, right"):
        b(left)
    with pytest.raises(InputError, match=r"input 1 has shape \(30, 4\), .* on \(n, 5\)"):
        b(left, left)


@pytest.mark.parametrize(
    ("calibration", "match"),
    [
        (None, "calibration is NoneType: give some hundred samples"),
        ((), "calibration is tuple: give some"),
        (torch.rand(0, 4), "n > 0"),
        ((torch.rand(3, 4), torch.rand(4, 5)), "the same n > 0"),
        ((torch.rand(3, 4), torch.rand(3, 6)), "does not take calibration samples"),
        (torch.rand(3, 4), r"takes 2 input\(s\), calibration holds 1"),
        ({"right": torch.rand(3, 5)}, "calibration has no left"),
        ((torch.rand(3, 4), torch.full((3, 5), torch.nan)), "calibration 1 holds NaN"),
        ((torch.rand(3, 4), torch.ones(3, 5, dtype=torch.complex64)), "complex64: use floats"),
        ((torch.rand(3, 4), torch.ones(3, 5, dtype=torch.int64)), "does not take .* int64"),
        ((torch.rand(3, 4, device="meta"), torch.rand(3, 5)), "calibration is on meta, the model"),
    ],
)
def test_wrong_calibration_is_refused(calibration, match):
    with pytest.raises(InputError, match=match):
        convert_general(Two(), calibration)


def test_a_network_that_never_fires_is_refused():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU6(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].bias.fill_(-100)
    with pytest.raises(UnsupportedModelError, match="activations of 1 are never positive"):
        convert_general(model, torch.rand(20, 4))


@pytest.mark.parametrize(
    "arguments",
    [{"steps": 0}, {"steps": 17}, {"input_bits": 0}, {"granularity": "row"}, {"rule": "best"},
     {"weight_bits": 9}, {"weight_bits": 1}, {"below_zero": "twice"}],
)  # fmt: skip
def test_wrong_options_are_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        convert_general(nn.Linear(4, 2), torch.rand(10, 4), **arguments)


def test_normalisation_in_front_keeps_the_words_of_the_pixels():
    """Words are those of the pixels; what they are multiplied and shifted by folds into weights."""
    model = nn.Sequential(
        Normalise(torch.tensor([0.5, 0.4, 0.3]), 0.25), nn.Conv2d(3, 4, 3, padding=1), nn.SiLU(),
        nn.Flatten(), nn.Linear(256, 3),
    )  # fmt: skip
    x = images()
    snn = sl.convert(model, x, 2)
    assert edges(snn)["0"] == ("words", 8)
    assert next(e.error for e in snn.report() if e.name == "0") < 0.01
    assert np.isfinite(list(snn.report().output_error.values())).all()
