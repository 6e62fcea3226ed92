"""How many steps a model needs: accuracy at every T, ``steps_needed``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeloom.conversion.calibrate import convert
from spikeloom.conversion.diagnosis import shown
from spikeloom.conversion.outputs import Outputs, compare
from spikeloom.conversion.twins import twins

__all__ = ["StepsNeeded", "steps_needed"]


@dataclass(frozen=True)
class StepsNeeded:
    """Outputs of the spiking network (float weights) by T, in ascending order of T.

    tolerance: how far a T may be off, 0..1: its accuracy below the ANN's; without labels, the share
    of samples decided otherwise than by the ANN; of outputs that are no logits, 1 - cosine.
    """

    outputs: dict[int, Outputs]
    tolerance: float

    def loss(self, steps: int) -> float:
        """What is compared with the tolerance, at a T of the table."""
        found = self.outputs[steps]
        if found.accuracy is not None and found.ann_accuracy is not None:
            return found.ann_accuracy - found.accuracy
        return 1 - (found.cosine if found.agreement is None else found.agreement)

    @property
    def needed(self) -> int | None:
        """Least T within the tolerance, as are all greater ones; None if the greatest is not."""
        least = None
        for steps in reversed(self.outputs):
            if self.loss(steps) > self.tolerance + 1e-12:  # a share of samples, not its last bit
                break
            least = steps
        return least

    @property
    def measure(self) -> str:
        """What the tolerance is about."""
        first = next(iter(self.outputs.values()))
        if first.accuracy is not None:
            return "accuracy"
        return "cosine" if first.agreement is None else "same decisions"

    def verdict(self) -> str:
        """One line: the T that is needed."""
        if self.measure == "cosine":
            within = f"a cosine of at least {1 - self.tolerance:g}"
        elif self.measure == "accuracy":
            within = f"at most {100 * self.tolerance:g} points below the ANN"
        else:
            within = f"at most {100 * self.tolerance:g} % decided otherwise than by the ANN"
        if self.needed is None:
            return f"no T up to {max(self.outputs)} gives {within}"
        return f"T needed: {self.needed} ({within})"


def steps_needed(
    model: nn.Module,
    calibration: Any,
    images: Any,
    labels: NDArray | Tensor | None = None,
    steps: Iterable[int] = range(1, 9),
    *,
    tolerance: float = 0.005,
    samples: int = 1000,
    batch: int = 32,
    progress: bool = False,
    **options: Any,
) -> StepsNeeded:
    """Convert a model at every T, and compare each network with it.

    calibration: as for ``convert``, which takes further ``options`` (rule, granularity ...).
    images, labels: what to compare on, so many ``samples`` of all over them, ``batch`` at a time.
    tolerance: see :class:`StepsNeeded`. progress: show a bar; it takes a conversion for each T.

    Raises what ``convert`` raises; InputError on wrong samples or labels; ValueError on no steps,
    or a tolerance outside of 0..1.
    """
    wanted = sorted(set(steps))
    if not wanted:
        raise ValueError("steps must hold one T at least, of 1..8")
    if not 0 <= tolerance <= 1:
        raise ValueError(f"tolerance is a share in 0..1, not {tolerance!r}")
    outputs: dict[int, Outputs] = {}
    known: list[Tensor] | None = None
    for count in shown(wanted, "converting at each T", progress):
        snn = convert(model, calibration, steps=count, **options)
        pair, truth = twins(model, snn, images, labels, samples=samples, batch=batch)
        with torch.no_grad():
            outputs[count], known = compare(pair, truth, known)
    return StepsNeeded(outputs, tolerance)
