"""``spikeloom convert`` on every kind of model; a mistake is one line, without a traceback."""

import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from spikeloom.cli import main
from spikeloom.network import Network

SOURCE = """
from torch import nn
def net():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
                         nn.Linear(36, 3))
def crooked():
    raise RuntimeError("first line\\nsecond line")
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a model in every form, and data with labels."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "m.py").write_text(SOURCE)
    space: dict = {}
    exec(SOURCE, space)
    torch.manual_seed(1)
    model = space["net"]().eval()
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    ours = torch.from_numpy(x[:, None]).float() / 255
    labels = model(ours).argmax(1).numpy()
    np.savez("d.npz", x=x, y=labels)
    np.save("x.npy", x)
    save_file(model.state_dict(), "w.safetensors")
    torch.save(model.state_dict(), "w.pt")
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, "wrapped.pth")
    torch.save(model, "whole.pt")
    torch.export.save(torch.export.export(model, (ours[:2],)), "m.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (ours[:1],), "m.onnx", dynamo=False)
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["convert", *arguments, "-o", "o.spikeloom"])
    return int(stop.value.code or 0)


@pytest.mark.parametrize(
    "model",
    ["m.py:net@w.safetensors", "m.py:net@w.pt", "m.py:net@wrapped.pth", "m.onnx", "m.pt2"],
)
def test_every_kind_of_model(model, place, capsys):
    assert run(model, "-d", "d.npz", "--steps", "2,8", "--weight-bits", "6") == 0
    text = capsys.readouterr().out
    # the labels are the model's own decisions; 60 samples, so 8 bits leave few others
    row = next(line for line in text.splitlines() if line.startswith("│ 8"))
    cells = [cell.strip().removesuffix(" %") for cell in row.strip("│").split("│")]
    assert float(cells[1]) == 100
    assert min(float(cell) for cell in cells[2:]) > 95
    assert "what words lose, of 60 samples, T = 8" in text
    assert "T needed, weights in float, 60 samples" in text
    assert "wrote o.spikeloom (T = 8)" in text
    for steps in (2, 8):  # all 60 samples were calibrated on
        assert f"T = {steps}, 60 calibration samples: rounding to integers moves" in text
    network = Network.load("o.spikeloom")
    assert network.input_shape == (1, 8, 8)
    assert network.layers[0].weight_bits == 6


def test_few_bits_ask_for_training(place, capsys):
    assert run("m.onnx", "-d", "d.npz", "--weight-bits", "3") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "not trained with 3-bit weights" in error
    assert error.count("\n") == 1
    assert run("m.onnx", "-d", "d.npz", "--weight-bits", "3", "--allow-few-bits") == 0


def test_without_labels_only_decisions_are_compared(place, capsys):
    assert run("m.onnx", "-d", "x.npy", "-n", "20", "--images", "30") == 0
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith("│ 4"))
    assert [cell.strip() for cell in row.strip("│").split("│")][1:4] == ["-"] * 3
    assert "20 samples (calibrated on some of them)" in text
    assert "T = 4, 30 held-out training samples: rounding to integers moves the logits by" in text


def test_the_report_is_drawn(place, capsys):
    options = ("--steps", "6", "--no-needed", "--report", "pictures/r.png")
    assert run("m.onnx", "-d", "d.npz", *options) == 0
    text = capsys.readouterr().out
    assert (place / "pictures/r.png").read_bytes().startswith(b"\x89PNG")
    assert "wrote pictures/r.png" in text
    assert "T needed" not in text
    rows = [line.split() for line in text.splitlines()]
    errors = next(r for r in rows if r[1:2] == ["6"] and len(r) == 9)
    assert float(errors[4]) < 10  # percent
    codes = [r[-2:] for r in rows if len(r) == 9 and r[1] == "-"]
    assert [c[0].isdigit() and 8 < int(c[1]) < 32 for c in codes] == [True]  # the readout


@pytest.mark.parametrize("name", ["r.txt", "folder.png", "r"])
def test_a_report_that_is_no_picture(name, place, capsys):
    (place / "folder.png").mkdir()
    assert run("m.onnx", "-d", "d.npz", "--report", name) == 1
    error = capsys.readouterr().err
    assert error == f"error: --report takes the name of a .png, .svg, .pdf, not {name}\n"
    assert not (place / "o.spikeloom").exists()


def test_a_file_with_a_dataclass(place):
    """Dataclasses look up the module that they are in."""
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    (place / "data.py").write_text(f"{head}@dataclass\nclass Size:\n    n: int = 4\n{SOURCE}")
    assert run("data.py:net", "-d", "d.npz", "--no-needed") == 0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("m.txt", "a model is file.py:factory"),
        ("absent.onnx", "absent.onnx: no such file"),
        ("absent.pt2", "absent.pt2: no such file"),
        ("absent.py:net", "no file absent.py"),
        ("m.py:absent", "no working absent()"),
        ("m.py:crooked", "m.py: RuntimeError: first line second line"),
        ("m.py:net@absent.pt", "no weights at absent.pt"),
        ("m.py:net@x.npy", "weights are .safetensors, .pt or .pth"),
        ("m.py:net@whole.pt", "holds more than tensors, which is not unpickled"),
        ("m.py:net@other.safetensors", "does not hold the weights of net"),
        ("m.py:net@junk.safetensors", "is no safetensors file"),
        ("junk.onnx", "is no ONNX file"),
        ("junk.pt2", "is no program of torch.export"),
    ],
)
def test_a_mistake_is_one_line(model, message, place, capsys):
    for name in ("junk.onnx", "junk.pt2", "junk.safetensors"):
        (place / name).write_bytes(b"junk")
    save_file({"0.weight": torch.ones(2, 2)}, "other.safetensors")
    assert run(model, "-d", "d.npz") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (place / "o.spikeloom").exists()


class Evil:
    def __reduce__(self):
        return open, ("made", "w")


def test_a_file_of_weights_runs_nothing(place, capsys):
    torch.save({"0.weight": Evil()}, "evil.pt")
    assert run("m.py:net@evil.pt", "-d", "d.npz") == 1
    assert not (place / "made").exists()


def test_samples_of_another_shape(place, capsys):
    np.save("wide.npy", np.zeros((4, 5, 9), np.uint8))
    assert run("m.py:net", "-d", "wide.npy") == 1
    assert "36 inputs" in capsys.readouterr().err


def test_an_output_that_is_a_folder(place, capsys):
    (place / "o.spikeloom").mkdir()
    assert run("m.py:net", "-d", "d.npz") == 1
    assert "is a folder" in capsys.readouterr().err


def test_smartwatch_is_a_name():
    from spikeloom.sources import load_samples

    samples, labels = load_samples("smartwatch")
    assert samples.shape[1:] == (6, 128, 1)
    assert labels is not None
