"""Signals that a user names on the command line: CSV, WAV and NPY files, as channels of floats."""

from __future__ import annotations

import csv
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeloom.errors import InputError

__all__ = ["Recording", "load_recording", "named_or_file"]

_FORMS = "a .csv table, a .wav sound, or a .npy array (time,) or (channels, time)"
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_WAV_FORMATS = {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}
_TIME = ("t", "time", "seconds", "time_s", "t_s", "timestamp")


@dataclass(frozen=True, eq=False)
class Recording:
    """Sampled channels.

    values: float64 (channels, time), finite. names: of the channels. rate: samples a second.
    """

    values: NDArray[np.float64]
    names: tuple[str, ...]
    rate: float

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.values.shape[1] / self.rate


def load_recording(
    path: Path | str, *, rate: float | None = None, channels: Sequence[str] = ()
) -> Recording:
    """Read a recording.

    rate: samples a second; needed where the file does not say (a WAV does, a CSV does with a column
    of seconds called t or time), else 1. channels: names or numbers (from 0) of those wanted;
    default all. Raises InputError that names the file, the place in it, and what is allowed.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"no signal at {file}: give {_FORMS}")
    _check_rate(rate)
    readers = {".csv": _csv, ".tsv": _csv, ".txt": _csv, ".wav": _wav, ".npy": _npy}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise InputError(f"{file}: cannot read {file.suffix or 'this'} files; give {_FORMS}")
    values, names, found = reader(file, channels)
    if values.shape[1] < 2:
        raise InputError(f"{file} holds {values.shape[1]} samples a channel: at least 2 are needed")
    chosen = [_index(file, names, name) for name in channels] or list(range(len(names)))
    values, names = values[chosen], tuple(names[k] for k in chosen)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        channel, time = (int(k) for k in bad[0])
        raise InputError(
            f"{file}: sample {time} of {names[channel]!r} is {values[channel, time]}:"
            f" fill or cut the gap first"
        )
    return Recording(values, names, rate or found or 1.0)


def _check_rate(rate: float | None) -> None:
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise InputError(f"a sampling rate is a finite number of Hz above 0, not {rate}")


def named_or_file(
    name: str, *, rate: float | None = None, channels: Sequence[str] = ()
) -> Recording:
    """Return a test signal of ``study.signals`` by name (1 kHz, the ECG 360 Hz), or read a file.

    Raises InputError as :func:`load_recording` does.
    """
    from spikeloom.study import signals

    _check_rate(rate)
    if name not in signals.NAMES or Path(name).exists():
        if not Path(name).exists() and not Path(name).suffix:
            known = ", ".join(signals.NAMES)
            raise InputError(f"no signal {name!r}: give {_FORMS}, or one of {known}")
        return load_recording(name, rate=rate, channels=channels)
    if channels:
        raise InputError(f"the test signal {name} has one channel: leave --channel out")
    values = signals.signal(name)[None].astype(np.float64)
    return Recording(values, (name,), rate or (360.0 if name == "ecg" else 1000.0))


def _index(file: Path, names: Sequence[str], wanted: str) -> int:
    if wanted in names:
        return list(names).index(wanted)
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    raise InputError(f"{file} has no channel {wanted!r}: it has {', '.join(names)} (0 to"
                     f" {len(names) - 1})")  # fmt: skip


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"channel {k}" for k in range(count))


def _npy(
    file: Path, channels: Sequence[str]
) -> tuple[NDArray[np.float64], tuple[str, ...], float | None]:
    try:
        x = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{file} is no .npy array ({error})") from None
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu" or x.ndim not in (1, 2):
        found = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else "several arrays"
        raise InputError(f"{file} holds {found}: a signal is numbers, (time,) or (channels, time)")
    values = np.atleast_2d(x).astype(np.float64)
    if values.shape[0] > values.shape[1] > 0:
        raise InputError(
            f"{file} has shape {x.shape}, more channels than samples: a signal is (channels, time);"
            f" transpose it"
        )
    return values, _numbered(len(values)), None


def _wav(
    file: Path, channels: Sequence[str]
) -> tuple[NDArray[np.float64], tuple[str, ...], float | None]:
    """PCM of 8, 16, 24 or 32 bits, scaled to [-1, 1); or floats, as they are.

    Read here because the standard library's reader knows neither floats nor, before Python 3.12,
    the extensible header that most 24-bit recorders write.
    """
    chunks = _chunks(file)
    if len(chunks.get(b"fmt ", b"")) < 16 or b"data" not in chunks:
        raise InputError(f"{file} is no WAV sound, or cut before its samples")
    head, frames = chunks[b"fmt "], chunks[b"data"]
    code, count, rate, _, _, bits = struct.unpack("<HHIIHH", head[:16])
    if code == _EXTENSIBLE and len(head) >= 26:
        (code,) = struct.unpack("<H", head[24:26])
    width = bits // 8
    if (code, bits) not in _WAV_FORMATS or not count or not rate:
        raise InputError(
            f"{file} has {bits}-bit samples of WAV format {code}: integers of 8, 16, 24 or 32 bits"
            f" and floats are read; convert others, for instance with sox IN.wav -b 16 OUT.wav"
        )
    raw = frames[: len(frames) // (width * count) * width * count]
    if code == _FLOAT:
        samples = np.frombuffer(raw, dtype=f"<f{width}").astype(np.float64)
    elif width == 1:  # alone among them, unsigned
        samples = (np.frombuffer(raw, dtype=np.uint8).astype(np.float64) - 128) / 128
    else:
        # little-endian: put the bytes on top of an int32, whose sign and scale are then theirs
        wide = np.zeros((len(raw) // width, 4), dtype=np.uint8)
        wide[:, 4 - width :] = np.frombuffer(raw, dtype=np.uint8).reshape(-1, width)
        samples = wide.view("<i4")[:, 0] / 2.0**31
    return samples.reshape(-1, count).T, _numbered(count), float(rate)


def _chunks(file: Path) -> dict[bytes, bytes]:
    """First chunk of each kind of a RIFF file; empty if it is none."""
    data = file.read_bytes()
    found: dict[bytes, bytes] = {}
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return found
    place = 12
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        found.setdefault(name, data[place + 8 : place + 8 + size])
        place += 8 + size + size % 2
    return found


def _csv(
    file: Path, channels: Sequence[str]
) -> tuple[NDArray[np.float64], tuple[str, ...], float | None]:
    """Columns of numbers with or without a header; a column of seconds gives the rate.

    Only columns that are wanted have to be numbers.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file} is no text: a .csv file is lines of numbers") from None
    lines = text.rstrip().splitlines()
    sample = next((line for line in lines if line.strip()), "")
    comma = next((mark for mark in (",", ";", "\t") if mark in sample), " ")
    rows = [
        (number, [cell.strip() for cell in cells if comma != " " or cell.strip()])
        for number, cells in enumerate(csv.reader(lines, delimiter=comma), 1)
    ]
    while rows and not any(rows[0][1]):
        del rows[0]
    if not rows:
        raise InputError(f"{file} is empty: a .csv file is lines of numbers")
    header: list[str] | None = None
    if any(_number(cell) is None and cell for cell in rows[0][1]):
        header, rows = rows[0][1], rows[1:]
    width = len(header) if header else len(rows[0][1])
    names = header or [f"channel {k}" for k in range(width)]
    timed = header is not None and header[0].lower() in _TIME and width > 1
    data = names[1:] if timed else names
    wanted = {_index(file, data, name) + timed for name in channels} or set(range(width))
    values = np.full((width, len(rows)), math.nan)
    for k, (number, cells) in enumerate(rows):
        if not any(cells):
            raise InputError(
                f"{file}, line {number}: a gap, the line is empty; fill or cut it first"
            )
        if len(cells) != width:
            raise InputError(f"{file}, line {number}: {len(cells)} columns, expected {width}")
        for column in wanted | {0} if timed else wanted:
            cell = cells[column]
            value = _number(cell)
            if value is None or not math.isfinite(value):
                shown = "a gap" if not cell else repr(cell)
                raise InputError(
                    f"{file}, line {number}, column {names[column]!r}: {shown} is no finite number;"
                    f" fill or cut it first, or choose other columns with --channel"
                )
            values[column, k] = value
    if timed:
        return values[1:], tuple(data), _rate(file, values[0])
    return values, tuple(data), None


def _rate(file: Path, seconds: NDArray[np.float64]) -> float | None:
    steps = np.diff(seconds)
    if len(steps) == 0:
        return None
    step = float(np.median(steps))
    uneven = np.flatnonzero(np.abs(steps - step) > 0.5 * abs(step))
    if step <= 0 or len(uneven):
        place = int(uneven[0]) if len(uneven) else 0
        raise InputError(
            f"{file}: the time column goes from {seconds[place]:g} to {seconds[place + 1]:g} after"
            f" sample {place}, elsewhere in steps of {step:g}: resample to an even rate first"
        )
    return 1.0 / step


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
