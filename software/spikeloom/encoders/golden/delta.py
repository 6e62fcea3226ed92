"""Send on delta in integers: see DeltaParameters."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.quantise import FixedSignal
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import DeltaParameters

__all__ = ["LOG_TABLE", "FixedDelta", "integer_log2"]

_LOG = 8
#: 2^8 log2(1 + f / 256), rounded, f = 0..255
LOG_TABLE = tuple(round(math.log2(1 + f / 256) * (1 << _LOG)) for f in range(256))


def integer_log2(x: Tensor) -> Tensor:
    """Logarithm of int64 x, clipped to >= 1, in 2^-8 octaves: rule ``log`` of DeltaParameters."""
    x = x.clamp(min=1)
    e = torch.zeros_like(x)
    for bits in (32, 16, 8, 4, 2, 1):
        e = torch.where(x >> (e + bits) > 0, e + bits, e)
    f = ((x << 8) >> e) - 256
    return (e << _LOG) + torch.tensor(LOG_TABLE)[f]


class FixedDelta(FixedSignal):
    """Golden model of the send-on-delta core."""

    parameters: DeltaParameters

    def encode(self, samples: Tensor | ArrayLike) -> Tensor:
        """Spikes, int8, of one frame: int64 samples (..., [channels,] time) of the format."""
        x = self._in_format(samples)
        x = integer_log2(x) if self.parameters.log else x
        threshold, hysteresis = self._column("threshold"), self._column("hysteresis")
        out = torch.zeros(x.shape, dtype=torch.int8)
        first = self.parameters.initial == "first"
        ref = x[..., 0] if first else self._column("initial").expand(x.shape[:-1])
        last = torch.zeros_like(ref)
        for t in range(int(first), x.shape[-1]):
            d = x[..., t] - ref
            opposite = d.sign() * last < 0
            m = d.abs() - torch.where(opposite, hysteresis, 0)
            n = m.clamp(min=0).div(threshold, rounding_mode="floor")
            spike = d.sign() * n.clamp(max=self.parameters.quanta)
            ref = ref + spike * threshold
            last = torch.where(spike == 0, last, spike)
            out[..., t] = spike
        return self._shaped(out)

    def decode(self, spikes: Tensor | ArrayLike, start: Tensor | ArrayLike | None = None) -> Tensor:
        """Sum, int64, of spikes (..., [channels,] time), in LSB of ``parameters.inner``.

        start: the side-band, int64 (..., [channels]): the first sample, its logarithm with ``log``.
        InputError if it is needed and missing.
        """
        s = self._samples(spikes, "spike")
        if self.parameters.initial == "value":
            ref = self._column("initial").expand(s.shape[:-1])
        elif start is None:
            raise InputError("decoding needs the side-band: start=samples[..., 0]")
        else:
            ref = torch.as_tensor(start).to(torch.int64)
            if ref.ndim and self.parameters.channels == 1:
                ref = ref.unsqueeze(-1)
            ref = ref.expand(s.shape[:-1])
        steps = s * self._column("threshold")[:, None]
        return self._shaped(ref.unsqueeze(-1) + steps.cumsum(-1))

    def to_real(self, samples: Tensor | ArrayLike) -> Tensor:
        """Real signal, float64, of integers in LSB of ``parameters.inner``, as decoded."""
        if not self.parameters.log:
            return super().to_real(samples)
        octaves = np.asarray(samples) / (1 << _LOG) - self.parameters.format.fraction
        offset, scale = (v[:, None] if v.ndim else v for v in (self.offset, self.scale))
        return torch.exp2(torch.as_tensor(octaves)) / scale + offset
