"""Ben's spiker algorithm in integers: see BSAParameters and BSADecoderParameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.golden.quantise import FixedSignal
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import BSADecoderParameters, BSAParameters
from spikeloom.hardware.encoders.filters import checked_taps

__all__ = ["FixedBSA", "FixedBSADecoder"]


def _checked(taps: Sequence[int] | None, parameters: Any, *, bounded: bool) -> tuple[int, ...]:
    given = None if taps is None else [int(h) for h in taps]
    try:
        return checked_taps(given, taps=parameters.taps, format=parameters.format, bounded=bounded)
    except ValueError as error:
        raise InputError(str(error)) from error


class FixedBSA(FixedSignal):
    """Golden model of the BSA core and of its decoder.

    taps: the filter, as many integers as the parameters say, in LSB of a sample; None for the one
    after reset. profile: ``"compat"`` is spike-encoding 1.8.2 without its normalisation, on
    integers (tap 0 is not used by the encoder, t = 0 has no spike, and see :meth:`decode`); no core
    does that. InputError for taps that a core cannot have, see ``checked_taps``.
    """

    parameters: BSAParameters

    def __init__(
        self,
        parameters: BSAParameters,
        settings: Mapping[str, ArrayLike] | None = None,
        *,
        taps: Sequence[int] | None = None,
        profile: Literal["textbook", "compat"] = "textbook",
        **common: Any,
    ):
        super().__init__(parameters, settings, **common)
        if profile not in ("textbook", "compat"):
            raise InputError(f"profile must be 'textbook' or 'compat', not {profile!r}")
        self.profile = profile
        self.taps = _checked(taps, parameters, bounded=True)

    def encode(self, samples: Tensor | ArrayLike) -> Tensor:
        """Spikes, int8, of one frame: int64 samples (..., [channels,] time) of the format."""
        residual = self._in_format(samples).clone()
        threshold = self._column("threshold").expand(residual.shape[:-1])
        compat = self.profile == "compat"
        taps = torch.tensor(self.taps[1:] if compat else self.taps)
        out = torch.zeros(residual.shape, dtype=torch.int8)
        for t in range(int(compat), residual.shape[-1]):
            window = residual[..., t : t + len(taps)]
            rest = window - taps[: window.shape[-1]]
            gain = (window.abs() - rest.abs()).sum(-1)
            spike = gain >= threshold
            window.copy_(torch.where(spike[..., None], rest, window))
            out[..., t] = spike
        return self._shaped(out)

    def decode(self, spikes: Tensor | ArrayLike, start: Tensor | ArrayLike | None = None) -> Tensor:
        """Samples, int64, of spikes (..., [channels,] time); there is no side-band.

        In the compat profile, for n taps: y[t] = sum h[j] s[t + j - 2 (n // 2) + 1], not clipped,
        and 0 for t < n // 2.
        """
        if self.profile == "textbook":
            decoder = BSADecoderParameters(
                format=self.parameters.format,
                channels=self.parameters.channels,
                taps=self.parameters.taps,
            )
            return FixedBSADecoder(decoder, taps=self.taps).decode(spikes)
        n = len(self.taps)
        y = _filtered(self._samples(spikes, "spike"), self.taps, ahead=1 - 2 * (n // 2))
        y[..., : n // 2] = 0
        return self._shaped(y)


class FixedBSADecoder(FixedSignal):
    """Golden model of the BSA decoder core.

    taps: the filter, as many integers as the parameters say, in LSB of a sample; None for the one
    after reset. InputError for taps that a core cannot have, see ``checked_taps``.
    """

    parameters: BSADecoderParameters

    def __init__(
        self,
        parameters: BSADecoderParameters,
        settings: Mapping[str, ArrayLike] | None = None,
        *,
        taps: Sequence[int] | None = None,
        **common: Any,
    ):
        super().__init__(parameters, settings, **common)
        self.taps = _checked(taps, parameters, bounded=False)

    def decode(self, spikes: Tensor | ArrayLike, start: Tensor | ArrayLike | None = None) -> Tensor:
        """Samples, int64, of spikes (..., [channels,] time); there is no side-band."""
        y = _filtered(self._samples(spikes, "spike"), self.taps[::-1], ahead=1 - len(self.taps))
        return self._shaped(y.clamp(self.parameters.format.low, self.parameters.format.high))


def _filtered(s: Tensor, taps: Sequence[int], *, ahead: int) -> Tensor:
    """y[t] = sum over j of taps[j] s[t + j + ahead], s being 0 outside."""
    y = torch.zeros_like(s)
    length = s.shape[-1]
    for j, h in enumerate(taps):
        low, high = max(0, -(j + ahead)), min(length, length - (j + ahead))
        if low < high:
            y[..., low:high] += h * s[..., low + j + ahead : high + j + ahead]
    return y
