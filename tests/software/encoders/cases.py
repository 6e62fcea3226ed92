"""What several tests of encoders share: signals of every kind, and both engines on one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from spikeloom.encoders import engine
from torch import Tensor


def both(encoder: Any, x: Tensor) -> Tensor:
    """Spikes, after checking that the torch reference and the numba kernel agree."""
    results = []
    for name in ("torch", "numba"):
        with engine(name):
            results.append(encoder(x))
    assert torch.equal(*results)
    return results[0]


def rows_of_all_kinds(rng: np.random.Generator, channels: int, time: int) -> Tensor:
    """Signals float32 (channels, time): noise, walks, sines, constants, steps, extremes, pulses."""
    x = np.empty((channels, time))
    t = np.arange(time)
    for row in x:
        row[:] = [
            rng.normal(size=time),
            rng.normal(size=time).cumsum(),
            np.sin(t / rng.uniform(1, 50)) + rng.normal(size=time) * 0.1,
            np.full(time, rng.normal()),
            (t > rng.integers(0, time)) * rng.normal(),
            rng.choice([-1.0, 1.0], time),
            (-1.0) ** t,
            np.eye(1, time, int(rng.integers(0, time)))[0],
        ][rng.integers(0, 8)]
        row *= 10.0 ** rng.choice([-42, -38, -3, 0, 0, 0, 2, 30, 38])
        row += rng.choice([0.0, 0.0, 100.0])
    return torch.as_tensor(np.clip(x, -3.4e38, 3.4e38), dtype=torch.float32)
