"""From the spiking twin to integers: ``lower``.

In topological order, the real scale a_i of every input word is folded into the weights of input i,
so the gates never see it. Each output channel c has one accumulator scale S_c (real units per LSB
of v), chosen so that its threshold, and the weight of a skip, are exact integers: weights are
rounded once.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from spikeloom.conversion.general.network import GeneralSpikingNetwork
from spikeloom.conversion.integers import LayerReport, conv_op, prune, readout, report_of, width
from spikeloom.conversion.layers import (
    SpikingAdd,
    SpikingAvgPool,
    SpikingConv2d,
    SpikingLayer,
    SpikingLinear,
    SpikingMaxPool,
    SpikingPad,
)
from spikeloom.conversion.reconstruct import Less, Samples
from spikeloom.conversion.rounding import Array, best_scale
from spikeloom.conversion.scales import (
    THRESHOLD_BITS,
    Folded,
    Integers,
    fired_scales,
    given_scales,
    plain_scale,
    skip_scales,
    sum_scales,
)
from spikeloom.conversion.spiking import SpikingNetwork
from spikeloom.conversion.streams import Stream, fired_stream, pixels_of, reals
from spikeloom.errors import UnsupportedModelError
from spikeloom.network import INPUT, Dense, Flatten, Network, Op
from spikeloom.ops import Add, AvgPool2d, MaxPool2d, Pad2d

__all__ = ["LayerReport", "lower", "lowering_report"]


def lowering_report(network: Network) -> tuple[LayerReport, ...]:
    """Reports that ``lower`` left in a network's metadata, one a layer; empty if it has none."""
    rows = json.loads(network.metadata.get("lowering", "[]"))
    return tuple(LayerReport(**row) for row in rows)


