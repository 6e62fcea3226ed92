"""What a conversion costs, layer by layer: figures worked out by hand, layers broken on purpose."""

import json
import warnings
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import torch
from rich.console import Console
from spikeloom.conversion import (
    GeneralSpikingNetwork,
    SpikingNetwork,
    StepsNeeded,
    convert,
    convert_general,
    diagnose,
    lower,
    lowering_report,
    steps_needed,
)
from spikeloom.conversion.outputs import Outputs
from spikeloom.errors import InputError
from spikeloom.neuron import SpikePack
from spikeloom.signed import OffsetSpikePack
from spikeloom.study.diagnosis_picture import draw_diagnosis, shortened
from spikeloom.study.diagnosis_table import cost_table, loss_table, steps_table
from torch import nn

matplotlib.use("Agg")


def hand_made() -> tuple[nn.Module, SpikingNetwork, torch.Tensor]:
    """Three inputs, two neurons of T = 2 and threshold 1, a readout that passes them on."""
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.25, 0, 0], [0, 5, 1.4375]]))
        model[2].weight.copy_(torch.eye(2))
        model[0].bias.zero_()
        model[2].bias.zero_()
    x = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1]])
    snn = convert(model, x, steps=2, bias_correction=False)
    assert isinstance(snn, SpikingNetwork)
    snn.layers[0].neuron.threshold.fill_(1.0)
    return model, snn, x


def test_figures_worked_out_by_hand():
    """ANN: (1.25, 0) (0, 5) (1.25, 5) (1.25, 1.4375); words: (1, 0) (0, 3) (1, 3) (1, 1)."""
    model, snn, x = hand_made()
    found = diagnose(model, snn, x, np.array([1, 1, 1, 1]), batch=3)
    row = found.layers[1]
    ann = 3 * 1.25**2 + 2 * 5**2 + 1.4375**2
    saturation, rounding = 2 * 2.0**2, 3 * 0.25**2 + 0.4375**2
    assert (row.name, row.bits, row.neurons, row.thresholds) == ("0", 2, 2, (1.0, 1.0))
    assert row.saturated == 2 / 8
    assert row.saturation == (saturation / ann) ** 0.5
    assert row.rounding == (rounding / ann) ** 0.5
    assert row.error == ((saturation + rounding) / ann) ** 0.5  # nothing came from the input
    assert row.own == pytest.approx(row.error, rel=1e-15)
    assert row.cosine == (3 * 1.25 + 2 * 15 + 1.4375) / (ann * (3 + 2 * 9 + 1)) ** 0.5
    assert row.spikes == (4 * 1 + 2 * 2) / 8
    assert row.silent == 2 / 8
    # in float, less what keeps the channels' means: (0.25 x 3) / 4, and (2 + 2 + 0.4375) / 4
    means = 4 * (0.75 / 4) ** 2 + 4 * (4.4375 / 4) ** 2
    assert row.contribution == 1 - means / (saturation + rounding)
    assert row.pruned == 0
    assert row.lowered is None
    # the words of the last sample tie, and the lower class wins; it does so with the means, too
    outputs = found.outputs
    assert (outputs.samples, outputs.agreement, outputs.accuracy) == (4, 3 / 4, 2 / 4)
    assert outputs.ann_accuracy == 3 / 4
    assert row.decisions == 0
    assert outputs.error == ((saturation + rounding) / ann) ** 0.5
    given = found.layers[0]
    assert (given.name, given.bits, given.neurons) == ("input", 8, 3)
    assert (given.error, given.saturated, given.contribution) == (0, 0, 0)
    assert given.cosine == pytest.approx(1, rel=1e-15)
    assert given.spikes == 6 * 8 / 12  # six words of 255
    assert given.silent == 6 / 12


def test_half_a_step_above_the_range_is_rounding():
    """3.4375 is still the word 3, and 3.5 would be 4."""
    model, snn, x = hand_made()
    for weight, beyond in ((3.4375, 0), (3.5, 2)):
        with torch.no_grad():
            model[0].weight[1, 1] = weight
        row = diagnose(model, snn, x).layers[1]
        assert row.saturated == beyond / 8
        assert (row.saturation > 0) == bool(beyond)


def test_a_pruned_channel_gives_zero():
    model, snn, x = hand_made()
    layer = snn.layers[0]
    layer.alive[1] = False
    with torch.no_grad():
        layer.linear.weight[1] = 0
        layer.linear.bias[1] = -1
    layer.neuron.threshold[0] = 0.5
    row = diagnose(model, snn, x).layers[1]
    ann = 3 * 1.25**2 + 2 * 5**2 + 1.4375**2
    # 1.25 is 2.5 thresholds, which rounds up to 3, the greatest word
    assert row.rounding == ((3 * 0.25**2 + 2 * 5**2 + 1.4375**2) / ann) ** 0.5
    assert (row.saturated, row.saturation, row.pruned) == (0, 0, 1)
    assert row.thresholds == (0.5, 0.5)
    assert row.silent == 5 / 8


