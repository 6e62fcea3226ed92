"""How a network becomes spikes, as objects: ``convert(model, calibration, recipe=Detection())``.

A recipe holds every option of the calibration; keyword arguments of ``convert`` change one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from spikeloom.conversion.options import check_choice
from spikeloom.conversion.thresholds import Granularity, Rule

__all__ = ["Average", "Classification", "Detection", "Packed", "RateCoding", "Recipe", "changed"]

#: Bits of the words that average pools give: as many as their sum needs, or T.
Average = Literal["wide", "steps"]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Options of a conversion to SpikePack: T spikes of a neuron are the bits of one word.

    granularity: who shares a threshold: ``tensor``, a layer; ``channel``; ``floor``, a channel, but
    at least an eighth of the layer's greatest. rule: ``mse`` clips where the mean square error is
    least, ``max`` at the greatest activation, ``percentile`` where 0.05 % of the values clip.
    ``auto`` for either: a layer takes whichever hurts what reads its words least, on a quarter of
    the calibration data that thresholds were not fitted to.
    bias_correction: shift every bias so that mean potentials on the calibration data stay.
    average: words that average pools give: ``wide``, as many bits as their sum needs, 8 at most, or
    ``steps``, T bits. Float networks: always wide, 16 at most.

    Raises ValueError on an option that there is not.
    """

    granularity: Granularity = "channel"
    rule: Rule = "mse"
    bias_correction: bool = True
    average: Average = "wide"

    def __post_init__(self) -> None:
        check_choice("granularity", self.granularity, Granularity)
        check_choice("rule", self.rule, Rule)
        check_choice("average", self.average, Average)


@dataclass(frozen=True, kw_only=True)
class Classification(Packed):
    """What ``convert`` does without a recipe: all values count, rare peaks may clip."""


@dataclass(frozen=True, kw_only=True)
class Detection(Packed):
    """For heat maps, boxes and masks: nothing clips, rare peaks are what a detector lives on."""

    granularity: Granularity = "auto"
    rule: Rule = "max"


@dataclass(frozen=True, kw_only=True)
class RateCoding:
    """The spiking baseline: integrate and fire for T steps, each spike counts alike.

    Neurons are reset by subtraction and start with a share ``charge`` of their threshold: one half
    rounds the number of spikes instead of cutting it. granularity: as of :class:`Packed`, without
    ``auto``. rule: ``max`` or ``percentile`` of a channel's activations fires at every step.

    Raises ValueError on an option that there is not.
    """

    granularity: Literal["channel", "floor", "tensor"] = "channel"
    rule: Literal["max", "percentile"] = "percentile"
    charge: float = 0.5

    def __post_init__(self) -> None:
        for name in ("granularity", "rule"):
            check_choice(name, getattr(self, name), _RATE[name])
        if not 0 <= self.charge < 1:
            raise ValueError(f"charge must be in 0..1, below 1, not {self.charge!r}")


_RATE = {
    "granularity": Literal["channel", "floor", "tensor"],
    "rule": Literal["max", "percentile"],
}

Recipe = Packed | RateCoding


def changed(recipe: Recipe | None, **options: Any) -> Recipe:
    """Return a recipe, ``Classification()`` without one, with options that are not None in it.

    Raises ValueError for what is no recipe, and where it has no such option.
    """
    recipe = Classification() if recipe is None else recipe
    if not isinstance(recipe, (Packed, RateCoding)):
        known = "Classification(), Detection() or RateCoding()"
        raise ValueError(f"recipe must be {known}, not {recipe!r}")
    given = {name: value for name, value in options.items() if value is not None}
    known = [field.name for field in fields(recipe)]
    for name in given:
        if name not in known:
            kind = type(recipe).__name__
            raise ValueError(f"{kind} has no {name}, only {', '.join(known)}: leave {name} out")
    return replace(recipe, **given)
