"""``fit``: the parameters that give the least error for the spikes they cost, channel by channel.

One sweep over the whole range, then closer and closer around the best. Channels and candidates
become rows of one signal, so that the encoder's own kernels do the work, many at a time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.base import as_floats, column, reject_non_finite
from spikeloom.encoders.fit_report import Error, FitReport, TradeOff
from spikeloom.encoders.normalise import normalise
from spikeloom.encoders.search import Space
from spikeloom.encoders.sweep import Sweep, Tried
from spikeloom.errors import InputError

if TYPE_CHECKING:
    from spikeloom.encoders.signal import SignalEncoder

__all__ = ["Candidate", "fit"]

T = TypeVar("T", bound="SignalEncoder")

#: A parameter set: by name a number, or one for each channel.
Candidate = Mapping[str, "float | Sequence[float] | Tensor"]

#: How many of the best are looked around in each round of refinement, and how much closer.
_ELITES = (8, 4, 2, 1)
_CLOSER = 0.35

_CURVE = 64  # points kept of a trade-off curve


@torch.no_grad()
def fit(
    cls: type[T],
    signal: Tensor | ArrayLike,
    *,
    weight: float = 0.01,
    error: Error = "mse",
    max_density: float | None = None,
    candidates: Sequence[Candidate] = (),
    trials: int = 512,
    seed: int = 0,
    progress: bool = False,
    **fixed: Any,
) -> T:
    """Fit an encoder to a signal; see ``SignalEncoder.fit``."""
    begin = time.perf_counter()
    if error not in get_args(Error):
        raise InputError(f"error must be one of {', '.join(get_args(Error))}, not {error!r}")
    if not weight >= 0:
        raise InputError(f"weight must be at least 0, not {weight}")
    if max_density is not None and not max_density >= 0:
        raise InputError(f"max_density must be at least 0 spikes a sample, not {max_density}")
    if trials < 1:
        raise InputError(f"trials must be at least 1, not {trials}")
    x, span, constant, common = _prepare(cls, signal, fixed)
    ranges = dict(cls._search(fixed))
    if "order" in ranges:  # a filter is not longer than the signal
        r, longest = ranges["order"], x.shape[-1] - 1
        ranges["order"] = replace(r, low=min(r.low, longest), high=min(r.high, longest))
    space = Space({name: r for name, r in ranges.items() if name not in fixed}, span)
    job = Sweep(cls, x, error, common)

    def objective(t: Tried) -> Tensor:
        cost = t.error + weight * t.density
        if max_density is None:
            return cost
        # towards fewer spikes while there are too many: a finite step above everything allowed
        allowed = t.density <= max_density + 1e-9
        return torch.where(allowed, cost, 1e30 * (1 + t.density))

    budget = max(0, trials - len(candidates)) if space.names else 0
    rounds = [budget // (2 * len(_ELITES))] * len(_ELITES)
    first = budget - sum(rounds)
    total = len(candidates) + first + sum(rounds) if space.names else 1
    generator = torch.Generator().manual_seed(seed)
    with _bar(progress, f"fit {cls.NAME}", total * len(span)) as tick:
        start = [_table(space, candidates)] if candidates else []
        if first or not candidates:
            start.append(space.values(space.spread(max(1, first), seed)))
        values = {name: torch.cat([s[name] for s in start], 1) for name in space.names}
        tried = job.run(values, tick)
        radius = 1.5 * max(1, first) ** (-1 / max(1, space.dimensions))
        for elites, count in zip(_ELITES, rounds, strict=True):
            if not count:
                continue
            best = objective(tried).argsort(dim=1, stable=True)[:, :elites]
            centres = {name: value.gather(1, best) for name, value in tried.values.items()}
            points = space.around(space.points(centres), count, radius, generator)
            tried = tried.joined(job.run(space.values(points), tick))
            radius *= _CLOSER
    if max_density is not None:
        _reachable(cls, tried.density, max_density)
    best = objective(tried).argmin(1, keepdim=True)

    def chosen(t: Tensor) -> tuple[float, ...]:
        return tuple(t.gather(1, best)[:, 0].tolist())

    found = {name: chosen(value) for name, value in tried.values.items()}
    encoder = job.encoder({name: v.gather(1, best) for name, v in tried.values.items()}, fixed)
    mse = torch.tensor(chosen(tried.mse), dtype=torch.float64)
    snr = tuple(_decibels(job.variance, mse).tolist())
    encoder.fit_report = FitReport(
        encoder=cls.NAME,
        parameters=found,
        kind=error,
        weight=weight,
        max_density=max_density,
        error=chosen(tried.error),
        snr_db=snr,
        density=chosen(tried.density),
        trials=tried.error.shape[1],
        seconds=time.perf_counter() - begin,
        curve=tuple(_curve(tried, job.variance, c) for c in range(len(span))),
        notes=(
            *(f"channel {c} is constant: its parameters mean little" for c in constant),
            *(
                f"channel {c}: the error exceeds the signal, no spikes at all would be better"
                for c, decibels in enumerate(snr)
                if decibels < 0
            ),
        ),
    )
    return encoder


def _prepare(
    cls: type[SignalEncoder], signal: Tensor | ArrayLike, fixed: Mapping[str, Any]
) -> tuple[Tensor, Tensor, list[int], dict[str, Any]]:
    """Return x (records, channels, time), the span of z, constant channels, options for all."""
    if not cls._search(fixed):
        raise InputError(f"{cls.NAME} has no parameters to fit: construct it")
    x = as_floats(signal).detach()
    reject_non_finite(x)
    x = x.reshape(-1, x.shape[-2] if x.ndim > 1 else 1, x.shape[-1])
    if x.shape[-1] < 2:
        raise InputError("a signal to fit must have at least 2 samples; this one has 1")
    low, high = x.amin((0, 2)).double(), x.amax((0, 2)).double()
    channels = len(low)
    spread = high - low
    constant = torch.nonzero(spread == 0)[:, 0].tolist()
    if len(constant) == channels:
        raise InputError(
            "the signal is constant, there is nothing to fit: check the sensor, or construct the"
            " encoder with parameters of your own"
        )
    # a constant channel gets what a typical one would
    spread = torch.where(spread == 0, spread[spread > 0].median(), spread)
    common = dict(fixed)
    by_record = fixed.get("profile") == "compat" and fixed.get("normalise", True)
    if cls.FIT_RANGE is not None and not {"offset", "scale"} & set(fixed):
        if by_record:  # the encoder does it, record by record
            bottom, top = cls.FIT_RANGE
            return x, torch.full_like(spread, top - bottom), constant, common
        common["offset"], common["scale"] = normalise(x, cls.FIT_RANGE)
    scale = column("scale", common.get("scale", 1.0), low=0.0)
    offset = column("offset", common.get("offset", 0.0))
    for name, value in (("offset", offset), ("scale", scale)):
        if value.ndim and len(value) not in (1, channels):
            raise InputError(f"{name} is for {len(value)} channels, the signal has {channels}")
    # in the dtype of the signal, as the encoder does it, so that it is met exactly
    z = (x[..., 0] - offset.to(x)) * scale.to(x)
    common = {**cls._fit_defaults(z.double().mean(0), fixed), **common}
    return x, (spread * scale).expand(channels), constant, common


def _table(space: Space, candidates: Sequence[Candidate]) -> dict[str, Tensor]:
    """Candidates as (channels, k) a parameter."""
    rows = {name: [] for name in space.names}
    for n, candidate in enumerate(candidates):
        if set(candidate) != set(space.names):
            raise InputError(
                f"candidate {n} gives {sorted(candidate)}, but what is searched is"
                f" {sorted(space.names)}"
            )
        for name, value in candidate.items():
            numbers = column(name, value)
            if numbers.ndim and len(numbers) not in (1, space.channels):
                raise InputError(
                    f"{name} of candidate {n} is for {len(numbers)} channels, the signal has"
                    f" {space.channels}"
                )
            rows[name].append(numbers.expand(space.channels))
    return {name: torch.stack(row, 1) for name, row in rows.items()}


def _reachable(cls: type[SignalEncoder], density: Tensor, most: float) -> None:
    lowest = density.amin(1)
    worst = int(lowest.argmax())
    if float(lowest[worst]) > most + 1e-9:
        raise InputError(
            f"{cls.NAME} cannot go down to {most:g} spikes a sample on channel {worst}: the lowest"
            f" density found is {float(lowest[worst]):.4g}; allow that, or free a fixed option"
        )


def _decibels(variance: Tensor, mse: Tensor) -> Tensor:
    return 10 * (variance / mse).log10()  # inf if exact, nan if constant and exact


def _curve(tried: Tried, variance: Tensor, channel: int) -> tuple[TradeOff, ...]:
    """Trade-offs of a channel, from few spikes to many, thinned evenly."""
    density, mse = tried.density[channel].tolist(), tried.mse[channel].tolist()
    front, least = [], float("inf")
    for k in sorted(range(len(mse)), key=lambda k: (density[k], mse[k])):
        if mse[k] < least:
            least = mse[k]
            front.append(k)
    if len(front) > _CURVE:
        front = [front[k * (len(front) - 1) // (_CURVE - 1)] for k in range(_CURVE)]
    snr = _decibels(variance[channel], tried.mse[channel]).tolist()
    return tuple(
        TradeOff(
            density[k],
            snr[k],
            {name: float(value[channel, k]) for name, value in tried.values.items()},
        )
        for k in front
    )


def _bar(shown: bool, text: str, total: int) -> Any:
    """Context of a function that counts trials, on a progress bar if that is shown."""
    if not shown:
        return nullcontext(lambda count: None)
    from contextlib import contextmanager

    from rich.progress import Progress

    @contextmanager
    def bar() -> Any:
        with Progress() as screen:
            task = screen.add_task(text, total=total)
            yield lambda count: screen.advance(task, count)

    return bar()
