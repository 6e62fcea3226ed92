"""Thresholds from data: ``convert``.

A model that can become integers goes layer by layer, in order, each on the inputs that the layers
before it really give in spikes, so that later thresholds and biases make up for earlier rounding.
Others go the same way as graphs, in :mod:`spikeloom.conversion.general`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeloom.conversion.fold import fold
from spikeloom.conversion.general.calibrate import convert_general
from spikeloom.conversion.general.copies import (
    check_reading,
    unwrapped,
    warn_of_training_mode,
)
from spikeloom.conversion.general.data import arguments_of
from spikeloom.conversion.general.network import GeneralSpikingNetwork
from spikeloom.conversion.graph import Graph
from spikeloom.conversion.layers import SpikingLayer
from spikeloom.conversion.spike import Average, Options, State, error, spike
from spikeloom.conversion.spiking import (
    EdgeReport,
    InputWords,
    Report,
    SpikingNetwork,
    as_images,
)
from spikeloom.conversion.thresholds import Granularity, Rule
from spikeloom.conversion.trace import trace
from spikeloom.errors import InputError, UnsupportedModelError

__all__ = ["convert"]


def _shaped(calibration: Tensor | NDArray) -> Tensor:
    x = torch.as_tensor(calibration).detach().cpu()
    if x.ndim < 2 or len(x) == 0:
        raise InputError(f"calibration must be (n, *sample shape) with n > 0, not {tuple(x.shape)}")
    return x


@torch.no_grad()
def convert(
    model: nn.Module,
    calibration: Any,
    steps: int = 4,
    *,
    input_bits: int = 8,
    granularity: Granularity = "channel",
    rule: Rule = "mse",
    bias_correction: bool = True,
    average: Average = "wide",
    integers: bool = False,
) -> SpikingNetwork | GeneralSpikingNetwork:
    """Convert a trained model into its spiking twin; no retraining, the model is left as it is.

    model: best one that can become integers: Linear, Conv1d/2d, ReLU, ReLU6, batch norms, max and
    average pooling, residual sums, Flatten, Dropout, as modules or calls, ending with a Linear or
    a global pool; a ``Normalise`` in front is fine. Most others become a float spiking network that
    does not go on a board, and says so: :class:`GeneralSpikingNetwork`, docs/conversion.md.
    calibration: some hundred training images (n, *sample shape), uint8 or floats 0..1; images of
    one channel may come as (n, height, width). Samples (n, channels, length) of 1-D layers are
    images of width 1. Float networks take any range, and a tuple or dict of tensors for several
    inputs.
    steps: T of the hidden layers, 1..8. input_bits: T of the input words, 1..8.
    granularity: one threshold a ``channel``, or one a layer (``tensor``).
    rule: ``mse`` clips where the mean square error is least, ``max`` at the greatest activation.
    bias_correction: shift every bias so that mean potentials on the calibration data stay.
    average: words that average pools give: ``wide``, as many bits as their sum needs, 8 at most, or
    ``steps``, T bits. Float networks: always wide, 16 at most.
    integers: refuse what cannot become integers, with every reason, instead of giving a float
    network.

    Raises UnsupportedModelError listing all layers without a spiking form, InputError on wrong
    calibration data, ValueError on a parameter out of range.
    """
    for name, value in (("steps", steps), ("input_bits", input_bits)):
        if not (isinstance(value, int) and 1 <= value <= 8):
            raise ValueError(f"{name} must be an integer in 1..8, not {value!r}")
    for name, value, allowed in (
        ("granularity", granularity, get_args(Granularity)),
        ("rule", rule, get_args(Rule)),
        ("average", average, get_args(Average)),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, not {value!r}")
    options, model = Options(steps, granularity, rule, bias_correction, average), unwrapped(model)
    warn_of_training_mode(model)
    try:
        graph, images = _integer_form(model, calibration)
        if not graph.neurons:
            return _spiking(graph, images, input_bits, options)
    except UnsupportedModelError as error:
        if integers:
            raise
        problems = error.problems
    else:
        raise UnsupportedModelError(
            "the model fires already (SpikePack): spikeloom.conversion.spiking takes it as it is"
        )
    return convert_general(
        model,
        calibration,
        steps,
        input_bits=input_bits,
        granularity=granularity,
        rule=rule,
        bias_correction=bias_correction,
        integer_problems=problems,
    )


def _integer_form(model: nn.Module, calibration: Any) -> tuple[Graph, Tensor]:
    """Folded model and images 0..1; UnsupportedModelError where integers cannot do the same."""
    traced = trace(model)
    arguments_of(model, calibration)  # its checks
    if not isinstance(calibration, (Tensor, np.ndarray)):
        kind = type(calibration).__name__
        raise UnsupportedModelError(f"calibration is a {kind}: integers take one input, a tensor")
    images = _shaped(calibration)
    shape = traced.sample(images.shape[1:])
    if shape != images.shape[1:]:  # else strides stay, and with them the last bits of floats
        images = images.reshape(len(images), *shape)
    graph = fold(traced, shape)
    images = as_images(images)
    if not graph.neurons:
        few = images[:2]
        check_reading(model, (few.flatten(2) if traced.dims == {1} else few,), graph(few))
    return graph, images


def _spiking(graph: Graph, images: Tensor, input_bits: int, options: Options) -> SpikingNetwork:
    """Calibrate layer by layer, in order."""
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
    for node in graph.nodes:
        layer, edge, states[node.name] = spike(node, [states[s] for s in node.sources], options)
        layers.append(layer)
        if edge is not None:
            edges.append(edge)
        left.subtract(node.sources)
        for name in set(node.sources):
            if not left[name]:
                del states[name]  # images of many layers would not fit in memory together
    return SpikingNetwork(layers, tuple(images.shape[1:]), input_bits, Report(tuple(edges)))


def _input_edge(words: InputWords, state: State) -> EdgeReport:
    scale, x = np.array([1 / words.top]), state.x.double()
    rate = float((x > 0).double().mean())
    off = error(x, state.reference.double())
    return EdgeReport("input", words.bits, "tensor", scale, off, rate, ())
