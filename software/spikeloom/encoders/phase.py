"""Phase: the bit planes of a value, SpikePack's own code."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from spikeloom.encoders.golden.phase import FixedPhase
from spikeloom.encoders.golden.value import pack, unpack
from spikeloom.encoders.value import ValueEncoder, core_parameters, integer
from spikeloom.hardware.encoders import PhaseParameters

__all__ = ["Phase"]


class Phase(ValueEncoder):
    """Phase (weighted spike, radix) code: the bits of the value, most significant first.

    The word is floor(u * (2^steps - 1) + 1/2); the spike of step k weighs 2^(steps - 1 - k). This
    is what a SpikePack neuron sends, so that a network takes the spikes without a change. Related:
    weighted spikes, Kim et al. 2018, https://doi.org/10.1016/j.neucom.2018.05.087.

    steps: 1..16. No gradient: the result is detached. decode: the word / (2^steps - 1); exact on
    its grid.
    """

    NAME: ClassVar[str] = "phase"

    def __init__(self, steps: int, **common: object):
        integer("steps of a phase code", steps, 1, 16)
        super().__init__(steps, **common)  # type: ignore[arg-type]

    def _encode(self, u: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        top = (1 << self.steps) - 1
        if self.bits is None:
            words = torch.floor(u * top + 0.5).to(torch.int64)
        else:
            full = (1 << self.bits) - 1
            words = (2 * torch.round(u * full).to(torch.int64) * top + full) // (2 * full)
        return unpack(words, self.steps) > 0, state

    def _decode(self, s: Tensor) -> Tensor:
        return pack(s).double() / ((1 << self.steps) - 1)

    def fixed(self, *, bits: int | None = None, channels: int | None = None) -> FixedPhase:
        """Integer golden model; see ValueEncoder.fixed."""
        parameters = core_parameters(PhaseParameters, **self._core(bits, channels))
        return FixedPhase(parameters, offset=self.offset, scale=self.scale)