class Small(nn.Module):
    """Four convolutions and a head: integers. Smooth: SiLU instead, which has none."""

    def __init__(self, smooth: bool) -> None:
        super().__init__()
        act = nn.SiLU if smooth else nn.ReLU
        self.body = nn.Sequential()
        for k in range(4):
            self.body.add_module(f"conv{k}", nn.Conv2d(1 if k == 0 else 6, 6, 3, padding=1))
            self.body.add_module(f"act{k}", act())
        self.head = nn.Linear(6 * 36, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(self.body(x), 1))


def small(smooth: bool) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(3)
    model = Small(smooth).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data *= 2
    return model, torch.rand(80, 1, 6, 6)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("broken", range(4))
def test_a_broken_layer_is_named(broken, smooth):
    """Its threshold is so high that nearly nothing is left."""
    model, x = small(smooth)
    snn = convert(model, x[:40], steps=6)
    assert isinstance(snn, GeneralSpikingNetwork if smooth else SpikingNetwork)
    whole = diagnose(model, snn, x[40:])
    name = [row.name for row in whole.layers][1 + broken]
    neuron = (
        [m for m in snn.body.modules() if isinstance(m, SpikePack)][broken]
        if isinstance(snn, GeneralSpikingNetwork)
        else snn.spiking_layers[broken].neuron
    )
    neuron.threshold *= 40
    found = diagnose(model, snn, x[40:])
    row = max(found.layers, key=lambda r: r.contribution)
    assert row.name == name
    # not 1: it was broken after the biases behind it were corrected for what it gave
    assert row.contribution > max(0.6, *(r.contribution for r in whole.layers))
    assert row.decisions is not None
    assert row.decisions > 0.05
    assert max(found.layers, key=lambda r: r.rounding).name == name
    for before, after in zip(whole.layers[: 1 + broken], found.layers, strict=False):
        assert after.error == before.error  # what lies in front of it is as it was


@pytest.mark.parametrize("general", [False, True])
def test_errors_are_those_that_calibration_saw(general):
    """On the calibration samples both measure the same, by different code."""
    model, x = small(False)
    snn = convert_general(model, x, steps=3) if general else convert(model, x, steps=3)
    rows = {row.name: row for row in diagnose(model, snn, x).layers}
    edges = [e for e in snn.report() if len(e.thresholds)]
    assert list(rows) == [e.name for e in edges]
    for edge in edges:
        row = rows[edge.name]
        assert row.error == pytest.approx(edge.error, rel=1e-3)
        assert 1 - row.silent == pytest.approx(edge.rate, rel=1e-6)
        assert row.bits == edge.steps
        assert row.thresholds[1] == pytest.approx(float(edge.thresholds.max()), rel=1e-6)


def test_signed_words_are_counted_in_twos_complement():
    """T = 2: values -2 -1 0 1 are 10 11 00 01; what lies beyond either end saturates."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.LeakyReLU(0.5), nn.Linear(1, 2))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    x = torch.tensor([-8.0, -4, -2, 0, 1, 2]).view(-1, 1)
    snn = convert_general(model.eval(), x, steps=2, input_bits=8)
    neuron = next(m for m in snn.body.modules() if isinstance(m, SpikePack))
    neuron.threshold.fill_(1.0)
    row = diagnose(model, snn, x).layers[1]
    assert row.saturated == 2 / 6  # -4 and 2; -2, -1, 0 and 1 are words
    assert row.spikes == (1 + 1 + 2 + 0 + 1 + 1) / 6
    assert row.silent == 1 / 6
    assert row.saturation == (5 / 26) ** 0.5  # of 16 + 4 + 1 + 1 + 4
    assert row.rounding == 0


def test_words_with_a_zero_point_are_counted_from_it():
    """T = 2, zero point 1: values -1 0 1 2 are 00 01 10 11; what lies beyond saturates."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.LeakyReLU(0.5), nn.Linear(1, 2))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    x = torch.tensor([-8.0, -2, 0, 1, 2, 4]).view(-1, 1)
    snn = convert_general(model.eval(), x, steps=2, input_bits=8, below_zero="offset")
    neuron = next(m for m in snn.body.modules() if isinstance(m, OffsetSpikePack))
    neuron.threshold.fill_(1.0)
    neuron.zero.fill_(1)
    row = diagnose(model, snn, x).layers[1]
    assert row.saturated == 2 / 6  # -4 and 4; -1, 0, 1 and 2 are words
    assert row.spikes == (0 + 0 + 1 + 1 + 2 + 2) / 6
    assert row.silent == 2 / 6
    assert row.saturation == (13 / 38) ** 0.5  # 9 + 4 of 16 + 1 + 1 + 4 + 16
    assert row.rounding == 0


