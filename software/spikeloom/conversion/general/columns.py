"""What a weighted layer multiplies: its input as columns, one an output position."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spikeloom.conversion.general.module_rules import TRANSPOSED

__all__ = ["columns", "fan_in", "groups_of"]

#: Numbers that one call may gather: 128 MiB of float32.
_MOST = 1 << 25


def groups_of(layer: Any) -> int:
    """Groups of a weighted layer."""
    return 1 if isinstance(layer, nn.Linear) else layer.groups


def fan_in(layer: Any) -> int:
    """Weights of one output."""
    if isinstance(layer, TRANSPOSED):
        return layer.weight.shape[0] // layer.groups * math.prod(layer.kernel_size)
    return math.prod(layer.weight.shape[1:])


def columns(
    layer: Any, x: Tensor, out: Tensor, most: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Columns (groups, fan-in, m) of a batch x, and (groups, outputs, m) of ``out`` beside them.

    out: a tensor of the shape that layer(x) has. most: positions of the batch that are picked at
    random where there are more. The rows of the weights, times the columns, are layer(x) less bias.
    """
    groups = groups_of(layer)
    most = max(1, min(most, _MOST // (fan_in(layer) * groups)))
    axis = -1 if isinstance(layer, nn.Linear) else 1
    wanted = out.movedim(axis, 0).flatten(1)
    if wanted.shape[1] > most:
        pick = torch.randint(wanted.shape[1], (most,), generator=generator).to(x.device)
    else:
        pick = torch.arange(wanted.shape[1], device=x.device)
    wanted = wanted[:, pick].unflatten(0, (groups, -1))
    if isinstance(layer, nn.Linear):
        return x.movedim(-1, 0).flatten(1)[:, pick].unsqueeze(0), wanted
    x, stride, reach = _spread(layer, x)
    where = torch.zeros(1, 1, dtype=torch.long, device=x.device)  # (taps, positions)
    rest, sizes = pick, out.shape[2:]
    at = []
    for size in reversed(sizes):
        at.insert(0, rest % size)
        rest = rest // size
    for axis, (start, step) in enumerate(zip(at, stride, strict=True)):
        taps = torch.tensor(reach[axis], device=x.device)
        here = start * step + taps[:, None]
        where = where[:, None] * x.shape[2 + axis] + here[None]
        where = where.flatten(0, 1)
    where = where + rest * math.prod(x.shape[2:])
    flat = x.transpose(0, 1).flatten(1)
    picked = flat[:, where.flatten()].view(groups, -1, len(pick))
    return picked, wanted


def _spread(layer: Any, x: Tensor) -> tuple[Tensor, tuple[int, ...], list[list[int]]]:
    """Padded input, step of the windows an axis, and where each tap reads within one."""
    kernel, dilation, stride = layer.kernel_size, layer.dilation, layer.stride
    taps = [[d * i for i in range(k)] for k, d in zip(kernel, dilation, strict=True)]
    span = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if isinstance(layer, TRANSPOSED):  # a convolution with step 1 of zeros between the values
        wide = x.new_zeros(
            *x.shape[:2], *((n - 1) * s + 1 for n, s in zip(x.shape[2:], stride, strict=True))
        )
        wide[(..., *(slice(None, None, s) for s in stride))] = x
        sides = [
            (n - p, n - p + extra)
            for n, p, extra in zip(span, layer.padding, layer.output_padding, strict=True)
        ]
        pads = [side for pair in reversed(sides) for side in pair]
        return functional.pad(wide, pads), (1,) * len(kernel), [t[::-1] for t in taps]
    if layer.padding == "same":
        sides = [(n // 2, n - n // 2) for n in span]
    elif layer.padding == "valid":
        sides = [(0, 0)] * len(kernel)
    else:
        sides = [(p, p) for p in layer.padding]
    pads = [side for pair in reversed(sides) for side in pair]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(x, pads, mode=mode), stride, taps
