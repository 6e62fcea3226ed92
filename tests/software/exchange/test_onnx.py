"""ONNX in: torch's own outputs, modules that conversion follows, one line for what has no form."""

import sys
import warnings

import numpy as np
import onnx
import pytest
import spikeloom as sl
import torch
from onnx import TensorProto, helper, numpy_helper
from spikeloom.errors import InputError, UnsupportedModelError
from spikeloom.exchange import load_onnx
from spikeloom.models import BasicBlock
from torch import nn


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.out(torch.relu(self.conv(x)).mean((2, 3)))


class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 4, 3), nn.Linear(16, 5)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        return self.out(x.view(x.size(0), -1))


def block() -> nn.Module:
    parts = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), BasicBlock(4, 6, 2)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))


MODELS = {
    "mlp": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(48, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 5)
    ),
    "cnn": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 1), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6, 5),
    ),
    "block": block,
    "mean": Mean,
    "rows": Rows,
}  # fmt: skip


def exported(name: str, path, opset: int = 17, dynamic: bool = True) -> nn.Module:
    torch.manual_seed(3)
    model = MODELS[name]().eval()
    axes = {"x": {0: "n"}, "y": {0: "n"}} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the newer exporter needs onnxscript
        torch.onnx.export(
            model, (torch.rand(1, 3, 4, 4),), path, opset_version=opset, dynamo=False,
            input_names=["x"], output_names=["y"], dynamic_axes=axes,
        )  # fmt: skip
    return model


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("opset", [11, 17, 18])
@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_torchs_and_conversion_follows(name, opset, dynamic, tmp_path):
    model = exported(name, tmp_path / "m.onnx", opset, dynamic)
    loaded = load_onnx(tmp_path / "m.onnx")
    x = torch.rand(16, 3, 4, 4)
    assert (loaded(x) - model(x)).abs().max() <= 1e-6
    spiking, wanted = sl.convert(loaded, x)(x), sl.convert(model, x)(x)
    assert (spiking - wanted).norm() / wanted.norm() < 0.05


