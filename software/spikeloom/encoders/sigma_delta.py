"""Second-order sigma-delta: spikes whose mean follows the signal, their error pushed upwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeloom.encoders.base import column
from spikeloom.encoders.golden.quantise import to_integers
from spikeloom.encoders.golden.sigma_delta import FixedSigmaDelta
from spikeloom.encoders.search import Range
from spikeloom.encoders.signal import SignalEncoder, State
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders.more import SigmaDeltaParameters

__all__ = ["SigmaDelta"]

#: Integrators that reach so many thresholds are overloaded; in a core, so many full scales.
LIMIT = 4.0
#: Default cut-off of the decoder, cycles a sample.
LOW_PASS = 0.05


class SigmaDelta(SignalEncoder):
    """Sigma-delta of second order with the three levels -1, 0, 1 (Candy 1985).

    Two integrators a and b, 0 at first; for each sample z: s = +1 if 2 b >= threshold, -1 if 2 b <=
    -threshold, else 0; then b += a - 2 s threshold and a += z - s threshold (with the old a). In z
    transforms, s threshold = z^-2 signal + (1 - z^-1)^2 error. threshold: full scale: signals
    beyond +-threshold overload the integrators, which then start again at 0.

    decode: threshold times the spikes, which is the signal plus high-pass noise: through a low-pass
    of 0.05 cycles a sample unless ``low_pass`` is given (0.5 leaves them alone).
    """

    NAME: ClassVar[str] = "sigma-delta"
    PARAMETERS: ClassVar[tuple[str, ...]] = ("threshold",)
    REALS: ClassVar[int] = 2  # a, b
    COUNTS: ClassVar[int] = 1  # not used
    SEARCH: ClassVar[Mapping[str, Range]] = {"threshold": Range(0.4, 3.0, log=True, relative=True)}
    FIT_RANGE: ClassVar[tuple[float, float] | None] = (-0.5, 0.5)

    threshold: Tensor

    def __init__(self, threshold: float | Sequence[float] | Tensor = 1.0, **common: Any):
        super().__init__({"threshold": column("threshold", threshold, low=0.0)}, **common)

    def _kernel(self) -> Any:
        from spikeloom.encoders.kernels.differences import sigma_delta

        return sigma_delta

    def _reference(self, z: Tensor, p: list[Tensor], state: State, out: Tensor) -> None:
        (threshold,) = p
        a, b = state.real.unbind(1)
        limit = threshold * LIMIT
        for t in range(z.shape[1]):
            twice = b + b
            s = (twice >= threshold).to(z.dtype) - (twice <= -threshold).to(z.dtype)
            fed = s * threshold
            overloaded = (a.abs() >= limit) | (b.abs() >= limit)
            b.copy_(torch.where(overloaded, 0.0, b + a - (fed + fed)))
            a.copy_(torch.where(overloaded, 0.0, a + z[:, t] - fed))
            out[:, t] = s

    def _decode(self, s: Tensor, p: list[Tensor], initial: Tensor | None) -> Tensor:
        return s * p[0][:, None]

    def decode(
        self, spikes: Any, initial: Any = None, *, low_pass: float | None = LOW_PASS
    ) -> Tensor:
        """Signal of a spike train; see SignalEncoder.decode. ``initial`` is not needed."""
        cut = None if low_pass is not None and low_pass >= 0.5 else low_pass
        return super().decode(spikes, initial, low_pass=cut)

    def fixed(self, format: Fixed, *, channels: int | None = None) -> FixedSigmaDelta:
        """Integer golden model with the threshold rounded to a format: the bits of the core.

        channels: of the core; default as many as there are parameters. Raises InputError if the
        threshold is below one LSB or beyond the format.
        """
        parameters = SigmaDeltaParameters(format=format, channels=channels or self.channels or 1)
        given = {"threshold": to_integers("threshold", self.threshold, format)}
        return FixedSigmaDelta(parameters, given, offset=self.offset, scale=self.scale)
