"""Twelve networks that hold every kind of layer in twelve shapes each, for benches.

They go through kernels, strides, paddings, slices, units, lanes, skip connections, both forms,
multipliers and memories, T and W. Every layer gives hundreds of words a sample (but for the mean of
a whole picture, which gives 64), so that a million of each are soon compared.
"""

from __future__ import annotations

from typing import Any

from spikeloom_sim.layer_cases import Case, Part

__all__ = ["CASES"]


def _conv(outputs: int, kernel: Any, **given: Any) -> Part:
    return _part("conv", outputs=outputs, kernel=kernel, **given)


def _depthwise(kernel: Any, **given: Any) -> Part:
    return _part("depthwise", kernel=kernel, **given)


def _maxpool(kernel: Any, **given: Any) -> Part:
    return _part("maxpool", kernel=kernel, **given)


def _avgpool(kernel: Any, **given: Any) -> Part:
    return _part("avgpool", kernel=kernel, **given)


def _pad(*sides: int, **given: Any) -> Part:
    return _part("pad", padding=sides, **given)


def _fire(T: int, **given: Any) -> Part:
    return _part("fire", T=T, **given)


def _add(source: int, other: int, **given: Any) -> Part:
    return _part("add", source=source, other=other, **given)


def _part(kind: str, **given: Any) -> Part:
    names = ("outputs", "kernel", "stride", "padding", "T", "W", "source", "other")
    fields = {name: given.pop(name) for name in names if name in given}
    return Part(kind, **fields, fold=given)


_DSP = {"multiplier": "mult18x18d"}
_MAC = {"multiplier": "sb_mac16"}

