"""One node of a folded model into its spiking layer, from what reaches it in calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from spikeloom.conversion.fitting import Options, fitted
from spikeloom.conversion.graph import (
    Added,
    Node,
    Padded,
    Pooled,
    Synaptic,
    forward,
    pad,
    per_channel,
)
from spikeloom.conversion.layers import (
    SpikingAdd,
    SpikingAvgPool,
    SpikingConv2d,
    SpikingLayer,
    SpikingLinear,
    SpikingMaxPool,
    SpikingPad,
)
from spikeloom.conversion.readers import dims, in_parts
from spikeloom.conversion.spiking import EdgeReport
from spikeloom.conversion.thresholds import Choice, fire
from spikeloom.errors import UnsupportedModelError
from spikeloom.neuron import SpikePack

__all__ = ["State", "average_threshold", "error", "spike"]


@dataclass(frozen=True, eq=False)
class State:
    """What leaves a node, on all calibration images; images in float32, flat samples in float64.

    x: what the spikes give (n, channels, ...). reference: what the original gives. alive: channels
    (channels,) that are not pruned. constant: real values (channels,) of pruned channels that never
    change; they move into the next bias. scale: (channels,), real value of an LSB of the words.
    bits: T of the words; 0 for potentials.
    """

    x: Tensor
    reference: Tensor
    alive: Tensor
    constant: Tensor
    scale: Tensor
    bits: int


Spiked = tuple[SpikingLayer, EdgeReport | None, State]


def error(x: Tensor, reference: Tensor) -> float:
    """Root mean square difference, relative to the root mean square of the reference."""
    norm = float(reference.square().mean())
    return (float((x - reference).square().mean()) / norm) ** 0.5 if norm else 0.0


def spike(node: Node, given: list[State], options: Options) -> Spiked:
    """Make the layer of a node: the module, its report if it fires, and what it gives.

    Raises UnsupportedModelError where words cannot hold what a layer pads with.
    """
    if isinstance(node, Synaptic):
        return _synaptic(node, given, options)
    if isinstance(node, Padded):
        return _padded(node, given[0])
    if isinstance(node, Pooled):
        return _average(node, given[0], options) if node.average else _greatest(node, given[0])
    assert isinstance(node, Added)
    return _added(node, given, options)


def _mean(v: Tensor) -> Tensor:
    return v.mean(dims(v), dtype=torch.float64)


def _elements(value: Tensor, state: State) -> Tensor:
    """Spread one value a channel over the elements of flattened samples."""
    return value.repeat_interleave(math.prod(state.x.shape[2:]))


def _synaptic(node: Synaptic, given: list[State], options: Options) -> Spiked:
    state, skip = given[0], given[1] if len(given) > 1 else None
    if node.convolves:
        x, reference, weight = state.x.float(), state.reference.float(), node.weight.float()
        inputs = state.alive.view(-1, 1, 1, 1) if node.groups > 1 else state.alive.view(-1, 1, 1)
        masked, bias = torch.where(inputs, node.weight, 0.0), node.bias
    else:
        x, reference = state.x.double().flatten(1), state.reference.double().flatten(1)
        weight, alive_in = node.weight, _elements(state.alive, state)
        bias = node.bias + weight @ _elements(state.constant, state)
        masked = torch.where(alive_in, weight, 0.0)

    exact = in_parts(lambda part: node.weighted(part, weight), reference)
    exact += per_channel(node.bias.to(exact.dtype), exact)
    v = in_parts(lambda part: node.weighted(part, masked.to(part.dtype)), x)
    v += per_channel(bias.to(v.dtype), v)
    scale = node.skip_scale
    if skip is not None and scale is not None:
        scale = torch.where(skip.alive, scale, 0.0)
        exact += skip.reference * per_channel(node.skip_scale.float(), exact)  # type: ignore[union-attr]
        v += skip.x * per_channel(scale.float(), v)
    if options.recipe.bias_correction and (node.fires or not node.convolves):
        shift = _mean(exact - v)
        bias, v = bias + shift, v + per_channel(shift.to(v.dtype), v)
    varies = masked.abs().flatten(1).amax(1) > 0
    if scale is not None:
        varies = varies | (scale != 0)
    statistics = _statistics(node, x)
    if not node.fires:
        alive = varies if node.convolves else torch.ones_like(varies)
        state = State(v, exact, alive, torch.zeros_like(bias), torch.ones_like(bias), 0)
        return _module(node, masked, bias, None, scale, alive, statistics), None, state

    target = exact.clamp(0, node.bound)
    theta, choice = fitted(node, v, target, options)
    out = fire(v, per_channel(theta.to(v.dtype), v), options.top)
    alive = (target.amax(dims(target)) > 0) & (out.amax(dims(out)) > 0)
    constant = torch.zeros_like(bias)
    if not node.convolves:
        alive = alive & varies
        constant = torch.where(varies, 0.0, bias.clamp(min=0))
    masked = torch.where(alive.view(-1, *[1] * (masked.ndim - 1)), masked, 0.0)
    bias = torch.where(alive, bias, -theta)
    scale = None if scale is None else torch.where(alive, scale, 0.0)
    out = torch.where(per_channel(alive, out), out, 0.0)
    neuron = SpikePack(options.steps, theta, rounding=True)
    edge = _edge(node, options, choice, theta, out, constant, target, alive)
    state = State(out, target, alive, constant, theta, options.steps)
    return _module(node, masked, bias, neuron, scale, alive, statistics), edge, state


def _module(
    node: Synaptic,
    weight: Tensor,
    bias: Tensor,
    neuron: SpikePack | None,
    scale: Tensor | None,
    alive: Tensor,
    statistics: tuple[Tensor, Tensor],
) -> SpikingLayer:
    if node.convolves:
        return SpikingConv2d(node, weight, bias, neuron, scale, alive, *statistics)
    return SpikingLinear(node, weight, bias, neuron, alive, *statistics)


def _statistics(node: Synaptic, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean square of what each weight sees, padding included."""
    moments = (x.mean(0), x.square().mean(0))
    if not node.convolves:
        return moments
    kernel = node.weight.shape[2:]
    seen = [
        functional.unfold(m[None].double(), kernel, 1, node.padding, node.stride)[0].mean(1)
        for m in moments
    ]
    shape = (-1, 1, *kernel) if node.groups > 1 else (-1, *kernel)
    return seen[0].view(shape), seen[1].view(shape)


