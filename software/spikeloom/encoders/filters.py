"""A filter bank in front of an encoder, and the low-pass behind a decoder."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeloom.encoders.base import as_floats, engine_for, reject_non_finite, threaded
from spikeloom.encoders.biquads import butterworth
from spikeloom.encoders.cutoffs import CutOffs, cascade
from spikeloom.encoders.value import integer
from spikeloom.errors import InputError

__all__ = ["FilterBank", "FilterState", "smooth"]

Band = tuple[float | None, float | None]


@dataclass(frozen=True, eq=False)
class FilterState:
    """Where a stream stands: its leading shape, and float64 (rows, bands, sections, 2)."""

    shape: torch.Size
    memory: Tensor


class FilterBank(nn.Module):
    """Bank of Butterworth filters: each signal becomes one for each band.

    x: float32 or float64 (..., channels, time) gives (..., channels * bands, time), channel c *
    bands + b, ready for an encoder with parameters per channel; (time,) gives (bands, time). With
    merge=False (..., time) gives (..., bands, time). The result has the dtype of x, the arithmetic
    is float64 in transposed direct form II, with all-zero initial state.

    bands: (low, high) cut-offs in Hz, -3 dB, each; (None, high): low-pass, (low, None): high-pass.
    rate: sampling rate in Hz. order: 1..8 of the prototype; a band-pass has 2 * order poles.

    trainable: whether the cut-offs are parameters (see :class:`spikeloom.encoders.cutoffs.CutOffs`,
    and :meth:`current` for their values); ``sections`` are then those of the last call.

    Differentiable. NaN, infinity, an empty signal, another dtype raise InputError; so do cut-offs
    that are not between 0 and half the rate.
    """

    sections: Tensor  #: float64 (bands, sections, 5): b0, b1, b2, a1, a2

    def __init__(
        self,
        bands: Sequence[Band],
        rate: float,
        *,
        order: int = 2,
        merge: bool = True,
        trainable: bool = False,
    ):
        super().__init__()
        if not 0 < rate < float("inf"):
            raise InputError(f"the sampling rate must be a number of Hz above 0, not {rate!r}")
        try:
            self.bands = [(low, high) for low, high in bands]
        except (TypeError, ValueError):
            raise InputError(f"bands must be pairs (low, high) in Hz, not {bands!r}") from None
        if not self.bands:
            raise InputError("a filter bank needs at least one band: (low, high) in Hz")
        self.rate, self.order, self.merge = float(rate), integer("order", order, 1, 8), merge
        tables = [butterworth(low, high, rate, order) for low, high in self.bands]
        depth = max(len(table) for table in tables)
        through = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
        rows = [np.vstack((t, np.tile(through, (depth - len(t), 1)))) for t in tables]
        self.register_buffer("sections", torch.as_tensor(np.stack(rows)))
        self.cutoffs = CutOffs(self.bands, self.rate, self.order) if trainable else None

    @classmethod
    def spaced(cls, low: float, high: float, count: int, rate: float, **options: Any) -> FilterBank:
        """Make ``count`` neighbouring bands from low to high, of equal ratio (as a cochlea)."""
        if not 0 < low < high:
            raise InputError(f"the cut-offs must be 0 < low < high, not {low!r} and {high!r}")
        edges = np.geomspace(low, high, integer("count", count, 1, 1024) + 1).tolist()
        return cls(list(itertools.pairwise(edges)), rate, **options)

    def forward(self, x: Tensor) -> Tensor:
        """Filtered signals; stateless."""
        x = as_floats(x)
        reject_non_finite(x)
        rows = x.reshape(-1, x.shape[-1])
        learned = self._update()
        if learned and torch.is_grad_enabled():
            value = run(rows.detach(), self.sections.to(x.device))
            return self._shaped(cascade(rows, learned, value), x.shape)
        y = _Cascade.apply(rows, self.sections.to(x.device))
        return self._shaped(y, x.shape)

    def current(self) -> list[Band]:
        """Cut-offs in Hz, (low, high) of each band, as they are now."""
        return self.bands if self.cutoffs is None else self.cutoffs.hertz()

    def _update(self) -> list[Tensor]:
        """Bring ``sections`` to the learned cut-offs, which are returned with their gradient."""
        if self.cutoffs is None:
            return []
        learned = self.cutoffs()
        with torch.no_grad():
            for row, sections in zip(self.sections, learned, strict=True):
                row[: len(sections)] = sections
        return learned

    def step(self, x: Tensor, state: FilterState | None = None) -> tuple[Tensor, FilterState]:
        """Filter the next chunk of a stream; None starts one. No gradient."""
        x = as_floats(x, "chunk", empty=True)
        self._update()
        sections = self.sections.to(x.device)
        if state is None:
            memory = _silence(x.shape[:-1].numel(), sections)
        elif state.shape != x.shape[:-1]:
            raise InputError(
                f"a chunk of shape {tuple(x.shape)} does not continue a stream of shape"
                f" {tuple(state.shape)}"
            )
        else:
            memory = state.memory.clone()
        reject_non_finite(x, "chunk")
        y = _filter(x.detach().reshape(memory.shape[0], x.shape[-1]), sections, memory)
        return self._shaped(y, x.shape), FilterState(x.shape[:-1], memory)

    def flush(self, state: FilterState) -> Tensor:
        """Samples held back: none, (..., 0)."""
        empty = state.memory.new_zeros((*state.memory.shape[:2], 0))
        return self._shaped(empty, torch.Size((*state.shape, 0)))

    def _shaped(self, y: Tensor, shape: torch.Size) -> Tensor:
        """Give y (rows, bands, time) the shape that the signal's asks for."""
        y = y.reshape(*shape[:-1], *y.shape[1:])
        return y.flatten(-3, -2) if self.merge and len(shape) > 1 else y

    def extra_repr(self) -> str:
        """Parameters, short."""
        return f"bands={self.current()}, rate={self.rate:g}, order={self.order}, merge={self.merge}"


