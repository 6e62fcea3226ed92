"""Latency: time to first spike, the earlier the greater the value."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from spikeloom.encoders.golden.latency import FixedLatency
from spikeloom.encoders.value import ValueEncoder, core_parameters
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import LatencyParameters

__all__ = ["Latency"]


class Latency(ValueEncoder):
    """Time to first spike (Thorpe 1990): one spike a word, at the first step k with u >= b[k].

    rule: ``linear``: step (1 - u) * (steps - 1), rounded; every value spikes, 0 at the last step.
    ``log``: a leaky neuron that charges with u, u * (1 - exp(-(k + 1) / tau)), spikes where it
    reaches ``threshold``: t = tau ln(u / (u - threshold)); values that do not get there in time
    do not spike.
    threshold: 0 to 1, exclusive. tau: > 0, in steps; None: such that only u = 1 spikes at step 0,
    -1 / ln(1 - threshold); so most of the range is spread over the steps. Both are for ``log``.

    No gradient: the result is detached. decode: of the first spike; linear: 1 - k / (steps - 1),
    log: the middle of the values that spike at step k; no spike is 0.
    """

    NAME: ClassVar[str] = "latency"

    boundaries: Tensor

    def __init__(
        self,
        steps: int,
        *,
        rule: Literal["linear", "log"] = "linear",
        threshold: float = 0.05,
        tau: float | None = None,
        **common: Any,
    ):
        super().__init__(steps, **common)
        if rule not in ("linear", "log"):
            raise InputError(f"rule must be 'linear' or 'log', not {rule!r}")
        if not 0 < threshold < 1:
            raise InputError(f"threshold must be above 0 and below 1, not {threshold!r}")
        if tau is not None and not 0 < tau < math.inf:
            raise InputError(f"tau must be a number of steps above 0, or None, not {tau!r}")
        self.rule = rule
        k = torch.arange(self.steps, dtype=torch.float64)
        if rule == "linear":
            boundaries = (1 - (k + 0.5) / max(1, self.steps - 1)).clamp(min=0.0)
            boundaries[-1] = 0.0
        else:
            rate = -math.log1p(-threshold) if tau is None else 1 / tau
            boundaries = threshold / -torch.expm1(-(k + 1) * rate)
            if tau is None:
                boundaries = boundaries.clamp(max=1.0)  # b[0] is 1 but for rounding
        self.register_buffer("boundaries", boundaries)

    def _encode(self, u: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        steps = torch.arange(self.steps, device=u.device)
        first = (u.unsqueeze(-1) < self.boundaries.to(u.device)).sum(-1)
        return steps == first.unsqueeze(-1), state

    def _decode(self, s: Tensor) -> Tensor:
        first = (s != 0).to(torch.int64).argmax(-1)
        if self.rule == "linear":
            u = 1 - first / max(1, self.steps - 1)
        else:
            low = self.boundaries.to(s.device).clamp(max=1.0)
            high = torch.cat((low.new_ones(1), low[:-1]))
            u = ((low + high) / 2)[first]
        return torch.where((s != 0).any(-1), u, 0.0).double()

    def fixed(self, *, bits: int | None = None, channels: int | None = None) -> FixedLatency:
        """Integer golden model; see ValueEncoder.fixed."""
        arguments = self._core(bits, channels)
        full = (1 << arguments["bits"]) - 1
        # the least value that reaches a boundary, by the very comparison that forward makes
        grid = np.arange(full + 1) / full
        least = np.searchsorted(grid, self.boundaries.cpu().numpy())
        parameters = core_parameters(
            LatencyParameters, **arguments, boundaries=tuple(int(v) for v in least)
        )
        return FixedLatency(parameters, offset=self.offset, scale=self.scale)

    def extra_repr(self) -> str:
        """Parameters, short."""
        return f"{super().extra_repr()}, rule={self.rule}"
