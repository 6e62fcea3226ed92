"""The numba kernels on tensors, in threads where that pays; the contract is in :mod:`reference`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeloom.neuron_kernels import numba_fire as kernels
from spikeloom.neuron_kernels.rule import Rule

__all__ = ["back", "fire"]

#: Elements below which a second thread costs more than it gives.
_WORTH_A_THREAD = 1 << 18


def fire(v: Tensor, theta: Tensor, rule: Rule) -> tuple[Tensor, Tensor | None]:
    """Threshold * word, and a bit or 4 bits an element for ``back``."""
    y, count = torch.empty_like(v), v.numel()
    kind = {"bits": kernels.BITS, "codes": kernels.CODES}.get(rule.save, kernels.NOTHING)
    size = {kernels.BITS: 8, kernels.CODES: 2}.get(kind)
    saved = torch.empty(-(-count // size) if size else 0, dtype=torch.uint8)
    real = np.float64 if v.dtype == torch.float64 else np.float32
    kernel = kernels.fire64 if real is np.float64 else kernels.fire32
    _in_parts(
        lambda begin, end: kernel(
            _flat(v), _flat(theta), v.shape[2], begin, end, _flat(y), _flat(saved), kind,
            real(rule.top + 1), real(rule.top), real(rule.half),
        ),
        count,
    )  # fmt: skip
    return y, saved if size else None


def back(
    grad: Tensor, saved: Tensor | None, exact: tuple[Tensor, Tensor, Tensor] | None, rule: Rule
) -> tuple[Tensor, Tensor | None]:
    """Gradients of potentials, and of thresholds (channels,). exact: v, y and theta."""
    out, g, count = torch.empty_like(grad), _flat(grad), grad.numel()
    o = _flat(out)
    if exact is None and rule.save == "bits":
        assert saved is not None
        bits = _flat(saved)
        _in_parts(lambda begin, end: kernels.back_bits(g, bits, begin, end, o), count)
        return out, None
    channels, inner = grad.shape[1:]
    real = np.float64 if grad.dtype == torch.float64 else np.float32

    def part(begin: int, end: int) -> np.ndarray:
        sums = np.zeros(channels)
        if exact is not None:
            v, y, theta = (_flat(t) for t in exact)
            kernels.back_exact(g, v, y, theta, inner, begin, end, o, sums, real(rule.top))
        else:
            assert saved is not None
            kernels.back_codes(
                g, _flat(saved), inner, begin, end, o, sums, real(rule.top), real(rule.half)
            )
        return sums

    total = np.sum(_in_parts(part, count), axis=0)
    return out, torch.from_numpy(total).to(grad.dtype)


def _flat(x: Tensor) -> np.ndarray:
    return x.detach().numpy().reshape(-1)


def _in_parts(kernel: Callable[[int, int], Any], count: int) -> list[Any]:
    """Call a kernel on parts (begin, end) of ``count`` elements; what it returns, in order."""
    workers = min(torch.get_num_threads(), count // _WORTH_A_THREAD)
    if workers < 2:
        return [kernel(0, count)]
    cuts = [count * k // workers // 1024 * 1024 for k in range(workers)] + [count]
    jobs = [_pool(workers).submit(kernel, cuts[k], cuts[k + 1]) for k in range(workers)]
    return [job.result() for job in jobs]


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads that wait for the next call."""
    return ThreadPoolExecutor(workers, thread_name_prefix="spikeloom-neuron")