def smooth(y: Tensor, cutoff: float, *, order: int = 2) -> Tensor:
    """Low-pass a signal (..., time) forward and backward: no delay, the order of both together.

    cutoff: where the two passes together have -6 dB, in cycles a sample, above 0, below 0.5. The
    ends are continued by odd reflection over 3 / cutoff samples, as far as there are so many.
    Differentiable. Raises InputError for another cut-off.
    """
    y = as_floats(y)
    if not 0 < cutoff < 0.5:
        raise InputError(
            f"a low-pass cut-off must be above 0 and below 0.5 cycles a sample, not {cutoff!r}"
        )
    reject_non_finite(y)
    table = butterworth(None, cutoff, 1.0, integer("order", order, 1, 8))
    sections = torch.as_tensor(table[None], device=y.device)
    rows = y.reshape(-1, y.shape[-1]).double()
    time = rows.shape[-1]
    pad = min(time - 1, int(np.ceil(3 / cutoff)))
    before = 2 * rows[:, :1] - rows[:, 1 : pad + 1].flip(-1)
    after = 2 * rows[:, -1:] - rows[:, time - 1 - pad : time - 1].flip(-1)
    z = torch.cat((before, rows, after), -1)
    for _ in range(2):
        # a filter of gain 1 that has always seen z[0]: that of z - z[0], started at rest
        start = z[:, :1]
        z = (_Cascade.apply(z - start, sections).squeeze(1) + start).flip(-1)
    return z[:, pad : pad + time].reshape(y.shape).to(y.dtype)


class _Cascade(torch.autograd.Function):
    """Filter (rows, time) to (rows, bands, time); its adjoint is the same filter, time reversed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sections: Tensor) -> Tensor:
        ctx.save_for_backward(sections)
        return run(x.detach(), sections)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (sections,) = ctx.saved_tensors
        back = grads[0].flip(-1)
        each = [
            _Cascade.apply(back[:, b], sections[b : b + 1]).squeeze(1) for b in range(len(sections))
        ]
        return torch.stack(each).sum(0).flip(-1), None


def run(x: Tensor, sections: Tensor) -> Tensor:
    """Filter x (rows, time) from silence: (rows, bands, time), no gradient."""
    return _filter(x, sections, _silence(x.shape[0], sections))


def _silence(rows: int, sections: Tensor) -> Tensor:
    return sections.new_zeros((rows, *sections.shape[:2], 2))


def _filter(x: Tensor, sections: Tensor, memory: Tensor) -> Tensor:
    """Filter rows (rows, time) and bring ``memory``, in place, to the end; dtype of x."""
    out = torch.empty((x.shape[0], len(sections), x.shape[1]), dtype=torch.float64, device=x.device)
    if engine_for(x) == "numba":
        from spikeloom.encoders.kernels.filters import cascade

        arrays = [a.numpy() for a in (x.contiguous(), memory, out)]
        threaded(cascade, arrays, sections.numpy())
    else:
        _reference(x.double(), sections, memory, out)
    return out.to(x.dtype)


def _reference(x: Tensor, sections: Tensor, memory: Tensor, out: Tensor) -> None:
    b0, b1, b2, a1, a2 = sections.unbind(-1)  # (bands, sections) each
    for t in range(x.shape[1]):
        v = x[:, t, None].expand(-1, len(sections))
        for k in range(sections.shape[1]):
            near, far = memory[:, :, k, 0], memory[:, :, k, 1]
            y = b0[:, k] * v + near
            memory[:, :, k, 0] = (b1[:, k] * v - a1[:, k] * y) + far
            memory[:, :, k, 1] = b2[:, k] * v - a2[:, k] * y
            v = y
        out[:, :, t] = v
