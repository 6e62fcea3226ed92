"""Thresholds of a layer of an integer network to be: fitted, and where asked for, chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from spikeloom.conversion.graph import Added, Synaptic, per_channel
from spikeloom.conversion.readers import Readers, dims
from spikeloom.conversion.recipes import Packed
from spikeloom.conversion.thresholds import (
    CLIPS,
    LOW_CLIPS,
    SAMPLES,
    Choice,
    Codes,
    choose,
    fire,
    positions,
    thresholds,
)

__all__ = ["Options", "fitted"]

#: Potentials that thresholds are fitted to while there is a choice to make.
_FEW = SAMPLES // 8


@dataclass(frozen=True, eq=False)
class Options:
    """What ``convert`` was asked for. readers: of every node's words."""

    steps: int
    recipe: Packed
    readers: Readers

    @property
    def top(self) -> int:
        """Greatest word."""
        return (1 << self.steps) - 1


def fitted(
    node: Synaptic | Added, v: Tensor, target: Tensor, options: Options
) -> tuple[Tensor, Choice]:
    """Thresholds (channels,), and how they were found: fitted to all images."""

    cap = node.bound if math.isfinite(node.bound) else None  # words end where the activation does

    def found(choice: Choice, v: Tensor, target: Tensor, samples: int = SAMPLES) -> Tensor:
        codes, peak = Codes(0, options.top), target.amax(dims(target))
        clips = LOW_CLIPS if v.ndim > 2 else CLIPS
        return thresholds(*positions(v, target, samples), codes, choice, clips, peak=peak, cap=cap)

    held = torch.arange(len(v)) % 4 == 3  # some sets are sorted
    held = held if bool(held.any()) else ~held

    @cache
    def parts() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        fit = ~held if bool((~held).any()) else held
        return (v[fit], target[fit]), (v[held], target[held])

    def loss(choice: Choice) -> float:
        fit, (test, wanted) = parts()
        theta = found(choice, *fit, _FEW)
        words = fire(test, per_channel(theta.to(v.dtype), v), options.top)
        return options.readers.loss(node, words, wanted, theta)

    choice = choose(options.recipe.granularity, options.recipe.rule, loss)
    return found(choice, v, target), choice
