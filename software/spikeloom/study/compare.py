"""Every encoder on one signal: fitted, measured, and laid side by side with its gates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from spikeloom.errors import InputError
from spikeloom.recording import Recording
from spikeloom.study.codes import CODES, Code, Coded, Point
from spikeloom.study.fidelity import correlation, group_delay, normalised_error, snr_db
from spikeloom.study.operations import Operations, operations

__all__ = ["Comparison", "Entry", "Point", "compare"]

#: Trade-offs that draw the curve of an encoder: lambda in error / variance + lambda * density.
WEIGHTS = tuple(10 ** (-k / 4) for k in range(-2, 17))


@dataclass(frozen=True, eq=False)
class Entry:
    """One encoder on a signal, fitted.

    settings: its parameters, mean over channels. spikes: int8 (channels, time) or, of a value
    encoder, (channels, time, steps). estimate: float64 (channels, time). error: of the mean square,
    over the variance. density: spikes a sample. bits_per_second: of all channels, as dense spikes
    or address events, whichever is less. delay: of the reconstruction, in samples; latency: samples
    that the encoder holds back. curve: other settings, densest last. density_at_snr and
    snr_at_density: matched to the comparison's target, None where it cannot be reached.
    """

    name: str
    settings: dict[str, float]
    spikes: NDArray[np.int8]
    estimate: NDArray[np.float64]
    error: float
    snr: float
    correlation: float
    density: float
    bits_per_second: float
    delay: float
    latency: int
    work: Operations
    curve: tuple[Point, ...]
    density_at_snr: float | None
    snr_at_density: float | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """All encoders on one recording; targets: what is matched."""

    recording: Recording
    entries: tuple[Entry, ...]
    target_snr: float
    target_density: float


def compare(
    recording: Recording,
    *,
    names: Sequence[str] = (),
    weight: float = 0.01,
    target_snr: float | None = None,
    target_density: float = 0.1,
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
    notice: Callable[[str], None] | None = None,
) -> Comparison:
    """Fit every encoder (or those named) to a recording and measure it.

    weight: lambda of the fit, error over variance against spikes a sample. target_snr: in dB; by
    default the median of what the encoders reach, rounded. target_density: spikes a sample.
    progress: called with a line when the turn of an encoder comes. notice: called with a line for
    what is left out: channels that never change, encoders that cannot be fitted; by default as
    progress.

    Raises InputError on an unknown encoder, or a recording that never changes.
    """
    notice = notice or progress
    names = [name.lower().replace("_", "-") for name in names]
    if unknown := sorted(set(names) - set(CODES)):
        raise InputError(f"no encoder {', '.join(unknown)}: there are {', '.join(CODES)}")
    if not target_density > 0:
        raise InputError(f"the density to match must be above 0 spikes a sample: {target_density}")
    moving = recording.values.std(axis=1) > 0
    if not moving.any():
        raise InputError(f"no channel ever changes: {', '.join(recording.names)}")
    for name, moves in zip(recording.names, moving, strict=True):
        if not moves:
            notice(f"left out: {name!r}, which never changes")
    kept = tuple(name for name, moves in zip(recording.names, moving, strict=True) if moves)
    recording = Recording(recording.values[moving], kept, recording.rate)
    chosen = {name: CODES[name] for name in (names or CODES)}
    signal = torch.from_numpy(recording.values)
    curves, best = {}, {}
    for name, code in chosen.items():
        progress(f"fitting {name}")
        try:
            coded = code.fit(signal, weight, seed)
        except InputError as error:
            notice(f"left out: {name}: {error}")
            continue
        best[name] = coded
        chosen_point = Point(_density(coded), snr_db(recording.values, coded.estimate))
        curves[name] = _front([chosen_point, *(_mean_of_best(coded, w) for w in WEIGHTS)])
    if target_snr is None:
        tops = [curve[-1].snr for curve in curves.values() if math.isfinite(curve[-1].snr)]
        target_snr = float(max(1, round(float(np.median(tops or [10.0])))))
    entries = [
        _entry(recording, name, code, best[name], curves[name], target_snr, target_density)
        for name, code in chosen.items()
        if name in best
    ]
    if not entries:
        raise InputError("no encoder can be fitted to this signal: see the lines above")
    return Comparison(recording, tuple(entries), target_snr, target_density)


def _density(coded: Coded) -> float:
    channels, time = coded.estimate.shape
    return float(np.abs(coded.spikes.astype(np.int64)).sum()) / (channels * time)


def _mean_of_best(coded: Coded, weight: float) -> Point:
    """Each channel at its best for a weight, of the settings that the fit met; then their mean."""
    best = [
        min(channel, key=lambda p: 10 ** (-p.snr / 10) + weight * p.density)
        for channel in coded.trade_offs
    ]
    error = float(np.mean([10 ** (-p.snr / 10) for p in best]))
    snr = math.inf if error == 0 else -10 * math.log10(error)
    return Point(float(np.mean([p.density for p in best])), snr)


def _front(points: Iterable[Point]) -> tuple[Point, ...]:
    """Points that no other one beats in both, by density."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.density, -p.snr)):
        if not front or point.snr > front[-1].snr:
            front.append(point)
    return tuple(front)


def _interpolate(target: float, known: Sequence[float], wanted: Sequence[float]) -> float | None:
    """Value at a target within the known ones, which rise; None outside."""
    if not known or target > known[-1] or target < known[0]:
        return None
    return float(np.interp(target, known, wanted))


def _entry(
    recording: Recording,
    name: str,
    code: Code,
    coded: Coded,
    curve: tuple[Point, ...],
    target_snr: float,
    target_density: float,
) -> Entry:
    x = recording.values
    channels = len(x)
    density = _density(coded)
    densities, snrs = [p.density for p in curve], [p.snr for p in curve]
    # an encoder that is better than asked at its sparsest needs no more than that
    at_snr = _interpolate(target_snr, snrs, densities)
    if at_snr is None and snrs and snrs[0] > target_snr:
        at_snr = densities[0]
    at_density = _interpolate(target_density, densities, snrs)
    if at_density is None and densities and densities[-1] < target_density:
        at_density = snrs[-1]
    dense_bits = code.bits_a_sample * recording.rate * channels
    event_bits = (channels - 1).bit_length() + code.event_bits
    return Entry(
        name=name,
        settings=coded.settings,
        spikes=coded.spikes,
        estimate=coded.estimate,
        error=normalised_error(x, coded.estimate),
        snr=snr_db(x, coded.estimate),
        correlation=correlation(x, coded.estimate),
        density=density,
        bits_per_second=min(dense_bits, density * recording.rate * channels * event_bits),
        delay=group_delay(x, coded.estimate),
        latency=coded.latency,
        work=operations(coded.parameters, density),
        curve=curve,
        density_at_snr=at_snr,
        snr_at_density=at_density,
    )
