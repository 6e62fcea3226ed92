"""A builder of random ops with numbers that suit what flows, for random networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spikeloom.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Dense,
    Edge,
    Fire,
    Flatten,
    MaxPool2d,
    Op,
    Pad2d,
    Readout,
    accumulator_width,
)

from spikeloom_sim.reference import run_op

__all__ = ["OpBuilder"]

_SAMPLES = 6


class OpBuilder:
    """Appends ops, and runs each on a few samples, so that the numbers of the next suit."""

    def __init__(
        self,
        seed: int,
        shape: tuple[int, int, int] | None,
        channels: int,
        bits: int | None,
        weight_bits: int | None,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.channels, self.bits, self.weight_bits = channels, bits, weight_bits
        if shape is None:
            shape = (self.draw(1, min(4, channels)), self.draw(1, 8), self.draw(1, 8))
        self.shape = shape
        self.input_bits = self.steps()
        self.edges = {"input": Edge(shape, self.input_bits)}
        words = self.rng.integers(0, 1 << self.input_bits, (_SAMPLES, *shape))
        self.values: dict[str, NDArray[np.int64]] = {"input": words}
        self.ops: list[Op] = []
        self.at = "input"

    def draw(self, low: int, high: int) -> int:
        """A number in low..high."""
        return int(self.rng.integers(low, max(low, high), endpoint=True))

    def chance(self, p: float) -> bool:
        """True in a share p of all cases."""
        return bool(self.rng.random() < p)

    def steps(self) -> int:
        """T of some words."""
        return self.bits or int(self.rng.choice([1, 2, 3, 4, 4, 4, 5, 6, 8]))

    def name(self, kind: str) -> str:
        """A name that is not taken."""
        return f"{kind}{len(self.ops)}"

    def push(self, op: Op) -> str:
        """Append an op and run it; its name."""
        sources = [name or self.at for name in op.sources]
        self.edges[op.name] = op.infer(*(self.edges[s] for s in sources))
        v0, out = run_op(op, *(self.values[s] for s in sources))
        value = v0 if out is None else out
        assert value is not None
        self.values[op.name] = value
        self.ops.append(op)
        self.at = op.name
        return op.name

    def weights(self, shape: tuple[int, ...], weight_bits: int) -> NDArray[np.int64]:
        """Integers of a random density."""
        top = (1 << (weight_bits - 1)) - 1
        weight = self.rng.integers(-top, top, shape, endpoint=True)
        return np.where(self.rng.random(shape) < self.rng.uniform(0.3, 1), weight, 0)

    def neurons(
        self, v0: NDArray[np.int64], bits: int, threshold_bits: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(bias, threshold) that suit sums v0 (n, channels, ...) without a bias."""
        count, limit = v0.shape[1], (1 << threshold_bits) - 1
        flat = np.moveaxis(v0, 1, 0).reshape(count, -1)
        low, high = (np.quantile(flat, q, axis=1) for q in (0.3, 0.97))
        theta = (high - low + 1) / (1 << bits) * self.rng.uniform(0.4, 1.6, count)
        theta = np.clip(theta.round(), 1, limit).astype(np.int64)
        kind = self.rng.integers(0, 16, count)
        theta[kind == 4] = 1
        theta[kind == 5] = limit
        bias = -low.round().astype(np.int64) + theta // 2
        bias[kind < 2] = -flat.max(1)[kind < 2] - 1  # silent
        loud = (kind == 2) | (kind == 3)
        bias[loud] = (theta * (1 << bits) - flat.min(1))[loud]  # always the greatest word
        return bias, theta

    def fired(self, v0: NDArray[np.int64]) -> dict[str, Any]:
        """Fields of an op that fires on v0 + bias; "bias" is one of them."""
        bits, threshold_bits = self.steps(), int(self.rng.choice([16, 16, 12, 8]))
        bias, theta = self.neurons(v0, bits, threshold_bits)
        scale = self.rng.uniform(0.01, 2, len(theta))
        return {
            "bias": bias,
            "threshold": theta,
            "output_bits": bits,
            "output_scale": scale,
            "threshold_bits": threshold_bits,
        }

    def width(self, op: Any) -> int:
        """Bits of an accumulator: what the weights need, and sometimes more."""
        low, high = op(32).potential_bounds()
        needed = max(accumulator_width(low, high), 2)
        assert needed <= 32
        return min(32, needed + int(self.rng.choice([0, 0, 1, 3])))

    def conv(
        self,
        *,
        source: str = "",
        outputs: int | None = None,
        kernel: tuple[int, int] | None = None,
        stride: tuple[int, int] | None = None,
        padding: tuple[int, int] | None = None,
        groups: int = 1,
        fires: bool = True,
        skip: str = "",
    ) -> str:
        """A convolution; what is not given is random."""
        source = source or self.at
        edge, weight_bits = self.edges[source], self.weight_bits or self.draw(2, 8)
        inputs, *size = edge.shape
        if kernel is None:
            kernel, padding = self.kernel(size)
        if padding is None:
            padding = (0, 0)
        if stride is None:
            stride = (self.draw(1, 3), self.draw(1, 3)) if self.chance(0.3) else (1, 1)
        outputs = inputs if groups > 1 else outputs or self.draw(1, self.channels)
        shape = (outputs, inputs // groups, *kernel)
        fields: dict[str, Any] = {
            "name": self.name("conv"),
            "weight": self.weights(shape, weight_bits),
            "input_bits": edge.bits,
            "weight_bits": weight_bits,
            "stride": stride,
            "padding": padding,
            "groups": groups,
            "source": source,
        }
        taken = [self.values[source]]
        if skip:
            joined = self.edges[skip]
            fields |= {"skip": skip, "skip_bits": joined.bits, "skip_signed": joined.signed}
            if self.chance(0.6):
                most = 1 << min(15, 29 - joined.bits, 4 if joined.signed else 15)
                fields["skip_weight"] = self.rng.integers(-most, most, outputs)
            taken.append(self.values[skip])
        plain = Conv2d(**fields, bias=np.zeros(outputs, int), accumulator_bits=32)
        v0, _ = run_op(plain, *taken)
        assert v0 is not None
        fields["bias"] = self.neurons(v0, 4, 16)[0]
        if fires:
            fields |= self.fired(v0)
        bits = self.width(lambda a: Conv2d(**fields, accumulator_bits=a))
        return self.push(Conv2d(**fields, accumulator_bits=bits))

    def kernel(self, size: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """(kernel, padding) for samples of a (height, width)."""
        if self.chance(0.5):
            return (3, 3), (1, 1)
        pads = [self.draw(0, 2) for _ in size]
        kernel = [
            self.draw(p + 1, min(5 if p else 3, n + 2 * p)) for p, n in zip(pads, size, strict=True)
        ]
        return (kernel[0], kernel[1]), (pads[0], pads[1])

    def pool(self, kind: str) -> str:
        """Max or average pooling."""
        edge = self.edges[self.at]
        _, height, width = edge.shape
        kernel = (self.draw(1, min(3, height)), self.draw(1, min(3, width)))
        if kind == "avgpool" and self.chance(0.3):
            kernel = (height, width)
        stride = kernel if self.chance(0.7) else (self.draw(1, 3), self.draw(1, 3))
        padding = (0, 0) if self.chance(0.7) else (kernel[0] // 2, kernel[1] // 2)
        name = self.name(kind)
        if kind == "maxpool":
            return self.push(MaxPool2d(name, kernel, stride, padding))
        size, bits = kernel[0] * kernel[1], edge.bits
        threshold, bias = size, size // 2
        if self.chance(0.4):
            bits, threshold = self.steps(), self.draw(1, 2 * size)
            bias = self.draw(-size, size)
        return self.push(
            AvgPool2d(
                name, kernel, stride, padding,
                input_bits=edge.bits, output_bits=bits, threshold=threshold, bias=bias,
            )
        )  # fmt: skip

    def fire(self) -> str:
        """Fire on potentials, which have had their bias."""
        edge, fields = self.edges[self.at], self.fired(self.values[self.at])
        del fields["bias"]
        return self.push(Fire(name=self.name("fire"), accumulator_bits=edge.bits, **fields))

    def pad(self) -> str:
        """A frame of constant words."""
        edge = self.edges[self.at]
        word = self.rng.integers(0, 1 << edge.bits, edge.channels, dtype=np.uint8)
        top, bottom, left, right = (self.draw(0, 2) for _ in range(4))
        return self.push(Pad2d(self.name("pad"), word, (top, bottom, left, right)))

    def add(self, source: str, other: str) -> str:
        """Join two streams of words."""
        taken = (self.values[source], self.values[other])
        channels = self.edges[source].channels
        most = 1 << self.draw(1, 15)
        fields: dict[str, Any] = {
            "name": self.name("add"),
            "weight": self.rng.integers(-most, most, (2, channels)),
            "input_bits": (self.edges[source].bits, self.edges[other].bits),
            "source": source,
            "other": other,
        }
        like = (1, channels, 1, 1)
        weight = fields["weight"].reshape(2, *like)
        fields |= self.fired(weight[0] * taken[0] + weight[1] * taken[1])
        bits = self.width(lambda a: Add(**fields, accumulator_bits=a))
        return self.push(Add(**fields, accumulator_bits=bits))

    def linear(self, outputs: int, fires: bool) -> str:
        """A fully connected layer, after a Flatten where one is needed."""
        if len(self.edges[self.at].shape) > 1:
            self.push(Flatten(self.name("flatten")))
        edge, weight_bits = self.edges[self.at], self.weight_bits or self.draw(2, 8)
        weight = self.weights((outputs, edge.size), weight_bits)
        fields: dict[str, Any] = {
            "name": self.name("dense" if fires else "readout"),
            "weight": weight,
            "input_bits": edge.bits,
            "weight_bits": weight_bits,
        }
        v0 = self.values[self.at] @ weight.T
        if fires:
            fields |= self.fired(v0)
            bits = self.width(lambda a: Dense(**fields, accumulator_bits=a))
            return self.push(Dense(**fields, accumulator_bits=bits))
        fields |= {"bias": self.neurons(v0, 4, 16)[0], "logit_scale": 0.5}
        bits = self.width(lambda a: Readout(**fields, accumulator_bits=a))
        return self.push(Readout(**fields, accumulator_bits=bits))
