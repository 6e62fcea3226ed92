"""What the engines of the neuron are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["BINS", "Rule", "Save"]

#: What the backward needs. ``bits``: one bit an element, where the potential's gradient passes.
#: ``codes``: 4 bits an element, for a threshold's gradient too, rounded. ``exact``: the potentials.
Save = Literal["nothing", "bits", "codes", "exact"]

#: Codes 1..14 say where between two words a potential lies; 0: it is below 0, or NaN; 15: above.
BINS = 14


@dataclass(frozen=True)
class Rule:
    """steps: T. rounding: whether half a threshold is added. save: what the backward will need."""

    steps: int
    rounding: bool
    save: Save

    @property
    def top(self) -> int:
        """Greatest word."""
        return (1 << self.steps) - 1

    @property
    def half(self) -> float:
        """Thresholds that are added to a potential."""
        return 0.5 if self.rounding else 0.0
