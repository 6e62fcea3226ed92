"""Designs that the planner is held against: fitted to some, checked on all, on two families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spikeloom.hardware.parameters import (
    AddParameters,
    ConvParameters,
    DenseParameters,
    DepthwiseParameters,
    Folding,
    LayerParameters,
    NetworkParameters,
    PoolParameters,
    Window,
)

__all__ = ["DESIGNS", "PlanDesign"]


@dataclass(frozen=True)
class PlanDesign:
    """A network with foldings, and the board it is placed and routed on.

    held_out: the cost model is not fitted to it.
    """

    name: str
    board: str
    network: NetworkParameters
    held_out: bool = False


def _fold(lanes: int, slices: int = 1, scan: int = 8, fire: int = 1, **more: Any) -> Folding:
    return Folding(lanes, slices, scan, fire, **more)


def _mlp(
    sizes: Sequence[int], bits: Sequence[int], weight_bits: int, *foldings: Folding
) -> NetworkParameters:
    """Fully connected layers; bits: T of the words into each."""
    layers = []
    for k, folding in enumerate(foldings):
        out = bits[k + 1] if k + 1 < len(foldings) else 0
        layers.append(
            DenseParameters(sizes[k], sizes[k + 1], bits[k], out, weight_bits, 20, folding=folding)
        )
    return NetworkParameters(tuple(layers))


def _conv(
    channels: int, outputs: int, size: int, folding: Folding, *, kernel: int = 3, bits: int = 4,
    stride: int = 1, weight_bits: int = 8, **more: Any,
) -> ConvParameters:  # fmt: skip
    pad = kernel // 2
    window = Window(size, size, kernel, kernel, stride, stride, pad, pad)
    return ConvParameters(
        channels, outputs, window, bits, 4, weight_bits, 20, folding=folding, **more
    )


def _pool(channels: int, size: int, lanes: int) -> PoolParameters:
    window = Window(size, size, 2, 2, 2, 2)
    return PoolParameters("max", channels, window, 4, folding=_fold(lanes, scan=lanes))


def _readout(channels: int, size: int, folding: Folding, *, weight_bits: int = 8):
    pixels = size * size
    return DenseParameters(
        channels * pixels, 10, 4, 0, weight_bits, 22, folding=folding, pixels=pixels
    )


def _chain(*layers: LayerParameters) -> NetworkParameters:
    return NetworkParameters(layers)


def _residual(dsp: str) -> NetworkParameters:
    """A convolution, a block of two with the first one's output added, a pooling, a readout."""
    body = _fold(8, 1, 2, 2, multiplier=dsp)
    return NetworkParameters(
        (
            _conv(1, 8, 12, _fold(8, 1, 1, 2, multiplier=dsp), bits=8),
            _conv(8, 8, 12, body),
            _conv(8, 8, 12, body, skip_bits=4, skip_weight_bits=8),
            _pool(8, 12, 2),
            _readout(8, 6, _fold(2, scan=2, multiplier=dsp)),
        ),
        ((-1,), (0,), (1, 0), (2,), (3,)),
    )


def _separable() -> NetworkParameters:
    """Depthwise and pointwise in time, two branches added, an average, a readout."""
    in_time = Window(64, 1, 5, 1, 2, 1, 2, 0)
    after = Window(32, 1, 5, 1, 1, 1, 2, 0)
    whole = Window(32, 1, 32, 1, 1, 1)
    lane = _fold(4, scan=4, fire=2)
    point = Window(32, 1, 1, 1)
    return NetworkParameters(
        (
            ConvParameters(6, 16, in_time, 8, 4, 8, 20, folding=_fold(8, 1, 2, 2)),
            DepthwiseParameters(16, after, 4, 4, 8, 18, folding=lane),
            ConvParameters(16, 16, point, 4, 4, 8, 20, folding=_fold(8, 1, 2, 2)),
            AddParameters(32, 16, 4, 4, 8, 14, 4, folding=_fold(2, scan=2)),
            PoolParameters(
                "average", 16, whole, 4, output_bits=4, threshold=32, bias=16,
                folding=_fold(2, scan=2),
            ),
            DenseParameters(16, 7, 4, 0, 8, 18, folding=_fold(1, scan=2)),
        ),
        ((-1,), (0,), (1,), (2, 0), (3,), (4,)),
    )  # fmt: skip


