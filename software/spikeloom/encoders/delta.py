"""Send on delta: spikes count how many thresholds the signal has moved since the last ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from spikeloom.encoders.base import column, engine_for, non_finite
from spikeloom.encoders.golden.delta import FixedDelta
from spikeloom.encoders.golden.quantise import to_integers
from spikeloom.encoders.logarithm import log2
from spikeloom.encoders.search import Range
from spikeloom.encoders.signal import SignalEncoder, State
from spikeloom.errors import InputError
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import DeltaParameters

__all__ = ["Delta"]


class Delta(SignalEncoder):
    """Send on delta (Miskowicz 2006), with several quanta, hysteresis and log intensity.

    With the reference r and d = z - r, for each sample z: m = |d|, less ``hysteresis`` if d is
    opposite to the last spike; n is the greatest whole number up to ``quanta`` with
    n * threshold <= m; the output is sign(d) * n, and r += sign(d) * n * threshold.

    threshold: > 0; hysteresis: >= 0; in units of the normalised signal. quanta: 1..15. initial: r
    before the first sample, or ``"first"``: the first sample becomes r, does not spike, and must be
    given to :meth:`decode`.

    log: the rule sees log2 z instead of z (temporal contrast, as in event cameras; Lichtsteiner,
    Posch & Delbruck 2008). Threshold, hysteresis and initial are then in octaves, and a sample that
    is not above 0, once normalised, raises InputError with its index. :meth:`decode` still takes
    x[..., 0] for an encoder with ``initial="first"``, and returns the signal, not its logarithm.
    """

    NAME: ClassVar[str] = "delta"
    PARAMETERS: ClassVar[tuple[str, ...]] = ("threshold", "hysteresis", "initial")
    REALS: ClassVar[int] = 1  # reference
    COUNTS: ClassVar[int] = 2  # started; sign of the last spike
    SEARCH: ClassVar[Mapping[str, Range]] = {"threshold": Range(1e-3, 1, log=True, relative=True)}

    threshold: Tensor
    hysteresis: Tensor
    initial: Tensor

    def __init__(
        self,
        threshold: float | Sequence[float] | Tensor = 0.1,
        *,
        quanta: int = 1,
        hysteresis: float | Sequence[float] | Tensor = 0.0,
        initial: float | Sequence[float] | Tensor | Literal["first"] = 0.0,
        log: bool = False,
        **common: Any,
    ):
        if not isinstance(quanta, int) or not 1 <= quanta <= 15:
            raise InputError(f"quanta must be an integer in 1..15, not {quanta!r}")
        if isinstance(initial, str) and initial != "first":
            raise InputError(f"initial must be a number or 'first', not {initial!r}")
        self.side_band = isinstance(initial, str)
        self.quanta, self.log = quanta, log
        super().__init__(
            {
                "threshold": column("threshold", threshold, low=0.0),
                "hysteresis": column("hysteresis", hysteresis, low=0.0, above=False),
                "initial": column("initial", 0.0 if isinstance(initial, str) else initial),
            },
            **common,
        )

    # Encoding ---------------------------------------------------------------------------------

    def _options(self) -> tuple[int, ...]:
        return self.quanta, int(self.side_band), int(self.log)

    def _kernel(self) -> Any:
        from spikeloom.encoders.kernels.delta import encode

        return encode

    def _reference(self, z: Tensor, p: list[Tensor], state: State, out: Tensor) -> None:
        threshold, hysteresis, initial = p
        ref, (started, last) = state.real[:, 0], state.count.unbind(1)
        z = log2(z) if self.log else z
        begin = 0
        if not started[0]:
            started.fill_(1)
            ref.copy_(initial)
            if self.side_band:
                ref.copy_(z[:, 0])
                out[:, 0] = 0
                begin = 1
        for t in range(begin, z.shape[1]):
            d = z[:, t] - ref
            sign = torch.where(d > 0, 1, -1)
            m = d.abs() - torch.where(last == -sign, hysteresis, 0)
            n = torch.zeros_like(sign)
            for k in range(1, self.quanta + 1):
                n += k * threshold <= m
            spike = sign * n
            ref.copy_(torch.where(n > 0, ref + spike * threshold, ref))
            last.copy_(torch.where(n > 0, sign, last))
            out[:, t] = spike

    def _reject(self, x: Tensor) -> None:
        if not self.log:
            super()._reject(x)
            return
        rows = x.detach().reshape(-1, x.shape[-1])
        offset, scale = self._columns(rows, ("offset", "scale"))
        right = ((rows - offset[:, None]) * scale[:, None] > 0) & torch.isfinite(rows)
        if not bool(right.all()):
            raise self._refusal(x, int(torch.nonzero(~right.reshape(-1))[0]))

    def _refusal(self, x: Tensor, flat: int) -> InputError:
        error = non_finite(x, flat)
        value = x.detach().reshape(-1)[flat]
        if not self.log or not bool(torch.isfinite(value)):
            return error
        place = str(error).split(" is ")[0]
        return InputError(
            f"{place} is {float(value)}: with log=True a signal must be above 0, or above"
            " its offset; choose an offset below its minimum"
        )

    # Decoding ---------------------------------------------------------------------------------

    def _decode(self, s: Tensor, p: list[Tensor], initial: Tensor | None) -> Tensor:
        if initial is None and self.side_band:
            raise InputError(
                "a delta train that started at its first sample needs it to be decoded:"
                " decode(spikes, initial=x[..., 0])"
            )
        threshold, _, start = p
        ref = start
        if initial is not None:
            if self.log and bool((initial <= 0).any()):
                raise InputError("with log=True an initial value must be above 0, or its offset")
            ref = log2(initial) if self.log else initial
        if engine_for(s) == "numba":
            from spikeloom.encoders.kernels.delta import decode

            out = torch.empty_like(s, memory_format=torch.contiguous_format)
            arrays = (s.contiguous(), torch.stack((threshold, ref), 1), out)
            decode(*(a.detach().numpy() for a in arrays))
        else:
            steps = []
            for t in range(s.shape[1]):
                ref = ref + s[:, t] * threshold
                steps.append(ref)
            out = torch.stack(steps, 1)
        return torch.exp2(out) if self.log else out

    # Fitting ----------------------------------------------------------------------------------

    @classmethod
    def _search(cls, fixed: Mapping[str, Any]) -> Mapping[str, Range]:
        # octaves do not depend on the range of the signal
        return {"threshold": Range(1 / 256, 8, log=True)} if fixed.get("log") else cls.SEARCH

    @classmethod
    def _fit_defaults(cls, first: Tensor, fixed: Mapping[str, Any]) -> dict[str, Any]:
        return {"initial": first.log2() if fixed.get("log") else first}

    def fixed(self, format: Fixed, *, channels: int | None = None) -> FixedDelta:
        """Integer golden model with these parameters rounded to a format: the bits of the core.

        channels: of the core; default as many as there are parameters. Raises InputError if a
        threshold is below one LSB (of 1/256 octave with log) or beyond the format.
        """
        parameters = DeltaParameters(
            format=format,
            channels=channels or self.channels or 1,
            quanta=self.quanta,
            initial="first" if self.side_band else "value",
            log=self.log,
        )
        inner = parameters.inner
        given = {
            "threshold": to_integers("threshold", self.threshold, inner),
            "hysteresis": to_integers("hysteresis", self.hysteresis, inner),
        }
        if not self.side_band:
            # the integer that stands for z = 1 is 2^fraction, whose logarithm is fraction
            shift = format.fraction if self.log else 0
            given["initial"] = to_integers("initial", self.initial + shift, inner)
        return FixedDelta(parameters, given, offset=self.offset, scale=self.scale)
