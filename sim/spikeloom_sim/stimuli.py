"""Random samples, values, spikes and run-time parameters that find mistakes in encoder cores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from spikeloom.hardware.encoders import (
    BSADecoderParameters,
    BSAParameters,
    CoreParameters,
    Field,
    PackerParameters,
    PopulationParameters,
    ValueParameters,
)

__all__ = ["random_fields", "random_settings", "random_taps", "random_waves"]

Integers = NDArray[np.int64]
Generator = np.random.Generator

#: bounds, shape (rows, time): int64 of that shape
_Wave = Callable[[Generator, int, int, tuple[int, int]], Integers]


def _uniform(rng: Generator, low: int, high: int, shape: tuple[int, int]) -> Integers:
    return rng.integers(low, high, shape, endpoint=True)


def _walk(rng: Generator, low: int, high: int, shape: tuple[int, int]) -> Integers:
    step = np.exp2(rng.uniform(0, np.log2(high - low + 1) - 1, (shape[0], 1)))
    start = rng.integers(low, high, (shape[0], 1), endpoint=True)
    walk = start + np.cumsum(rng.normal(0, 1, shape) * step, axis=1)
    return np.clip(walk, low, high).astype(np.int64)


def _sine(rng: Generator, low: int, high: int, shape: tuple[int, int]) -> Integers:
    rate, phase = rng.uniform(0, 0.5, (2, shape[0], 1))
    size = rng.uniform(0, 1, (shape[0], 1))
    wave = size * np.sin(2 * np.pi * (rate * np.arange(shape[1]) + phase))
    return np.rint((low + high) / 2 + wave * (high - low) / 2).clip(low, high).astype(np.int64)


def _constant(rng: Generator, low: int, high: int, shape: tuple[int, int]) -> Integers:
    corners = np.unique(np.clip([low, low + 1, -1, 0, 1, high - 1, high], low, high))
    return np.broadcast_to(rng.choice(corners, (shape[0], 1)), shape).astype(np.int64)


def _alternating(rng: Generator, low: int, high: int, shape: tuple[int, int]) -> Integers:
    period = rng.integers(1, 9, (shape[0], 1))
    return np.where(np.arange(shape[1]) // period % 2 == 0, low, high)


def _steps(rng: Generator, low: int, high: int, shape: tuple[int, int]) -> Integers:
    levels = rng.integers(low, high, (shape[0], shape[1] // 8 + 1), endpoint=True)
    corner = rng.random(levels.shape) < 0.3
    levels = np.where(corner, np.where(rng.random(levels.shape) < 0.5, low, high), levels)
    return np.repeat(levels, 8, axis=1)[:, : shape[1]]


def _near(rng: Generator, low: int, high: int, shape: tuple[int, int]) -> Integers:
    """Small values around a level: what a threshold of a few LSB decides."""
    level = rng.integers(low, high, (shape[0], 1), endpoint=True)
    return np.clip(level + rng.integers(-4, 4, shape, endpoint=True), low, high)


_WAVES: tuple[tuple[_Wave, float], ...] = (
    (_uniform, 0.2), (_walk, 0.3), (_sine, 0.15), (_constant, 0.1), (_alternating, 0.1),
    (_steps, 0.1), (_near, 0.05),
)  # fmt: skip


def random_waves(rng: Generator, low: int, high: int, shape: tuple[int, ...]) -> Integers:
    """Return int64 within bounds, time last: noise, walks, sines, constants, extremes, steps."""
    rows = int(np.prod(shape[:-1]))
    kinds = rng.choice(len(_WAVES), rows, p=[share for _, share in _WAVES])
    waves = np.zeros((rows, shape[-1]), dtype=np.int64)
    for kind, (wave, _) in enumerate(_WAVES):
        chosen = np.flatnonzero(kinds == kind)
        if len(chosen):
            waves[chosen] = wave(rng, low, high, (len(chosen), shape[-1]))
    return waves.reshape(shape)


def _spikes(rng: Generator, low: int, high: int, shape: tuple[int, ...]) -> Integers:
    """Spikes of any density, and rows of nothing but one of them."""
    density = rng.choice([0.02, 0.3, 0.9, 1.0], shape[:-1])[..., None]
    s = rng.integers(low, high, shape, endpoint=True)
    same = rng.random(shape[:-1])[..., None] < 0.2
    s = np.where(same, rng.choice([low, high], shape[:-1])[..., None], s)
    return s * (rng.random(shape) < density)


def random_fields(
    parameters: CoreParameters, frames: int, time: int, rng: Generator
) -> dict[str, Integers]:
    """Fields of the input stream, int64 (frames, channels, time), without channel and marks."""
    shape = (frames, parameters.channels, time)
    if isinstance(parameters, ValueParameters | PopulationParameters):
        return {"value": random_waves(rng, 0, (1 << parameters.bits) - 1, shape)}
    if isinstance(parameters, PackerParameters):
        top = 1 << (parameters.spike_bits - 1)
        return {"spike": _spikes(rng, -top, top - 1, shape)}
    format = parameters.format  # pyright: ignore[reportAttributeAccessIssue]
    if not parameters.NAME.endswith("decoder"):
        return {"sample": random_waves(rng, format.low, format.high, shape)}
    low = 0 if isinstance(parameters, BSADecoderParameters) else -1
    fields = {"spike": _spikes(rng, low, 1, shape)}
    if parameters.side_band:  # pyright: ignore[reportAttributeAccessIssue]
        fields["start"] = random_waves(rng, format.low, format.high, shape)
    return fields


def random_settings(parameters: CoreParameters, rng: Generator) -> dict[str, Integers]:
    """Run-time parameters, int64 (channels,) each: bounds, defaults, any order of magnitude."""
    return {f.name: _setting(f, parameters.channels, rng) for f in parameters.fields}


def _setting(field: Field, channels: int, rng: Generator) -> Integers:
    span = field.high - field.low
    size = np.exp2(rng.uniform(0, max(1e-9, np.log2(span + 1)), channels)).astype(np.int64) - 1
    from_bottom = np.clip(field.low + size, field.low, field.high)
    from_top = np.clip(field.high - size, field.low, field.high)
    uniform = rng.integers(field.low, field.high, channels, endpoint=True)
    low, high = (np.full(channels, bound) for bound in (field.low, field.high))
    middle = np.clip(np.where(uniform < 0, -size, size), field.low, field.high)
    default = field.defaults(channels)
    choices = np.stack([from_bottom, middle, uniform, default, from_top, low, high])
    kind = rng.choice(len(choices), channels, p=[0.25, 0.15, 0.25, 0.15, 0.1, 0.05, 0.05])
    return choices[kind, np.arange(channels)]


def random_taps(parameters: BSAParameters | BSADecoderParameters, rng: Generator) -> Integers:
    """Return taps of a filter, int64 (taps,), with sum |h| <= 2^width: low-passes and others."""
    count, total = parameters.taps, 1 << parameters.format.width
    kind = rng.integers(4)
    if kind == 0:
        shape = np.sin(np.pi * (np.arange(count) + 0.5) / count)
    elif kind == 1:
        shape = rng.normal(0, 1, count)
    elif kind == 2:
        shape = np.ones(count)
    else:  # all in one tap
        shape = np.zeros(count)
        shape[rng.integers(count)] = rng.choice([-1.0, 1.0])
    size = total * np.exp2(-float(rng.choice([0, 0, 1, 4])))
    h = np.trunc(shape / np.abs(shape).sum() * size).astype(np.int64)
    low = -(1 << parameters.format.width)
    return np.clip(h, low, -low - 1)
