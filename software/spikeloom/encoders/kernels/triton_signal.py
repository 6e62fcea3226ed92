"""Step-forward and LIF on CUDA: a thread a row, time in a loop, the bits of the torch reference.

``TRITON_INTERPRET=1`` runs them on a CPU, slowly: that is how they are tested without a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["lif", "step_forward"]

BLOCK = 128


def _launch(kernel: Any, arrays: tuple[Tensor, ...], **options: Any) -> int:
    """Run a kernel; returns the flat index of the first sample that is not finite, or -1."""
    x, p, real, count, out = arrays
    rows, time = x.shape
    # time first: neighbouring threads, which are rows, then read neighbouring words
    xt, pt = x.t().contiguous(), p.t().contiguous()
    ot = torch.empty((time, rows), dtype=x.dtype, device=x.device)
    bad = torch.zeros(rows, dtype=torch.int32, device=x.device)
    kernel[(triton.cdiv(rows, BLOCK),)](
        xt, pt, real, count, ot, bad, rows, time,
        REALS=real.shape[1], COUNTS=count.shape[1], BLOCK=BLOCK,
        enable_fp_fusion=False,  # a fused multiply-add rounds once where the reference rounds twice
        **options,
    )  # fmt: skip
    out.copy_(ot.t())
    if not bool(bad.any()):
        return -1
    return int(torch.nonzero(~torch.isfinite(x.reshape(-1)))[0])


@triton.jit
def _step_forward(
    x, p, real, count, out, bad, rows, time,
    LEVELS: tl.constexpr, SIDE_BAND: tl.constexpr,
    REALS: tl.constexpr, COUNTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = row < rows
    offset = tl.load(p + row, mask=live)
    scale = tl.load(p + rows + row, mask=live)
    threshold = tl.load(p + 2 * rows + row, mask=live)
    initial = tl.load(p + 3 * rows + row, mask=live)
    started = tl.load(count + row * COUNTS, mask=live, other=1)
    level = tl.load(count + row * COUNTS + 1, mask=live, other=0).to(tl.int32)
    last = tl.load(count + row * COUNTS + 2, mask=live, other=0).to(tl.int32)
    fresh = started == 0
    base = tl.where(fresh, initial, tl.load(real + row * REALS, mask=live, other=0))
    wrong = tl.zeros((BLOCK,), tl.int32)
    for t in range(time):
        raw = tl.load(x + t * rows + row, mask=live, other=0)
        wrong = wrong | (raw - raw != 0).to(tl.int32)
        z = (raw - offset) * scale
        theta = threshold
        for k in tl.static_range(LEVELS):  # pyright: ignore[reportGeneralTypeIssues]
            theta = tl.where(level > k, theta + theta, theta)
        above = base + theta
        below = base - theta
        spike = (z > above).to(tl.int32) - (z < below).to(tl.int32)
        follows = tl.where(spike > 0, above, tl.where(spike < 0, below, base))
        if SIDE_BAND:
            sets = fresh & (t == 0)
            spike = tl.where(sets, 0, spike)
            follows = tl.where(sets, z, follows)
            lower = tl.where(sets, level, tl.maximum(level - 1, 0))
        else:
            lower = tl.maximum(level - 1, 0)
        again = (spike == last) & (spike != 0)
        level = tl.where(again, tl.minimum(level + 1, LEVELS), lower)
        base = follows
        last = spike
        tl.store(out + t * rows + row, spike.to(raw.dtype), mask=live)
    tl.store(real + row * REALS, base, mask=live)
    tl.store(count + row * COUNTS, tl.full((BLOCK,), 1, tl.int64), mask=live)
    tl.store(count + row * COUNTS + 1, level.to(tl.int64), mask=live)
    tl.store(count + row * COUNTS + 2, last.to(tl.int64), mask=live)
    tl.store(bad + row, wrong, mask=live)


def step_forward(
    x: Tensor, p: Tensor, real: Tensor, count: Tensor, out: Tensor, levels: int, side_band: int
) -> int:
    """Encode rows in place, as ``kernels.step_forward.encode``."""
    return _launch(_step_forward, (x, p, real, count, out), LEVELS=levels, SIDE_BAND=side_band)


@triton.jit
def _lif(
    x, p, real, count, out, bad, rows, time,
    SUBTRACT: tl.constexpr, REFRACTS: tl.constexpr,
    REALS: tl.constexpr, COUNTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = row < rows
    offset = tl.load(p + row, mask=live)
    scale = tl.load(p + rows + row, mask=live)
    threshold = tl.load(p + 2 * rows + row, mask=live)
    leak = tl.load(p + 3 * rows + row, mask=live)
    rest = tl.load(p + 4 * rows + row, mask=live, other=0).to(tl.int32)
    v = tl.load(real + row * REALS, mask=live, other=0)
    wait = tl.load(count + row * COUNTS + 1, mask=live, other=0).to(tl.int32)
    wrong = tl.zeros((BLOCK,), tl.int32)
    for t in range(time):
        raw = tl.load(x + t * rows + row, mask=live, other=0)
        wrong = wrong | (raw - raw != 0).to(tl.int32)
        u = v + (raw - offset) * scale
        up = u > threshold
        down = u < -threshold
        if SUBTRACT:
            high = tl.minimum(u - threshold, threshold)
            low = tl.maximum(u + threshold, -threshold)
            u = tl.where(up, high, tl.where(down, low, u))
        else:
            u = tl.where(up | down, 0.0, u)
        u = u * leak
        spike = up.to(tl.int32) - down.to(tl.int32)
        if REFRACTS:
            rests = wait > 0
            spike = tl.where(rests, 0, spike)
            u = tl.where(rests, v, u)
            wait = tl.where(rests, wait - 1, tl.where(spike != 0, rest, wait))
        v = u
        tl.store(out + t * rows + row, spike.to(raw.dtype), mask=live)
    tl.store(real + row * REALS, v, mask=live)
    tl.store(count + row * COUNTS, tl.full((BLOCK,), 1, tl.int64), mask=live)
    tl.store(count + row * COUNTS + 1, wait.to(tl.int64), mask=live)
    tl.store(bad + row, wrong, mask=live)


def lif(
    x: Tensor, p: Tensor, real: Tensor, count: Tensor, out: Tensor, subtract: int, refracts: int
) -> int:
    """Encode rows in place, as ``kernels.lif.encode``."""
    return _launch(_lif, (x, p, real, count, out), SUBTRACT=subtract, REFRACTS=refracts)
