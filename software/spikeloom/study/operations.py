"""What one sample costs: additions, multiplications and memory accesses of an encoder's core.

Counted from the rules in ``spikeloom.hardware.encoders``, not measured: an addition is an addition,
subtraction or comparison that every sample takes (those of a spike are weighed by how often it
comes); a memory access is one word of state or parameters read or written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spikeloom.errors import InputError
from spikeloom.hardware.encoders import CoreParameters

__all__ = ["Operations", "operations"]


@dataclass(frozen=True)
class Operations:
    """Mean work for one sample."""

    adds: float
    multiplies: float
    accesses: float


# x - base, against the threshold, base +- threshold; state read and written, threshold read
def _step_forward(p: Any, density: float) -> Operations:
    return Operations(3 + (1 if p.levels else 0), 0, 3)


# v + x, two comparisons, the leak; reset by subtraction once a spike
def _lif(p: Any, density: float) -> Operations:
    return Operations(3 + (density if p.reset == "subtract" else 0), 1, 4)


# two comparisons, the mirrored carrier, the phase
def _pwm(p: Any, density: float) -> Operations:
    return Operations(4 if p.bipolar else 2, 0, 3)


# a difference (then clipped by two comparisons) and an addition a tap; a subtraction a tap of a
# spike; every residual and every tap read, residuals of a spike written, one sample written
def _bsa(p: Any, density: float) -> Operations:
    return Operations(p.taps * (4 + density) + 1, 0, p.taps * (2 + density) + 2)


# a difference, a comparison and an addition a tap, otherwise as BSA
def _hough_spiker(p: Any, density: float) -> Operations:
    return Operations(p.taps * (3 + density) + 1, 0, p.taps * (2 + density) + 2)


# the difference, hysteresis, a comparison and a subtraction for each bit of the quotient, ref
def _delta(p: Any, density: float) -> Operations:
    return Operations(3 + 2 * p.quanta.bit_length(), 0, 3)


# the difference, two comparisons
def _threshold_based(p: Any, density: float) -> Operations:
    return Operations(3, 0, 3)


# the change of the sum, the sum, the difference, two comparisons; the ring read and written too
def _moving_window(p: Any, density: float) -> Operations:
    return Operations(5, 0, 5)


# two comparisons, two additions an integrator; both read and written
def _sigma_delta(p: Any, density: float) -> Operations:
    return Operations(6, 0, 5)


# a comparison for each number of spikes and for each distance
def _burst(p: Any, density: float) -> Operations:
    return Operations(p.spikes + p.gap - 1, 0, 0)


def _rate(p: Any, density: float) -> Operations:
    return Operations(p.steps, 0, 0)


def _poisson(p: Any, density: float) -> Operations:
    return Operations(p.steps, 0, 2)


def _latency(p: Any, density: float) -> Operations:
    return Operations(p.steps, 0, 0)


def _phase(p: Any, density: float) -> Operations:
    return Operations(0 if p.steps == p.bits else 2, 0 if p.steps == p.bits else 1, 0)


_COUNTS: dict[str, Callable[[Any, float], Operations]] = {
    "step-forward": _step_forward,
    "lif": _lif,
    "pwm": _pwm,
    "bsa": _bsa,
    "hough-spiker": _hough_spiker,
    "delta": _delta,
    "threshold-based": _threshold_based,
    "moving-window": _moving_window,
    "sigma-delta": _sigma_delta,
    "burst": _burst,
    "rate": _rate,
    "poisson": _poisson,
    "latency": _latency,
    "phase": _phase,
}


def operations(parameters: CoreParameters, density: float) -> Operations:
    """Count the work of an encoder's core for one sample at a spike density (spikes a sample).

    Raises InputError for a code that has no count.
    """
    if parameters.NAME not in _COUNTS:
        raise InputError(f"no operation count for {parameters.NAME}: there is {sorted(_COUNTS)}")
    return _COUNTS[parameters.NAME](parameters, density)
