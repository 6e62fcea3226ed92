"""What a user names on the command line: samples (.npy, .npz, IDX folder, a name), models."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spikeloom.data import as_rgb32, idx_folder, mnist_5k, motion_windows
from spikeloom.errors import InputError

if TYPE_CHECKING:
    from torch import nn

Samples = tuple[NDArray[np.uint8], NDArray[np.int64] | None]

#: Data sets that come out of installed packages.
_NAMED = {"mnist": mnist_5k, "smartwatch": motion_windows}
_FORMS = (
    "a .npy array, a .npz with x (and y), a folder of IDX files, 'mnist' or 'smartwatch'; a folder"
    " or mnist with :rgb32 behind it is put into the shape of CIFAR"
)
_RGB32 = ":rgb32"


def load_samples(name: str, *, train: bool = False) -> Samples:
    """Return samples uint8 (n, ...) and their labels (n,), or None where there are none.

    name: ``mnist`` (digits), ``smartwatch`` (windows of movements), a folder or a file;
    ``mnist:rgb32`` and ``FOLDER:rgb32`` are the images as (3, 32, 32).
    train: of a data set with a split, the training part (for calibration) instead of the test part.
    Raises InputError when the name leads to no samples.
    """
    plain = name.removesuffix(_RGB32)
    if plain in _NAMED:
        images = _NAMED[plain]()
    elif Path(plain).is_dir():
        images = idx_folder(plain)
    else:
        return _load_file(Path(name))
    if plain != name:
        images = as_rgb32(images)
    if train:
        return images.train_images, images.train_labels
    return images.test_images, images.test_labels


def _load_file(path: Path) -> Samples:
    if not path.is_file():
        raise InputError(f"no data at {path}: give {_FORMS}")
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            x, y = content, None
        elif "x" in content:
            x, y = content["x"], content.get("y")
        else:
            raise InputError(f"{path} holds {sorted(content)}, expected x (samples) and y (labels)")
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as an array ({error}): give {_FORMS}") from None
    if not len(np.atleast_1d(x)):
        raise InputError(f"{path} holds no samples")
    if x.dtype != np.uint8:
        raise InputError(f"{path}: samples must be uint8 (0..255), not {x.dtype}")
    if y is None:
        return x, None
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise InputError(f"{path}: labels must be {x.shape[0]} integers, not {y.dtype} {y.shape}")
    return x, y.astype(np.int64)


def load_model(source: str) -> nn.Module:
    """Build the model that a user names, in eval mode.

    source: ``file.py:factory[@weights]``, ``x.onnx`` or ``x.pt2``.
    Raises InputError that says which part of the source is wrong.
    """
    from spikeloom.model_sources import load

    return load(source)
