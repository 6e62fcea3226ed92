"""Pulse width modulation: a spike wherever the signal crosses a sawtooth or its mirror image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders import pwm_compat
from spikeloom.encoders.base import as_floats, column, engine_for
from spikeloom.encoders.compat import Profile, Record, RecordEncoder
from spikeloom.encoders.golden.pwm import FixedPWM
from spikeloom.encoders.search import Range
from spikeloom.encoders.signal import State
from spikeloom.errors import InputError
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import PWMParameters

if TYPE_CHECKING:
    from typing import Self

__all__ = ["PWM", "PWMRecord"]

Carrier = Literal["wrap", "restart"]

_FULL = 1 << 32  # one period of the carrier in units of its phase


class PWMRecord(Record):
    """A record with its value at t = 0, in its units: what the package's decoder starts from."""

    start: Tensor

    def __init__(self, minimum: Tensor, scale: Tensor, start: Tensor):
        super().__init__(minimum, scale)
        object.__setattr__(self, "start", start)


class PWM(RecordEncoder):
    """Pulse width modulation (Arriandiaga et al. 2020) with a mirrored carrier for OFF spikes.

    For a signal whose z = (x - offset) * scale is in [0, 1]. The carrier S is a sawtooth that is 0
    at the first sample and rises by the frequency a sample. Each sample has the level -1 if
    max(z, 0) > 1 - S (only if bipolar), else +1 if max(z, 0) < S, else 0. A spike of the level's
    sign is sent wherever the level changes to +1 or -1.

    S is the integer phase of a core, over 2^32, and compared without rounding (in float64), so that
    float signals on the grid of a format give the bits of its core for streams of any length.

    frequency: of the carrier, above 0 and below 1 cycle a sample; in Hz if ``rate``, the samples a
    second, is given. bipolar: False leaves out OFF spikes. carrier: at the end of a period the
    phase wraps ("wrap"), or starts again at 0 ("restart"), so that a period is a whole number of
    samples. hold: decode causally, by what the last spike said, not linearly between spikes.

    profile: ``"compat"`` is spike-encoding 1.8.2 bit for bit, in float32: records are normalised to
    [0, 1] unless ``normalise=False``; a period of the carrier is a table that takes ``rate`` = 999
    samples a "second" (so that its frequencies, above 0, can be given as they are), and starts
    again wherever it falls, or after 1000 samples; the carrier starts at the second sample, the
    first has no spike; the decoder starts at the right value for the first channel only: channel c
    at sample c of channel 0. Not reproduced: that the package squeezes and overwrites its input,
    that its first decoding spoils a second, that it cannot leave out OFF spikes.
    """

    NAME: ClassVar[str] = "pwm"
    PARAMETERS: ClassVar[tuple[str, ...]] = ("frequency",)
    REALS: ClassVar[int] = 0
    COUNTS: ClassVar[int] = 3  # step (compat: started), phase (compat: place), level
    SYMMETRIC: ClassVar[bool] = False
    SEARCH: ClassVar[Mapping[str, Range]] = {"frequency": Range(2e-3, 0.5, log=True)}
    FIT_RANGE: ClassVar[tuple[float, float] | None] = (0.0, 1.0)

    frequency: Tensor

    def __init__(
        self,
        frequency: float | Sequence[float] | Tensor = 0.05,
        *,
        rate: float | None = None,
        bipolar: bool = True,
        carrier: Carrier = "wrap",
        hold: bool = False,
        profile: Profile = "textbook",
        normalise: bool = True,
        **common: Any,
    ):
        if carrier not in ("wrap", "restart"):
            raise InputError(f"carrier must be 'wrap' or 'restart', not {carrier!r}")
        if profile == "compat" and not (bipolar and not hold):
            raise InputError(
                "profile='compat' has OFF spikes and a linear decoder only: leave out bipolar=False"
                " and hold=True, or use profile='textbook'"
            )
        given = column("frequency", frequency, low=0.0)
        if rate is not None:
            second = 999.0 if profile == "compat" else 1.0
            given = given * second / column("rate", rate, low=0.0)
        if profile == "compat":
            given = given.float().double()
        super().__init__({"frequency": given}, **common)
        self.bipolar, self.hold = bipolar, hold
        self.carrier: Carrier = "restart" if profile == "compat" else carrier
        self._set_profile(profile, normalise)
        if profile == "textbook":
            steps = self._steps()
            wrong = given[(steps < 1) | (steps >= _FULL)].reshape(-1)
            if len(wrong):
                bad = float(wrong[0])
                raise InputError(
                    f"frequency is {bad:g} cycles a sample, allowed is 2^-32 to 1 - 2^-32: give the"
                    " sampling rate (rate=...) if it is in Hz"
                )

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        # a rounded frequency, as .float() would make it, is another carrier
        exact = self.frequency
        super()._apply(fn, recurse)
        self.frequency = exact.to(self.frequency.device)
        return self

    def _steps(self) -> Tensor:
        """Steps of the phase a sample, int64, () or (channels,)."""
        return torch.round(self.frequency * _FULL).long()

    def _fresh(self, x: Tensor) -> State:
        # a float32 column could not hold the step: it travels with the state
        state = super()._fresh(x)
        if self.profile == "textbook":
            steps = self._steps()
            state.count.view(-1, steps.numel(), self.COUNTS)[..., 0] = steps
        return state

    def _options(self) -> tuple[int, ...]:
        if self.profile == "compat":
            return (int(self.by_record),)
        return int(self.carrier == "restart"), int(self.bipolar)

    def _kernel(self) -> Any:
        from spikeloom.encoders.kernels import pwm

        return pwm.encode_compat if self.profile == "compat" else pwm.encode

    def _reference(self, z: Tensor, p: list[Tensor], state: State, out: Tensor) -> None:
        if self.profile == "compat":
            pwm_compat.encode(z, p[0], state, out)
            return
        step, phase, last = state.count.unbind(1)
        exact = z.clamp(min=0).double()
        for t in range(z.shape[1]):
            now = phase.double() / _FULL
            level = (exact[:, t] < now).to(torch.int64)
            if self.bipolar:
                level = torch.where(exact[:, t] > 1 - now, -1, level)
            out[:, t] = torch.where(level != last, level, 0)
            last.copy_(level)
            phase += step
            over = phase >= _FULL
            phase.copy_(torch.where(over, 0 if self.carrier == "restart" else phase - _FULL, phase))

    def _decode(self, s: Tensor, p: list[Tensor], initial: Tensor | None) -> Tensor:
        """See :meth:`decode`."""
        if self.profile == "compat":
            return pwm_compat.decode(s, p[0], s.new_zeros(len(s)) if initial is None else initial)
        if engine_for(s) == "numba":
            from spikeloom.encoders.kernels.pwm import decode

            out = torch.empty_like(s, memory_format=torch.contiguous_format)
            first = s.new_empty(0) if initial is None else initial.contiguous()
            steps = self._steps().reshape(-1)
            steps = steps.repeat(len(s) // len(steps))
            train, step, start, y = (
                a.detach().numpy() for a in (s.contiguous(), steps, first, out)
            )
            decode(train, step, start, y, int(self.carrier == "restart"), int(self.hold))
            return out
        length = s.shape[1]
        time = torch.arange(length, device=s.device)
        value = self._meanings(s, time)
        knot = s != 0
        if initial is not None:
            value[:, 0], knot[:, 0] = initial, True
        before = time.where(knot, -1).cummax(1).values
        after = time.where(knot, length).flip(1).cummin(1).values.flip(1)
        first = value.gather(1, before.clamp(min=0))
        if self.hold:
            return first.where(before >= 0, 0.5)
        last = value.gather(1, after.clamp(max=length - 1)).where(after < length, first)
        first = first.where(before >= 0, last)
        part = (time - before).to(s.dtype) / (after - before).clamp(min=1).to(s.dtype)
        line = first + (last - first) * part
        return line.where(before < after, first).where((before >= 0) | (after < length), 0.5)

    def _meanings(self, s: Tensor, time: Tensor) -> Tensor:
        """What a spike says of z, (rows, time): the middle of the carrier before and at it."""
        steps = self._steps().reshape(-1).to(s.device)
        step = steps.repeat(len(s) // len(steps))[:, None]
        if self.carrier == "restart":
            phase = step * (time % ((_FULL + step - 1) // step))
        else:
            phase = (step * time) % _FULL
        middle = (phase + (phase - step).clamp(min=0)).double() / (2 * _FULL)
        return torch.where(s > 0, middle, 1 - middle).to(s.dtype)

    def decode(
        self,
        spikes: Tensor | ArrayLike,
        initial: Tensor | ArrayLike | None = None,
        *,
        low_pass: float | None = None,
        record: Record | None = None,
    ) -> Tensor:
        """Signal of a spike train that starts with a frame, (..., time), units of the original.

        At an ON spike z lies between the carrier of the sample before (0 at the start of a period)
        and the carrier now, at an OFF spike between their mirror images: the middle is taken. From
        spike to spike linearly; constant before the first and after the last; 0.5 without spikes.
        With ``hold=True`` each spike's value until the next one, and 0.5 before the first.

        initial: the signal at t = 0, if known; with a compat record it defaults to what the package
        takes. low_pass, record, errors: as in the base classes.
        """
        if initial is None and isinstance(record, PWMRecord) and self.by_record:
            initial = record.start
        return super().decode(spikes, initial, low_pass=low_pass, record=record)

    def _decode_record(
        self, s: Tensor, p: list[Tensor], record: Record, initial: Tensor | None
    ) -> Tensor:
        start = record.minimum if initial is None else initial
        y = pwm_compat.decode(s, p[0], record.scale * (start - record.minimum))
        return (1 / record.scale)[:, None] * y + record.minimum[:, None]

    def record(self, x: Tensor | ArrayLike) -> PWMRecord:
        """What :meth:`decode` needs of x (..., [channels,] time), in the compat profile.

        Raises InputError if there are fewer samples than channels, where the package fails too.
        """
        signal = as_floats(x)
        found = super().record(signal)
        if signal.ndim == 1:
            return PWMRecord(found.minimum, found.scale, signal[0].detach().clone())
        channels, length = signal.shape[-2:]
        if length < channels:
            raise InputError(
                f"spike-encoding 1.8.2 decodes channel c from sample c of channel 0, so that it"
                f" needs at least {channels} samples for {channels} channels, not {length}"
            )
        return PWMRecord(found.minimum, found.scale, signal[..., 0, :channels].detach().clone())

    # Fitting ----------------------------------------------------------------------------------

    @classmethod
    def _search(cls, fixed: Mapping[str, Any]) -> Mapping[str, Range]:
        unit = fixed.get("rate") or (999.0 if fixed.get("profile") == "compat" else 1.0)
        r = cls.SEARCH["frequency"]
        return {"frequency": Range(r.low * unit, r.high * unit, log=r.log)}

    def _round_trip(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.by_record:
            return super()._round_trip(x)
        # each row by itself: not from a sample of the first, as the package does
        spikes = self(x)
        return spikes, self.decode(spikes, x[..., 0], record=super().record(x))

    def fixed(self, format: Fixed, *, channels: int | None = None) -> FixedPWM:
        """Integer golden model for signals in a format: the bits of the core.

        channels: of the core; default as many as there are parameters. Raises InputError if
        the format's fraction is not in 1..32, and for a compat encoder that normalises records.
        """
        self._refuse_records()
        try:
            parameters = PWMParameters(
                format=format,
                channels=channels or self.channels or 1,
                carrier=self.carrier,
                bipolar=self.bipolar,
            )
        except ValueError as error:
            raise InputError(f"there is no pwm core like this encoder: {error}") from error
        compat = self.profile == "compat"
        return FixedPWM(
            parameters,
            None if compat else {"step": self._steps().cpu().numpy()},
            package_frequency=self.frequency if compat else None,
            offset=self.offset,
            scale=self.scale,
        )
