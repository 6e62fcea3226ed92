"""Weights rounded as gates hold them: W-bit codes a row, of weights times their words' scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeloom.conversion.general.module_rules import TRANSPOSED
from spikeloom.conversion.rounding import Moments, best_scale, round_rows

__all__ = ["input_scale", "round_weights", "rows_of", "unrows"]

#: Most bits of weights whose clip is chosen by the error of the sums, a pass over all columns each.
_FEW_BITS = 4


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


def rows_of(layer: Any, weight: Tensor) -> Tensor:
    """Weights, or what belongs to each of them, as (outputs, fan-in)."""
    if isinstance(layer, TRANSPOSED):
        weight = weight.unflatten(0, (layer.groups, -1)).transpose(1, 2)
        return weight.flatten(0, 1).flatten(1)
    return weight.flatten(1)


def unrows(layer: Any, rows: Tensor) -> Tensor:
    """Undo :func:`rows_of`."""
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
def round_weights(
    layer: Any, bits: int, scale: Tensor | None = None, gram: Tensor | None = None
) -> Tensor:
    """Weights of a layer rounded to codes of +-(2^(W-1) - 1), one scale a row; shape of them.

    scale: real value (inputs,) of a word's LSB, which gates fold into the columns. gram:
    covariances (groups, fan-in, fan-in) of what the weights multiply: errors of codes then make up
    for each other, as :func:`spikeloom.conversion.rounding.round_rows` says.
    """
    weight = layer.weight.detach().double()
    folded = torch.ones_like(weight) if scale is None else _columns(layer, scale.double())
    V, factor = (rows_of(layer, t).cpu().numpy() for t in (weight * folded, folded))
    top = (1 << (bits - 1)) - 1
    rounded = np.empty_like(V)
    groups = 1 if gram is None else len(gram)
    alone = groups == len(V)  # depthwise: all rows at once, each with moments of its own
    each = len(V) if alone else len(V) // groups
    for group in range(1 if alone else groups):
        rows = slice(group * each, (group + 1) * each)
        moments = None
        if gram is not None:
            a = factor[rows] if alone else factor[group * each]
            found = gram.cpu().numpy() if alone else gram[group].cpu().numpy()
            moments = Moments(found / (a[..., :, None] * a[..., None, :]))
        S = best_scale(V[rows], np.ones(1), top, moments if bits <= _FEW_BITS else None)
        rounded[rows] = S[:, None] * round_rows(V[rows], S, top, moments)
    back = unrows(layer, torch.from_numpy(rounded).to(weight.device))
    return (back / folded).to(layer.weight.dtype)
