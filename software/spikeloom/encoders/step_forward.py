"""Step-forward: a spike whenever the signal leaves a band around a base that follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from spikeloom.encoders import relax, surrogate, trainable
from spikeloom.encoders.base import column, engine_for
from spikeloom.encoders.golden.quantise import to_integers
from spikeloom.encoders.golden.step_forward import FixedStepForward
from spikeloom.encoders.search import Range
from spikeloom.encoders.signal import SignalEncoder, State
from spikeloom.errors import InputError
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import StepForwardParameters

__all__ = ["StepForward"]


class StepForward(SignalEncoder):
    """Step-forward encoder (Kasabov et al. 2016; Petro, Kasabov & Kiss 2020).

    With the base b and theta = threshold * 2^level, for each sample z:
    +1 and b += theta if z > b + theta; -1 and b -= theta if z < b - theta; else 0.

    threshold: > 0, in units of the normalised signal. initial: the base before the first sample, or
    ``"first"``: the first sample becomes the base, does not spike, and must be given to
    :meth:`decode`. levels: 0..3; above 0 the threshold adapts: a spike like the one before raises
    the level, up to this number, anything else lowers it; so a spike train can still be decoded.
    profile: ``"compat"`` is spike-encoding 1.8.2: the same rule with ``initial="first"``, but its
    decoder starts at 0 unless told.
    """

    NAME: ClassVar[str] = "step-forward"
    PARAMETERS: ClassVar[tuple[str, ...]] = ("threshold", "initial")
    REALS: ClassVar[int] = 1  # base
    COUNTS: ClassVar[int] = 3  # started, level, previous spike
    TRITON: ClassVar[bool] = True
    TRAINABLE: ClassVar[Mapping[str, Any]] = {
        "threshold": trainable.Positive,
        "initial": None,
    }
    SEARCH: ClassVar[Mapping[str, Range]] = {"threshold": Range(1e-3, 1, log=True, relative=True)}

    threshold: Tensor
    initial: Tensor

    def __init__(
        self,
        threshold: float | Sequence[float] | Tensor = 0.1,
        *,
        initial: float | Sequence[float] | Tensor | Literal["first"] = 0.0,
        levels: int = 0,
        profile: Literal["textbook", "compat"] = "textbook",
        **common: Any,
    ):
        if profile not in ("textbook", "compat"):
            raise InputError(f"profile must be 'textbook' or 'compat', not {profile!r}")
        if levels not in (0, 1, 2, 3) or (levels and profile == "compat"):
            raise InputError(f"levels must be 0..3, and 0 with profile='compat', not {levels!r}")
        if isinstance(initial, str) and initial != "first":
            raise InputError(f"initial must be a number or 'first', not {initial!r}")
        if profile == "compat" and initial not in ("first", 0.0):
            raise InputError("profile='compat' starts at the first sample: leave out initial")
        self.side_band = profile == "compat" or isinstance(initial, str)
        self.levels, self.profile = levels, profile
        start = 0.0 if isinstance(initial, str) else initial
        super().__init__(
            {
                "threshold": column("threshold", threshold, low=0.0),
                "initial": column("initial", start),
            },
            **common,
        )

    def _options(self) -> tuple[int, ...]:
        return self.levels, int(self.side_band)

    def _kernel(self) -> Any:
        from spikeloom.encoders.kernels.step_forward import encode

        return encode

    def _triton_kernel(self) -> Any:
        from spikeloom.encoders.kernels.triton_signal import step_forward

        return step_forward

    def _reference(self, z: Tensor, p: list[Tensor], state: State, out: Tensor) -> None:
        threshold, initial = p
        base, (started, level, last) = state.real[:, 0], state.count.unbind(1)
        begin = 0
        if not started[0]:
            started.fill_(1)
            base.copy_(initial)
            if self.side_band:
                base.copy_(z[:, 0])
                out[:, 0] = 0
                begin = 1
        for t in range(begin, z.shape[1]):
            theta = threshold * (1 << level)
            above, below = base + theta, base - theta
            up, down = z[:, t] > above, z[:, t] < below
            base.copy_(torch.where(up, above, torch.where(down, below, base)))
            spike = up.to(torch.int64) - down.to(torch.int64)
            again = (spike == last) & (spike != 0)
            level.copy_(torch.where(again, level + 1, level - 1).clamp(0, self.levels))
            last.copy_(spike)
            out[:, t] = spike

    def _relaxed(
        self, z: Tensor, p: list[Tensor], temperature: float, hard: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if hard is None or self.levels:
            options = {"side_band": self.side_band, "levels": self.levels}
            return relax.step_forward(z, p[0], p[1], temperature, hard, **options)
        return surrogate.step_forward(z, p[0], p[1], temperature, hard, side_band=self.side_band)

    def _decode(self, s: Tensor, p: list[Tensor], initial: Tensor | None) -> Tensor:
        if initial is None and self.side_band and self.profile == "textbook":
            raise InputError(
                "a step-forward train that started at its first sample needs it to be decoded:"
                " decode(spikes, initial=x[..., 0])"
            )
        threshold, start = p
        base = start if initial is None else initial
        if engine_for(s) == "numba":
            from spikeloom.encoders.kernels.step_forward import decode

            out = torch.empty_like(s, memory_format=torch.contiguous_format)
            columns = torch.stack((threshold, base), 1)
            train, table, signal = (a.detach().numpy() for a in (s.contiguous(), columns, out))
            # too quick to be worth a thread
            decode(train, table, signal, self.levels, int(self.side_band))
            return out
        level = torch.zeros(s.shape[0], dtype=torch.int64, device=s.device)
        last = torch.zeros_like(s[:, 0])
        steps = [base] if self.side_band else []
        for t in range(int(self.side_band), s.shape[1]):
            base = base + threshold * (1 << level) * s[:, t]
            steps.append(base)
            again = (s[:, t] == last) & (last != 0)
            level = torch.where(again, level + 1, level - 1).clamp(0, self.levels)
            last = s[:, t]
        return torch.stack(steps, 1)

    def _decode_smooth(self, s: Tensor, p: list[Tensor], initial: Tensor | None) -> Tensor:
        if self.levels:
            return super()._decode_smooth(s, p, initial)
        with torch.no_grad():
            value = self._decode(s, p, initial)
        threshold, base = p[0], p[1] if initial is None else initial
        # the same sum without a graph over time, and the bits of the loop
        sums = s.cumsum(1) - s[:, :1] if self.side_band else s.cumsum(1)
        return relax.replace(base[:, None] + threshold[:, None] * sums, value)

    @classmethod
    def _fit_defaults(cls, first: Tensor, fixed: Mapping[str, Any]) -> dict[str, Any]:
        # a number needs no side-band; several records share the mean of theirs
        return {} if fixed.get("profile") == "compat" else {"initial": first}

    def fixed(self, format: Fixed, *, channels: int | None = None) -> FixedStepForward:
        """Integer golden model with these parameters rounded to a format: the bits of the core.

        channels: of the core; default as many as there are parameters. Raises InputError if a
        threshold is below one LSB or beyond the format.
        """
        count = channels or self.channels or 1
        parameters = StepForwardParameters(
            format=format,
            channels=count,
            levels=self.levels,
            initial="first" if self.side_band else "value",
        )
        given = {"threshold": to_integers("threshold", self.threshold, format)}
        if not self.side_band:
            given["initial"] = to_integers("initial", self.initial, format)
        return FixedStepForward(
            parameters, given, profile=self.profile, offset=self.offset, scale=self.scale
        )
