"""What thresholds do to the layers that read the words: the measure that granularity is chosen by.

Thresholds a channel fit the words better; but gates fold them into the columns of the next weights,
whose rows then hold a wider range, and are rounded to W bits together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functional_call

from spikeloom.conversion.general.plan import data_inputs
from spikeloom.conversion.general.running import run_node
from spikeloom.conversion.general.weights import input_scale, round_weights

__all__ = ["loss", "scale_like"]

_PASSING = ("keep", "wide", "relu")


def loss(
    module: fx.GraphModule,
    neuron: fx.Node,
    parts: Sequence[tuple[Tensor, Tensor, Tensor]],
    weight_bits: int | None,
) -> float:
    """Square error that words cause, where they are read.

    parts: batches of words' values, the original's values, and the scale of a word of one sample.
    Layers that weights are in, and that read these words and nothing else, are run; where there is
    none, the error of the values themselves counts.
    """
    total, found = 0.0, 0
    for value, target, scale in parts:
        for wrong, right in _reached(module, neuron, (value, target, scale), weight_bits):
            total += float((wrong - right).square().sum())
            found += 1
    if found:
        return total
    return sum(float((value - target).square().sum()) for value, target, _ in parts)


def _reached(
    module: fx.GraphModule,
    node: fx.Node,
    streams: tuple[Tensor, Tensor, Tensor],
    weight_bits: int | None,
) -> list[tuple[Tensor, Tensor]]:
    found = []
    for user in node.users:
        rule = user.meta["rule"]
        alone = [n for n in user.all_input_nodes if n is not node] == []
        if not alone or data_inputs(user) != [node]:
            continue
        if rule.kind == "weighted":
            layer: Any = module.get_submodule(str(user.target))
            value, target, scale = streams
            right = layer(target)
            if weight_bits is None:
                found.append((layer(value), right))
            else:
                weight = round_weights(layer, weight_bits, input_scale(layer, scale))
                found.append((functional_call(layer, {"weight": weight}, (value,)), right))
        elif rule.kind in _PASSING and user.meta["value"].kind == "tensor":
            moved = [run_node(module, user, {node: t}) for t in streams]
            if all(isinstance(t, Tensor) for t in moved):
                found += _reached(module, user, tuple(moved), weight_bits)  # type: ignore[arg-type]
    return found


def scale_like(theta: Tensor, like: Tensor, axis: int | None) -> Tensor:
    """Scale of every element of one sample."""
    if axis is None or theta.ndim == 0:
        return torch.ones_like(like) * theta.to(like.dtype)
    shape = [1] * like.ndim
    shape[axis] = -1
    return torch.ones_like(like) * theta.to(like.dtype).view(shape)
