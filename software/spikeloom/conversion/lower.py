"""From the spiking twin to integers: ``lower``.

In topological order, the real scale a_i of every input word is folded into the weights of input i,
so the gates never see it. Each output channel c has one accumulator scale S_c (real units per LSB
of v), chosen so that its threshold, and the weight of a skip, are exact integers: weights are
rounded once.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeloom.conversion.general.data import device_of
from spikeloom.conversion.general.network import GeneralSpikingNetwork
from spikeloom.conversion.integers import LayerReport, prune, readout, report_of, width
from spikeloom.conversion.layers import (
    SpikingAdd,
    SpikingAvgPool,
    SpikingConv2d,
    SpikingLayer,
    SpikingLinear,
    SpikingMaxPool,
    SpikingPad,
)
from spikeloom.conversion.options import check_integer
from spikeloom.conversion.progress import Progress
from spikeloom.conversion.rate import RateNetwork
from spikeloom.conversion.reconstruct import Samples
from spikeloom.conversion.residual import convolution, grid_of
from spikeloom.conversion.scales import (
    THRESHOLD_BITS,
    Integers,
    fired_scales,
    given_scales,
    sum_scales,
)
from spikeloom.conversion.spiking import SpikingNetwork
from spikeloom.conversion.streams import fired_stream, pixels_of, reals
from spikeloom.errors import InputError, UnsupportedModelError
from spikeloom.network import Dense, Network, Op
from spikeloom.ops import Add, AvgPool2d, MaxPool2d, Pad2d

__all__ = ["LayerReport", "lower", "lowering_report"]

#: Weights of so many bits are made by training: rounding them afterwards loses too much.
_TRAINED_ONLY = 3


def lowering_report(network: Network) -> tuple[LayerReport, ...]:
    """Reports that ``lower`` left in a network's metadata, one a layer; empty if it has none."""
    rows = json.loads(network.metadata.get("lowering", "[]"))
    return tuple(LayerReport(**row) for row in rows)


def _row(report: LayerReport) -> dict[str, Any]:
    """A report as plain values; zeros only where there are, as in files without them."""
    return {name: value for name, value in asdict(report).items() if name != "zeros" or value}


class _Lowering(Progress):
    """Turns one layer after the other into ops."""

    def linear(self, layer: SpikingLinear) -> None:
        stream, name = self.flat(layer.sources[0])
        folded = self.fitted(layer, self.fold(layer, stream), name)
        grid = grid_of(layer)
        if layer.neuron is None:
            self.add(*readout(folded, self.source(name), grid), None)
            return
        s_out = np.broadcast_to(reals(layer.neuron.threshold), folded.bias.shape)
        if grid is not None:
            alive = folded.alive & (folded.live | (folded.bias > 0))
            fired = given_scales(grid, s_out)
        else:
            alive = folded.alive & folded.live
            fired = fired_scales(folded.best_scale(), s_out, alive)
        integers = folded.integers(fired.S)
        w, bias, theta = prune(alive, integers, fired)
        op = Dense(
            layer.name,
            weight=w.astype(np.int8),
            bias=bias,
            input_bits=stream.bits,
            weight_bits=self.weight_bits,
            accumulator_bits=width(layer.name, w, bias, (1 << stream.bits) - 1),
            threshold=theta,
            output_bits=layer.neuron.steps,
            output_scale=np.where(alive, fired.output, 1.0),
            threshold_bits=THRESHOLD_BITS,
            source=self.source(name),
        )
        self.add(op, report_of(op, integers, fired, alive), fired_stream(op, alive, 1))

    def sum(self, layer: SpikingAdd) -> None:
        flat = len(layer.shape) == 1
        names = list(layer.sources)
        streams = [self.streams[name] for name in names]
        if flat:
            streams, names = map(list, zip(*(self.flat(name) for name in names), strict=True))
        kept = layer.alive.cpu().numpy()
        G = np.stack([s.scale for s in streams]) * reals(layer.scale)
        G = np.where(np.stack([s.carried for s in streams]) & kept, G, 0.0)
        bias = reals(layer.bias)
        alive = kept & ((G != 0).any(0) | (bias > 0))
        s_out = np.broadcast_to(reals(layer.neuron.threshold), bias.shape)
        grid = grid_of(layer)
        if grid is not None:
            fired, off = given_scales(grid, s_out), 0.0
            k = np.rint(G / grid).astype(np.int64)
        else:
            fired, k, off = sum_scales(G, s_out, alive)
        integers = Integers(k.T.copy(), bias, 0, 0.0)
        w, bias, theta = prune(alive, integers, fired)
        tops = np.array([(1 << stream.bits) - 1 for stream in streams])
        op = Add(
            layer.name,
            weight=w.T.copy(),
            bias=bias,
            input_bits=(streams[0].bits, streams[1].bits),
            accumulator_bits=width(layer.name, w, bias, tops),
            threshold=theta,
            output_bits=layer.neuron.steps,
            output_scale=np.where(alive, fired.output, 1.0),
            threshold_bits=THRESHOLD_BITS,
            source=self.source(names[0]),
            other=names[1],
        )
        report = report_of(op, integers, fired, alive, off)
        self.add(op, report, fired_stream(op, alive, pixels_of(layer)))

    def plain(self, layer: SpikingLayer) -> None:
        """Lower a layer without weights: the words keep their channels."""
        name = layer.sources[0]
        stream, source = replace(self.streams[name], pixels=pixels_of(layer)), self.source(name)
        if isinstance(layer, SpikingMaxPool):
            pool = layer.pool
            op: Op = MaxPool2d(layer.name, pool.kernel_size, pool.stride, pool.padding, source)  # type: ignore[arg-type]
        elif isinstance(layer, SpikingPad):
            top = (1 << stream.bits) - 1
            word = np.floor(reals(layer.value) / stream.scale + 0.5).clip(0, top)
            word = np.where(stream.carried, word, 0).astype(np.uint8)
            op = Pad2d(layer.name, word, layer.padding, source)
        else:
            assert isinstance(layer, SpikingAvgPool)
            op = AvgPool2d(
                layer.name,
                layer.kernel,
                layer.stride,
                layer.padding,
                source,
                input_bits=stream.bits,
                output_bits=layer.neuron.steps,
                threshold=layer.threshold,
                bias=layer.threshold // 2,
            )
            scale = stream.scale * layer.threshold / layer.taps
            stream = replace(stream, scale=scale, bits=layer.neuron.steps)
        self.add(op, None, stream)


