"""The captured graph: functional form, call sites, constants, norms, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from spikeloom.conversion.general import capture
from spikeloom.conversion.general.norms import Affine
from spikeloom.errors import InputError, UnsupportedModelError
from torch import nn
from torch.nn import functional


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def same(model, *inputs):
    """Capture, and check that the graph gives what the model gives."""
    model.eval()
    captured = capture(model, inputs)
    with torch.no_grad():
        exact = model(*(x.clone() for x in inputs))
        torch.testing.assert_close(captured.module(*inputs), exact, rtol=1e-5, atol=1e-6)
    return captured


def kinds(captured):
    return [n.meta["rule"].kind for n in captured.graph.nodes]


def random_norm(norm):
    nn.init.uniform_(norm.weight, -1.5, 1.5)
    nn.init.uniform_(norm.bias, -1, 1)
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.2, 2)
    return norm


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv2d(3, 6, 3, 2, 1, groups=3, bias=False), nn.BatchNorm2d(6), (3, 8, 8)),
        (nn.Conv2d(3, 6, 3, dilation=2, padding=2, padding_mode="circular"), nn.BatchNorm2d(6),
         (3, 8, 8)),
        (nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6), (3, 9)),
        (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), nn.BatchNorm2d(6), (4, 5, 5)),
        (nn.ConvTranspose2d(3, 6, 2, bias=False), nn.BatchNorm2d(6), (3, 5, 5)),
        (nn.Linear(7, 6), nn.BatchNorm1d(6), (7,)),
    ],
)  # fmt: skip
def test_norms_fold_into_the_layer_before(layer, norm, shape):
    captured = same(nn.Sequential(layer, random_norm(norm)), torch.randn(4, *shape))
    assert kinds(captured) == ["input", "weighted", "output"]


def test_norms_of_something_else_stay_affine():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), random_norm(nn.BatchNorm2d(6))
            self.tokens, self.after = nn.Linear(6, 6), random_norm(nn.BatchNorm1d(6))
            self.twice = random_norm(nn.BatchNorm2d(3))

        def forward(self, x):
            y = self.conv(x)
            z = self.norm(torch.cat([y, self.twice(y)], 1))  # y is read twice
            return self.after(self.tokens(z.flatten(2)[:, :, :6]))  # channels are not the outputs

    captured = same(Model(), torch.randn(2, 3, 4, 4))
    assert sum(isinstance(m, Affine) for m in captured.module.modules()) == 3


class Overwrites(nn.Module):
    """The later reader of an overwritten tensor sees the result."""

    def forward(self, x):
        y = x * 2 - 1
        same = nn.functional.dropout(y, 0.5, False)
        functional.relu(y, inplace=True)
        y.add_(1)
        z = same + y
        z *= y
        y[:, 0].exp()
        return z, same


def test_in_place_operations_become_plain():
    captured = same(Overwrites(), torch.randn(3, 4))
    targets = {str(n.target) for n in captured.graph.nodes}
    assert not {"add_", "mul_"} & targets
    x = torch.randn(3, 4)
    before = x.clone()
    captured.module(x)
    assert torch.equal(x, before)


def test_numbers_that_grow_are_no_tensors():
    class Model(nn.Module):
        def forward(self, x):
            n = width = x.shape[1]
            n += 1
            return x.reshape(-1, width) / n

    same(Model(), torch.randn(2, 6))


def test_overwriting_behind_a_view_is_refused():
    class Model(nn.Module):
        def forward(self, x):
            x = x + 1
            row = x.view(-1)
            x.relu_()
            return row

    with pytest.raises(UnsupportedModelError, match="relu_: it overwrites a tensor that is read"):
        capture(Model(), (torch.randn(2, 3),))


def test_every_call_of_a_shared_module_is_its_own():
    layer = nn.Linear(4, 4)
    captured = same(nn.Sequential(layer, nn.ReLU(), layer, layer), torch.randn(2, 4))
    weighted = [n for n in captured.graph.nodes if n.meta["rule"].kind == "weighted"]
    assert [n.meta["path"] for n in weighted] == ["0", "0 (call 2)", "0 (call 3)"]
    modules = [captured.module.get_submodule(n.target) for n in weighted]
    assert len({id(m.weight) for m in modules}) == 3


def test_parametrised_weights_are_computed_once():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.ReLU())
    same(model, torch.randn(2, 4))
    assert hasattr(model[0], "parametrizations")  # the user's model is left as it is


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("sizes", [{}, {"kdim": 4, "vdim": 5}])
def test_attention_is_written_out(weights, batch_first, sizes):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.mha = nn.MultiheadAttention(6, 2, batch_first=batch_first, **sizes)
            nn.init.uniform_(self.mha.in_proj_bias)
            self.register_buffer("mask", torch.ones(3, 3).triu(1).bool())

        def forward(self, q, k, v):
            out, seen = self.mha(q, k, v, need_weights=weights, attn_mask=self.mask)
            return (out, seen) if weights else out

    k, v = torch.randn(3, 3, sizes.get("kdim", 6)), torch.randn(3, 3, sizes.get("vdim", 6))
    captured = same(Model(), torch.randn(3, 3, 6), k, v)
    assert kinds(captured).count("weighted") == 4


class Padding(nn.Module):
    """Attention that does not see what is behind the end of a sentence, three times over."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.mha = nn.MultiheadAttention(8, 2, batch_first=True)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, ids, mask):
        x = self.words(ids)
        behind = ~(mask != 0) | torch.lt(ids, 0)
        x = self.mha(x, x, x, key_padding_mask=behind, need_weights=False)[0]
        x = self.encoder(x, src_key_padding_mask=behind)
        y = functional.scaled_dot_product_attention(x, x, x, mask.bool()[:, None, :])
        causal = torch.where(torch.logical_not(behind)[:, :, None], x, 0.0)
        real = mask.unsqueeze(-1).float()
        return functional.normalize(((y + causal) * real).sum(1) / real.sum(1), dim=-1)


