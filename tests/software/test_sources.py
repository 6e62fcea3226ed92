"""Models and samples that a user names: found, or refused with one line that says why."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from spikeloom.errors import InputError
from spikeloom.sources import load_model, load_samples

MODEL = """
from torch import nn
def small():
    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Dropout())
def number():
    return 7
def broken():
    return 1 / 0
"""


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return path


def test_samples_with_and_without_labels(tmp_path):
    x, y = np.arange(12, dtype=np.uint8).reshape(3, 4), np.array([2, 0, 1], dtype=np.int32)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "xy.npz", x=x, y=y)
    samples, labels = load_samples(str(tmp_path / "x.npy"))
    assert labels is None
    assert np.array_equal(samples, x)
    samples, labels = load_samples(str(tmp_path / "xy.npz"))
    assert np.array_equal(samples, x)
    assert labels is not None
    assert labels.dtype == np.int64
    assert np.array_equal(labels, y)


def test_mnist_splits_do_not_overlap():
    test, _ = load_samples("mnist")
    train, _ = load_samples("mnist", train=True)
    assert (len(train), len(test)) == (4000, 1000)
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}


def test_data_sets_in_the_shapes_of_the_shipped_networks():
    digits, labels = load_samples("mnist")
    colour, same = load_samples("mnist:rgb32")
    assert colour.shape == (1000, 3, 32, 32)
    assert np.array_equal(colour[:, 1, 2:30, 2:30], digits)
    assert np.array_equal(labels, same)
    moves, kinds = load_samples("smartwatch")
    assert moves.shape[1:] == (6, 128, 1)
    assert len(np.unique(kinds)) == 7
    with pytest.raises(InputError, match="not grey and up to 32 x 32"):
        load_samples("smartwatch:rgb32")


def test_bad_samples(tmp_path):
    with pytest.raises(InputError, match="no data at .*give a .npy array"):
        load_samples(str(tmp_path / "none.npy"))
    (tmp_path / "junk.npy").write_bytes(b"not an array")
    with pytest.raises(InputError, match="junk.npy cannot be read as an array"):
        load_samples(str(tmp_path / "junk.npy"))
    np.save(tmp_path / "float.npy", np.zeros((2, 3)))
    with pytest.raises(InputError, match="must be uint8 .*, not float64"):
        load_samples(str(tmp_path / "float.npy"))
    np.savez(tmp_path / "short.npz", x=np.zeros((2, 3), np.uint8), y=np.zeros(1, np.int64))
    with pytest.raises(InputError, match="labels must be 2 integers"):
        load_samples(str(tmp_path / "short.npz"))
    np.savez(tmp_path / "named.npz", images=np.zeros((2, 3), np.uint8))
    with pytest.raises(InputError, match=r"holds \['images'\], expected x"):
        load_samples(str(tmp_path / "named.npz"))


def test_a_model_with_its_weights(model_file, tmp_path):
    weights = {"0.weight": torch.ones(2, 3), "0.bias": torch.full((2,), 4.0)}
    save_file(weights, tmp_path / "w.safetensors")
    model = load_model(f"{model_file}:small@{tmp_path / 'w.safetensors'}")
    assert not model.training
    assert torch.equal(model(torch.ones(1, 3)), torch.full((1, 2), 7.0))


def test_bad_models(model_file, tmp_path):
    with pytest.raises(InputError, match="a model is file.py:factory"):
        load_model("model.py")
    with pytest.raises(InputError, match="no file .*absent.py"):
        load_model(f"{tmp_path}/absent.py:small")
    with pytest.raises(InputError, match=r"no working large\(\)"):
        load_model(f"{model_file}:large")
    with pytest.raises(InputError, match="returned a int, expected an nn.Module"):
        load_model(f"{model_file}:number")
    with pytest.raises(InputError, match="ZeroDivisionError"):
        load_model(f"{model_file}:broken")
    save_file({"0.weight": torch.ones(5, 3)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="does not hold the weights of small"):
        load_model(f"{model_file}:small@{tmp_path / 'w.safetensors'}")
