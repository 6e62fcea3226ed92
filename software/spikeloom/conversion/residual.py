"""Lower a convolution that fires, with the residual sum that it closes.

Of a sum of convolutions one fires; it adds the potentials of the next one, which may add those of
a third, and the last of them may add words. All have the accumulator scale of the one that fires,
so that nothing is rounded between them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeloom.conversion.integers import LayerReport, conv_op, prune, report_of
from spikeloom.conversion.layers import SpikingConv2d
from spikeloom.conversion.progress import Progress
from spikeloom.conversion.rounding import Array
from spikeloom.conversion.scales import (
    THRESHOLD_BITS,
    Folded,
    fired_scales,
    given_scales,
    plain_scale,
    skip_scales,
)
from spikeloom.conversion.streams import fired_stream, pixels_of, reals

__all__ = ["convolution", "grid_of"]


def grid_of(layer: Any) -> Array | None:
    """Accumulator scales (outputs,) that a layer was trained on, if it was."""
    return None if layer.grid is None else reals(layer.grid)


def convolution(to: Progress, layer: SpikingConv2d) -> None:
    """Lower a convolution that fires, and before it those whose potentials it adds."""
    assert layer.neuron is not None
    chain = _chain(to, layer)
    last, words = chain[-1], chain[-1].sources[1:]
    parts = [to.fold(one, to.streams[one.sources[0]]) for one in chain]
    main = parts[0]
    parts = [main, *(_kept(part, main.alive) for part in parts[1:])]
    s_out = np.broadcast_to(reals(layer.neuron.threshold), main.bias.shape)
    grid, G, skip = grid_of(layer), np.zeros(len(main.bias)), dict[str, Any]()
    if words:
        q = to.streams[words[0]]
        assert last.skip_scale is not None
        G = np.where(q.carried & main.alive, q.scale * reals(last.skip_scale), 0.0)
        skip = {"skip": words[0], "skip_bits": q.bits}
    if grid is None:
        less = [(to.samples.words[words[0]], G)] if words and to.samples else []
        parts[-1] = to.fitted(last, parts[-1], last.sources[0], less)
    live = np.any([main.live, *(part.live for part in parts[1:])], axis=0) | (G != 0)
    alive, off = main.alive & (live | (main.bias > 0)), 0.0
    joint = _joint(parts)
    if grid is not None:
        fired, k = given_scales(grid, s_out), np.rint(G / grid).astype(np.int64)
    elif words:
        fired, k, off = skip_scales(joint, G, s_out, alive)
    else:
        S0 = plain_scale(joint.best_scale(), s_out, joint.live)
        fired, k = fired_scales(S0, s_out, alive), np.zeros(len(s_out), dtype=np.int64)
    if words:
        skip["skip_weight"] = np.where(alive, k, 0)
    for other, part, before in zip(chain[:0:-1], parts[:0:-1], chain[:-1][::-1], strict=True):
        lost = _potentials(to, other, part, fired.S, skip)
        index = chain.index(before)
        if to.samples is None or grid is not None:
            parts[index] = replace(parts[index], bias=parts[index].bias + lost)
        else:  # the bias of the other comes with what is missing
            given = [(to.samples.words[other.name], fired.S)]
            parts[index] = to.fitted(before, parts[index], before.sources[0], given)
        bits = to.ops[-1].accumulator_bits  # type: ignore[union-attr]
        skip = {"skip": other.name, "skip_bits": bits, "skip_signed": True}
    integers = parts[0].integers(fired.S)
    w, bias, theta = prune(alive, integers, fired)
    op = conv_op(
        layer,
        w,
        bias,
        parts[0],
        source=to.source(layer.sources[0]),
        threshold=theta,
        output_bits=layer.neuron.steps,
        output_scale=np.where(alive, fired.output, 1.0),
        threshold_bits=THRESHOLD_BITS,
        **skip,
    )
    report = replace(report_of(op, integers, fired, alive, off), zeros=layer.zeros)
    to.add(op, report, fired_stream(op, alive, pixels_of(layer)))


def _chain(to: Progress, layer: SpikingConv2d) -> list[SpikingConv2d]:
    """The convolution that fires, the one whose potentials it adds, and so on."""
    chain = [layer]
    while len(chain[-1].sources) == 2 and chain[-1].sources[1] not in to.streams:
        other = to.layers[chain[-1].sources[1]]
        assert isinstance(other, SpikingConv2d)
        chain.append(other)
    return chain


def _kept(part: Folded, alive: NDArray[np.bool_]) -> Folded:
    """Drop the weights of outputs that never fire."""
    return replace(part, V=np.where(alive[:, None], part.V, 0.0))


def _joint(parts: list[Folded]) -> Folded:
    """Convolutions that share their accumulators as one, with all their weights in a row."""
    if len(parts) == 1:
        return parts[0]
    mean, square = (
        np.concatenate([np.broadcast_to(getattr(f, name), f.V.shape) for f in parts], 1)
        for name in ("mean", "square")
    )
    V = np.concatenate([f.V for f in parts], 1)
    return replace(parts[0], V=V, mean=mean, square=square, moments=None)


def _potentials(
    to: Progress, layer: SpikingConv2d, folded: Folded, S: Array, skip: dict[str, Any]
) -> Array:
    """Lower a convolution that does not fire, on given scales; its bias (outputs,), real.

    The bias is left to the layer that adds the potentials.
    """
    integers = folded.integers(S)
    op = conv_op(
        layer,
        integers.weight,
        np.zeros(len(S), dtype=np.int64),
        folded,
        source=to.source(layer.sources[0]),
        **skip,
    )
    report = LayerReport(
        layer.name, integers.clipped, 0, 0, integers.error, op.accumulator_bits, zeros=layer.zeros
    )
    to.add(op, report, None)
    return integers.bias
