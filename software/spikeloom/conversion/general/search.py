"""What thresholds of a float network's neurons, signed or not, are searched on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spikeloom.conversion.general.plan import Firing
from spikeloom.conversion.thresholds import Choice, peak_of, thresholds

__all__ = ["Gathered", "clips_of", "gather", "search"]

#: Clips tried, as shares of the greatest value. Many steps lose more by clipping than by rounding.
_FINE = torch.linspace(0.3, 1.1, 17, dtype=torch.float64)
_CLIPS = torch.cat(
    [
        torch.linspace(0.02, 0.19, 18, dtype=torch.float64),
        torch.linspace(0.2, 1.2, 51, dtype=torch.float64),
    ]
)
#: Values that a search looks at, and rows that it looks at in any case; peaks are of all of them.
_SAMPLES, _ROWS = 1 << 18, 4096


@dataclass(frozen=True, eq=False)
class Gathered:
    """Values at a neuron, rows (m, channels): what reaches it, and what the original has there.

    peak: (channels,), greatest value of the original as its codes count it, over all data.
    low, high: (channels,), least and greatest value, over all data.
    """

    v: Tensor
    target: Tensor
    peak: Tensor
    low: Tensor
    high: Tensor


def gather(
    parts: Sequence[tuple[Tensor, Tensor]], firing: Firing, samples: int = _SAMPLES
) -> Gathered:
    """Collect (v, target) of all batches: enough rows for a search, peaks of everything."""
    rows: tuple[list[Tensor], list[Tensor]] = ([], [])
    peaks, lows, highs = [], [], []
    generator = torch.Generator().manual_seed(0)
    for v, target in parts:
        pair = [
            t.reshape(-1, 1) if firing.axis is None else t.movedim(firing.axis, -1).flatten(0, -2)
            for t in (v, target)
        ]
        most = max(samples // pair[0].shape[1], _ROWS) // len(parts) + 1
        peaks.append(peak_of(pair[1], firing.codes))
        lows.append(pair[1].amin(0))
        highs.append(pair[1].amax(0))
        if len(pair[0]) > most:
            pick = torch.randint(len(pair[0]), (most,), generator=generator)
            pair = [t[pick] for t in pair]
        for part, kept in zip(rows, pair, strict=True):
            part.append(kept)
    limits = torch.stack(peaks).amax(0), torch.stack(lows).amin(0), torch.stack(highs).amax(0)
    return Gathered(torch.cat(rows[0]), torch.cat(rows[1]), *limits)


def clips_of(steps: int) -> Tensor:
    """Clips to try, float64, as shares of the greatest value."""
    return _FINE if steps > 5 else _CLIPS


def search(g: Gathered, firing: Firing, choice: Choice) -> Tensor:
    """Thresholds (channels,), float64: where words of v are closest to the target, or by peaks."""
    clips = clips_of(firing.steps)
    return thresholds(g.v, g.target, firing.codes, choice, clips, peak=g.peak, cap=firing.cap)