def test_masks_that_are_inputs():
    ids = torch.randint(0, 20, (5, 7))
    mask = (torch.arange(7) < torch.tensor([[7], [3], [1], [5], [2]])).long()
    captured = same(Padding(), ids, mask)
    assert kinds(captured).count("weighted") == 10
    labels = [n.meta["rule"].label for n in captured.graph.nodes]
    assert labels.count("mask") >= 5
    assert labels.count("Masked") == 2


@pytest.mark.parametrize("heads", [False, True])
def test_masks_of_numbers_and_of_heads(heads):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.mha = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x, mask):
            return self.mha(x, x, x, attn_mask=mask, need_weights=False)[0]

    mask = torch.randn(10 if heads else 4, 4, *([4] if heads else []))
    same(Model(), torch.randn(5, 4, 6), mask)


class Many(nn.Module):
    """Five operations without a rule."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(6, 6, batch_first=True)
        self.pool = nn.MaxPool1d(2, return_indices=True)
        self.norm = nn.BatchNorm1d(6, track_running_stats=False)
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        x, _ = self.rnn(x)
        x = torch.cumsum(self.norm(x.transpose(1, 2)), 2)
        x, where = self.pool(x)
        x = functional.dropout(self.fc(x.transpose(1, 2)))
        return x, where


def test_everything_unsupported_is_reported_at_once():
    with pytest.raises(UnsupportedModelError) as caught:
        capture(Many(), (torch.randn(2, 4, 6),))
    assert len(caught.value.problems) == 5
    for part in (
        "rnn: GRU has no spiking form; write its steps out",
        "pool: it returns indices",
        "norm: it normalises by each batch",
        "the call 'cumsum'",
        "dropout is on",
    ):
        assert sum(part in p for p in caught.value.problems) == 1


class Branch(nn.Module):
    def forward(self, x):
        return x if x.mean() > 0 else -x


class Variadic(nn.Module):
    def forward(self, *x):
        return x[0]


class Computed(nn.Module):
    """Weights that depend on the input."""

    def forward(self, x):
        return functional.linear(x, x.mean(0, keepdim=True))


class Two(nn.Module):
    def forward(self, x, y):
        return x + y


class Argmax(nn.Module):
    def forward(self, x):
        return torch.max(x, 1)[1]


@pytest.mark.parametrize(
    ("model", "error", "match"),
    [
        (Branch(), UnsupportedModelError, "Branch.forward cannot be followed"),
        (Variadic(), UnsupportedModelError, r"takes \*args"),
        (Computed(), UnsupportedModelError, "linear: its weights are computed from the input"),
        (Argmax(), UnsupportedModelError, "indices of a maximum are used"),
        (nn.Linear(5, 2), InputError, r"does not take calibration samples \(2, 4\) .*: 0: mat1"),
        (nn.Conv2d(3, 2, 3), InputError, "does not take calibration samples"),
        (Two(), InputError, r"Two.forward takes 2 input\(s\), calibration holds 1"),
        ("a cat", UnsupportedModelError, "expected a torch.nn.Module, not str"),
    ],
)
def test_what_cannot_be_captured_says_why(model, error, match):
    with pytest.raises(error, match=match):
        capture(model, (torch.randn(2, 4),))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_refused(value):
    model = nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[2].weight[1, 1] = value
    with pytest.raises(UnsupportedModelError, match=r"2.weight: its values are NaN or infinite"):
        capture(model, (torch.randn(2, 4),))
