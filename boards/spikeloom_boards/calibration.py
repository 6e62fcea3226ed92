"""Weights of the cost model's terms: from a file, and how they are fitted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

__all__ = ["CALIBRATION", "PRIOR", "fit_weights", "weights"]

#: measured designs, and the weights fitted to them
CALIBRATION = Path(__file__).with_name("plan_calibration.json")

#: What a term is worth, before designs were placed: from single layers after synthesis.
PRIOR: dict[str, dict[str, float]] = {
    "luts": {
        "layer": 70, "unit": 50, "slice": 44, "column": 27, "group": 18, "scan": 0.7, "ram": 1.0,
        "ram_mux": 0.95, "shift": 0.55, "product": 2.5, "pair": 0.6, "accumulate": 1.0, "tree": 1.0,
        "drain": 1.0, "bias": 1.0, "fire": 2.3, "conv": 110, "conv_slice": 50, "taps": 6,
        "collect": 0.5, "reader": 1.0, "walk": 170, "plain": 3.2, "link": 2100, "counter": 75,
        "buffer": 40,
    },
    "flip_flops": {
        "layer": 90, "unit": 57, "slice": 57, "column": 25, "group": 34, "scan": 0.6, "ram": 0.5,
        "ram_mux": 0.1, "shift": 0.47, "product": 1.0, "pair": 0.6, "accumulate": 1.0, "tree": 0.8,
        "drain": 1.0, "bias": 2.2, "fire": 1.8, "conv": 83, "conv_slice": 53, "taps": 3,
        "collect": 0.1, "reader": 19, "walk": 100, "plain": 3.0, "link": 1500, "counter": 40,
        "buffer": 30,
    },
}  # fmt: skip

#: how firmly a weight stays where it was: one part in so many of a design
_FIRM = 0.03


@cache
def weights(family: str) -> dict[str, dict[str, float]]:
    """Return what a term is worth, by resource and name."""
    try:
        fitted = json.loads(CALIBRATION.read_text())["weights"][family]
    except (OSError, KeyError):
        return PRIOR
    return {resource: PRIOR[resource] | fitted.get(resource, {}) for resource in PRIOR}


def fit_weights(
    designs: Sequence[tuple[Mapping[str, float], Mapping[str, int]]], family: str
) -> dict[str, dict[str, float]]:
    """Fit weights to (terms, what was measured): least squares of relative errors.

    With fewer designs than terms, weights stay near what single layers say; none is negative.
    """
    fitted: dict[str, dict[str, float]] = {}
    for resource, prior in PRIOR.items():
        names = sorted(prior)
        start = np.array([prior[name] for name in names])
        counts = np.array([[terms.get(name, 0) for name in names] for terms, _ in designs])
        measured = np.array([found[resource] for _, found in designs], dtype=float)
        if not len(designs):
            continue
        rows = counts.reshape(len(designs), -1) * start / measured[:, None]
        # one factor for all comes first: what placing adds to what synthesis counts
        sums = rows.sum(1)
        factor = float(sums @ np.ones(len(sums)) / (sums @ sums))
        share = _nonnegative(rows * factor, np.ones(len(rows)))
        fitted[resource] = {
            name: round(float(value), 4)
            for name, value in zip(names, start * factor * share, strict=True)
        }
    return fitted


def _nonnegative(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Least squares a x = b with x near 1 and >= 0, by coordinate descent."""
    x = np.ones(a.shape[1])
    norms = (a * a).sum(0) + _FIRM
    for _ in range(2000):
        for k in range(len(x)):
            rest = b - a @ x + a[:, k] * x[k]
            x[k] = max(0.0, (a[:, k] @ rest + _FIRM) / norms[k])
    return x
