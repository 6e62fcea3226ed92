"""Hough's spiker algorithm: a spike wherever the signal reaches the filter's response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeloom.encoders.base import column
from spikeloom.encoders.bsa import BSA
from spikeloom.encoders.golden.hough_spiker import FixedHoughSpiker
from spikeloom.encoders.golden.quantise import to_integers
from spikeloom.encoders.search import Range
from spikeloom.encoders.signal import State
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import HoughSpikerParameters

__all__ = ["HoughSpiker"]


class HoughSpiker(BSA):
    """Hough's spiker algorithm, and its modification with a threshold.

    Hough et al. 1999; Schrauwen & Van Campenhout 2003. As BSA, for a signal whose
    z = (x - offset) * scale is in [0, 1], and that a spike train through the filter h is to give
    again; but it asks how far the residual r, which starts as z, is below the response:

        s[t] = 1, r[t+k] -= h[k] for k < taps,  if  sum max(0, h[k] - r[t+k]) <= threshold
        s[t] = 0                                otherwise

    in the dtype of x, the sum in ascending k. With threshold 0 every r[t+k] must reach its h[k]:
    the original, which stays below the signal. A threshold above 0 is the modification. The last
    taps - 1 samples of a signal, whose response would not fit, have no spike.

    threshold: in units of z, 0 or above; high ones spike more often. taps, order, cutoff, rate:
    the filter h, as of BSA. Latency, streaming, :meth:`decode` and errors are as of BSA too; there
    is no ``compat`` profile.
    """

    NAME: ClassVar[str] = "hough-spiker"
    SEARCH: ClassVar[Mapping[str, Range]] = {**BSA.SEARCH, "threshold": Range(0.0, 1.0)}

    def __init__(
        self,
        threshold: float | Sequence[float] | Tensor = 0.0,
        taps: Sequence[float] | Sequence[Sequence[float]] | Tensor | None = None,
        *,
        order: int | Sequence[int] | Tensor = 10,
        cutoff: float | Sequence[float] | Tensor = 0.2,
        rate: float | None = None,
        **common: Any,
    ):
        checked = column("threshold", threshold, low=0.0, above=False)
        filter: dict[str, Any] = {"order": order, "cutoff": cutoff, "rate": rate}
        super().__init__(checked, taps, **filter, profile="textbook", **common)

    def _kernel(self) -> Any:
        from spikeloom.encoders.kernels.hough_spiker import encode

        return encode

    def _options(self) -> tuple[int, ...]:
        return ()

    def _reference(self, z: Tensor, p: list[Tensor], state: State, out: Tensor) -> None:
        threshold, taps, lengths = p
        total, decisions = z.shape[1], out.shape[1]
        used = torch.arange(taps.shape[1], device=z.device) < lengths[:, None]
        for t in range(decisions):
            window = z[:, t : t + taps.shape[1]]
            width = window.shape[1]
            missing = (taps[:, :width] - window).clamp(min=0).where(used[:, :width], 0.0)
            shortfall = torch.zeros_like(threshold)
            for k in range(width):
                shortfall = shortfall + missing[:, k]
            spike = (shortfall <= threshold) & (t + lengths <= total)
            z[:, t : t + width] = torch.where(spike[:, None], window - taps[:, :width], window)
            out[:, t] = spike
        waiting = min(int(state.count[0, 0]), self.latency)
        state.real[:, : total - decisions] = z[:, decisions:]
        state.count[:, 0] += total - waiting

    def fixed(self, format: Fixed, *, channels: int | None = None) -> FixedHoughSpiker:
        """As of BSA."""
        taps = self._common_taps(format)
        parameters = HoughSpikerParameters(
            format=format, channels=channels or self.channels or 1, taps=len(taps)
        )
        return FixedHoughSpiker(
            parameters,
            {"threshold": to_integers("threshold", self.threshold, format)},
            taps=taps,
            offset=self.offset,
            scale=self.scale,
        )
