"""From the spiking twin to integers: ``lower``.

In topological order, the real scale a_i of every input word is folded into column i of the weights,
so the gates never see it. Each output channel c has one accumulator scale S_c (real units per LSB
of v), chosen so that its threshold is an exact integer: weights are rounded once.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from spikeloom.conversion.spiking import SpikingLinear, SpikingNetwork
from spikeloom.errors import UnsupportedModelError
from spikeloom.fixed import round_half_even
from spikeloom.network import Dense, Flatten, Network, Op, Readout, accumulator_width

__all__ = ["LayerReport", "lower", "lowering_report"]

#: Below this a threshold is too coarse for its rounding; the output scale is raised instead.
MIN_THRESHOLD = 8
_THRESHOLD_BITS = 16
#: Clips tried for a weight row, as shares of its greatest magnitude.
_CLIPS = np.linspace(0.3, 1.0, 71)

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class LayerReport:
    """What lowering did to one layer.

    clipped: weight codes that had to be clipped. raised: channels whose output scale was raised to
    reach the least threshold. pruned: channels that never fire. weight_error: root mean square
    rounding error of the weights, relative to their root mean square. accumulator_bits: width of v.
    """

    name: str
    clipped: int
    raised: int
    pruned: int
    weight_error: float
    accumulator_bits: int


def lowering_report(network: Network) -> tuple[LayerReport, ...]:
    """Reports that ``lower`` left in a network's metadata, one a layer; empty if it has none."""
    rows = json.loads(network.metadata.get("lowering", "[]"))
    return tuple(LayerReport(**row) for row in rows)


def _best_scale(V: _Array, importance: _Array, top: int) -> _Array:
    """Scale of each row of V (rows, inputs) whose rounded, clipped codes err least.

    importance: (inputs,), weight of the squared errors.
    """
    peak = np.abs(V).max(1)
    peak = np.where(peak > 0, peak, 1.0)
    best, least = peak / top, np.full(len(V), np.inf)
    for clip in _CLIPS:
        scale = clip * peak / top
        codes = np.clip(np.rint(V / scale[:, None]), -top, top)
        error = ((V - scale[:, None] * codes) ** 2 * importance).sum(1)
        best = np.where(error <= least, scale, best)  # on equality the wider clip
        least = np.minimum(error, least)
    return best


@dataclass(frozen=True, eq=False)
class _Folded:
    """A layer with its input scales folded in: v = V @ p + bias, in real units."""

    name: str
    V: _Array
    bias: _Array
    alive: NDArray[np.bool_]
    mean: _Array  # of the input words
    square: _Array
    input_bits: int
    weight_bits: int

    @property
    def top(self) -> int:
        """Greatest weight code."""
        return (1 << (self.weight_bits - 1)) - 1

    @property
    def importance(self) -> _Array:
        """Weigh rounding errors by the data where codes are few."""
        return self.square if self.weight_bits <= 4 else np.ones_like(self.square)

    def codes(self, S: _Array) -> tuple[NDArray[np.int64], _Array, int, float]:
        """Round V to integers of scale S (outputs,): weights, shifted bias, clipped, error.

        The bias makes up for the mean of what rounding took from v.
        """
        exact = round_half_even(self.V / S[:, None])
        w = np.clip(exact, -self.top, self.top)
        lost = self.V - S[:, None] * w
        norm = float((self.V**2).mean())
        error = float((lost**2).mean() / norm) ** 0.5 if norm else 0.0
        return w, self.bias + lost @ self.mean, int((exact != w).sum()), error


def _fold_scales(
    layer: SpikingLinear, a: _Array, carried: NDArray[np.bool_], input_bits: int, weight_bits: int
) -> _Folded:
    """Fold input scales a (inputs,) into the columns; ``carried``: inputs that can be non-zero."""
    weight = layer.linear.weight.detach().cpu().double().numpy()
    alive = layer.alive.cpu().numpy()
    V = np.where(carried, weight, 0.0) * a
    return _Folded(
        layer.name,
        np.where(alive[:, None], V, 0.0),
        layer.linear.bias.detach().cpu().double().numpy(),
        alive,
        layer.input_mean.cpu().numpy() / a,
        layer.input_square.cpu().numpy() / a**2,
        input_bits,
        weight_bits,
    )


