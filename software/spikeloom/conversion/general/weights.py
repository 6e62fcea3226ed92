"""Weights rounded as gates hold them: W-bit codes a row, of weights times their words' scale."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.conversion.general.module_rules import TRANSPOSED

__all__ = ["input_scale", "round_weights"]

_CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)


def input_scale(layer: nn.Module, scale: Tensor | None) -> Tensor | None:
    """One scale an input column of a layer, out of the scale of every element of a sample.

    None where the scale is not the same for all positions: it cannot be folded then.
    """
    if scale is None:
        return None
    axis = -1 if isinstance(layer, nn.Linear) else 1
    rows = scale.movedim(axis, -1).flatten(0, -2)
    high = rows.amax(0)
    low = torch.where(rows > 0, rows, torch.inf).amin(0)  # zeros are padding
    return high if bool((high > 0).all()) and torch.allclose(low, high, rtol=1e-5) else None


def _rows(layer: Any, weight: Tensor) -> Tensor:
    """Weights as (outputs, fan-in)."""
    if isinstance(layer, TRANSPOSED):
        weight = weight.unflatten(0, (layer.groups, -1)).transpose(1, 2)
        return weight.flatten(0, 1).flatten(1)
    return weight.flatten(1)


def _unrows(layer: Any, rows: Tensor) -> Tensor:
    if isinstance(layer, TRANSPOSED):
        inputs, outputs, *kernel = layer.weight.shape
        parts = rows.reshape(layer.groups, outputs, inputs // layer.groups, *kernel)
        return parts.transpose(1, 2).flatten(0, 1)
    return rows.view_as(layer.weight)


def _columns(layer: Any, scale: Tensor) -> Tensor:
    """Scale of every weight, in the weights' own shape."""
    weight = layer.weight
    if isinstance(layer, TRANSPOSED):
        return scale.view(-1, *[1] * (weight.ndim - 1)).expand_as(weight)
    if isinstance(layer, nn.Linear):
        return scale.expand_as(weight)
    parts = scale.view(layer.groups, 1, -1).expand(-1, len(weight) // layer.groups, -1)
    return parts.flatten(0, 1).view(*weight.shape[:2], *[1] * (weight.ndim - 2)).expand_as(weight)


@torch.no_grad()
def round_weights(layer: Any, bits: int, scale: Tensor | None = None) -> Tensor:
    """Weights of a layer rounded to codes of +-(2^(W-1) - 1), one scale a row; shape of them.

    scale: real value (inputs,) of a word's LSB, which gates fold into the columns.
    """
    weight = layer.weight.detach().double()
    folded = torch.ones_like(weight) if scale is None else _columns(layer, scale.double())
    V, top = _rows(layer, weight * folded), (1 << (bits - 1)) - 1
    peak = V.abs().amax(1, keepdim=True)
    peak = torch.where(peak > 0, peak, 1.0)
    best, error = V, torch.full((len(V), 1), torch.inf, dtype=V.dtype)
    for clip in _CLIPS:
        S = peak * clip / top
        rounded = torch.round(V / S).clamp(-top, top) * S
        e = (rounded - V).square().sum(1, keepdim=True)
        best, error = torch.where(e < error, rounded, best), torch.minimum(e, error)
    return (_unrows(layer, best) / folded).to(layer.weight.dtype)
