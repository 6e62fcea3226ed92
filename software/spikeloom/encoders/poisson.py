"""Poisson: a spike at each step with the probability that the value says."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeloom.encoders.base import engine_for, threaded
from spikeloom.encoders.golden.poisson import FixedPoisson, xorshift32
from spikeloom.encoders.value import ValueEncoder, core_parameters, integer
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import PoissonParameters
from spikeloom.hardware.encoders.value import GOLDEN_RATIO

__all__ = ["Poisson"]

MASK = (1 << 32) - 1


class Poisson(ValueEncoder):
    """Poisson (Bernoulli) code: at each step a spike with probability u; 1 always, 0 never.

    The random numbers are those of the core, xorshift32, the same on every machine: element i of x,
    in C order, has the generator of channel i, with seed (seed + i * 2^32 / 1.618...) mod 2^32; it
    fires where x < u * 2^32 (``bits``: u = t / 2^bits, see PoissonParameters). ``forward`` starts
    at the seeds each time; :meth:`step` goes on from the state, so that the values of a stream get
    fresh numbers:

        state = None
        for x in values:
            y, state = enc.step(x, state)

    seed: 1..2^32 - 1. Straight-through gradient: each spike has gradient 1 after u, and so has
    their mean; 0 where u is clipped. decode: the mean.
    """

    NAME: ClassVar[str] = "poisson"
    STRAIGHT_THROUGH: ClassVar[bool] = True

    def __init__(self, steps: int, *, seed: int = GOLDEN_RATIO, **common: Any):
        super().__init__(steps, **common)
        self.seed = integer("seed", seed, 1, MASK)

    def seeds(self, count: int) -> Tensor:
        """States at the start of ``count`` generators, int64 (count,)."""
        seeds = (self.seed + torch.arange(count) * GOLDEN_RATIO) & MASK
        # one of 2^32 generators would stand still at 0
        return torch.where(seeds == 0, GOLDEN_RATIO, seeds)

    def _encode(self, u: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if state is None:
            state = self.seeds(u.numel()).reshape(u.shape).to(u.device)
        elif state.shape != u.shape or state.dtype != torch.int64:
            raise InputError(
                f"values of shape {tuple(u.shape)} do not continue streams of shape"
                f" {tuple(state.shape)}"
            )
        limit = torch.ceil(self._probability(u) * 2.0**32).to(torch.int64).reshape(-1)
        x = state.reshape(-1).clone()
        fired = torch.empty((len(x), self.steps), dtype=torch.bool, device=u.device)
        if engine_for(u) == "numba":
            from spikeloom.encoders.kernels.poisson import encode

            threaded(encode, [a.numpy() for a in (fired, limit, x)])
        else:
            for k in range(self.steps):
                x = xorshift32(x)
                fired[:, k] = x < limit
        return fired.reshape(*u.shape, self.steps), x.reshape(u.shape)

    def _decode(self, s: Tensor) -> Tensor:
        return s.mean(-1)

    def fixed(self, *, bits: int | None = None, channels: int | None = None) -> FixedPoisson:
        """Integer golden model; see ValueEncoder.fixed."""
        parameters = core_parameters(PoissonParameters, **self._core(bits, channels))
        seeds = {"seed": self.seeds(parameters.channels).numpy()}
        return FixedPoisson(parameters, seeds, offset=self.offset, scale=self.scale)

    def extra_repr(self) -> str:
        """Parameters, short."""
        return f"{super().extra_repr()}, seed={self.seed}"
