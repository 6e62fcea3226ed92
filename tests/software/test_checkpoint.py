from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import spikeloom as sl
import torch
from safetensors.torch import save_file
from spikeloom.checkpoint import load_mlp, mlp, save_mlp
from spikeloom.data import mnist_5k
from spikeloom.errors import InputError
from spikeloom.shipped import open_network
from spikeloom.training import Augmentation, Recipe, accuracy, predict, train

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "software" / "spikeloom"


def test_shipped_digits_keep_their_accuracy():
    """Measured: ANN 98.4 %, integers 98.3 %, on digits that were not trained on."""
    data, model = mnist_5k(), load_mlp()
    ann = predict(model, data.test_images)
    assert accuracy(ann, data.test_labels) >= 0.98
    snn = sl.convert(model, data.train_images[:2000], steps=4)
    fresh = sl.lower(snn, weight_bits=8)
    shipped = open_network("mnist-mlp")
    for net in (fresh, shipped):
        decisions = net.run(data.test_images).argmax(1)
        assert accuracy(decisions, data.test_labels) >= accuracy(ann, data.test_labels) - 0.002
        assert (decisions == ann).mean() >= 0.99
        net.check_accumulators()
    # the same structure, so that one bitstream serves both
    for a, b in zip(fresh.layers, shipped.layers, strict=True):
        assert (a.weight.shape, a.accumulator_bits) == (b.weight.shape, b.accumulator_bits)


def test_shipped_files_belong_together_and_stay_small():
    checkpoints = {p.stem for p in (PACKAGE / "checkpoints").glob("*.safetensors")}
    networks = {p.stem for p in (PACKAGE / "shipped_networks").glob("*.spikeloom")}
    assert checkpoints == networks == {"mnist-mlp", "fashion-mlp"}
    for folder in ("checkpoints", "shipped_networks"):
        assert all(p.stat().st_size < 500_000 for p in (PACKAGE / folder).iterdir())


def test_checkpoint_round_trip(tmp_path):
    model = mlp(12, 7, 3).eval()
    save_mlp(model, tmp_path / "m.safetensors")
    back = load_mlp(tmp_path / "m.safetensors")
    x = torch.rand(5, 12)
    with torch.no_grad():
        torch.testing.assert_close(back(x), model(x), rtol=1e-2, atol=1e-2)
    assert not back.training
    assert back[1].weight.dtype == torch.float32


def test_wrong_checkpoints_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no checkpoint 'cat'.*'mnist-mlp'"):
        load_mlp("cat")
    (tmp_path / "cut.safetensors").write_bytes(
        (PACKAGE / "checkpoints" / "mnist-mlp.safetensors").read_bytes()[:1000]
    )
    save_file({"1.weight": torch.zeros(3, 4)}, tmp_path / "other.safetensors")
    for name in ("cut", "other", "missing"):
        with pytest.raises(InputError, match=r"is no checkpoint"):
            load_mlp(tmp_path / f"{name}.safetensors")


def bars(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of one bright row (class 0) or column (class 1)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (n, 8, 8)).astype(np.uint8)
    labels = rng.integers(0, 2, n)
    for image, label, at in zip(images, labels, rng.integers(2, 6, n), strict=True):
        (image if label == 0 else image.T)[at] = 250
    return images, labels.astype(np.int64)


def test_training_learns_is_seeded_and_leaves_the_random_state():
    images, labels = bars(400, 0)
    recipe = Recipe(updates=150, batch=32, augmentation=Augmentation(shift=0.5))
    before = torch.random.get_rng_state()
    seen: list[int] = []
    a = train(lambda: mlp(64, 16, 2), images, labels, recipe, seed=3)
    b = train(
        lambda: mlp(64, 16, 2), images, labels, recipe, seed=3,
        progress=lambda update, loss: seen.append(update),
    )  # fmt: skip
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(),
                                                  strict=True))  # fmt: skip
    test, truth = bars(300, 1)
    assert accuracy(predict(a, test), truth) > 0.95
    assert not a.training


def test_no_augmentation_is_the_identity():
    still = Augmentation(rotation=0, scale=0, shear=0, shift=0)
    x = torch.rand(3, 8, 8)
    torch.testing.assert_close(still(x, torch.Generator().manual_seed(0)), x)
    moved = Augmentation()(x, torch.Generator().manual_seed(0))
    assert moved.shape == x.shape
    assert not torch.allclose(moved, x)


def test_fashion_benchmark_without_data_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "fashion_accuracy.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no train-images-idx3-ubyte" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