def _width(w: NDArray[np.int64], bias: NDArray[np.int64], input_bits: int, name: str) -> int:
    """Accumulator bits for these weights, and one to spare."""
    top = (1 << input_bits) - 1
    low, high = bias + np.minimum(w, 0).sum(1) * top, bias + np.maximum(w, 0).sum(1) * top
    bits = accumulator_width(low, high) + 1
    if bits > 32:
        raise UnsupportedModelError(
            f"{name}: potentials need {bits} bits, hardware has 32 at most: biases are far above"
            " the weighted inputs"
        )
    return bits


def _dense(f: _Folded, s_out: _Array, steps: int) -> tuple[Dense, LayerReport, NDArray[np.bool_]]:
    """Lower a layer that fires: the op, its report, and which channels can fire."""
    alive = f.alive & (np.abs(f.V).max(1) > 0)
    S0 = _best_scale(f.V, f.importance, f.top)
    # without the raise, round(s_out / S0) would be a coarse threshold
    raised = alive & (np.rint(s_out / S0) < MIN_THRESHOLD)
    s_out = np.where(raised, MIN_THRESHOLD * S0, s_out)
    theta = round_half_even(s_out / S0).clip(1, (1 << _THRESHOLD_BITS) - 1)
    S = s_out / theta
    w, real_bias, clipped, error = f.codes(S)
    bias = round_half_even(real_bias / S) + theta // 2
    pruned = ~alive
    w[pruned], theta[pruned], bias[pruned] = 0, 1, -1
    width = _width(w, bias, f.input_bits, f.name)
    op = Dense(
        f.name,
        weight=w.astype(np.int8),
        bias=bias,
        input_bits=f.input_bits,
        weight_bits=f.weight_bits,
        accumulator_bits=width,
        threshold=theta,
        output_bits=steps,
        output_scale=np.where(alive, s_out, 1.0),
        threshold_bits=_THRESHOLD_BITS,
    )
    report = LayerReport(f.name, clipped, int(raised.sum()), int(pruned.sum()), error, width)
    return op, report, alive


def _readout(f: _Folded) -> tuple[Readout, LayerReport]:
    """Lower the last layer: one scale for all classes, or the integer argmax would be wrong."""
    n = len(f.bias)
    flat = _best_scale(f.V.reshape(1, -1), np.tile(f.importance, n), f.top)
    S = np.full(n, float(flat[0]))
    w, real_bias, clipped, error = f.codes(S)
    bias = round_half_even(real_bias / S)
    width = _width(w, bias, f.input_bits, f.name)
    op = Readout(
        f.name,
        weight=w.astype(np.int8),
        bias=bias,
        input_bits=f.input_bits,
        weight_bits=f.weight_bits,
        accumulator_bits=width,
        logit_scale=float(S[0]),
    )
    return op, LayerReport(f.name, clipped, 0, 0, error, width)


def lower(snn: nn.Module, weight_bits: int = 8) -> Network:
    """Turn the result of ``convert`` into an integer network.

    weight_bits: W, 2..8; weights lie within +-(2^(W-1) - 1). What was clipped, raised and pruned is
    in the network's metadata: :func:`lowering_report`.

    Raises ValueError on another W, UnsupportedModelError for a module that ``convert`` did not
    make, or one whose potentials would need more than 32 bits.
    """
    if not (isinstance(weight_bits, int) and 2 <= weight_bits <= 8):
        raise ValueError(f"weight_bits must be an integer in 2..8, not {weight_bits!r}")
    if not isinstance(snn, SpikingNetwork):
        raise UnsupportedModelError(
            f"lower takes the result of convert, not {type(snn).__name__}: call"
            " spikeloom.convert(model, calibration) first"
        )
    ops: list[Op] = [Flatten("flatten")] if len(snn.sample_shape) > 1 else []
    reports: list[LayerReport] = []
    bits = snn.encode.bits
    inputs = snn.spiking_layers[0].linear.in_features
    a, carried = np.full(inputs, 1 / snn.encode.top), np.ones(inputs, dtype=bool)
    for layer in snn.spiking_layers:
        folded = _fold_scales(layer, a, carried, bits, weight_bits)
        if layer.neuron is None:
            op, report = _readout(folded)
        else:
            s_out = layer.neuron.threshold.detach().cpu().double().numpy()
            s_out = np.broadcast_to(s_out, folded.bias.shape)
            op, report, carried = _dense(folded, s_out, layer.neuron.steps)
            a, bits = op.output_scale, op.output_bits
        ops.append(op)
        reports.append(report)
    metadata = {"lowering": json.dumps([asdict(report) for report in reports])}
    return Network(ops, snn.sample_shape, snn.encode.bits, metadata)