def test_what_lowering_did_goes_with_its_layer():
    model, x = small(False)
    snn = convert(model, x, steps=4)
    net = lower(snn, weight_bits=4)
    entries = json.loads(net.metadata["lowering"])
    entries[0]["pruned"] += 2  # lowering may prune more than calibration did
    net.metadata["lowering"] = json.dumps(entries)
    found = diagnose(model, snn, x, network=net)
    reports = {r.name: r for r in lowering_report(net)}
    assert [r.name for r in found.others] == ["head"]
    for row in found.layers[1:]:
        assert row.lowered == reports[row.name]
        assert row.pruned == reports[row.name].pruned
    assert found.layers[1].pruned == diagnose(model, snn, x).layers[1].pruned + 2
    text = str(found)
    for row in found.layers[1:]:
        line = [r for r in text.splitlines() if r.startswith(f" {row.name} ")]
        assert len(line) == 2
        assert line[1].split()[-2:] == [
            str(reports[row.name].clipped),
            str(reports[row.name].accumulator_bits),
        ]


def test_networks_are_left_as_they_are():
    model, x = small(False)
    snn = convert(model, x, steps=2)
    before = [m(x) for m in (model, snn)]
    diagnose(model, snn, x)
    assert all(torch.equal(m(x), y) for m, y in zip((model, snn), before, strict=True))
    assert not any(m._forward_hooks for m in snn.modules())


def test_samples_come_from_all_over():
    model, x = small(False)
    snn = convert(model, x, steps=2)
    picked = np.linspace(0, len(x) - 1, 7).astype(int)
    labels = torch.arange(len(x)) % 5
    few = diagnose(model, snn, x, labels, samples=7)
    assert few == diagnose(model, snn, x[picked], labels[picked])
    assert few.outputs.samples == 7
    bytes_of = (x * 255).to(torch.uint8)
    assert diagnose(model, snn, bytes_of[:, 0]) == diagnose(model, snn, bytes_of.float() / 255)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("another model", "was not converted from this model"),
        ("another float model", "was not converted from this model"),
        ("not converted", "convert the model first"),
        ("it fires", "fires already"),
        ("shape", "images have shape"),
        ("no samples", "there are no samples"),
        ("labels", "one for each of 80 samples"),
        ("labels of masks", "labels need an output of logits"),
    ],
)
def test_bad_input_is_one_line(case, message):
    model, x = small(case == "another float model")
    snn, labels = convert(model, x[:20], steps=2), None
    if case == "another model":
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.ReLU(), nn.Linear(4, 5))
    elif case == "another float model":
        model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.SiLU(), nn.Conv2d(3, 3, 3))
    elif case == "not converted":
        snn = model
    elif case == "it fires":
        for k in range(4):
            setattr(model.body, f"act{k}", SpikePack(4))
    elif case == "shape":
        x = x[:, :, :5]
    elif case == "no samples":
        x = x[:0]
    elif case == "labels":
        labels = torch.zeros(3, dtype=torch.int64)
    else:
        model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.SiLU(), nn.Conv2d(3, 2, 3)).eval()
        snn, labels = convert(model, x[:20], steps=2), torch.zeros(80, dtype=torch.int64)
    with pytest.raises(InputError, match=message) as caught:
        diagnose(model, snn, x, labels)
    assert "\n" not in str(caught.value)


def test_parameters_out_of_range():
    model, x = small(False)
    snn = convert(model, x, steps=2)
    with pytest.raises(ValueError, match="samples and batch must be 1 or more"):
        diagnose(model, snn, x, samples=0)
    with pytest.raises(ValueError, match="tolerance is a share"):
        steps_needed(model, x, x, tolerance=2)
    with pytest.raises(ValueError, match="at least"):
        steps_needed(model, x, x, steps=())


