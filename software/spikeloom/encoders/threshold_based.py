"""Threshold-based representation: a spike where the signal jumps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.base import as_floats, column, reject_non_finite
from spikeloom.encoders.golden.quantise import to_integers
from spikeloom.encoders.golden.threshold_based import FixedThresholdBased
from spikeloom.encoders.search import Range
from spikeloom.encoders.signal import SignalEncoder, State
from spikeloom.errors import InputError
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders.more import ThresholdBasedParameters

__all__ = ["ThresholdBased"]


class ThresholdBased(SignalEncoder):
    """Threshold-based representation, TBR (Delbruck 2007; Petro, Kasabov & Kiss 2020).

    With d the difference of a sample and the one before: +1 if d > threshold, -1 if d < -threshold,
    else 0; the first sample does not spike. The threshold is meant to be mean + factor * standard
    deviation of |d| over a record: :meth:`of` measures it once, after which the code is causal.

    decode: ``initial`` (0 unless given) plus threshold times the sum of the spikes, which drifts,
    because a spike does not say by how much d exceeded the threshold.
    """

    NAME: ClassVar[str] = "threshold-based"
    PARAMETERS: ClassVar[tuple[str, ...]] = ("threshold",)
    REALS: ClassVar[int] = 1  # the sample before
    COUNTS: ClassVar[int] = 1  # started
    SEARCH: ClassVar[Mapping[str, Range]] = {"threshold": Range(1e-4, 0.5, log=True, relative=True)}

    threshold: Tensor
    side_band = True  #: what a decoder starts from: the first sample

    def __init__(self, threshold: float | Sequence[float] | Tensor = 0.1, **common: Any):
        super().__init__({"threshold": column("threshold", threshold, low=0.0)}, **common)

    @classmethod
    def of(cls, signal: Tensor | ArrayLike, factor: float = 0.5, **common: Any) -> Self:
        """Return the encoder for a record (time,) or (channels, time): a threshold for each.

        factor: how many standard deviations above the mean of |d|. Raises InputError for a channel
        that never changes, or a factor that makes a threshold of 0 or below.
        """
        x = as_floats(signal)
        reject_non_finite(x)
        if x.ndim > 2 or x.shape[-1] < 2:
            raise InputError(
                f"the record must be (time,) or (channels, time) of 2 samples or more, not"
                f" {tuple(x.shape)}"
            )
        d = x.double().diff(dim=-1).abs()
        return cls(d.mean(-1) + factor * d.std(-1, correction=0), **common)

    def _kernel(self) -> Any:
        from spikeloom.encoders.kernels.differences import threshold_based

        return threshold_based

    def _reference(self, z: Tensor, p: list[Tensor], state: State, out: Tensor) -> None:
        (threshold,) = p
        previous, started = state.real[:, 0], state.count[:, 0]
        if not started[0]:
            started.fill_(1)
            previous.copy_(z[:, 0])
        before = torch.cat((previous[:, None], z[:, :-1]), 1)
        d = z - before
        band = threshold[:, None]
        out.copy_((d > band).to(torch.int8) - (d < -band).to(torch.int8))
        previous.copy_(z[:, -1])

    def _decode(self, s: Tensor, p: list[Tensor], initial: Tensor | None) -> Tensor:
        base = torch.zeros_like(s[:, 0]) if initial is None else initial
        return base[:, None] + p[0][:, None] * s.cumsum(1)

    def _round_trip(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spikes = self(x)
        return spikes, self.decode(spikes, x[..., 0])

    def fixed(self, format: Fixed, *, channels: int | None = None) -> FixedThresholdBased:
        """Integer golden model with the threshold rounded to a format: the bits of the core.

        channels: of the core; default as many as there are parameters. Raises InputError if the
        threshold is below one LSB or beyond the format.
        """
        parameters = ThresholdBasedParameters(
            format=format, channels=channels or self.channels or 1
        )
        given = {"threshold": to_integers("threshold", self.threshold, format)}
        return FixedThresholdBased(parameters, given, offset=self.offset, scale=self.scale)
