"""The ops of an integer network on torch tensors: exact integers, at the speed of floats.

Words, potentials and weights are integers held in floats. A sum of integers is exact in any order
of summation while no partial sum can reach 2^24 in float32, or 2^53 in float64; each step knows how
far its values can reach, and takes float32 only where that is proved. Products of 8-bit weights and
8-bit words stay exact even where torch is told to multiply in bfloat16, which holds 8 bits.

Convolutions on a CPU are direct or matrix products, never Winograd's, whose fractions round. On a
GPU cuDNN may choose that, and a matrix unit may cut float32 sums short: there everything is float64
without cuDNN.

A quotient of integers rounds to an integer above it only if |v| + threshold reaches the same bound,
so that floor(v / threshold) in floats is the integers' too: with n = floor(v / threshold) + 1, the
quotient lies at least 1 / threshold >= n / (v + threshold) below n.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional

from spikeloom.errors import AccumulatorOverflowError
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
)
from spikeloom.spikepack import EXACT

__all__ = ["Step", "make_step"]

_EXACT32 = 1 << 24


class Step:
    """One op with its constants on a device.

    op: what it runs. inputs: greatest magnitude of what enters, for each source. edge: what leaves.
    reach: greatest magnitude of what leaves.
    """

    reach: int

    def __init__(self, op: Any, inputs: Sequence[int], edge: Edge, device: torch.device) -> None:
        self.op, self.edge, self.device = op, edge, device
        self.prepare(op, inputs)

    def prepare(self, op: Any, inputs: Sequence[int]) -> None:
        """Set ``reach`` and the constants."""
        raise NotImplementedError

    def __call__(self, *x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Run on samples (n, ...): (potentials or None, words or None)."""
        raise NotImplementedError

    def floats(self, reach: int) -> torch.dtype:
        """Return the float that holds every integer up to ``reach``."""
        assert reach < EXACT
        return torch.float32 if reach < _EXACT32 and self.device.type == "cpu" else torch.float64

    def constant(self, values: ArrayLike, dtype: torch.dtype) -> Tensor:
        """Values on the device."""
        return torch.from_numpy(np.asarray(values, dtype=np.float64)).to(self.device, dtype)

    def channels(self, values: ArrayLike, dtype: torch.dtype) -> Tensor:
        """One value a channel, shaped to meet what leaves."""
        return self.constant(values, dtype).reshape(-1, *[1] * (len(self.edge.shape) - 1))


class _Fires(Step):
    """A step with potentials, which may fire."""

    def set_reach(self, products: int) -> None:
        """Take in how far v0 can reach; make ready to fire."""
        op = self.op
        limit = 1 << (op.accumulator_bits - 1)
        low, high = op.potential_bounds()
        self.safe = int(low.min()) >= -limit and int(high.max()) < limit
        self.reach = min(products, limit)
        self.sums = self.floats(products)
        self.top = (1 << op.output_bits) - 1
        if self.top:
            self.quotients = self.floats(self.reach + int(op.threshold.max()))
            self.threshold = self.channels(op.threshold, self.quotients)
            self.reach = self.top

    def finish(self, v0: Tensor) -> tuple[Tensor, Tensor | None]:
        """Check v0, and fire if the op does."""
        if not self.safe:
            self._check(v0)
        if not self.top:
            return v0, None
        return v0, (v0.to(self.quotients) / self.threshold).floor_().clamp_(0, self.top)

    def _check(self, v0: Tensor) -> None:
        limit = 1 << (self.op.accumulator_bits - 1)
        bad = (v0 < -limit) | (v0 >= limit)
        if not bool(bad.any()):
            return
        at = tuple(int(i) for i in bad.nonzero()[0])
        names = ("neuron",) if len(at) == 2 else ("channel", "row", "column")
        place = ", ".join(f"{name} {i}" for name, i in zip(names, at[1:], strict=True))
        raise AccumulatorOverflowError(
            f"layer {self.op.name!r}, {place}: v0 = {int(v0[at])} leaves the accumulator of"
            f" {self.op.accumulator_bits} bits"
        )


