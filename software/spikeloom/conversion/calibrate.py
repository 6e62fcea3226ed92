"""Thresholds from data: ``convert``.

Layer by layer, in order, each on the inputs that the layers before it really give in spikes, so
that later thresholds and biases make up for earlier rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeloom.conversion.fold import Layer, fold
from spikeloom.conversion.spiking import (
    EdgeReport,
    InputWords,
    Report,
    SpikingLinear,
    SpikingNetwork,
    as_images,
)
from spikeloom.conversion.trace import trace
from spikeloom.errors import InputError
from spikeloom.neuron import SpikePack

__all__ = ["convert"]

Granularity = Literal["channel", "tensor"]
Rule = Literal["mse", "max"]

#: Clips tried, as shares of a channel's greatest activation.
_CLIPS = torch.linspace(0.2, 1.2, 101, dtype=torch.float64)


def _fire(v: Tensor, theta: Tensor, top: int) -> Tensor:
    """Values of the words of potentials v, rounded half up."""
    return torch.floor(v / theta + 0.5).clamp(0, top) * theta


def _thresholds(
    v: Tensor, target: Tensor, steps: int, granularity: Granularity, rule: Rule
) -> Tensor:
    """Thresholds (channels,) that fire potentials v (n, channels) closest to target."""
    top = (1 << steps) - 1
    peak = target.amax(0)
    if granularity == "tensor":
        peak = peak.max().expand_as(peak)
    peak = torch.where(peak > 0, peak, 1.0)  # pruned channels: any threshold does
    if rule == "max":
        return peak / top
    errors = []
    for clip in _CLIPS:
        e = (_fire(v, clip * peak / top, top) - target).square().sum(0)
        errors.append(e.sum().expand_as(e) if granularity == "tensor" else e)
    best = torch.stack(errors).argmin(0)
    return _CLIPS[best] * peak / top


def _calibration_images(calibration: Tensor | NDArray) -> Tensor:
    x = as_images(torch.as_tensor(calibration).detach().cpu())
    if x.ndim < 2 or len(x) == 0:
        raise InputError(f"calibration must be (n, *sample shape) with n > 0, not {tuple(x.shape)}")
    return x


@torch.no_grad()
def convert(
    model: nn.Module,
    calibration: Tensor | NDArray,
    steps: int = 4,
    *,
    input_bits: int = 8,
    granularity: Granularity = "channel",
    rule: Rule = "mse",
    bias_correction: bool = True,
) -> SpikingNetwork:
    """Convert a trained model into its spiking twin; no retraining, the model is left as it is.

    model: a chain of Linear, ReLU, BatchNorm1d, Flatten, Dropout (nested Sequential, Identity and a
    ``Normalise`` in front are fine), ending with a Linear.
    calibration: some hundred training images (n, *sample shape), uint8 or floats 0..1.
    steps: T of the hidden layers, 1..8. input_bits: T of the input words, 1..8.
    granularity: one threshold a ``channel``, or one a layer (``tensor``).
    rule: ``mse`` clips where the mean square error is least, ``max`` at the greatest activation.
    bias_correction: shift every bias so that mean potentials on the calibration data stay.

    Raises UnsupportedModelError listing all layers without a spiking form, InputError on wrong
    calibration data, ValueError on a parameter out of range.
    """
    for name, value in (("steps", steps), ("input_bits", input_bits)):
        if not (isinstance(value, int) and 1 <= value <= 8):
            raise ValueError(f"{name} must be an integer in 1..8, not {value!r}")
    for name, value, allowed in (
        ("granularity", granularity, get_args(Granularity)),
        ("rule", rule, get_args(Rule)),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, not {value!r}")
    images = _calibration_images(calibration)
    layers = fold([op for op in trace(model)], images.shape[1:])
    words = InputWords(input_bits)
    inputs = images[0].numel()
    state = _State(
        x=words(images).double().flatten(1),
        reference=images.double().flatten(1),
        alive=torch.ones(inputs, dtype=torch.bool),
        constant=torch.zeros(inputs, dtype=torch.float64),
    )
    options = _Options(steps, granularity, rule, bias_correction)
    edges = [_input_edge(words, state)]
    spiking = []
    for layer in layers:
        module, edge, state = _spike(layer, state, options)
        spiking.append(module)
        if edge is not None:
            edges.append(edge)
    return SpikingNetwork(spiking, tuple(images.shape[1:]), input_bits, Report(tuple(edges)))


@dataclass(frozen=True, eq=False)
class _Options:
    steps: int
    granularity: Granularity
    rule: Rule
    bias_correction: bool


@dataclass(frozen=True, eq=False)
class _State:
    """What reaches a layer, on all calibration images.

    x: what the spikes give (n, inputs). reference: what the original gives. alive: inputs
    (inputs,) that are not pruned. constant: real values (inputs,) of pruned channels that never
    change; they move into the next bias.
    """

    x: Tensor
    reference: Tensor
    alive: Tensor
    constant: Tensor


def _input_edge(words: InputWords, state: _State) -> EdgeReport:
    scale, x = np.array([1 / words.top]), state.x
    rate = float((x > 0).double().mean())
    return EdgeReport("input", words.bits, "tensor", scale, _error(x, state.reference), rate, ())


def _error(x: Tensor, reference: Tensor) -> float:
    norm = float(reference.square().mean())
    return (float((x - reference).square().mean()) / norm) ** 0.5 if norm else 0.0


def _spike(
    layer: Layer, state: _State, options: _Options
) -> tuple[SpikingLinear, EdgeReport | None, _State]:
    """One layer: its module, its report, and what spikes and original give to the next layer."""
    x, steps = state.x, options.steps
    exact = state.reference @ layer.weight.T + layer.bias
    bias = layer.bias + layer.weight @ state.constant
    weight = torch.where(state.alive, layer.weight, 0.0)
    v = x @ weight.T + bias
    if options.bias_correction:
        shift = (exact - v).mean(0)
        bias, v = bias + shift, v + shift
    statistics = (x.mean(0), x.square().mean(0))
    if not layer.fires:
        alive = torch.ones(len(bias), dtype=torch.bool)
        module = SpikingLinear(layer.name, weight, bias, None, alive, *statistics)
        return module, None, _State(v, exact, alive, torch.zeros(0))
    target = exact.clamp(min=0)
    theta = _thresholds(v, target, steps, options.granularity, options.rule)
    out = _fire(v, theta, (1 << steps) - 1)
    varies = weight.abs().amax(1) > 0
    alive = varies & (target.amax(0) > 0) & (out.amax(0) > 0)
    constant = torch.where(varies, 0.0, bias.clamp(min=0))
    weight = torch.where(alive[:, None], weight, 0.0)
    bias = torch.where(alive, bias, -theta)
    out = torch.where(alive, out, 0.0)
    neuron = SpikePack(steps, theta, rounding=True)
    module = SpikingLinear(layer.name, weight, bias, neuron, alive, *statistics)
    edge = EdgeReport(
        name=layer.name,
        steps=steps,
        granularity=options.granularity,
        thresholds=theta.numpy(),
        error=_error(out + constant, target),
        rate=float((out > 0).double().mean()),
        pruned=tuple(int(i) for i in (~alive).nonzero().flatten()),
    )
    return module, edge, _State(out, target, alive, constant)