def _edge(
    node: Node,
    options: Options,
    choice: Choice,
    theta: Tensor,
    out: Tensor,
    constant: Tensor,
    target: Tensor,
    alive: Tensor,
) -> EdgeReport:
    return EdgeReport(
        name=node.name,
        steps=options.steps,
        granularity=choice.granularity,
        thresholds=theta.numpy(),
        error=error(out + per_channel(constant.to(out.dtype), out), target),
        rate=float((out > 0).double().mean()),
        pruned=tuple(int(i) for i in (~alive).nonzero().flatten()),
        rule=choice.rule,
    )


def _padded(node: Padded, state: State) -> Spiked:
    words = torch.floor(node.value / state.scale + 0.5)
    if bool(((words > (1 << state.bits) - 1) & state.alive).any()):
        raise UnsupportedModelError(
            f"{node.name}: zeros that it pads with are {float(node.value.max()):.3g} before the"
            " normalisation in front of it, more than words hold; put the normalisation behind the"
            " convolution (Conv, BatchNorm, ReLU), or use padding=0"
        )
    value = torch.where(state.alive, node.value, 0.0)
    layer = SpikingPad(
        Padded(node.name, node.sources, node.shape, value, node.padding), state.scale
    )
    # the reference pads with what the original does, so that the bias makes up for the difference
    reference = pad(state.reference, node.value, node.padding)
    out = State(layer(state.x), reference, state.alive, state.constant, state.scale, state.bits)
    return layer, None, out


def _greatest(node: Pooled, state: State) -> Spiked:
    layer = SpikingMaxPool(node)
    x, reference = in_parts(layer, state.x), in_parts(node, state.reference)
    return layer, None, State(x, reference, state.alive, state.constant, state.scale, state.bits)


def average_threshold(taps: int, bits: int, steps: int | None) -> tuple[int, int]:
    """Threshold and output bits of an average pool of ``taps`` words.

    steps: T of the words out; None: as many as the sum needs, 8 at most.
    """
    most = taps * ((1 << bits) - 1)
    threshold = max(1, -(-most // ((1 << (steps or 8)) - 1)))
    return threshold, ((most + threshold // 2) // threshold).bit_length()


def _average(node: Pooled, state: State, options: Options) -> Spiked:
    steps = None if options.recipe.average == "wide" else options.steps
    threshold, bits = average_threshold(node.taps, state.bits, steps)
    layer = SpikingAvgPool(node, state.scale, threshold, bits)
    x, reference = in_parts(layer, state.x), in_parts(node, state.reference)
    scale = state.scale * threshold / node.taps
    edge = EdgeReport(
        name=node.name,
        steps=bits,
        granularity="tensor" if bool((scale == scale[0]).all()) else "channel",
        thresholds=scale.numpy(),
        error=error(x, reference),
        rate=float((x > 0).double().mean()),
        pruned=tuple(int(i) for i in (~state.alive).nonzero().flatten()),
    )
    return layer, edge, State(x, reference, state.alive, state.constant, scale, bits)


def _added(node: Added, given: list[State], options: Options) -> Spiked:
    flat = len(node.shape) == 1
    xs = [s.x.flatten(1).double() if flat else s.x for s in given]
    references = [s.reference.flatten(1).double() if flat else s.reference for s in given]
    options = replace(options, steps=node.bits or options.steps)
    exact = forward(node, references)
    scales, bias = [], node.bias
    for state, scale in zip(given, node.scale, strict=True):
        alive, constant = (
            _elements(t, state) if flat else t for t in (state.alive, state.constant)
        )
        scales.append(torch.where(alive, scale, 0.0))
        bias = bias + scale * constant
    v = sum(x * per_channel(s.to(x.dtype), x) for x, s in zip(xs, scales, strict=True))
    v = v + per_channel(bias.to(xs[0].dtype), xs[0])
    theta, choice = fitted(node, v, exact, options)
    out = fire(v, per_channel(theta.to(v.dtype), v), options.top)
    alive = (exact.amax(dims(exact)) > 0) & (out.amax(dims(out)) > 0)
    out = torch.where(per_channel(alive, out), out, 0.0)
    bias = torch.where(alive, bias, -theta)
    scale = torch.where(alive, torch.stack(scales), 0.0)
    constant = torch.zeros_like(bias)
    neuron = SpikePack(options.steps, theta, rounding=True)
    layer = SpikingAdd(node, scale, bias, neuron, alive)
    edge = _edge(node, options, choice, theta, out, constant, exact, alive)
    return layer, edge, State(out, exact, alive, constant, theta, options.steps)
