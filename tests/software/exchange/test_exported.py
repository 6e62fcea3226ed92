"""Programs of torch.export: the same outputs, layers that conversion follows, nothing unpickled."""

import json
import zipfile

import pytest
import spikeloom as sl
import torch
from spikeloom.errors import InputError, UnsupportedModelError
from spikeloom.exchange import load_exported
from spikeloom.models import BasicBlock
from torch import nn


class Calls(nn.Module):
    """Functional calls, a reshape by the batch's size, a mean, and dropout."""

    def __init__(self):
        super().__init__()
        self.conv, self.rows, self.out = nn.Conv2d(3, 4, 3), nn.Linear(16, 4), nn.Linear(4, 5)

    def forward(self, x):
        x = nn.functional.dropout(torch.relu(self.conv(x)), training=self.training)
        pixels, rows = x.mean((2, 3)), self.rows(x.reshape(x.size(0), -1))
        return self.out(torch.relu(torch.relu(rows) + pixels))


def cnn() -> nn.Module:
    parts = [nn.Conv2d(3, 4, 3, padding="same"), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    parts += [nn.Conv2d(4, 4, 1, groups=4), nn.ReLU(), BasicBlock(4, 6), nn.AvgPool2d(2)]
    return nn.Sequential(*parts, nn.Dropout(), nn.Flatten(), nn.Linear(6, 5))


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(48, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5)
    )


MODELS = {"calls": Calls, "cnn": cnn, "mlp": mlp}


def exported(model: nn.Module, path, dynamic: bool = True) -> None:
    shapes = ({0: torch.export.Dim("n")},) if dynamic else None
    program = torch.export.export(model, (torch.rand(2, 3, 4, 4),), dynamic_shapes=shapes)
    torch.export.save(program, path)


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_torchs_and_conversion_follows(name, dynamic, tmp_path):
    torch.manual_seed(2)
    model = MODELS[name]().eval()
    exported(model, tmp_path / "m.pt2", dynamic)
    loaded, x = load_exported(tmp_path / "m.pt2"), torch.rand(16, 3, 4, 4)
    assert torch.equal(loaded(x), model(x))
    assert torch.equal(sl.convert(loaded, x)(x), sl.convert(model, x)(x))


def test_layers_are_named_after_their_weights(tmp_path):
    exported(cnn().eval(), tmp_path / "m.pt2")
    names = {name for name, _ in load_exported(tmp_path / "m.pt2").named_children()}
    assert {"0", "1", "4", "6_conv1", "6_bn2", "10"} <= names


def test_what_has_no_spiking_form_is_refused_by_conversion(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Softplus(), nn.Linear(8, 5)).eval()
    exported(model, tmp_path / "m.pt2")
    loaded, x = load_exported(tmp_path / "m.pt2"), torch.rand(4, 3, 4, 4)
    assert torch.equal(loaded(x), model(x))
    with pytest.raises(UnsupportedModelError, match="softplus"):
        sl.convert(loaded, x, integers=True)


def changed(tmp_path, change) -> str:
    """An exported program with its files changed."""
    exported(mlp().eval(), tmp_path / "m.pt2")
    with zipfile.ZipFile(tmp_path / "m.pt2") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    with zipfile.ZipFile(tmp_path / "c.pt2", "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(tmp_path / "c.pt2")


def edit(files: dict[str, bytes], end: str, change) -> None:
    name = next(n for n in files if n.endswith(end))
    content = json.loads(files[name])
    change(content)
    files[name] = json.dumps(content).encode()


def refused(path: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        load_exported(path)
    assert "\n" not in str(error.value)


def test_an_unchanged_copy_loads(tmp_path):
    assert load_exported(changed(tmp_path, lambda files: None)) is not None


def test_compiled_code_is_refused(tmp_path):
    path = changed(tmp_path, lambda f: f.update({"m/data/aotinductor/model/x.so": b"code"}))
    refused(path, "holds compiled code")


def test_pickled_objects_are_refused(tmp_path):
    def change(files):
        payload = {"path_name": "opaque_obj_0", "use_pickle": True, "tensor_meta": None}
        edit(files, "model_constants_config.json", lambda c: c["config"].update({"x": payload}))

    refused(changed(tmp_path, change), r"holds a pickled object \(opaque_obj_0\)")


class Evil:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_pickled_weights_are_only_read_as_tensors(tmp_path):
    def change(files):
        torch.save(Evil(tmp_path / "made"), tmp_path / "evil.pt")
        weight = next(n for n in files if n.endswith("weights/weight_0"))
        files[weight] = (tmp_path / "evil.pt").read_bytes()

        def pickled(content):
            entry = next(v for v in content["config"].values() if v["path_name"] == "weight_0")
            entry["use_pickle"] = True

        edit(files, "model_weights_config.json", pickled)

    refused(changed(tmp_path, change), "is no program of torch.export")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "text", ["open('x')", "().__class__", "eval(input())", "Symbol('s0').foo", "[1]"]
)
def test_expressions_that_are_no_sizes_are_refused(text, tmp_path):
    def change(files):
        edit(files, "models/model.json", lambda c: c.update({"more": {"expr_str": text}}))

    refused(changed(tmp_path, change), "holds an expression that is no size")


def test_files_that_are_none(tmp_path):
    refused(str(tmp_path / "absent.pt2"), "no such file")
    (tmp_path / "junk.pt2").write_bytes(b"junk")
    refused(str(tmp_path / "junk.pt2"), "is no program of torch.export")
    with zipfile.ZipFile(tmp_path / "other.pt2", "w") as archive:
        archive.writestr("hello.txt", "hello")
    refused(str(tmp_path / "other.pt2"), "is no program of torch.export")
    assert torch.load.__module__ == "torch.serialization"
