"""What thresholds do to the layers that read the words: the measure that ``auto`` chooses by.

A threshold a channel fits words best; but lowering folds it into the columns of the next weights,
whose rows then hold a wider range, and are rounded to W bits together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spikeloom.conversion.graph import Added, Node, Padded, Pooled, Synaptic, pad, per_channel
from spikeloom.conversion.rounding import best_scale, round_rows

__all__ = ["Readers", "dims", "in_parts"]

_BATCH = 64  # images that pass through a convolution together: bounds the memory


def in_parts(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Apply a function to images a batch at a time, to flat samples at once."""
    if tensors[0].ndim < 4:
        return function(*tensors)
    parts = zip(*(t.split(_BATCH) for t in tensors), strict=True)
    return torch.cat([function(*part) for part in parts])


def dims(v: Tensor) -> tuple[int, ...]:
    """Axes of samples and positions, all but the channels."""
    return (0, *range(2, v.ndim))


@dataclass(frozen=True, eq=False)
class Readers:
    """Who reads the words of a node. nodes: all of a folded model.

    weight_bits: W that weights are rounded to when thresholds are judged.
    centred: whether biases will make up for mean errors.
    """

    nodes: tuple[Node, ...]
    weight_bits: int
    centred: bool

    def loss(self, node: Node, words: Tensor, target: Tensor, scale: Tensor) -> float:
        """Square error of the potentials that read words of a node, relative to their variance.

        words: values (n, channels, ...) of its words. target: what the original has there. scale:
        (channels,), real value of an LSB of the words.
        """
        return sum(self._losses(node.name, words, target, scale.double()))

    def _losses(self, name: str, words: Tensor, target: Tensor, scale: Tensor) -> Iterator[float]:
        for node in self.nodes:
            for index in (k for k, source in enumerate(node.sources) if source == name):
                if isinstance(node, Padded):
                    framed = [pad(t, node.value, node.padding) for t in (words, target)]
                    yield from self._losses(node.name, framed[0], framed[1], scale)
                elif isinstance(node, Pooled):
                    yield from self._losses(
                        node.name, in_parts(node, words), in_parts(node, target), scale
                    )
                elif isinstance(node, Synaptic) and index == 0:
                    yield self._off(*self._weighted(node, words, target, scale))
                else:
                    yield self._off(*_scaled(node, index, words, target))

    def _off(self, wrong: Tensor, right: Tensor) -> float:
        lost, axes = wrong - right, dims(right)
        if self.centred:
            lost = lost - lost.mean(axes, keepdim=True)
        power = float((right - right.mean(axes, keepdim=True)).square().sum())
        return float(lost.square().sum()) / power if power else 0.0

    def _weighted(
        self, node: Synaptic, words: Tensor, target: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Potentials of rounded weights on the words, and of the original ones."""
        if node.convolves:
            folded = scale.view(-1, *[1] * (3 if node.groups > 1 else 2))
        else:
            words, target = words.flatten(1), target.flatten(1)
            folded = scale.repeat_interleave(node.weight.shape[1] // len(scale))
        V = (node.weight * folded).flatten(1).numpy()
        top = (1 << (self.weight_bits - 1)) - 1
        readout = not node.fires and not node.convolves  # all its rows share a scale
        S = best_scale(V, np.ones_like(V), top, common=readout)
        rounded = torch.from_numpy(S[:, None] * round_rows(V, S, top)).view_as(node.weight) / folded

        def run(x: Tensor, weight: Tensor) -> Tensor:
            return in_parts(lambda part: node.weighted(part, weight.to(part.dtype)), x)

        return run(words, rounded), run(target, node.weight)


def _scaled(node: Node, index: int, words: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """What a node adds of its source ``index``, which no weights are on."""
    assert isinstance(node, (Synaptic, Added))
    scale = node.skip_scale if isinstance(node, Synaptic) else node.scale[index]
    assert scale is not None
    if len(node.shape) == 1:
        words, target = words.flatten(1), target.flatten(1)
    assert math.prod(node.shape) == math.prod(words.shape[1:])
    factor = per_channel(scale.to(words.dtype), words)
    return words * factor, target * factor
