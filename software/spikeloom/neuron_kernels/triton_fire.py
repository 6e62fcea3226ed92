"""The neuron on CUDA, in one pass: the bits of the torch reference. See :mod:`reference`.

``TRITON_INTERPRET=1`` runs it on a CPU, slowly: that is how it is tested without a GPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from spikeloom.neuron_kernels.rule import BINS, GOLDEN, Rule

__all__ = ["back", "fire"]

BLOCK = 1024
#: What a kernel saves, or what a backward has: nothing, bits, codes, potentials.
_KIND = {"nothing": 0, "bits": 1, "codes": 2, "exact": 3}
#: Elements that share a byte.
_SHARE = {0: 1, 1: 8, 2: 2, 3: 1}


@triton.jit
def _dither(at, GOLDEN: tl.constexpr):
    """Offsets of :mod:`spikeloom.neuron_kernels.rule`."""
    return (((at * GOLDEN >> 24) & 255).to(tl.float32) + 0.5) / 256


@triton.jit
def _fire(
    v, theta, y, saved, count, inner, channels,
    CAP: tl.constexpr, TOP: tl.constexpr, HALF: tl.constexpr,
    KIND: tl.constexpr, SHARE: tl.constexpr, WIDE: tl.constexpr, BINS: tl.constexpr,
    GOLDEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * (BLOCK // SHARE) + tl.arange(0, BLOCK // SHARE)
    place = tl.arange(0, SHARE)
    at = row[:, None] * SHARE + place[None, :]
    live = at < count
    x = tl.load(v + at, mask=live, other=0)
    level = tl.load(theta + at // inner % channels, mask=live, other=1)
    a = x + level * HALF
    a = tl.where(a <= 0, 0.0, a)
    most = level * CAP
    a = tl.where(a > most, most, a)
    if WIDE:
        word = tl.floor(a / level)
        # each half of the threshold times a word is exact, and near a tie the difference
        high = (level.to(tl.int64, bitcast=True) & -134217728).to(tl.float64, bitcast=True)
        over = a - word * high < word * (level - high)
    else:
        word = tl.floor(tl.div_rn(a, level))
        over = word.to(tl.float64) * level.to(tl.float64) > a.to(tl.float64)
    word = tl.where(over, word - 1, word)
    word = tl.where(word > TOP, TOP, word)
    value = word * level
    tl.store(y + at, value, mask=live)
    if KIND == 1:
        inside = (x >= 0) & (x <= level * TOP) & live
        packed = tl.sum(inside.to(tl.int32) << place[None, :], axis=1)
        tl.store(saved + row, packed.to(tl.uint8), mask=row * SHARE < count)
    if KIND == 2:
        part = ((x - value) / level + HALF) * BINS + _dither(at, GOLDEN)
        part = tl.where(part > 0, part, 0.0)
        code = tl.where(part > BINS, BINS, part).to(tl.int32) + 1
        code = tl.where(x > level * TOP, 15, code)
        code = tl.where((x >= 0) & live, code, 0)
        packed = tl.sum(code << (4 * place[None, :]), axis=1)
        tl.store(saved + row, packed.to(tl.uint8), mask=row * SHARE < count)


def fire(v: Tensor, theta: Tensor, rule: Rule) -> tuple[Tensor, Tensor | None]:
    """Threshold * word, and a bit or 4 bits an element for ``back``."""
    y, count, kind = torch.empty_like(v), v.numel(), _KIND[rule.save]
    kind = 0 if kind == 3 else kind
    size = -(-count // _SHARE[kind]) if kind else 1
    saved = torch.empty(size, dtype=torch.uint8, device=v.device)
    _fire[(triton.cdiv(count, BLOCK),)](
        v, theta, y, saved, count, v.shape[2], v.shape[1],
        CAP=float(rule.top + 1), TOP=float(rule.top), HALF=rule.half,
        KIND=kind, SHARE=_SHARE[kind], WIDE=v.dtype == torch.float64, BINS=BINS, GOLDEN=GOLDEN,
        BLOCK=BLOCK,
        # a fused multiply-add rounds once where the reference rounds twice
        enable_fp_fusion=False,  # pyright: ignore[reportCallIssue]
    )  # fmt: skip
    return y, saved if kind else None


@triton.jit
def _back(
    grad, saved, v, y, theta, out, slopes, count, inner, channels,
    TOP: tl.constexpr, HALF: tl.constexpr,
    KIND: tl.constexpr, SHARE: tl.constexpr, BINS: tl.constexpr, GOLDEN: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * (BLOCK // SHARE) + tl.arange(0, BLOCK // SHARE)
    place = tl.arange(0, SHARE)
    at = row[:, None] * SHARE + place[None, :]
    live = at < count
    g = tl.load(grad + at, mask=live, other=0)
    if KIND == 1:
        packed = tl.load(saved + row, mask=row * SHARE < count, other=0).to(tl.int32)
        inside = ((packed[:, None] >> place[None, :]) & 1) != 0
    if KIND == 2:
        packed = tl.load(saved + row, mask=row * SHARE < count, other=0).to(tl.int32)
        code = (packed[:, None] >> (4 * place[None, :])) & 15
        inside = (code != 0) & (code != 15)
        slope = HALF - (code.to(g.dtype) - 0.5 - _dither(at, GOLDEN)) / BINS
        slope = tl.where(code == 15, TOP, tl.where(code == 0, 0.0, slope))
        tl.store(slopes + at, g * slope, mask=live)
    if KIND == 3:
        x = tl.load(v + at, mask=live, other=0)
        value = tl.load(y + at, mask=live, other=0)
        level = tl.load(theta + at // inner % channels, mask=live, other=1)
        inside = (x >= 0) & (x <= level * TOP)
        tl.store(slopes + at, g * (tl.where(inside, value - x, value) / level), mask=live)
    tl.store(out + at, tl.where(inside, g, 0.0), mask=live)


def back(
    grad: Tensor, saved: Tensor | None, exact: tuple[Tensor, Tensor, Tensor] | None, rule: Rule
) -> tuple[Tensor, Tensor | None]:
    """Gradients of potentials, and of thresholds (channels,). exact: v, y and theta."""
    out, count, kind = torch.empty_like(grad), grad.numel(), _KIND[rule.save]
    slopes = torch.empty_like(grad) if kind > 1 else grad
    v, y, theta = (grad, grad, grad) if exact is None else exact
    _back[(triton.cdiv(count, BLOCK),)](
        grad, grad if saved is None else saved, v, y, theta, out, slopes,
        count, grad.shape[2], grad.shape[1],
        TOP=float(rule.top), HALF=rule.half, KIND=kind, SHARE=_SHARE[kind], BINS=BINS,
        GOLDEN=GOLDEN, BLOCK=BLOCK,
        enable_fp_fusion=False,  # pyright: ignore[reportCallIssue]
    )  # fmt: skip
    # summed by torch: in one order every time, where atomic additions would not be
    return out, slopes.double().sum((0, 2)).to(grad.dtype) if kind > 1 else None
