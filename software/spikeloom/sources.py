"""What a user names on the command line: samples (.npy, .npz, IDX folder, `mnist` ...), models."""

from __future__ import annotations

import importlib.util
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

_FORMS = (
    "a .npy array, a .npz with x (and y), a folder of IDX files, 'mnist' or 'motion'; a folder or"
    " mnist with :rgb32 behind it is put into the shape of CIFAR"
)
_RGB32 = ":rgb32"


def load_samples(name: str, *, train: bool = False) -> Samples:
    """Return samples uint8 (n, ...) and their labels (n,), or None where there are none.

    name: ``mnist`` (digits), ``motion`` (windows of a smartwatch's movements), a folder or a file;
    ``mnist:rgb32`` and ``FOLDER:rgb32`` are the images as (3, 32, 32).
    train: of a data set with a split, the training part (for calibration) instead of the test part.
    Raises InputError when the name leads to no samples.
    """
    plain = name.removesuffix(_RGB32)
    if name == "motion":
        images = motion_windows()
    elif plain == "mnist":
        images = mnist_5k()
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
    """Build the model ``file.py:factory[@weights.safetensors]`` and put it into eval mode.

    The factory is called without arguments and returns an nn.Module. Raises InputError that says
    which part of the source is wrong.
    """
    import safetensors
    from safetensors.torch import load_file
    from torch import nn

    spec, _, weights = source.partition("@")
    file, colon, factory = spec.rpartition(":")
    if not colon:
        raise InputError(f"a model is file.py:factory[@weights.safetensors], not {source!r}")
    path = Path(file)
    if not path.is_file():
        raise InputError(f"no file {path}: a model is file.py:factory[@weights.safetensors]")
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    if module_spec is None or module_spec.loader is None:
        raise InputError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        model = getattr(module, factory)()
    except AttributeError as error:
        raise InputError(f"{path} has no working {factory}(): {error}") from error
    except Exception as error:  # whatever the user's own file raises is the user's to see
        raise InputError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"{spec} returned a {type(model).__name__}, expected an nn.Module")
    if weights:
        try:
            model.load_state_dict(load_file(weights))
        except (OSError, safetensors.SafetensorError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(f"{weights} does not hold the weights of {factory}: {first}") from None
    return model.eval()
