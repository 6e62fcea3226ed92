"""How far lowering has come: the ops made so far, and what is known of the words between them."""

from __future__ import annotations

import numpy as np

from spikeloom.conversion.integers import LayerReport
from spikeloom.conversion.layers import SpikingConv2d, SpikingLinear
from spikeloom.conversion.reconstruct import Less, Samples
from spikeloom.conversion.scales import Folded
from spikeloom.conversion.spiking import SpikingNetwork
from spikeloom.conversion.streams import Stream, reals
from spikeloom.network import INPUT, Flatten, Op

__all__ = ["Progress"]


class Progress:
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
        """Append an op; stream: the words that leave it, if words do."""
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