CASES = (
    Case("same 3x3", (4, 9, 8), 4, (
        _pad(1, 0, 2, 1, lanes=2),
        _conv(8, 3, padding=1, lanes=8, scan=4, fire_lanes=2),
        _depthwise(3, padding=1, lanes=4, fire_lanes=4),
        _conv(6, 1, T=0, W=6, lanes=6, scan=4, fire_lanes=2),
        _fire(4, lanes=2),
        _maxpool(2, lanes=2),
        _avgpool(3, padding=1, lanes=1),
        _add(5, 6, lanes=2),
    ), scan=2),
    Case("1x1, slices", (6, 8, 9), 5, (
        _conv(12, 1, T=3, W=6, lanes=6, slices=2, scan=6, fire_lanes=3),
        _pad(0, 2, 1, 0, lanes=3),
        _maxpool(3, padding=1, lanes=6),
        _depthwise(3, stride=2, padding=1, T=5, W=5, lanes=6, fire_lanes=3),
        _conv(12, 3, padding=1, T=0, W=4, lanes=12, slices=3, scan=3, fire_lanes=6),
        _maxpool(3, padding=1, lanes=3),
        _fire(6, lanes=6),
        _add(6, 3, T=7, lanes=6),
        _avgpool(2, padding=1, lanes=3),
    ), scan=3),
    Case("5x5, 8 bits", (3, 9, 9), 8, (
        _conv(6, 5, padding=2, W=4, lanes=6, slices=3, scan=3, fire_lanes=3),
        _avgpool(2, lanes=6),
        _conv(6, 3, padding=1, T=0, lanes=3, scan=3, fire_lanes=3),
        _fire(2, lanes=3),
        _add(3, 1, lanes=3),
        _depthwise((1, 3), padding=(0, 1), lanes=3, fire_lanes=1),
        _maxpool((3, 2), padding=(1, 0), lanes=1),
        _pad(1, 1, 0, 2, lanes=2),
    )),
    Case("stride 2, units, DSP", (4, 12, 12), 4, (
        _conv(16, 3, stride=2, padding=1, lanes=16, scan=4, fire_lanes=4, units=2, **_DSP),
        _depthwise(2, padding=1, lanes=8, fire_lanes=2, **_DSP),
        _maxpool(2, lanes=4),
        _conv(16, 1, T=0, lanes=8, slices=2, scan=8, fire_lanes=4, **_DSP),
        _fire(4, lanes=4),
        _conv(16, 1, source=0, other=3, lanes=16, scan=8, fire_lanes=4, **_DSP),
        _add(4, 5, lanes=4, **_DSP),
        _pad(2, 1, 1, 0, lanes=8),
        _avgpool(3, stride=2, padding=1, lanes=4),
    ), scan=4),
    Case("skip words", (6, 8, 9), 4, (
        _conv(6, 3, padding=1, W=7, other=-1, lanes=3, scan=3, fire_lanes=3, units=3),
        _depthwise((3, 1), padding=(1, 0), T=3, W=4, lanes=3, fire_lanes=3),
        _conv(6, 3, padding=1, other=0, lanes=6, scan=6, fire_lanes=6, units=2),
        _maxpool((2, 1), lanes=3),
        _conv(6, 1, T=0, lanes=6, scan=3, fire_lanes=6),
        _fire(5, lanes=6),
        _add(5, 3, lanes=3),
        _pad(0, 0, 1, 1, lanes=6),
        _avgpool((1, 2), lanes=3),
    ), scan=3),
    Case("skip potentials", (4, 8, 8), 4, (
        _conv(8, 1, source=-1, T=0, lanes=8, scan=4, fire_lanes=2),
        _conv(8, 3, source=-1, padding=1, lanes=4, scan=2, fire_lanes=4),
        _conv(8, 3, padding=1, other=0, lanes=4, slices=2, scan=4, fire_lanes=2, units=2),
        _maxpool(3, stride=(2, 1), padding=1, lanes=4),
        _depthwise(3, padding=1, T=6, W=6, lanes=8, fire_lanes=4),
        _conv(16, 1, T=0, lanes=16, scan=4, fire_lanes=4),
        _maxpool(2, lanes=4),
        _fire(8, lanes=4),
        _pad(1, 0, 0, 1, lanes=8),
        _avgpool(3, padding=1, lanes=4),
        _add(9, 8, lanes=4),
        _conv(8, 3, padding=1, lanes=4, slices=2, scan=4, fire_lanes=4, units=4, paired=True),
    ), scan=4),
    Case("5x1 over time", (6, 64, 1), 6, (
        _conv(8, (5, 1), stride=(2, 1), padding=(2, 0), T=6, lanes=8, scan=2, fire_lanes=2),
        _depthwise((5, 1), padding=(2, 0), T=0, lanes=4, fire_lanes=2),
        _fire(6, lanes=4),
        _conv(16, 1, T=0, lanes=16, scan=4, fire_lanes=4),
        _fire(3, lanes=8),
        _maxpool((3, 1), lanes=4),
        _pad(1, 1, 0, 0, lanes=4),
        _add(6, 4, T=2, lanes=8),
        _avgpool((8, 1), T=8, lanes=2),
    ), scan=2),
    Case("1x3, serial", (3, 8, 10), 4, (
        _conv(8, (1, 3), padding=(0, 1), W=5, lanes=8, scan=1, form="serial"),
        _pad(3, 0, 0, 0, lanes=1),
        _maxpool(2, lanes=2),
        _depthwise((2, 3), padding=1, T=2, W=3, lanes=2),
        _conv(4, 1, T=0, lanes=2, scan=2, form="serial"),
        _fire(1, lanes=1),
        _avgpool(3, padding=1, T=4, lanes=1),
        _add(6, 5, lanes=4),
    )),
    Case("serial, slices, units", (5, 9, 8), 3, (
        _conv(7, 3, padding=1, T=8, lanes=4, slices=2, scan=2, fire_lanes=2, units=2,
              form="serial"),
        _maxpool(2, padding=1, lanes=2),
        _depthwise(3, T=8, lanes=4, fire_lanes=2),
        _conv(7, 1, T=0, lanes=7, scan=4),
        _fire(8, lanes=4),
        _add(4, 2, lanes=2),
        _avgpool((2, 3), padding=1, T=3, lanes=1),
        _pad(0, 1, 0, 0, lanes=2),
    ), scan=2),
    Case("2x2, T 1, W 2", (6, 12, 12), 1, (
        _conv(24, 2, stride=2, T=1, W=2, lanes=12, scan=3, fire_lanes=6),
        _depthwise(3, padding=1, T=1, W=2, lanes=12, fire_lanes=12),
        _conv(12, 1, T=0, W=2, lanes=12, slices=4, scan=12, fire_lanes=12),
        _fire(1, lanes=6),
        _maxpool((1, 2), lanes=6),
        _pad(1, 1, 1, 1, lanes=3),
        _avgpool(2, stride=(2, 1), T=1, lanes=12),
        _add(6, 6, T=1, lanes=6),
    ), scan=6),
    Case("4x3, strides 3 and 2", (2, 13, 11), 7, (
        _conv(14, (4, 3), stride=(3, 2), padding=1, T=5, W=3, lanes=5, scan=1,
              weight_memory="distributed"),
        _pad(1, 1, 1, 1, lanes=2),
        _maxpool((2, 3), stride=(2, 1), lanes=1),
        _depthwise(3, padding=1, W=6, lanes=1, weight_memory="distributed"),
        _conv(14, 1, T=0, lanes=7, scan=2),
        _maxpool((1, 3), padding=(0, 1), lanes=2),
        _fire(3, lanes=2),
        _add(6, 3, lanes=1),
        _avgpool(2, padding=1, T=6, lanes=2),
    )),
    Case("passes, SPRAM, MAC16", (8, 4, 4), 4, (
        _conv(7, 3, padding=1, lanes=2, slices=4, scan=4, fire_lanes=2, **_MAC,
              weight_memory="spram"),
        _pad(0, 1, 0, 1, lanes=2),
        _depthwise(2, lanes=2, fire_lanes=2, **_MAC),
        _conv(16, 1, T=0, lanes=4, scan=2, fire_lanes=2, **_MAC),
        _fire(4, lanes=2),
        _maxpool(3, padding=1, lanes=4),
        _add(5, 4, lanes=4),
        _conv(64, 1, lanes=16, scan=4, fire_lanes=2),
        _avgpool(4, T=8, lanes=4),
    )),
)  # fmt: skip
