"""Moving window: a spike where the signal leaves a band around the mean of its recent past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikeloom.encoders.base import column
from spikeloom.encoders.golden.moving_window import FixedMovingWindow
from spikeloom.encoders.golden.quantise import to_integers
from spikeloom.encoders.search import Range
from spikeloom.encoders.signal import SignalEncoder, State
from spikeloom.errors import InputError
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders.more import MovingWindowParameters

__all__ = ["MovingWindow"]


class MovingWindow(SignalEncoder):
    """Moving window (Petro, Kasabov & Kiss 2020), causal, with a window of 2^window samples.

    With m the mean of the 2^window samples before z (those before the first count as the first):
    +1 if z > m + threshold, -1 if z < m - threshold, else 0; the first sample does not spike.

    decode: the same mean over what was already decoded, plus threshold times the spike, from
    ``initial`` (0 unless given) on.
    """

    NAME: ClassVar[str] = "moving-window"
    PARAMETERS: ClassVar[tuple[str, ...]] = ("threshold",)
    REALS: ClassVar[int] = 1  # sum; the ring of samples follows
    COUNTS: ClassVar[int] = 1  # samples seen
    SEARCH: ClassVar[Mapping[str, Range]] = {"threshold": Range(1e-3, 0.5, log=True, relative=True)}

    FIT_RANGE: ClassVar[tuple[float, float] | None] = (-0.5, 0.5)

    threshold: Tensor
    side_band = True  #: what a decoder starts from: the first sample

    def __init__(
        self,
        threshold: float | Sequence[float] | Tensor = 0.1,
        *,
        window: int = 3,
        **common: Any,
    ):
        if not isinstance(window, int) or not 0 <= window <= 8:
            raise InputError(
                f"window must be an integer in 0..8 (2^window samples), not {window!r}"
            )
        self.window = window
        super().__init__({"threshold": column("threshold", threshold, low=0.0)}, **common)

    def _fresh(self, x: Tensor) -> State:
        state = super()._fresh(x)
        ring = x.new_zeros((len(state.real), 1 + (1 << self.window)))
        return State(state.shape, ring, state.count)

    def _options(self) -> tuple[int, ...]:
        return (self.window,)

    def _kernel(self) -> Any:
        from spikeloom.encoders.kernels.differences import moving_window

        return moving_window

    def _reference(self, z: Tensor, p: list[Tensor], state: State, out: Tensor) -> None:
        (threshold,) = p
        total, ring, seen = state.real[:, 0], state.real[:, 1:], state.count[:, 0]
        size = 1 << self.window
        if not seen[0]:
            ring.copy_(z[:, :1].expand_as(ring))
            total.copy_(z[:, 0] * size)
        for t in range(z.shape[1]):
            mean = total * 2.0**-self.window
            up, down = z[:, t] > mean + threshold, z[:, t] < mean - threshold
            spike = up.to(torch.int64) - down.to(torch.int64)
            out[:, t] = torch.where(seen > 0, spike, 0)
            oldest = ring[:, int(seen[0]) % size]
            total.copy_(total + (z[:, t] - oldest))
            oldest.copy_(z[:, t])
            seen += 1

    def _decode(self, s: Tensor, p: list[Tensor], initial: Tensor | None) -> Tensor:
        size = 1 << self.window
        base = torch.zeros_like(s[:, 0]) if initial is None else initial
        past = [base] * size
        for t in range(s.shape[1]):
            mean = torch.stack(past[-size:], 1).mean(1)
            past.append(mean + p[0] * s[:, t])
        return torch.stack(past[size:], 1)

    def _round_trip(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spikes = self(x)
        return spikes, self.decode(spikes, x[..., 0])

    def fixed(self, format: Fixed, *, channels: int | None = None) -> FixedMovingWindow:
        """Integer golden model with the threshold rounded to a format: the bits of the core.

        channels: of the core; default as many as there are parameters. Raises InputError if the
        threshold is below one LSB or beyond the format.
        """
        parameters = MovingWindowParameters(
            format=format, channels=channels or self.channels or 1, window=self.window
        )
        given = {"threshold": to_integers("threshold", self.threshold, format)}
        return FixedMovingWindow(parameters, given, offset=self.offset, scale=self.scale)
