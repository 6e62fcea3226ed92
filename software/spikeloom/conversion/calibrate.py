"""Thresholds from data: ``convert``.

A model that can become integers goes layer by layer, in order, each on the inputs that the layers
before it really give in spikes, so that later thresholds and biases make up for earlier rounding.
Others go the same way as graphs, in :mod:`spikeloom.conversion.general`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from spikeloom.conversion.fitting import Options
from spikeloom.conversion.fold import fold
from spikeloom.conversion.general.calibrate import convert_general
from spikeloom.conversion.general.copies import (
    check_reading,
    inference_copy,
    unwrapped,
    warn_of_training_mode,
)
from spikeloom.conversion.general.data import arguments_of, device_of
from spikeloom.conversion.general.network import GeneralSpikingNetwork
from spikeloom.conversion.graph import Graph
from spikeloom.conversion.layers import SpikingLayer
from spikeloom.conversion.options import check_integer
from spikeloom.conversion.rate import RateNetwork, rate_network
from spikeloom.conversion.readers import Readers
from spikeloom.conversion.recipes import (
    Average,
    Packed,
    RateCoding,
    Recipe,
    changed,
)
from spikeloom.conversion.spike import State, error, spike
from spikeloom.conversion.spiking import (
    EdgeReport,
    InputWords,
    Report,
    SpikingNetwork,
    as_images,
)
from spikeloom.conversion.thresholds import Granularity, Rule
from spikeloom.conversion.trace import trace
from spikeloom.conversion.unsupported import never_fires
from spikeloom.errors import InputError, UnsupportedModelError

__all__ = ["convert"]


@overload
def convert(
    model: nn.Module,
    calibration: Any,
    steps: int = 4,
    *,
    recipe: RateCoding,
    input_bits: int = 8,
    granularity: Granularity | None = None,
    rule: Rule | None = None,
) -> RateNetwork: ...


@overload
def convert(
    model: nn.Module,
    calibration: Any,
    steps: int = 4,
    *,
    recipe: Packed | None = None,
    input_bits: int = 8,
    granularity: Granularity | None = None,
    rule: Rule | None = None,
    bias_correction: bool | None = None,
    average: Average | None = None,
    weight_bits: int | None = None,
    integers: bool = False,
) -> SpikingNetwork | GeneralSpikingNetwork: ...


@torch.no_grad()
def convert(
    model: nn.Module,
    calibration: Any,
    steps: int = 4,
    *,
    recipe: Recipe | None = None,
    input_bits: int = 8,
    granularity: Granularity | None = None,
    rule: Rule | None = None,
    bias_correction: bool | None = None,
    average: Average | None = None,
    weight_bits: int | None = None,
    integers: bool = False,
) -> SpikingNetwork | GeneralSpikingNetwork | RateNetwork:
    """Convert a trained model into its spiking twin; no retraining, the model is left as it is.

    model: best one that can become integers: Linear, Conv1d/2d, ReLU, ReLU6, batch norms, max and
    average pooling, residual sums, Flatten, Dropout, as modules or calls, ending with a Linear or
    a global pool; a ``Normalise`` in front is fine. Most others become a float spiking network that
    does not go on a board, and says so: :class:`GeneralSpikingNetwork`, docs/conversion.md. It is
    converted as it is at inference, whatever its mode.
    calibration: some hundred training images (n, *sample shape), uint8 or floats 0..1; images of
    one channel may come as (n, height, width). Samples (n, channels, length) of 1-D layers are
    images of width 1. Float networks take any range, and a tuple or dict of tensors for several
    inputs.
    steps: T of the hidden layers, 1..8. input_bits: T of the input words, 1..8.
    recipe: options of the calibration, as an object: ``Classification()``, ``Detection()``, or
    ``RateCoding()``, which gives the baseline instead, a :class:`RateNetwork` of any number of
    steps. granularity, rule, bias_correction, average: change that option of the recipe; see
    :class:`spikeloom.conversion.recipes.Packed`.
    weight_bits: W that the network will be lowered to, 2..8, None for 8: ``auto`` judges with
    weights rounded so. Float networks round theirs to it, None keeps them.
    integers: refuse what cannot become integers, with every reason, instead of giving a float
    network.

    Raises UnsupportedModelError listing all layers without a spiking form, or those whose
    activations are never positive; InputError on wrong calibration data; ValueError on a parameter
    out of range, or one that the recipe does not have.
    """
    recipe = changed(
        recipe,
        granularity=granularity,
        rule=rule,
        bias_correction=bias_correction,
        average=average,
    )
    check_integer("input_bits", input_bits, 1, 8)
    check_integer("weight_bits", weight_bits, 2, 8, none=True)
    model = unwrapped(model)
    warn_of_training_mode(model)
    if isinstance(recipe, RateCoding):
        if weight_bits is not None or integers:
            raise ValueError("RateCoding() gives floats: leave weight_bits and integers out")
        graph, images = _integer_form(model, calibration)
        if graph.neurons:
            raise _fires_already()
        name = type(model).__name__
        return rate_network(graph, images, steps, input_bits, recipe, name).to(device_of(model))
    check_integer("steps", steps, 1, 8)
    try:
        graph, images = _integer_form(model, calibration)
        readers = Readers(graph.nodes, weight_bits or 8, recipe.bias_correction)
        options = Options(steps, recipe, readers)
        found = None if graph.neurons else _spiking(graph, images, input_bits, options)
    except UnsupportedModelError as error:
        if integers:
            raise
        problems = error.problems
    else:
        if found is None:
            raise _fires_already()
        if found[1]:
            raise never_fires(type(model).__name__, found[1])
        return found[0].to(device_of(model))
    return convert_general(
        model,
        calibration,
        steps,
        recipe=recipe,
        input_bits=input_bits,
        weight_bits=weight_bits,
        integer_problems=problems,
    )


def _integer_form(model: nn.Module, calibration: Any) -> tuple[Graph, Tensor]:
    """Folded model and images 0..1; UnsupportedModelError where integers cannot do the same."""
    away = device_of(model).type != "cpu"
    traced = trace(inference_copy(model).cpu() if away else model)
    arguments_of(model, calibration)  # its checks
    if not isinstance(calibration, (Tensor, np.ndarray)):
        kind = type(calibration).__name__
        raise UnsupportedModelError(f"calibration is a {kind}: integers take one input, a tensor")
    images = torch.as_tensor(calibration).detach().cpu()
    if images.ndim < 2:
        raise InputError(f"calibration must be (n, *sample shape), not {tuple(images.shape)}")
    shape = traced.sample(images.shape[1:])
    if shape != images.shape[1:]:  # else strides stay, and with them the last bits of floats
        images = images.reshape(len(images), *shape)
    graph = fold(traced, shape)
    images = as_images(images)
    if not graph.neurons:
        few = images[:2]
        check_reading(model, (few.flatten(2) if traced.dims == {1} else few,), graph(few))
    return graph, images


def _fires_already() -> UnsupportedModelError:
    return UnsupportedModelError(
        "the model fires already (SpikePack): spikeloom.conversion.spiking takes it as it is"
    )


def _spiking(
    graph: Graph, images: Tensor, input_bits: int, options: Options
) -> tuple[SpikingNetwork, list[str]]:
    """Calibrate layer by layer, in order; what never fires, if the logits never change either."""
    words = InputWords(input_bits)
    channels = images.shape[1]
    states = {
        "input": State(
            x=words(images),
            reference=images,
            alive=torch.ones(channels, dtype=torch.bool),
            constant=torch.zeros(channels, dtype=torch.float64),
            scale=torch.full((channels,), 1 / words.top, dtype=torch.float64),
            bits=input_bits,
        )
    }
    edges, layers = [_input_edge(words, states["input"])], list[SpikingLayer]()
    left = Counter(name for node in graph.nodes for name in node.sources)
    silent: list[str] = []
    for node in graph.nodes:
        layer, edge, state = spike(node, [states[s] for s in node.sources], options)
        layers.append(layer)
        states[node.name] = state
        if edge is not None:
            edges.append(edge)
            if edge.rule and not bool((state.reference > 0).any()):
                silent.append(node.name)
        left.subtract(node.sources)
        for name in set(node.sources):
            if not left[name]:
                del states[name]  # images of many layers would not fit in memory together
    logits = states[graph.nodes[-1].name].x
    silent = [] if bool((logits != logits[:1]).any()) else silent
    return SpikingNetwork(layers, tuple(images.shape[1:]), input_bits, Report(tuple(edges))), silent


def _input_edge(words: InputWords, state: State) -> EdgeReport:
    scale, x = np.array([1 / words.top]), state.x.double()
    rate = float((x > 0).double().mean())
    off = error(x, state.reference.double())
    return EdgeReport("input", words.bits, "tensor", scale, off, rate, ())
