"""Networks made of given layers, with random numbers: what a bench of layers runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from spikeloom.hardware.folding import Folding
from spikeloom.hardware.parameters import NetworkParameters
from spikeloom.network import Network
from spikeloom.ops import Add, AvgPool2d, Conv2d, Fire, MaxPool2d, Op, Pad2d

from spikeloom_sim.random_ops import OpBuilder

__all__ = ["Case", "Part", "describe", "kind_of"]

Pair = tuple[int, int]


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


@dataclass(frozen=True)
class Part:
    """One layer of a case.

    kind: conv, depthwise, maxpool, avgpool, pad, fire or add. outputs: channels of a conv.
    kernel, stride, padding: numbers, or (rows, columns); padding of a pad: (top, bottom, left,
    right). T: of the words that leave; 0: potentials leave. W: of the weights. source: number of
    the part that feeds it, -1 for the input; without, the part before. other: the part that joins
    it (an add's second stream, or a convolution's skip connection). fold: arguments of Folding.
    """

    kind: str
    outputs: int = 0
    kernel: int | Pair = 1
    stride: int | Pair = 1
    padding: Any = 0
    T: int = 4
    W: int = 8
    source: int | None = None
    other: int | None = None
    fold: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A network: samples of a shape (channels, height, width) of T-bit words, its parts, a readout.

    scan: words of a transfer into the readout.
    """

    name: str
    shape: tuple[int, int, int]
    T: int
    parts: Sequence[Part]
    seed: int = 1
    scan: int = 1

    def build(self) -> tuple[Network, NetworkParameters]:
        """Make the network, with random integers, and its structure in gates."""
        builder = OpBuilder(self.seed, self.shape, 1, self.T, 8)
        names: list[str] = []

        def name(part: int | None) -> str:
            return builder.at if part is None else "input" if part < 0 else names[part]

        foldings = []
        for part in self.parts:
            builder.bits, builder.weight_bits = part.T, part.W
            other = "" if part.other is None else name(part.other)
            names.append(_append(builder, part, name(part.source), other))
            foldings.append(Folding(**part.fold))
        builder.linear(2, fires=False)
        foldings.append(Folding(lanes=2, scan=self.scan))
        network = Network(builder.ops, self.shape, self.T)
        return network, network.parameters(foldings)


def _append(builder: OpBuilder, part: Part, source: str, other: str) -> str:
    """Append the op of a part; its name."""
    edge = builder.edges[source]
    builder.at = source
    kernel, stride = _pair(part.kernel), _pair(part.stride)
    if part.kind in ("conv", "depthwise"):
        return builder.conv(
            source=source,
            outputs=part.outputs,
            kernel=kernel,
            stride=stride,
            padding=_pair(part.padding),
            groups=edge.channels if part.kind == "depthwise" else 1,
            fires=part.T > 0,
            skip=other,
        )
    if part.kind == "fire":
        return builder.fire()
    if part.kind == "add":
        return builder.add(source, other)
    name = builder.name(part.kind)
    if part.kind == "maxpool":
        return builder.push(MaxPool2d(name, kernel, stride, _pair(part.padding)))
    if part.kind == "avgpool":
        taps = kernel[0] * kernel[1]
        # a mean where T stays, else whatever brings sums to T bits
        threshold = taps if part.T == edge.bits else max(1, (taps << edge.bits) >> part.T)
        return builder.push(
            AvgPool2d(
                name, kernel, stride, _pair(part.padding),
                input_bits=edge.bits, output_bits=part.T,
                threshold=threshold, bias=builder.draw(0, threshold),
            )
        )  # fmt: skip
    assert part.kind == "pad", part.kind
    word = builder.rng.integers(0, 1 << edge.bits, edge.channels, dtype=np.uint8)
    return builder.push(Pad2d(name, word, part.padding))


def kind_of(op: Op) -> str:
    """Return the kind of a layer as parts name it."""
    if isinstance(op, Conv2d) and op.depthwise:
        return "depthwise"
    return op.kind.removesuffix("2d")


def describe(network: Network, op: Any, folding: Folding) -> str:
    """One layer in a line: its shape, its words, its folding; two with the same are the same."""
    ins = [network.edges[s] for s in network.layer_sources(op)]
    out = network.edges[op.name]
    parts = [
        f"{'+'.join('x'.join(map(str, e.shape)) for e in ins)}>{'x'.join(map(str, out.shape))}"
    ]
    if isinstance(op, (Conv2d, MaxPool2d, AvgPool2d)):
        parts.append("k{}x{} s{}x{} p{}x{}".format(*op.kernel, *op.stride, *op.padding))
    if isinstance(op, Pad2d):
        parts.append("frame {}".format(",".join(map(str, op.padding))))
    widths = [f"{'v' if e.signed else 'T'}{e.bits}" for e in (*ins, out)]
    parts.append(f"{'+'.join(widths[:-1])}>{widths[-1]}")
    f = folding
    lanes = f"lanes {f.lanes}"
    if isinstance(op, Conv2d):
        weighs = "" if op.skip_weight is None else " weighed skip"
        parts.append(f"W{op.weight_bits}{weighs}")
        lanes += f" fire {f.fire_lanes}"
        if not op.depthwise:
            lanes += f" scan {f.scan} slices {f.slices} units {f.units}"
            lanes += " paired" if f.paired else ""
        lanes += f" {f.form} {f.multiplier} {f.weight_memory}"
    if isinstance(op, (Fire, Add)):
        parts.append(f"threshold {op.threshold_bits} bits")
    return ", ".join([*parts, lanes])