def _check_trained(names: Sequence[str], weight_bits: int) -> None:
    """Few bits only through training; names: layers that were not trained with them."""
    if names:
        raise UnsupportedModelError(
            f"{', '.join(names)}: not trained with {weight_bits}-bit weights; call fine_tune(snn,"
            f" images, labels, weight_bits={weight_bits}) first, take 4 bits or more, or"
            " allow_few_bits=True (--allow-few-bits) to see what it loses"
        )


def lower(
    snn: nn.Module,
    weight_bits: int = 8,
    *,
    reconstruct: Tensor | NDArray | None = None,
    original: nn.Module | None = None,
    allow_few_bits: bool = False,
) -> Network:
    """Turn the result of ``convert`` into an integer network.

    weight_bits: W, 2..8; weights lie within +-(2^(W-1) - 1). What was clipped, raised and pruned is
    in the network's metadata: :func:`lowering_report`.
    reconstruct: some hundred training images (n, *sample shape), no labels. The weights of each
    layer are fitted to what really reaches them, and rounded so that the potentials, not the
    weights, err least (:mod:`spikeloom.conversion.reconstruct`); for few bits. Weights that
    ``fine_tune`` trained as integers stay as they are.
    original: the model that ``snn`` was converted from. The fit is then to its potentials instead
    of those of ``snn``, which makes up for words of few bits too: for T of 1 and 2, with tens of
    thousands of images.
    allow_few_bits: round weights to 2 or 3 bits that were not trained so; most networks lose a lot.

    Raises ValueError on another W, UnsupportedModelError for a module that ``convert`` did not
    make, weights that were not trained with so few bits, or potentials that would need more than 32
    bits, InputError on wrong images.
    """
    check_integer("weight_bits", weight_bits, 2, 8)
    if isinstance(snn, GeneralSpikingNetwork):
        head = f"{snn.name} is a float network, without integers for gates:"
        problems = snn.integer_problems
        raise UnsupportedModelError("\n  ".join([head, *problems]), problems)
    if isinstance(snn, RateNetwork):
        raise UnsupportedModelError(
            "a RateNetwork counts spikes, gates read them as the bits of words: convert without"
            " RateCoding() for a network that lowers"
        )
    if not isinstance(snn, SpikingNetwork):
        raise UnsupportedModelError(
            f"lower takes the result of convert, not {type(snn).__name__}: call"
            " spikeloom.convert(model, calibration) first"
        )
    if reconstruct is None and original is not None:
        raise InputError("lower: original needs the images to reconstruct with")
    trained_only = weight_bits <= _TRAINED_ONLY and not allow_few_bits
    if trained_only:
        layers = [x for x in snn.spiking_layers if isinstance(x, (SpikingLinear, SpikingConv2d))]
        _check_trained([layer.name for layer in layers if layer.grid is None], weight_bits)
    if device_of(snn).type != "cpu":
        snn = copy.deepcopy(snn).cpu()
    samples = None if reconstruct is None else Samples(snn, reconstruct, original)
    lowering = _Lowering(snn, weight_bits, samples)
    for layer in snn.spiking_layers:
        if isinstance(layer, SpikingLinear):
            lowering.linear(layer)
        elif isinstance(layer, SpikingConv2d):
            if layer.neuron is not None:  # the others come with the one that adds their potentials
                convolution(lowering, layer)
        elif isinstance(layer, SpikingAdd):
            lowering.sum(layer)
        else:
            lowering.plain(layer)
        if samples is not None:
            samples.passed(layer)
    if trained_only:  # what was trained with more bits clips
        _check_trained([r.name for r in lowering.reports if r.clipped], weight_bits)
    metadata = {"lowering": json.dumps([_row(report) for report in lowering.reports])}
    return Network(lowering.ops, snn.sample_shape, snn.encode.bits, metadata)