def test_more_steps_err_less():
    model, x = small(False)
    labels = model(x).argmax(1)
    found = steps_needed(model, x[:50], x, labels, steps=(6, 2, 4), rule="max", samples=60)
    assert list(found.outputs) == [2, 4, 6]
    errors = [row.error for row in found.outputs.values()]
    assert errors == sorted(errors, reverse=True)
    picked = np.linspace(0, 79, 60).astype(int)
    for steps, row in found.outputs.items():
        snn = convert(model, x[:50], steps=steps, rule="max")
        assert row.agreement == float((snn(x[picked]).argmax(1) == labels[picked]).double().mean())
        assert row.accuracy == row.agreement  # the labels are the model's own decisions
        assert row.ann_accuracy == 1


def table(*losses: float, tolerance: float = 0.01) -> StepsNeeded:
    rows = {
        t + 1: Outputs(200, loss, 1 - loss / 2, 1 - 2 * loss, 0.9 - loss, 0.9)
        for t, loss in enumerate(losses)
    }
    return StepsNeeded(rows, tolerance)


def test_the_least_t_within_the_tolerance():
    assert table(0.3, 0.1, 0.01, 0.0).needed == 3
    assert table(0.3, 0.01, 0.02, 0.005).needed == 4  # T = 2 had luck
    assert table(0.3, 0.01, 0.02, 0.02).needed is None
    assert table(-0.02, -0.03).needed == 1
    assert table(0.1, 0.01).verdict() == "T needed: 2 (at most 1 points below the ANN)"
    assert table(0.1).verdict() == "no T up to 1 gives at most 1 points below the ANN"
    bare = {t: replace(row, accuracy=None) for t, row in table(0.3, 0.006, 0.005).outputs.items()}
    unlabelled = StepsNeeded(bare, 0.01)
    assert unlabelled.measure == "same decisions"
    assert unlabelled.needed == 3
    masks = StepsNeeded({t: replace(row, agreement=None) for t, row in bare.items()}, 0.003)
    assert masks.verdict() == "T needed: 2 (a cosine of at least 0.997)"


def printed(what) -> list[list[str]]:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(what)
    return [line.split() for line in console.export_text().splitlines()]


def test_tables_show_the_figures():
    model, snn, x = hand_made()
    found = diagnose(model, snn, x)
    assert ["0", "2", "25.0", "37.5", "8.2", "38.4", "0.9958", "39.6", "0.0"] in printed(
        loss_table(found)
    )
    assert ["0", "1", "1.00", "2", "25.0", "0"] in printed(cost_table(found))
    lines = printed(steps_table(table(0.3, 0.1, 0.01, 0.0)))
    assert ["3", "90.00", "%", "89.00", "%", "98.00", "%", "0.9950", "1.0"] in lines
    assert any(line[:3] == ["T", "needed:", "3"] for line in lines)


def test_the_picture_shows_the_figures(tmp_path, monkeypatch):
    import matplotlib.pyplot as plt

    model, snn, x = hand_made()
    found = diagnose(model, snn, x)
    monkeypatch.setattr(plt, "close", lambda figure: None)
    warnings.simplefilter("error")  # such as a layout that did not work out
    path = tmp_path / "report.png"
    draw_diagnosis(found, path, "hand made", table(0.3, 0.1, 0.01, 0.0))
    assert path.read_bytes().startswith(b"\x89PNG")
    errors, spikes, shares, accuracy, off = plt.gcf().axes
    row = found.layers[1]
    bars = [p.get_width() for p in errors.patches if p.get_width()]
    assert sum(bars) == pytest.approx(100 * row.own)
    assert bars[0] / bars[1] == pytest.approx(row.rounding**2 / row.saturation**2)
    assert [t.get_text() for t in errors.get_yticklabels()] == ["input  T=8", "0  T=2"]
    assert [p.get_width() for p in spikes.patches] == [4.0, 1.0]
    assert [p.get_width() for p in shares.patches] == [0, 100 * row.contribution]
    assert list(accuracy.lines[1].get_ydata()) == pytest.approx([60, 80, 89, 90])
    assert "T needed: 3" in accuracy.get_title(loc="left")
    assert list(off.lines[0].get_xdata()) == [1, 2, 3, 4]
    assert "hand made" in plt.gcf()._suptitle.get_text()
    monkeypatch.undo()
    plt.close("all")


def test_long_names_keep_what_tells_them_apart():
    names = [f"backbone.features.{k}.inverted_residual.conv.{k % 3}.act" for k in range(12)]
    cut = shortened(["input", *names], 24)
    assert cut[0] == "input"
    assert len(set(cut)) == 13
    assert max(map(len, cut)) <= 24
    assert cut[1].startswith("0.inverted")
    assert cut[1].endswith("conv.0")
    assert shortened(["a.b", "a.b.c"]) == ["b", "b.c"]
    assert shortened(["features.0"]) == ["features.0"]
    assert shortened(["x.0.y", "0"]) == ["x.0.y", "0"]