class _Linear(_Fires):
    """Dense and Readout."""

    def prepare(self, op: Any, inputs: Sequence[int]) -> None:
        self.set_reach(_products(op, inputs[0]))
        self.weight = self.constant(op.weight.T, self.sums).contiguous()
        self.bias = self.constant(op.bias, self.sums)

    def __call__(self, *x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.finish(x[0].to(self.sums) @ self.weight + self.bias)


class _Convolution(_Fires):
    """Conv2d, with what is added."""

    def prepare(self, op: Any, inputs: Sequence[int]) -> None:
        products, added = _products(op, inputs[0]), 0
        if op.skip:
            k = 1 if op.skip_weight is None else int(np.abs(op.skip_weight).max())
            added = k * inputs[1]
        self.set_reach(products + added)
        # the convolution itself is smaller than its sum with potentials: faster floats may do
        self.products = self.floats(products)
        self.weight = self.constant(op.weight, self.products)
        self.bias = self.constant(op.bias, self.products)
        if op.skip_weight is not None:
            self.skip_weight = self.channels(op.skip_weight, self.sums)

    def __call__(self, *x: Tensor) -> tuple[Tensor, Tensor | None]:
        op = self.op
        with torch.backends.cudnn.flags(enabled=False):
            v0 = functional.conv2d(
                x[0].to(self.products), self.weight, self.bias, op.stride, op.padding, 1, op.groups
            )
        if op.skip:
            q = x[1].to(self.sums)
            v0 = v0.to(self.sums) + (q if op.skip_weight is None else q * self.skip_weight)
        return self.finish(v0)


class _Add(_Fires):
    """Add."""

    def prepare(self, op: Any, inputs: Sequence[int]) -> None:
        weighed = np.abs(op.weight) * np.array(inputs)[:, None]
        self.set_reach(int((weighed.sum(0) + np.abs(op.bias)).max()))
        self.weights = [self.channels(weight, self.sums) for weight in op.weight]
        self.bias = self.channels(op.bias, self.sums)

    def __call__(self, *x: Tensor) -> tuple[Tensor, Tensor | None]:
        terms = [q.to(self.sums) * weight for q, weight in zip(x, self.weights, strict=True)]
        return self.finish(terms[0] + terms[1] + self.bias)


class _Fire(_Fires):
    """Fire."""

    def prepare(self, op: Any, inputs: Sequence[int]) -> None:
        self.set_reach(inputs[0])

    def __call__(self, *x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.finish(x[0])


class _MaxPool(Step):
    """MaxPool2d, of words or potentials."""

    def prepare(self, op: Any, inputs: Sequence[int]) -> None:
        self.reach = inputs[0]

    def __call__(self, *x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        op = self.op
        # minus infinity stands where there is padding
        most = functional.max_pool2d(
            x[0].to(self.floats(self.reach)), op.kernel, op.stride, op.padding
        )
        return (most, None) if self.edge.signed else (None, most)


class _AvgPool(Step):
    """AvgPool2d."""

    def prepare(self, op: Any, inputs: Sequence[int]) -> None:
        most = op.kernel[0] * op.kernel[1] * inputs[0] + abs(op.bias)
        self.sums, self.reach = self.floats(most + op.threshold), (1 << op.output_bits) - 1

    def __call__(self, *x: Tensor) -> tuple[None, Tensor]:
        op = self.op
        total = functional.avg_pool2d(
            x[0].to(self.sums), op.kernel, op.stride, op.padding, divisor_override=1
        )
        return None, ((total + op.bias) / op.threshold).floor_().clamp_(0, self.reach)


class _Pad(Step):
    """Pad2d."""

    def prepare(self, op: Any, inputs: Sequence[int]) -> None:
        self.reach = inputs[0]
        self.word = self.channels(op.word, self.floats(self.reach))

    def __call__(self, *x: Tensor) -> tuple[None, Tensor]:
        top, bottom, left, right = self.op.padding
        n, channels, height, width = x[0].shape
        shape = (n, channels, top + height + bottom, left + width + right)
        out = self.word.expand(shape).clone()
        out[:, :, top : top + height, left : left + width] = x[0]
        return None, out


class _Flatten(Step):
    """Flatten."""

    def prepare(self, op: Any, inputs: Sequence[int]) -> None:
        self.reach = inputs[0]

    def __call__(self, *x: Tensor) -> tuple[None, Tensor]:
        return None, x[0].flatten(1)


def _products(op: Dense | Readout | Conv2d, words: int) -> int:
    """The greatest magnitude of any partial sum of weights, times words, and the bias."""
    weight = np.abs(op.weight.astype(np.int64)).reshape(op.outputs, -1)
    return int((weight.sum(1) * words + np.abs(op.bias)).max())


_STEPS: dict[type, type[Step]] = {
    Add: _Add,
    AvgPool2d: _AvgPool,
    Conv2d: _Convolution,
    Dense: _Linear,
    Fire: _Fire,
    Flatten: _Flatten,
    MaxPool2d: _MaxPool,
    Pad2d: _Pad,
    Readout: _Linear,
}


def make_step(op: Op, inputs: Sequence[int], edge: Edge, device: torch.device) -> Step:
    """Return an op ready to run; see :class:`Step`."""
    return _STEPS[type(op)](op, inputs, edge, device)
