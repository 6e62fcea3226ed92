"""Rules and granularities of thresholds, and the choice between them, both ways of conversion."""

import re

import pytest
import spikeloom as sl
import torch
from spikeloom.conversion import convert_general
from spikeloom.conversion.fitting import Options, fitted
from spikeloom.conversion.graph import Synaptic, forward
from spikeloom.conversion.readers import Readers
from spikeloom.conversion.recipes import Classification
from spikeloom.conversion.thresholds import Choice, Codes, choose, fire, peak_of, thresholds
from torch import nn

BOTH = pytest.mark.parametrize("way", [sl.convert, convert_general])


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def activations(n=20000):
    """Channels of very different sizes, the last one silent."""
    return torch.rand(n, 4, dtype=torch.float64) * torch.tensor([8.0, 2.0, 0.1, 0.0])


def test_rules_by_their_definitions():
    x, codes = activations(), Codes(0, 7)
    top = thresholds(x, x, codes, Choice("channel", "max"))
    assert torch.equal(top[:3], x.amax(0)[:3] / 7)
    assert top[3] == top[0]  # silent ones take the layer's
    assert torch.equal(thresholds(x, x, codes, Choice("tensor", "max")), top[:1].expand(4))
    floor = thresholds(x, x, codes, Choice("floor", "max"))
    assert torch.equal(floor, top.clamp(min=float(top[0]) / 8))
    cut = thresholds(x, x, codes, Choice("channel", "percentile"))
    above = (x > 7 * cut * (1 + 1e-12)).sum(0)[:3]
    assert above.tolist() == [9, 9, 9]  # 0.05 % of 20000 are 10, the tenth is the threshold
    assert torch.equal(thresholds(x, x, codes, Choice("channel", "max"), cap=3.5)[:1] * 7,
                       torch.tensor([3.5], dtype=torch.float64))  # fmt: skip


@pytest.mark.parametrize("bits", [1, 3])
def test_signed_codes_reach_further_below_zero(bits):
    half = 1 << (bits - 1)
    codes = Codes(-half, half - 1)
    x = torch.tensor([[-4.0], [3.0 if half > 1 else 0.0]], dtype=torch.float64)
    theta = thresholds(x, x, codes, Choice("channel", "max"))
    assert theta.item() == pytest.approx(4.0 / half)
    assert torch.equal(codes(x, theta) * theta, x)
    assert peak_of(x, codes).item() == pytest.approx(4.0 / half * codes.size)


def test_a_choice_is_made_only_where_there_is_one():
    def never(choice):
        raise AssertionError(choice)

    assert choose("floor", "max", never) == Choice("floor", "max")
    assert choose("auto", "max", never, channels=False) == Choice("tensor", "max")
    asked = []
    chosen = choose("auto", "auto", lambda c: asked.append(c) or -len(asked))
    assert len(set(asked)) == 9
    assert chosen == asked[-1]
    assert {c.rule for c in asked} == {"mse", "percentile", "max"}


def uneven():
    """A tiny channel that large weights read, beside others."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model[0].weight[0] *= 0.01
        model[0].bias[0] = 0.005
        model[2].weight[:, 0] = 100
    return model


def chosen(snn):
    edge = next(e for e in snn.report() if e.rule)
    return edge.granularity, edge.rule


@BOTH
def test_auto_takes_a_threshold_a_channel_where_sizes_differ(way):
    snn = way(uneven(), torch.rand(400, 6), 4, granularity="auto")
    assert chosen(snn) == ("channel", "mse")
    assert "channel mse" in str(snn.report())


@BOTH
def test_auto_shares_one_where_folding_would_spread_the_weights(way):
    """Rounded to few bits, rows with one huge folded column lose the others."""
    model = uneven()
    with torch.no_grad():
        model[0].weight[0] *= 100
        model[0].weight[1] *= 40
        model[2].weight[:, 0] = 0.3
    snn = way(model, torch.rand(400, 6), 8, granularity="auto", weight_bits=3)
    assert chosen(snn)[0] in ("tensor", "floor")


@BOTH
def test_auto_takes_the_maximum_where_peaks_count(way):
    """One value in thousands, far above the others, that is all that the next layer is about."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[0].bias.zero_()
        model[2].weight.copy_(torch.tensor([[1.0, 100.0], [-1.0, 50.0]]))
    x = torch.rand(8000, 2) * torch.tensor([0.3, 0.0])
    x[[0, -1], 1] = 1.0  # one is fitted to, one is held out
    assert chosen(way(model, x, 4, rule="auto", granularity="tensor"))[1] == "max"
    with torch.no_grad():
        model[2].weight[:, 1] = 0.01
    assert chosen(way(model, x, 4, rule="auto", granularity="tensor"))[1] != "max"