_CELL, _MAC = "mult18x18d", "sb_mac16"

#: what the cost model is fitted to, then what it has not seen
DESIGNS: tuple[PlanDesign, ...] = (
    PlanDesign(
        "mlp cells", "ulx3s-25f",
        _mlp((784, 32, 10), (8, 4), 8, _fold(16, fire=4, multiplier=_CELL), _fold(2)),
    ),
    PlanDesign(
        "mlp LUTs", "ulx3s-25f", _mlp((196, 48, 10), (4, 4), 4, _fold(12, fire=2), _fold(1)),
    ),
    PlanDesign(
        "mlp serial, three layers", "ulx3s-25f",
        _mlp((64, 32, 16, 10), (4, 4, 4), 8,
             _fold(16, form="serial"), _fold(8, form="serial"), _fold(2)),
    ),
    PlanDesign(
        "conv cells", "ulx3s-25f",
        _chain(
            _conv(1, 8, 14, _fold(8, 1, 1, 2, multiplier=_CELL), bits=8),
            _conv(8, 16, 14, _fold(16, 1, 2, 2, multiplier=_CELL)),
            _pool(16, 14, 2), _readout(16, 7, _fold(1, scan=2)),
        ),
    ),
    PlanDesign(
        "conv LUTs, two units", "ulx3s-25f",
        _chain(
            _conv(1, 8, 28, _fold(8, 1, 1, 2), bits=8),
            _conv(8, 8, 28, _fold(8, 1, 2, 4, units=2)),
            _pool(8, 28, 4), _readout(8, 14, _fold(2, scan=4)),
        ),
    ),
    PlanDesign("residual", "ulx3s-25f", _residual(_CELL)),
    PlanDesign("separable", "ulx3s-25f", _separable()),
    PlanDesign(
        "mlp SPRAM", "icebreaker",
        _mlp((784, 64, 10), (8, 4), 8, _fold(8, multiplier=_MAC, weight_memory="spram"), _fold(1)),
    ),
    PlanDesign(
        "mlp LUTs", "icebreaker", _mlp((64, 24, 10), (4, 4), 4, _fold(4, scan=4), _fold(1, scan=4)),
    ),
    PlanDesign(
        "conv cells", "icebreaker",
        _chain(
            _conv(1, 4, 12, _fold(4, 1, 1, 1, multiplier=_MAC), bits=8),
            _pool(4, 12, 1), _readout(4, 6, _fold(1, scan=1)),
        ),
    ),
    # --- held out
    PlanDesign(
        "mlp slices", "ulx3s-25f",
        _mlp((196, 24, 10), (8, 2), 6, _fold(12, 2, 8, 2, multiplier=_CELL), _fold(2, scan=4)),
        held_out=True,
    ),
    PlanDesign(
        "lenet, small", "ulx3s-25f",
        _chain(
            _conv(1, 6, 28, _fold(6, 1, 1, 2, multiplier=_CELL), kernel=5, bits=8),
            _pool(6, 28, 2),
            _conv(6, 16, 14, _fold(8, 2, 2, 2, multiplier=_CELL), kernel=5),
            _pool(16, 14, 2), _readout(16, 7, _fold(2, scan=2)),
        ),
        held_out=True,
    ),
    PlanDesign(
        "three convolutions", "ulx3s-25f",
        _chain(
            _conv(1, 8, 14, _fold(8, 1, 1, 4), bits=8),
            _conv(8, 16, 14, _fold(8, 1, 4, 2)),
            _conv(16, 16, 14, _fold(16, 1, 2, 2, multiplier=_CELL), stride=2, weight_bits=6),
            _readout(16, 7, _fold(2, scan=2)),
        ),
        held_out=True,
    ),
    PlanDesign(
        "mlp cells", "icebreaker",
        _mlp((128, 32, 10), (4, 4), 8, _fold(4, multiplier=_MAC), _fold(1)), held_out=True,
    ),
    PlanDesign(
        "conv LUTs", "icebreaker",
        _chain(
            _conv(1, 4, 10, _fold(2, 1, 1, 1), bits=4),
            _readout(4, 10, _fold(1, scan=1), weight_bits=4),
        ),
        held_out=True,
    ),
)  # fmt: skip