class _Lowering:
    """Ops, reports and streams of a network that is being lowered."""

    def __init__(self, snn: SpikingNetwork, weight_bits: int, samples: Samples | None) -> None:
        self.weight_bits, self.samples = weight_bits, samples
        self.ops: list[Op] = []
        self.reports: list[LayerReport] = []
        self.layers = {layer.name: layer for layer in snn.spiking_layers}
        channels, pixels = snn.sample_shape[0], int(np.prod(snn.sample_shape[1:], dtype=np.int64))
        self.streams = {
            INPUT: Stream(
                np.full(channels, 1 / snn.encode.top),
                np.ones(channels, dtype=bool),
                snn.encode.bits,
                pixels,
            )
        }
        self.shapes = {INPUT: snn.sample_shape}
        self.shapes |= {layer.name: layer.shape for layer in snn.spiking_layers}
        self.flattened: dict[str, str] = {}

    def source(self, name: str) -> str:
        """How an op names its source: "" where it is the op before."""
        before = self.ops[-1].name if self.ops else INPUT
        return "" if name == before else name

    def flat(self, name: str) -> tuple[Stream, str]:
        """Return the words of a source as one row, and the name of what gives them."""
        stream = self.streams[name]
        if len(self.shapes[name]) == 1:
            return stream, name
        if name not in self.flattened:
            taken = {*self.layers, *(op.name for op in self.ops), INPUT}
            names = ("flatten", *(f"flatten_{k}" for k in range(2, len(taken) + 3)))
            free = next(n for n in names if n not in taken)
            self.add(Flatten(free, self.source(name)), None, None)
            self.flattened[name] = free
        return stream.flattened(), self.flattened[name]

    def add(self, op: Op, report: LayerReport | None, stream: Stream | None) -> None:
        self.ops.append(op)
        if self.samples is not None:
            self.samples.ran(op)
        if report is not None:
            self.reports.append(report)
        if stream is not None:
            self.streams[op.name] = stream

    def fold(self, layer: SpikingLinear | SpikingConv2d, stream: Stream) -> Folded:
        """Fold the scales of the input words into the weights."""
        linear = isinstance(layer, SpikingLinear)
        weight = reals(layer.linear.weight if linear else layer.conv.weight)
        bias = layer.linear.bias if linear else layer.conv.bias
        assert bias is not None
        # (inputs,) of a Linear, (inputs, 1, 1) of a convolution, (outputs, 1, 1, 1) if depthwise
        depthwise = not linear and layer.conv.groups > 1
        axes = (-1,) if linear else (-1, 1, 1, 1) if depthwise else (-1, 1, 1)
        a, carried = stream.scale.reshape(axes), stream.carried.reshape(axes)
        V = np.where(carried, weight, 0.0) * a
        alive = layer.alive.cpu().numpy()
        mean, square = layer.input_mean.cpu().numpy() / a, layer.input_square.cpu().numpy() / a**2
        rows = (len(V), -1) if depthwise else (-1,)
        return Folded(
            layer.name,
            np.where(alive[:, None], V.reshape(len(V), -1), 0.0),
            reals(bias),
            alive,
            mean.reshape(rows),
            square.reshape(rows),
            stream.bits,
            self.weight_bits,
        )

    def fitted(
        self, layer: SpikingLinear | SpikingConv2d, folded: Folded, name: str, less: Less = ()
    ) -> Folded:
        """Fit the weights to the words of a source, if there are samples; not what was trained."""
        if self.samples is None or layer.grid is not None:
            return folded
        return self.samples.fit(layer, folded, name, less)

    def linear(self, layer: SpikingLinear) -> None:
        stream, name = self.flat(layer.sources[0])
        folded = self.fitted(layer, self.fold(layer, stream), name)
        grid = _grid(layer)
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

    def convolution(self, layer: SpikingConv2d) -> None:
        """Lower a convolution that fires, and before it the one whose potentials it adds."""
        assert layer.neuron is not None
        name = layer.sources[0]
        folded = self.fold(layer, self.streams[name])
        s_out = np.broadcast_to(reals(layer.neuron.threshold), folded.bias.shape)
        skip: dict[str, Any] = {}
        alive, off, other = folded.alive & (folded.live | (folded.bias > 0)), 0.0, None
        grid = _grid(layer)
        if len(layer.sources) == 1 and grid is not None:
            fired = given_scales(grid, s_out)
        elif len(layer.sources) == 1:
            folded = self.fitted(layer, folded, name)
            S0 = plain_scale(folded.best_scale(), s_out, folded.live)
            fired = fired_scales(S0, s_out, alive)
        elif layer.sources[1] in self.streams:
            q = self.streams[layer.sources[1]]
            assert layer.skip_scale is not None
            G = np.where(q.carried & folded.alive, q.scale * reals(layer.skip_scale), 0.0)
            alive = folded.alive & (folded.live | (G != 0) | (folded.bias > 0))
            if grid is not None:
                fired, k = given_scales(grid, s_out), np.rint(G / grid).astype(np.int64)
            else:
                less = [(self.samples.words[layer.sources[1]], G)] if self.samples else []
                folded = self.fitted(layer, folded, name, less)
                fired, k, off = skip_scales(folded, G, s_out, alive)
            skip = {"skip": layer.sources[1], "skip_bits": q.bits}
            skip["skip_weight"] = np.where(alive, k, 0)
        else:
            other = self.layers[layer.sources[1]]
            assert isinstance(other, SpikingConv2d)
            side = self.fold(other, self.streams[other.sources[0]])
            side = replace(side, V=np.where(folded.alive[:, None], side.V, 0.0))
            side = self.fitted(other, side, other.sources[0])
            alive = folded.alive & (folded.live | side.live | (folded.bias > 0))
            if grid is not None:
                fired = given_scales(grid, s_out)
            else:
                both = [np.broadcast_to(f.importance, f.V.shape) for f in (folded, side)]
                rows = np.concatenate([folded.V, side.V], 1)
                S0 = best_scale(rows, np.concatenate(both, 1), folded.top)
                S0 = plain_scale(S0, s_out, np.abs(rows).max(1) > 0)
                fired = fired_scales(S0, s_out, alive)
            lost = self.potentials(other, side, fired.S)
            if self.samples is None or grid is not None:
                folded = replace(folded, bias=folded.bias + lost)
            else:  # the bias of the other comes with what is missing
                folded = self.fitted(
                    layer, folded, name, [(self.samples.words[other.name], fired.S)]
                )
            bits = self.ops[-1].accumulator_bits  # type: ignore[union-attr]
            skip = {"skip": other.name, "skip_bits": bits, "skip_signed": True}
        integers = folded.integers(fired.S)
        w, bias, theta = prune(alive, integers, fired)
        op = conv_op(
            layer,
            w,
            bias,
            folded,
            source=self.source(name),
            threshold=theta,
            output_bits=layer.neuron.steps,
            output_scale=np.where(alive, fired.output, 1.0),
            threshold_bits=THRESHOLD_BITS,
            **skip,
        )
        report = report_of(op, integers, fired, alive, off)
        self.add(op, report, fired_stream(op, alive, pixels_of(layer)))

    def potentials(self, layer: SpikingConv2d, folded: Folded, S: Array) -> Array:
        """Lower a convolution that does not fire, on given scales; its bias (outputs,), real.

        The bias is left to the layer that adds the potentials.
        """
        integers = folded.integers(S)
        op = conv_op(
            layer,
            integers.weight,
            np.zeros(len(S), dtype=np.int64),
            folded,
            source=self.source(layer.sources[0]),
        )
        report = LayerReport(
            layer.name, integers.clipped, 0, 0, integers.error, op.accumulator_bits
        )
        self.add(op, report, None)
        return integers.bias

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
        grid = _grid(layer)
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
            down, across = layer.padding
            op = Pad2d(layer.name, word, (down, down, across, across), source)
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