def test_the_judge_never_sees_what_thresholds_were_fitted_to(monkeypatch):
    seen = []

    class Spy(Readers):
        def loss(self, node, words, target, scale):
            seen.append(target)
            return super().loss(node, words, target, scale)

    first = Synaptic(
        "a", ("input",), (3,), torch.randn(3, 5).double(), torch.zeros(3).double(), True
    )
    last = Synaptic("b", ("a",), (2,), torch.randn(2, 3).double(), torch.zeros(2).double(), False)
    x = torch.rand(40, 5, dtype=torch.float64)
    target = forward(first, [x])
    recipe = Classification(granularity="auto", rule="auto")
    options = Options(4, recipe, Spy((first, last), 8, True))
    theta, choice = fitted(first, target, target, options)
    assert len(seen) == 9
    assert all(torch.equal(held, target[3::4]) for held in seen)
    whole = thresholds(target, target, Codes(0, 15), choice)
    assert torch.equal(theta, whole)  # in the end all of the data counts


def test_the_measure_is_the_error_of_what_reads_the_words():
    """With 8-bit weights close to that of exact ones; mean errors, which biases mend, count not."""
    torch.manual_seed(1)
    first = Synaptic("a", ("input",), (3,), torch.eye(3).double(), torch.zeros(3).double(), True)
    last = Synaptic("b", ("a",), (2,), torch.randn(2, 3).double(), torch.zeros(2).double(), False)
    readers = Readers((first, last), 8, True)
    target = torch.rand(500, 3, dtype=torch.float64)
    theta = torch.full((3,), 1 / 7, dtype=torch.float64)
    words = fire(target, theta, 7)
    lost = (words - target) @ last.weight.T
    right = target @ last.weight.T
    exact = lost.sub(lost.mean(0)).square().sum() / right.sub(right.mean(0)).square().sum()
    assert readers.loss(first, words, target, theta) == pytest.approx(float(exact), rel=0.05)
    moved = readers.loss(first, words + 5.0, target, theta)
    assert moved == pytest.approx(float(exact), rel=0.05)
    assert Readers((first, last), 8, False).loss(first, words + 5.0, target, theta) > 1


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.d = nn.Conv2d(4, 4, 3, padding=1, groups=4)

    def forward(self, x):
        x = torch.relu(self.b(torch.relu(self.a(x))) + x)
        return torch.relu(torch.relu(self.d(x)) + x)


def test_every_kind_of_reader_is_judged():
    """Convolutions, depthwise ones, skips, sums, poolings and flattened words."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), Block(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3),
    )  # fmt: skip
    x = torch.rand(60, 2, 8, 8)
    snn = sl.convert(model, x, 8, granularity="auto", rule="auto", integers=True)
    fired = [e for e in snn.report() if e.rule]
    assert len(fired) == 6
    assert {e.granularity for e in fired} <= {"tensor", "floor", "channel"}
    with torch.no_grad():
        exact = model(x)
        assert float((snn(x) - exact).norm() / (exact - exact.mean(0)).norm()) < 0.05
    sl.lower(snn).check_accumulators()


@BOTH
@pytest.mark.parametrize("name", ["granularity", "rule"])
def test_both_ways_name_the_same_options(way, name):
    allowed = {
        "granularity": "('tensor', 'floor', 'channel', 'auto')",
        "rule": "('mse', 'max', 'percentile', 'auto')",
    }
    text = re.escape(f"{name} must be one of {allowed[name]}, not 'best'")
    with pytest.raises(ValueError, match=f"^{text}$"):
        way(nn.Linear(4, 2), torch.rand(9, 4), **{name: "best"})


def test_few_samples_are_all_held_out():
    for n in (1, 2, 4):
        snn = sl.convert(uneven(), torch.rand(n, 6), 4, granularity="auto", rule="auto")
        assert chosen(snn)[0] in ("tensor", "floor", "channel")
