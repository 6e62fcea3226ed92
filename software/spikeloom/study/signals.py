"""Signals to hold encoders against: five classes by name, and a real smartwatch's motion sensors.

Nothing is downloaded: recordings come out of installed packages, which are not imported. No torch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeloom.errors import InputError

__all__ = ["AXES", "EXERCISES", "NAMES", "Recording", "signal", "smartwatch", "windows"]

Floats = NDArray[np.float32]

#: Axes of a smartwatch recording: acceleration in g, angular velocity in rad/s.
AXES = ("ax", "ay", "az", "wx", "wy", "wz")

#: What the subjects did: shoulder exercises of physiotherapy, names as in the data set.
EXERCISES = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")

_WATCH = "seglearn/data/watch_dataset.npy"
_WATCH_VERSION = "1.2.5"
_WATCH_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"


def _sines(length: int, random: np.random.Generator) -> NDArray[np.float64]:
    t = np.arange(length) / length
    return sum(
        (a * np.sin(2 * np.pi * f * t) for a, f in ((1.0, 2), (0.6, 5), (0.3, 11))), np.zeros(1)
    )


def _chirp(length: int, random: np.random.Generator) -> NDArray[np.float64]:
    t = np.arange(length) / length
    return np.sin(2 * np.pi * (t + 12 * t * t))  # 1 to 25 cycles a record


def _ecg(length: int, random: np.random.Generator) -> NDArray[np.float64]:
    try:
        distribution = importlib.metadata.distribution("pywavelets")
    except importlib.metadata.PackageNotFoundError:
        raise InputError(
            "the ECG is in the pywavelets package, which is not installed: pip install pywavelets"
        ) from None
    path = Path(str(distribution.locate_file("pywt/data/ecg.npz")))
    try:
        with np.load(path, allow_pickle=False) as archive:
            beats = archive["data"].astype(np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} does not hold an ECG ({error}):"
            " pip install --force-reinstall --no-deps pywavelets"
        ) from None
    if length > len(beats):
        raise InputError(f"the ECG has {len(beats)} samples, not {length}: ask for fewer")
    return beats[:length]


def _steps(length: int, random: np.random.Generator) -> NDArray[np.float64]:
    return np.repeat(random.random(10), -(-length // 10))[:length]


def _noisy_sine(length: int, random: np.random.Generator) -> NDArray[np.float64]:
    t = np.arange(length) / length
    return np.sin(2 * np.pi * 5 * t) + 0.1 * random.standard_normal(length)


_MAKERS: dict[str, tuple[Callable[[int, np.random.Generator], NDArray[np.float64]], int]] = {
    "sines": (_sines, 1000),
    "chirp": (_chirp, 1000),
    "ecg": (_ecg, 1024),
    "steps": (_steps, 1000),
    "noisy-sine": (_noisy_sine, 1000),
}

#: Names that :func:`signal` knows.
NAMES = tuple(_MAKERS)


def signal(name: str, length: int | None = None, *, seed: int = 0) -> Floats:
    """Return a test signal, float32 (length,), scaled to [0, 1].

    ``sines``: three of 2, 5 and 11 cycles. ``chirp``: 1 to 25 cycles. ``ecg``: 1024 samples at 360
    Hz out of pywavelets. ``steps``: ten random levels. ``noisy-sine``: 5 cycles, noise of 0.1 of
    the amplitude. length: 1000 (ecg: 1024) by default; at least 2. seed: of levels and noise.

    Raises InputError for an unknown name, a length that cannot be, or without pywavelets.
    """
    if name not in _MAKERS:
        raise InputError(f"no test signal {name!r}: one of {', '.join(NAMES)}")
    make, usual = _MAKERS[name]
    length = usual if length is None else length
    if length < 2:
        raise InputError(f"a test signal has at least 2 samples, not {length}")
    x = make(length, np.random.default_rng(seed))
    low, high = x.min(), x.max()
    # ten steps cut to less than a step's length would be constant
    return ((x - low) / (high - low if high > low else 1.0)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Recording:
    """A subject doing one exercise: samples float32 (6 axes, time) at 50 Hz.

    exercise: index into EXERCISES. subject: 1 to 10.
    """

    samples: Floats
    exercise: int
    subject: int


def smartwatch() -> list[Recording]:
    """Read the 140 smartwatch recordings out of the seglearn package (Burns et al. 2018).

    Its file is a pickle, so that only the very file that was pinned, by hash, is opened. Raises
    InputError when the package is missing, of another version, or changed.
    """
    install = f"pip install --no-deps seglearn=={_WATCH_VERSION}"
    try:
        distribution = importlib.metadata.distribution("seglearn")
    except importlib.metadata.PackageNotFoundError:
        raise InputError(
            f"the smartwatch data are in the seglearn package, which is not installed: {install}"
        ) from None
    if distribution.version != _WATCH_VERSION:
        raise InputError(
            f"the smartwatch data of seglearn {distribution.version} are a pickle that nobody has"
            f" checked: {install}"
        )
    path = Path(str(distribution.locate_file(_WATCH)))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): {install}") from None
    if hashlib.sha256(content).hexdigest() != _WATCH_SHA256:
        raise InputError(
            f"{path} is not the file of seglearn {_WATCH_VERSION}, and a pickle can run anything:"
            f" not opened; {install} --force-reinstall"
        )
    # the bytes that were hashed, not the file again
    table = np.load(io.BytesIO(content), allow_pickle=True).item()
    return [
        Recording(np.ascontiguousarray(x.T, dtype=np.float32), int(exercise), int(subject))
        for x, exercise, subject in zip(table["X"], table["y"], table["subject"], strict=True)
    ]


def windows(
    recordings: Sequence[Recording], length: int, stride: int
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Cut recordings into windows: (n, 6, length), and the exercise and the subject of each.

    Raises InputError if no recording is as long as a window.
    """
    if length < 1 or stride < 1:
        raise InputError(f"length and stride must be at least 1, not {length} and {stride}")
    cuts = [
        (r.samples[:, k : k + length], r.exercise, r.subject)
        for r in recordings
        for k in range(0, r.samples.shape[1] - length + 1, stride)
    ]
    if not cuts:
        raise InputError(f"none of {len(recordings)} recordings has a window of {length} samples")
    samples, exercises, subjects = zip(*cuts, strict=True)
    return np.stack(samples), np.array(exercises), np.array(subjects)
