"""Figures of several training seeds side by side: an interval of their mean, and equal cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spikeloom.errors import InputError

__all__ = ["Interval", "at_equal_cost", "paired_interval"]


@dataclass(frozen=True)
class Interval:
    """A mean, and the ends of its confidence interval; all in the unit of the differences."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"{self.mean:+.2f}"
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def paired_interval(differences: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's interval of the mean of paired differences, one a training seed.

    The differences are taken to be normal around their mean. One alone has an infinite interval.
    Needs scipy. Raises InputError without differences, or on a confidence outside 0..1.
    """
    from scipy import stats

    n = len(differences)
    if not n or not 0 < confidence < 1:
        raise InputError(
            f"an interval needs at least one difference and a confidence in 0..1, not {n} and"
            f" {confidence}"
        )
    mean = statistics.fmean(differences)
    if n == 1:
        return Interval(mean, -math.inf, math.inf)
    quantile = float(stats.t.ppf((1 + confidence) / 2, n - 1))
    half = quantile * statistics.stdev(differences) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def at_equal_cost(cost: float, costs: Sequence[float], values: Sequence[float]) -> float | None:
    """Value at a cost between measured ones, linear in the logarithm of the cost.

    costs: positive and rising, one for each value. None where the cost lies below the least or
    above the greatest. Raises InputError on other costs.
    """
    known = np.asarray(costs, dtype=np.float64)
    if len(known) != len(values) or not len(known) or not (np.diff(known, prepend=0) > 0).all():
        raise InputError(
            f"costs must be positive and rising, one for each of {len(values)} values, not"
            f" {list(costs)}"
        )
    if not known[0] <= cost <= known[-1]:
        return None
    return float(np.interp(math.log(cost), np.log(known), values))
