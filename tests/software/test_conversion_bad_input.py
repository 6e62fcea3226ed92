"""What a user gets wrong, and what just works: one clear line each, through every door.

Doors: ``spikeloom.convert`` of a model that becomes integers, of one that stays float, and the
command line.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import spikeloom as sl
import torch
from spikeloom.cli import main
from spikeloom.conversion import GeneralSpikingNetwork, SpikingNetwork, convert_general
from spikeloom.errors import InputError, SpikeloomError, UnsupportedModelError
from torch import nn
from torch.nn.utils import prune, spectral_norm, weight_norm


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


#: Activations of a model that becomes integers, and of one that stays float.
DOORS = {"integers": nn.ReLU, "float": nn.GELU}


def net(act, *more) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), *more, act(), nn.Linear(8, 3)).eval()


def samples(n=60) -> torch.Tensor:
    return torch.rand(n, 6)


def refused(model, calibration, error=UnsupportedModelError, **options) -> str:
    with pytest.raises(error) as caught:
        sl.convert(model, calibration, **options)
    assert isinstance(caught.value, SpikeloomError)
    return str(caught.value)


def close(model, snn, x, tolerance=0.02) -> None:
    with torch.no_grad():
        exact = model.eval()(x.clone()).float()
        assert float((snn(x).float() - exact).norm() / exact.norm()) < tolerance


# ------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("act", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize(
    ("calibration", "parts"),
    [
        (None, ["calibration is NoneType", "give some hundred samples"]),
        ([], ["calibration is list", "give some hundred samples"]),
        ("mnist", ["calibration is str", "give some hundred samples"]),
        (torch.rand(0, 6), ["(0, 6)", "n > 0"]),
        (torch.rand(9, 6, device="meta"), ["calibration is on meta", "the model on cpu", "move"]),
        (torch.rand(9, 6).to(torch.complex64), ["complex64", "use floats, or uint8 pixels"]),
        (torch.zeros(9, 6, dtype=torch.uint16), ["uint16", "use floats, or uint8 pixels"]),
        (np.array([[None] * 6]), ["object", "use floats, or uint8 pixels"]),
        (torch.rand(9, 7), ["(2, 7) of float32", "does not take calibration samples"]),
        (torch.full((9, 6), torch.nan), ["NaN"]),
        (torch.full((9, 6), torch.inf), ["NaN or infinite"]),
    ],
)
def test_calibration_that_is_none(act, calibration, parts):
    text = refused(net(act), calibration, InputError)
    assert "\n" not in text
    for part in parts:
        assert part in text


@pytest.mark.parametrize("act", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_all_named(act, value):
    model = net(act, nn.BatchNorm1d(8))
    with torch.no_grad():
        model[0].bias[2] = value
        model[1].running_var[0] = value
        model[3].weight[1, 1] = value
    text = refused(model, samples())
    for path in ("0.bias", "1.running_var", "3.weight"):
        assert f"{path}: its values are NaN or infinite; train the model again" in text


@pytest.mark.parametrize("act", DOORS.values(), ids=DOORS)
def test_outputs_that_are_no_numbers(act):
    model = net(act, nn.BatchNorm1d(8))
    with torch.no_grad():
        model[1].running_var[0] = -1  # a square root of less than nothing
    assert "its outputs are NaN on the calibration data; train" in refused(model, samples())


@pytest.mark.parametrize("act", [nn.ReLU, nn.Hardsigmoid], ids=DOORS)
def test_activations_that_are_never_positive(act):
    model = net(act)
    with torch.no_grad():
        model[0].bias.fill_(-100)
    text = refused(model, samples())
    assert "activations of" in text
    assert "are never positive on the calibration data" in text
    assert "train it, or calibrate on data like that it was trained on" in text
    assert "\n" not in text


class Branch(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.a, self.act, self.b = nn.Linear(6, 8), act(), nn.Linear(8, 3)

    def forward(self, x):
        x = self.act(self.a(x))
        if x.sum() > 0:
            x = 2 * x
        return self.b(x)


class Loop(Branch):
    def forward(self, x):
        for row in x:
            row.add_(1)
        return self.b(self.act(self.a(x)))


class Raises(Branch):
    def forward(self, x):
        raise ValueError("first line\nsecond line")


@pytest.mark.parametrize("act", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize(
    ("model", "line"),
    [(Branch, "if x.sum() > 0:"), (Loop, "for row in x:"), (Raises, "first line")],
)
def test_dynamic_control_flow_names_the_line(model, line, act):
    for options in ({}, {"integers": True}):
        text = refused(model(act).eval(), samples(), **options)
        assert f"{model.__name__}.forward cannot be followed" in text
        assert "test_conversion_bad_input.py, line" in text
        assert line in text
        assert "no branches" in text
        assert "\n" not in text


def test_numbers_out_of_tensors_and_loops_of_state():
    class Item(Branch):
        def forward(self, x):
            return self.b(self.act(self.a(x))) * x.max().item()

    assert "item: the call 'item' has no spiking form" in refused(Item(nn.ReLU), samples())

    class Numpy(Branch):
        def forward(self, x):
            return self.b(torch.from_numpy(x.numpy()))

    assert "Numpy.forward cannot be followed" in refused(Numpy(nn.ReLU), samples())


@pytest.mark.parametrize("act", DOORS.values(), ids=DOORS)
def test_noise_is_not_kept_as_a_constant(act):
    class Noise(Branch):
        def forward(self, x):
            return self.b(self.act(self.a(x)) + torch.randn(8))

    assert "its outputs differ from run to run" in refused(Noise(act), samples())


@pytest.mark.parametrize("act", DOORS.values(), ids=DOORS)
def test_hooks_that_change_outputs(act):
    model = net(act)
    model[0].register_forward_hook(lambda m, x, y: 3 * y)
    assert "hooks on 0 change what they give; write that into forward" in refused(model, samples())


@pytest.mark.parametrize("act", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda m: nn.Sequential(*m, nn.LazyLinear(2)), ["3.weight: lazy", "run one batch"]),
        (lambda m: m.to("meta"), ["0.weight: on the device meta", "load the weights"]),
        (torch.jit.script, ["a TorchScript model", "give the nn.Module"]),
        (lambda m: type(m), ["expected a torch.nn.Module, not type"]),
    ],
)
def test_what_is_no_model_with_weights(make, parts, act):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        text = refused(make(net(act)), samples())
    for part in parts:
        assert part in text


def test_names_that_a_captured_module_needs():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.code, self.spikes = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.spikes(torch.tanh(self.code(x)))

    assert "Named has attributes code, spikes" in refused(Named(), samples())
    assert "rename them" in refused(Named(), samples())


# ------------------------------------------------------------------------------- what just works


@pytest.mark.parametrize("act", DOORS.values(), ids=DOORS)
def test_training_mode_is_said_and_left_as_it_is(act):
    model = net(act, nn.BatchNorm1d(8), nn.Dropout()).train()
    with pytest.warns(UserWarning, match="Sequential is in training mode, it is converted as at"
                      " inference: compare with model.eval") as said:  # fmt: skip
        snn = sl.convert(model, samples(), 8)
    assert len(said) == 1
    assert said[0].filename == __file__
    assert all(m.training for m in model.modules())
    close(model, snn, samples())
    with warnings.catch_warnings():  # where the mode changes nothing there is nothing to say
        warnings.simplefilter("error")
        sl.convert(net(act).train(), samples())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("act", DOORS.values(), ids=DOORS)
def test_other_floats_in_calibration_and_in_the_model(act, dtype):
    model, x = net(act), samples()
    plain = sl.convert(model, x, 8)
    close(model, sl.convert(model, x.to(dtype), 8), x)
    assert plain(x.to(dtype)).shape == (60, 3)  # inputs of another dtype are taken as well
    close(model.to(dtype), sl.convert(model.to(dtype), x, 8), x.to(dtype), 0.03)


@pytest.mark.parametrize("kind", ["integers", "float"])
def test_shared_modules_and_in_place_activations(kind):
    act = nn.ReLU(inplace=True) if kind == "integers" else nn.SiLU(inplace=True)
    shared = nn.Linear(6, 6)
    model = nn.Sequential(shared, act, shared, act, nn.Linear(6, 3)).eval()
    apart = nn.Sequential(
        nn.Linear(6, 6), type(act)(), nn.Linear(6, 6), type(act)(), nn.Linear(6, 3)
    ).eval()
    apart.load_state_dict(model.state_dict())
    x = samples()
    before = x.clone()
    snn, other = (sl.convert(m, x, 8) for m in (model, apart))
    assert isinstance(snn, SpikingNetwork if kind == "integers" else GeneralSpikingNetwork)
    assert torch.equal(snn(x), other(x))
    assert torch.equal(x, before)
    close(model, snn, x)


@pytest.mark.parametrize("act", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize(
    "change",
    [
        weight_norm,
        spectral_norm,
        nn.utils.parametrizations.weight_norm,
        lambda m: prune.random_unstructured(m, "weight", amount=0.4),
    ],
    ids=["weight_norm", "spectral_norm", "parametrised", "pruned"],
)
def test_weights_that_torch_computes(change, act):
    """Also straight after training, when they hang on a graph of gradients, and with a norm."""
    model = net(act, nn.BatchNorm1d(8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        change(model[0])
    nn.init.uniform_(model[1].weight, 0.5, 2)
    model.train()(samples()).sum().backward()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    model.eval()
    for convert in (sl.convert, convert_general):
        close(model, convert(model, samples(), 8), samples())
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in state.items())


class Compiled(nn.Module):
    """What torch.compile gives, which takes ten seconds to import."""

    def __init__(self, model):
        super().__init__()
        self._orig_mod = model

    def forward(self, *args, **kwargs):
        return self._orig_mod(*args, **kwargs)


@pytest.mark.parametrize("act", DOORS.values(), ids=DOORS)
def test_what_is_put_around_a_model(act):
    model, x = net(act), samples()
    y = sl.convert(model, x)(x)
    assert torch.equal(sl.convert(Compiled(model), x)(x), y)
    assert torch.equal(sl.convert(nn.DataParallel(model), x)(x), y)
    logged = []
    model[0].register_forward_hook(lambda m, given, out: logged.append(out.detach().numpy()))
    assert torch.equal(sl.convert(model, x)(x), y)


def test_arguments_with_defaults_and_a_forward_of_its_own():
    class Flag(Branch):
        def forward(self, x, features=False, scale=None, mode="plain"):
            x = self.act(self.a(x))
            return x if features else self.b(x)

    class Pair(nn.Sequential):
        def forward(self, a, b):
            return self[0](a) + self[1](b)

    x = samples()
    model = Flag(nn.GELU)
    close(model, sl.convert(model, x, 8), x)
    pair = Pair(nn.Linear(6, 3), nn.Linear(6, 3))
    with torch.no_grad():
        exact = pair(x, 1 - x)
        y = sl.convert(pair, (x, 1 - x), 8)(a=x, b=1 - x)
    assert float((y - exact).norm() / exact.norm()) < 0.02


# ------------------------------------------------------------------------------ the command line

SOURCE = """
import torch
from torch import nn
class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
    def forward(self, x):
        x = torch.relu(self.a(x))
        if x.sum() > 0:
            x = x * 2
        return self.b(x)
