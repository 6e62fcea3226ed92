"""What every operation of a captured model does to packed words: the allow-list.

The captured graph runs torch's own operations, so none can be misread; what is decided here is
only where words live on, where they grow, and where potentials or floats come out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Kind", "Rule", "Sign"]

#: keep: elements of what comes in, or zeros. wide: sums of k words. affine: a factor and a shift a
#: channel. relu: words stay words if nothing was shifted. weighted: takes words, gives potentials.
#: activation, sum, product, float: real values come out. spikes: a neuron. size: no tensor at all.
Kind = Literal[
    "input", "constant", "keep", "wide", "affine", "relu", "weighted", "activation", "sum",
    "product", "float", "spikes", "size", "output",
]  # fmt: skip

#: Whether the result can be below zero: yes, never, or only if what comes in can.
Sign = Literal["signed", "unsigned", "inherit"]


@dataclass(frozen=True)
class Rule:
    """label: the operation's name in reports. cap: its bound from above.

    taps: how many words a ``wide`` operation sums. shifts: whether an ``affine`` one adds.
    """

    kind: Kind
    label: str
    sign: Sign = "signed"
    cap: float | None = None
    taps: int = 1
    shifts: bool = False
