"""The encoders of a comparison: how each is fitted, and what its spikes cost to send."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeloom import encoders
from spikeloom.encoders.signal import SignalEncoder
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import BSAParameters, CoreParameters, HoughSpikerParameters
from spikeloom.study.fidelity import normalised_error, snr_db

__all__ = ["CODES", "TIME_STAMP_BITS", "Code", "Coded", "Point"]

#: Of an address event; a receiver follows the overflow.
TIME_STAMP_BITS = 16
SAMPLE_BITS = 16
#: Samples at the beginning of a record on which parameters are searched; all of it is measured.
LONGEST_FIT = 4096


@dataclass(frozen=True)
class Point:
    """One setting of an encoder: spikes a sample, SNR in dB."""

    density: float
    snr: float


@dataclass(frozen=True, eq=False)
class Coded:
    """A signal through a fitted encoder and back; fields as in ``Entry``.

    parameters: structure of its core. trade_offs: settings that the fit met on its way, for each
    channel, or once for all.
    """

    spikes: NDArray[np.int8]
    estimate: NDArray[np.float64]
    settings: dict[str, float]
    latency: int
    parameters: CoreParameters
    trade_offs: tuple[tuple[Point, ...], ...]


@dataclass(frozen=True)
class Code:
    """One encoder. fit(signal (channels, time) float64, weight, seed): code it at its best.

    bits_a_sample: of dense spikes. event_bits: of an address event without its channel.
    """

    fit: Callable[[Tensor, float, int], Coded]
    bits_a_sample: float
    event_bits: int


def _signal(
    make: type[SignalEncoder],
    structure: Callable[[Any], CoreParameters] | None = None,
    **fixed: Any,
) -> Callable[[Tensor, float, int], Coded]:
    def fit(signal: Tensor, weight: float, seed: int) -> Coded:
        given = {**fixed, **_whole_record(make, signal)}
        encoder = make.fit(signal[..., :LONGEST_FIT], weight=weight, seed=seed, **given)
        spikes = encoder.spikes(signal)
        initial = signal[..., 0] if getattr(encoder, "side_band", False) else None
        estimate = encoder.decode(spikes.double(), initial)
        return Coded(
            spikes.numpy(),
            estimate.detach().numpy(),
            _settings(encoder),
            encoder.latency,
            structure(encoder) if structure else encoder.fixed(_format(encoder, signal)).parameters,
            _trade_offs(encoder),
        )

    return fit


def _trade_offs(encoder: SignalEncoder) -> tuple[tuple[Point, ...], ...]:
    assert encoder.fit_report is not None
    return tuple(
        tuple(Point(met.density, met.snr_db) for met in channel)
        for channel in encoder.fit_report.curve
    )


def _whole_record(make: type[SignalEncoder], signal: Tensor) -> dict[str, Any]:
    """Normalisation of the whole record, where only a part of it is searched."""
    if make.FIT_RANGE is None or signal.shape[-1] <= LONGEST_FIT:
        return {}
    low, high = make.FIT_RANGE
    bottom, top = signal.amin(-1), signal.amax(-1)
    scale = (high - low) / (top - bottom)
    return {"offset": bottom - low / scale, "scale": scale}


def _settings(encoder: SignalEncoder) -> dict[str, float]:
    return {
        name: float(getattr(encoder, name).detach().mean())
        for name in encoder.PARAMETERS
        if name != "initial" and getattr(encoder, name).ndim <= 1
    }


def _format(encoder: SignalEncoder, signal: Tensor) -> Fixed:
    """16 bits that just hold the normalised signal."""
    offset, scale = (v[:, None] if v.ndim else v for v in (encoder.offset, encoder.scale))
    top = float(((signal - offset) * scale).abs().max())
    return Fixed(SAMPLE_BITS, SAMPLE_BITS - 1 - math.ceil(math.log2(max(top, 2.0**-8) * 1.0001)))


def _value(make: Callable[..., Any], steps: tuple[int, ...], **fixed: Any) -> Any:
    """Each sample becomes a word; the number of steps with the least cost is chosen."""

    def fit(signal: Tensor, weight: float, seed: int) -> Coded:
        low, high = signal.amin(-1), signal.amax(-1)
        found: list[tuple[float, Tensor, NDArray[np.float64], Any]] = []
        points: list[Point] = []
        for count in steps:
            encoder = make(steps=count, **fixed)
            unit = (signal - low[:, None]) / (high - low)[:, None]
            spikes = encoder.spikes(unit)
            estimate = encoder.decode(spikes.double()) * (high - low)[:, None] + low[:, None]
            density = float(spikes.abs().sum(dtype=torch.float64)) / signal.numel()
            points.append(Point(density, snr_db(signal.numpy(), estimate.numpy())))
            cost = normalised_error(signal.numpy(), estimate.numpy()) + weight * density
            found.append((cost, spikes, estimate.numpy(), encoder))
        _, spikes, estimate, encoder = min(found, key=lambda one: one[0])
        return Coded(
            spikes.numpy(),
            estimate,
            {"steps": float(encoder.steps)},
            0,
            encoder.fixed(bits=8).parameters,
            (tuple(points),),
        )

    return fit


def _burst(steps: int) -> encoders.Burst:
    """Bursts that use the whole word: up to steps / 2 spikes, two steps apart at most."""
    return encoders.Burst(steps, spikes=steps // 2, gap=2)


_EVENT = TIME_STAMP_BITS + 1  # and the polarity

CODES: dict[str, Code] = {
    "step-forward": Code(_signal(encoders.StepForward), 2, _EVENT),
    "lif": Code(_signal(encoders.LIF), 2, _EVENT),
    "pwm": Code(_signal(encoders.PWM), 2, _EVENT),
    # a core has one filter for all channels, a fit one for each
    "bsa": Code(
        _signal(encoders.BSA, lambda fitted: BSAParameters(taps=fitted.latency + 1)),
        1,
        TIME_STAMP_BITS,
    ),
    "hough-spiker": Code(
        _signal(
            encoders.HoughSpiker, lambda fitted: HoughSpikerParameters(taps=fitted.latency + 1)
        ),
        1,
        TIME_STAMP_BITS,
    ),
    "delta": Code(_signal(encoders.Delta, quanta=3), 3, _EVENT + 2),
    "threshold-based": Code(_signal(encoders.ThresholdBased), 2, _EVENT),
    "moving-window": Code(_signal(encoders.MovingWindow), 2, _EVENT),
    "sigma-delta": Code(_signal(encoders.SigmaDelta), 2, _EVENT),
    "rate": Code(_value(encoders.Rate, (1, 2, 4, 8, 16, 32)), 8, TIME_STAMP_BITS),
    "poisson": Code(_value(encoders.Poisson, (1, 2, 4, 8, 16, 32)), 8, TIME_STAMP_BITS),
    "latency": Code(_value(encoders.Latency, (2, 4, 8, 16, 32)), 8, TIME_STAMP_BITS),
    "burst": Code(_value(_burst, (4, 8, 16, 32)), 8, TIME_STAMP_BITS),
    "phase": Code(_value(encoders.Phase, (1, 2, 3, 4, 6, 8)), 8, TIME_STAMP_BITS),
}