def plain(): return nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))
def branch(): return Branch()
def gelu(): return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3), nn.Softmax(1))
def nan():
    model = plain()
    model[2].weight.data[1, 1] = float("nan")
    return model
def dead():
    model = plain()
    model[0].bias.data.fill_(-100)
    return model
def hooked():
    model = plain()
    model[0].register_forward_hook(lambda m, x, y: 3 * y)
    return model
def training():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).train()
def shared():
    layer, act = nn.Linear(6, 6), nn.ReLU(inplace=True)
    return nn.Sequential(layer, act, layer, act, nn.Linear(6, 3))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "m.py").write_text(SOURCE)
    x = np.random.default_rng(0).integers(0, 256, (60, 6), dtype=np.uint8)
    np.save("x.npy", x)
    np.save("none.npy", x[:0])
    np.save("floats.npy", x / np.nan)
    return tmp_path


def command(model: str, data: str = "x.npy") -> int:
    with pytest.raises(SystemExit) as stop:
        main(["convert", model, "-d", data, "-o", "o.spikeloom"])
    return int(stop.value.code or 0)


@pytest.mark.parametrize(
    ("model", "data", "parts"),
    [
        (
            "branch",
            "x.npy",
            ["Branch.forward cannot be followed (m.py, line 10, 'if x.sum() > 0:'"],
        ),
        ("gelu", "x.npy", ["2 problem(s)", "1: GELU", "3: Softmax", "train with nn.ReLU"]),
        ("nan", "x.npy", ["NaN"]),
        ("dead", "x.npy", ["are never positive on the calibration data", "train it"]),
        ("hooked", "x.npy", ["hooks on 0 change", "write that into forward"]),
        ("plain", "none.npy", ["none.npy"]),
        ("plain", "floats.npy", ["floats.npy"]),
        ("plain", "absent.npy", ["absent.npy"]),
    ],
)
def test_a_mistake_at_the_command_line(model, data, parts, place, capsys):
    assert command(f"m.py:{model}", data) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "Traceback" not in said
    for part in parts:
        assert part in said
    assert not (place / "o.spikeloom").exists()


@pytest.mark.parametrize("model", ["plain", "training", "shared"])
def test_what_works_at_the_command_line(model, place, capsys):
    torch.manual_seed(0)
    assert command(f"m.py:{model}") == 0
    assert "wrote o.spikeloom" in capsys.readouterr().out
