"""What an integer network computes, in plain numpy integers, straight from the definitions.

Written apart from the golden model and without its helpers (no torch, no floats, no shared
geometry): explicit loops over output pixels and taps, so that a common misunderstanding cannot
hide. Slow; for small samples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spikeloom.network import Network, Op

__all__ = ["Step", "reference", "reference_trace", "run_op"]

Integers = NDArray[np.int64]
Pair = tuple[int, int]


class Step(NamedTuple):
    """What one layer did: v0 before its fire (or the potentials that pass through it), and words.

    Either is None where there is none: pooling and padding of words have no potentials; a readout
    and whatever gives potentials has no words. int64 (n, *shape of the layer's output).
    """

    name: str
    potentials: Integers | None
    words: Integers | None


def reference(network: Network, words: NDArray[Any]) -> tuple[list[Integers | None], Integers]:
    """Return the potentials of every layer (None where it has none) and the logits."""
    steps = reference_trace(network, words)
    logits = steps[-1].potentials
    assert logits is not None
    return [step.potentials for step in steps], logits


def reference_trace(network: Network, words: NDArray[Any]) -> list[Step]:
    """Return what every layer did, in the network's order. words: (n, inputs)."""
    values: dict[str, Integers] = {
        "input": words.astype(np.int64).reshape(len(words), *network.input_shape)
    }
    signed: dict[str, bool] = {"input": False}
    steps: list[Step] = []
    before = "input"
    for op in network.ops:
        sources = [name or before for name in op.sources]
        taken = [values[name] for name in sources]
        potentials, out = run_op(op, *taken)
        if op.kind == "maxpool2d" and signed[sources[0]]:
            potentials, out = out, None
        result = potentials if out is None else out
        assert result is not None
        values[op.name] = result
        signed[op.name] = out is None or (op.kind == "flatten" and signed[sources[0]])
        if op.kind != "flatten":
            steps.append(Step(op.name, potentials, out))
        before = op.name
    return steps


def run_op(op: Op, *inputs: Integers) -> tuple[Integers | None, Integers | None]:
    """Run one op on samples (n, ...), int64: (v0 or None, what it gives or None if that is v0)."""
    o: Any = op
    x = inputs[0]
    if op.kind == "flatten":
        return None, x.reshape(len(x), -1)
    if op.kind == "pad2d":
        return None, _pad(o, x)
    if op.kind == "maxpool2d":
        least = np.iinfo(np.int64).min
        return None, np.max(_taps(x, o.kernel, o.stride, o.padding, least), axis=0)
    if op.kind == "avgpool2d":
        total = np.sum(_taps(x, o.kernel, o.stride, o.padding, 0), axis=0)
        return None, _fire(total + o.bias, o.threshold, o.output_bits)
    if op.kind == "conv2d":
        v0 = _convolve(o, x, inputs[1] if len(inputs) > 1 else None)
    elif op.kind == "add":
        v0 = inputs[0] * _channels(o.weight[0], x) + inputs[1] * _channels(o.weight[1], x)
        v0 = v0 + _channels(o.bias, x)
    elif op.kind == "fire":
        v0 = x
    else:
        v0 = x @ o.weight.astype(np.int64).T + o.bias
    if not o.output_bits:
        return v0, None
    return v0, _fire(v0, _channels(o.threshold, v0), o.output_bits)


def _fire(v0: Integers, threshold: Integers | int, bits: int) -> Integers:
    """clip(floor(v0 / threshold), 0, 2^T - 1); numpy's // rounds toward minus infinity."""
    return np.clip(v0 // threshold, 0, 2**bits - 1)


def _channels(values: NDArray[Any], like: Integers) -> Integers:
    """One value a channel, shaped so that it meets the channels of samples (n, channels, ...)."""
    return values.astype(np.int64).reshape(1, -1, *[1] * (like.ndim - 2))


def _taps(x: Integers, kernel: Pair, stride: Pair, padding: Pair, fill: int) -> list[Integers]:
    """For each tap of a kernel, row by row, what all output pixels see under it."""
    height, width = x.shape[2:]
    # upper left corners of the windows that lie within the padded sample
    tops = range(-padding[0], height + padding[0] - kernel[0] + 1, stride[0])
    lefts = range(-padding[1], width + padding[1] - kernel[1] + 1, stride[1])
    taps = []
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            seen = np.full((*x.shape[:2], len(tops), len(lefts)), fill, dtype=np.int64)
            for row, top in enumerate(tops):
                for column, left in enumerate(lefts):
                    if 0 <= top + ky < height and 0 <= left + kx < width:
                        seen[:, :, row, column] = x[:, :, top + ky, left + kx]
            taps.append(seen)
    return taps


def _convolve(o: Any, x: Integers, skip: Integers | None) -> Integers:
    """v0 = weight * p + bias + skip_weight q."""
    weight = o.weight.astype(np.int64)
    v0 = 0
    for index, seen in enumerate(_taps(x, weight.shape[2:], o.stride, o.padding, 0)):
        tap = weight[:, :, index // weight.shape[3], index % weight.shape[3]]
        if o.groups == 1:
            v0 = v0 + np.einsum("oc,ncyx->noyx", tap, seen)
        else:
            v0 = v0 + tap[:, 0].reshape(1, -1, 1, 1) * seen
    v0 = v0 + _channels(o.bias, x)
    if skip is not None:
        v0 = v0 + (skip if o.skip_weight is None else skip * _channels(o.skip_weight, x))
    return v0


def _pad(o: Any, x: Integers) -> Integers:
    """Frame samples with one constant word a channel."""
    top, bottom, left, right = o.padding
    height, width = x.shape[2:]
    out = np.zeros((*x.shape[:2], top + height + bottom, left + width + right), dtype=np.int64)
    out[:] = _channels(o.word, out)
    out[:, :, top : top + height, left : left + width] = x
    return out