def written(path, nodes, weights, opset=17, inputs=(1, 4), outputs=(1, 3), ir=9, **imports):
    """A graph by hand, from "x" to "y"."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, outputs)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    sets = [
        helper.make_opsetid("", opset),
        *(helper.make_opsetid(k, v) for k, v in imports.items()),
    ]
    model = helper.make_model(graph, opset_imports=sets, ir_version=ir)
    onnx.save(model, path)
    return model


RNG = np.random.default_rng(5)
W, B = RNG.normal(size=(4, 3)).astype(np.float32), RNG.normal(size=3).astype(np.float32)


def test_matmul_add_and_normalisation_become_layers(tmp_path):
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["a"], "centre"),
        helper.make_node("Div", ["a", "std"], ["b"], "scale"),
        helper.make_node("MatMul", ["b", "w"], ["c"], "fc"),
        helper.make_node("Add", ["c", "bias"], ["d"], "plus"),
        helper.make_node("Relu", ["d"], ["e"], "act"),
        helper.make_node("MatMul", ["e", "v"], ["f"], "out"),
        helper.make_node("Add", ["bias2", "f"], ["y"], "plus2"),
    ]
    v, b2 = RNG.normal(size=(3, 3)).astype(np.float32), RNG.normal(size=3).astype(np.float32)
    mean, std = np.float32(0.4), np.array([0.5, 1, 2, 0.25], np.float32)
    weights = {"mean": mean, "std": std, "w": W, "bias": B, "v": v, "bias2": b2}
    written(tmp_path / "m.onnx", nodes, weights, inputs=("n", 4), outputs=("n", 3))
    model, x = load_onnx(tmp_path / "m.onnx"), torch.rand(30, 4)
    wanted = np.maximum((x.numpy() - mean) / std @ W + B, 0) @ v + b2
    assert np.abs(model(x).detach().numpy() - wanted).max() <= 1e-5
    assert {name for name, _ in model.named_children()} == {"centre", "scale", "fc", "act", "out"}
    assert np.array_equal(model.fc.bias.detach().numpy(), B)
    snn = sl.convert(model, x, steps=8)
    assert np.linalg.norm(snn(x).detach().numpy() - wanted) / np.linalg.norm(wanted) < 0.02


def test_a_newer_set_of_operators_is_taken_down(tmp_path):
    kernel = RNG.normal(size=(2, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], "conv"),
        helper.make_node("Relu", ["a"], ["b"], "act"),
        helper.make_node("Flatten", ["b"], ["c"], "flat"),
        helper.make_node("Gemm", ["c", "w"], ["y"], "fc"),
    ]
    w = RNG.normal(size=(8, 3)).astype(np.float32)
    written(tmp_path / "m.onnx", nodes, {"k": kernel, "w": w}, 22, ("n", 1, 4, 4), ("n", 3), 10)
    x = torch.rand(3, 1, 4, 4)
    wanted = torch.relu(nn.functional.conv2d(x, torch.tensor(kernel))).flatten(1) @ torch.tensor(w)
    assert torch.allclose(load_onnx(tmp_path / "m.onnx")(x), wanted, atol=1e-6)


def test_all_unsupported_operators_at_once(tmp_path):
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], "fc"),
        helper.make_node("Shrink", ["a"], ["b"], "odd"),
        helper.make_node("Det", ["b"], ["c"], "odder"),
        helper.make_node("Mine", ["c"], ["y"], "own", domain="my.ops"),
    ]
    written(tmp_path / "m.onnx", nodes, {"w": W}, **{"my.ops": 1})
    with pytest.raises(UnsupportedModelError) as error:
        load_onnx(tmp_path / "m.onnx")
    text = str(error.value)
    assert "3 node(s) without a torch form" in text
    for wanted in ("'odd' (Shrink)", "'odder' (Det)", "'own' (my.ops.Mine)"):
        assert wanted in text
    assert "\n" not in text


def test_a_set_of_operators_that_nothing_reads(tmp_path):
    nodes = [helper.make_node("Swish", ["x"], ["y"], "act")]
    written(tmp_path / "m.onnx", nodes, {}, opset=24, outputs=(1, 4), ir=11)
    with pytest.raises(UnsupportedModelError, match=r"\(opset 24; export with opset_version=17\)"):
        load_onnx(tmp_path / "m.onnx")


def test_an_operator_without_a_spiking_form_loads_and_is_refused_by_conversion(tmp_path):
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], "fc"),
        helper.make_node("Tanh", ["a"], ["b"], "act"),
        helper.make_node("Gemm", ["b", "v"], ["y"], "out"),
    ]
    written(tmp_path / "m.onnx", nodes, {"w": W, "v": W[:3]}, inputs=("n", 4), outputs=("n", 3))
    model, x = load_onnx(tmp_path / "m.onnx"), torch.rand(4, 4)
    assert np.allclose(model(x).detach().numpy(), np.tanh(x.numpy() @ W) @ W[:3], atol=1e-6)
    with pytest.raises(UnsupportedModelError, match="act"):
        sl.convert(model, x, integers=True)


def test_weights_beside_the_file(tmp_path):
    model = exported("mlp", tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    (tmp_path / "e").mkdir()
    onnx.save(
        proto, tmp_path / "e/m.onnx", save_as_external_data=True, location="w.bin",
        size_threshold=0,
    )  # fmt: skip
    x = torch.rand(4, 3, 4, 4)
    assert torch.allclose(load_onnx(tmp_path / "e/m.onnx")(x), model(x), atol=1e-6)
    (tmp_path / "e/w.bin").unlink()
    with pytest.raises(InputError, match=r"keeps its weights in 'w.bin', which is not beside it"):
        load_onnx(tmp_path / "e/m.onnx")


def test_weights_outside_of_the_folder_are_not_read(tmp_path):
    exported("mlp", tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    (tmp_path / "e").mkdir()
    onnx.save(proto, tmp_path / "e/m.onnx", save_as_external_data=True, location="w.bin",
              size_threshold=0)  # fmt: skip
    (tmp_path / "e/w.bin").rename(tmp_path / "w.bin")
    proto = onnx.load(tmp_path / "e/m.onnx", load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../w.bin"
    (tmp_path / "e/m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match="is no sound ONNX model"):
        load_onnx(tmp_path / "e/m.onnx")


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_onnx(tmp_path / "absent.onnx")
    for content in (b"", b"junk", bytes(1000)):
        (tmp_path / "junk.onnx").write_bytes(content)
        with pytest.raises(InputError, match="is no ONNX file") as error:
            load_onnx(tmp_path / "junk.onnx")
        assert "\n" not in str(error.value)
    exported("mlp", tmp_path / "m.onnx")
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "m.onnx").read_bytes()[:-200])
    with pytest.raises(InputError, match=r"cut.onnx is no"):
        load_onnx(tmp_path / "cut.onnx")


def test_no_stand_in_of_torchvision_is_left(tmp_path):
    exported("mlp", tmp_path / "m.onnx")
    load_onnx(tmp_path / "m.onnx")
    left = sys.modules.get("torchvision")
    assert left is None or hasattr(left, "__version__")


def test_missing_packages_are_one_line(monkeypatch, tmp_path):
    for name in ("onnx2torch", "onnx"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(sl.SpikeloomError, match=f"reading ONNX needs the package {name}: pip"):
            load_onnx(tmp_path / "m.onnx")