def _grid(layer: SpikingLinear | SpikingConv2d | SpikingAdd) -> Array | None:
    """Accumulator scales that a layer was trained on, if it was."""
    return None if layer.grid is None else reals(layer.grid)


def lower(
    snn: nn.Module, weight_bits: int = 8, *, reconstruct: Tensor | NDArray | None = None
) -> Network:
    """Turn the result of ``convert`` into an integer network.

    weight_bits: W, 2..8; weights lie within +-(2^(W-1) - 1). What was clipped, raised and pruned is
    in the network's metadata: :func:`lowering_report`.
    reconstruct: some hundred training images (n, *sample shape), no labels. The weights of each
    layer are fitted to what really reaches them, and rounded so that the potentials, not the
    weights, err least (:mod:`spikeloom.conversion.reconstruct`); for few bits. Weights that
    ``fine_tune`` trained as integers stay as they are.

    Raises ValueError on another W, UnsupportedModelError for a module that ``convert`` did not
    make, or one whose potentials would need more than 32 bits, InputError on wrong images.
    """
    if not (isinstance(weight_bits, int) and 2 <= weight_bits <= 8):
        raise ValueError(f"weight_bits must be an integer in 2..8, not {weight_bits!r}")
    if isinstance(snn, GeneralSpikingNetwork):
        head = f"{snn.name} is a float network, without integers for gates:"
        problems = snn.integer_problems
        raise UnsupportedModelError("\n  ".join([head, *problems]), problems)
    if not isinstance(snn, SpikingNetwork):
        raise UnsupportedModelError(
            f"lower takes the result of convert, not {type(snn).__name__}: call"
            " spikeloom.convert(model, calibration) first"
        )
    samples = None if reconstruct is None else Samples(snn, reconstruct)
    lowering = _Lowering(snn, weight_bits, samples)
    for layer in snn.spiking_layers:
        if isinstance(layer, SpikingLinear):
            lowering.linear(layer)
        elif isinstance(layer, SpikingConv2d):
            if layer.neuron is not None:  # the others come with the one that adds their potentials
                lowering.convolution(layer)
        elif isinstance(layer, SpikingAdd):
            lowering.sum(layer)
        else:
            lowering.plain(layer)
        if samples is not None:
            samples.passed(layer)
    metadata = {"lowering": json.dumps([asdict(report) for report in lowering.reports])}
    return Network(lowering.ops, snn.sample_shape, snn.encode.bits, metadata)
