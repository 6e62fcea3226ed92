"""Integer ops out of rounded weights, with the accumulators that they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeloom.conversion.layers import SpikingConv2d
from spikeloom.conversion.scales import Array, Fired, Folded, Integers
from spikeloom.errors import UnsupportedModelError
from spikeloom.fixed import round_half_even
from spikeloom.ops import Add, Conv2d, Dense, Readout, accumulator_width

__all__ = ["LayerReport", "conv_op", "prune", "readout", "report_of", "width"]


@dataclass(frozen=True)
class LayerReport:
    """What lowering did to one layer.

    clipped: weight codes that had to be clipped. raised: channels whose output scale was raised to
    reach the least threshold. pruned: channels that never fire. weight_error: root mean square
    rounding error of the weights, relative to their root mean square. accumulator_bits: width of v.
    skip_error: greatest relative rounding error of a skip's weight. zeros: weights that are stored
    only because gates hold no dilation and no groups but depthwise.
    """

    name: str
    clipped: int
    raised: int
    pruned: int
    weight_error: float
    accumulator_bits: int
    skip_error: float = 0.0
    zeros: int = 0


def prune(
    alive: NDArray[np.bool_], integers: Integers, fired: Fired
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Weights, bias with half a threshold, and thresholds; pruned channels never fire."""
    w, theta = integers.weight.copy(), fired.theta.copy()
    bias = round_half_even(integers.bias / fired.S) + theta // 2
    pruned = ~alive
    w[pruned], theta[pruned], bias[pruned] = 0, 1, -1
    return w, bias, theta


def width(
    name: str,
    w: NDArray[np.int64],
    bias: NDArray[np.int64],
    top: int | NDArray[np.int64],
    skip: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> int:
    """Accumulator bits for weights (outputs, fan-in) on words up to ``top``, and one to spare.

    skip: least and greatest (outputs,) of what is added besides.
    """
    w = w.reshape(len(w), -1)
    low, high = bias + (np.minimum(w, 0) * top).sum(1), bias + (np.maximum(w, 0) * top).sum(1)
    if skip is not None:
        low, high = low + skip[0], high + skip[1]
    bits = accumulator_width(low, high) + 1
    if bits > 32:
        raise UnsupportedModelError(
            f"{name}: potentials need {bits} bits, hardware has 32 at most: biases are far above"
            " the weighted inputs"
        )
    return bits


def conv_op(
    layer: SpikingConv2d,
    w: NDArray[np.int64],
    bias: NDArray[np.int64],
    folded: Folded,
    **fields: Any,
) -> Conv2d:
    """A Conv2d of weights (outputs, fan-in) with the accumulator that they need."""
    skip = None
    if fields.get("skip"):
        bits = fields["skip_bits"]
        if fields.get("skip_signed"):
            skip = np.full(len(w), -(1 << (bits - 1))), np.full(len(w), (1 << (bits - 1)) - 1)
        else:
            most = fields["skip_weight"] * ((1 << bits) - 1)
            skip = np.minimum(most, 0), np.maximum(most, 0)
    conv = layer.conv
    return Conv2d(
        layer.name,
        weight=w.reshape(tuple(conv.weight.shape)).astype(np.int8),
        bias=bias,
        input_bits=folded.input_bits,
        weight_bits=folded.weight_bits,
        accumulator_bits=width(layer.name, w, bias, (1 << folded.input_bits) - 1, skip),
        stride=conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        groups=conv.groups,
        **fields,
    )


def readout(f: Folded, source: str, grid: Array | None) -> tuple[Readout, LayerReport]:
    """Lower the last layer: one scale for all classes, or the integer argmax would be wrong.

    grid: that scale, where the weights lie on it already.
    """
    S = f.common_scale() if grid is None else np.full(len(f.bias), float(grid[0]))
    integers = f.integers(S)
    bias = round_half_even(integers.bias / S)
    op = Readout(
        f.name,
        weight=integers.weight.astype(np.int8),
        bias=bias,
        input_bits=f.input_bits,
        weight_bits=f.weight_bits,
        accumulator_bits=width(f.name, integers.weight, bias, (1 << f.input_bits) - 1),
        logit_scale=float(S[0]),
        source=source,
    )
    return op, LayerReport(f.name, integers.clipped, 0, 0, integers.error, op.accumulator_bits)


def report_of(
    op: Dense | Conv2d | Add,
    integers: Integers,
    fired: Fired,
    alive: NDArray[np.bool_],
    skip_error: float = 0.0,
) -> LayerReport:
    """Report on an op that fires."""
    return LayerReport(
        op.name,
        integers.clipped,
        fired.raised,
        int((~alive).sum()),
        integers.error,
        op.accumulator_bits,
        skip_error,
    )
