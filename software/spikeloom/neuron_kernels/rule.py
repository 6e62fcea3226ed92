"""What the engines of the neuron are told, and how they round what a threshold's gradient needs.

That is u = (v - y) / theta + half, 0..1: where between two words a potential lies. It is saved as
the code floor(BINS * u + d) + 1 and read as (code - 0.5 - d) / BINS. The offset d, 0..1, differs
from element to element and is known to both, so the error is as likely to be of either sign
whatever u is (subtractive dither: Roberts 1962; Schuchman 1964), half a bin at most; without d,
elements that lie alike, as those of quantised weights, would err alike.

d of element i, in the order of memory, is the upper byte of i * GOLDEN modulo 2^32: multiples of
the golden ratio fill 0..1 evenly, and so they do in every channel of images in channels-last order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["BINS", "GOLDEN", "Rule", "Save"]

#: What the backward needs. ``bits``: one bit an element, where the potential's gradient passes.
#: ``codes``: 4 bits an element, for a threshold's gradient too. ``exact``: the potentials.
Save = Literal["nothing", "bits", "codes", "exact"]

#: Codes 1..14 are of potentials inside the range; 0: it is below 0, or NaN; 15: above.
BINS = 13
#: 2^32 over the golden ratio, odd.
GOLDEN = 0x9E3779B9


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
