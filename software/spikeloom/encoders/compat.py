"""What the ``compat`` profiles share: the whole-record normalisation of spike-encoding 1.8.2.

The package maps every record to its own minimum and maximum before it encodes, and keeps them in
the encoder object for its decoder. Here they are a value, :class:`Record`, that the caller keeps.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.base import (
    as_floats,
    as_tensor,
    engine_for,
    non_finite,
    reject_non_finite,
    threaded,
)
from spikeloom.encoders.signal import SignalEncoder, State
from spikeloom.errors import InputError

__all__ = ["Profile", "Record", "RecordEncoder", "record_normalise"]

Profile = Literal["textbook", "compat"]


@dataclass(frozen=True, eq=False)
class Record:
    """Normalisation of a record, needed to decode it: tensors of its leading shape, its dtype.

    scale: 1 / (maximum - minimum); infinite if the record is constant.
    """

    minimum: Tensor
    scale: Tensor


def record_normalise(x: Tensor, *, symmetric: bool) -> tuple[Tensor, Record]:
    """Map each signal of x (..., time) to [-1, 1] if symmetric, else to [0, 1], as in the package.

    Operations in the dtype of x and in the order of the package, the result rounded to float32:
    scale = 1 / (max - min), z = scale * (x - min), and then 2 z - 1. A constant signal gives NaN.

    Raises InputError at NaN and infinity in x.
    """
    if engine_for(x) == "numba":
        from spikeloom.encoders.kernels.compat import normalise

        rows = x.detach().reshape(-1, x.shape[-1]).contiguous()
        z = torch.empty(rows.shape, dtype=torch.float32)
        record = torch.empty((len(rows), 2), dtype=x.dtype)
        bad = threaded(normalise, [a.numpy() for a in (rows, z, record)], int(symmetric))
        if bad >= 0:
            raise non_finite(x, bad)
        minimum, scale = (part.reshape(x.shape[:-1]) for part in record.unbind(1))
        return z.reshape(x.shape), Record(minimum, scale)
    reject_non_finite(x)
    minimum, maximum = x.detach().aminmax(dim=-1)
    scale = 1 / (maximum - minimum)
    z = scale.unsqueeze(-1) * (x.detach() - minimum.unsqueeze(-1))
    return (z * 2 - 1 if symmetric else z).float(), Record(minimum, scale)


class RecordEncoder(SignalEncoder):
    """A signal encoder whose ``compat`` profile normalises whole records.

    With ``profile="compat"`` and ``normalise=True``, ``forward`` and ``spikes`` normalise each
    signal by its own minimum and maximum, all arithmetic behind it is float32, ``step`` raises
    InputError (a stream has no known maximum), and ``decode`` needs ``record=encoder.record(x)``.
    With ``normalise=False`` offset and scale apply, as in the textbook profile.
    """

    SYMMETRIC: ClassVar[bool]  #: records are mapped to [-1, 1], not to [0, 1]

    profile: Profile
    by_record: bool  #: whether records are normalised

    def _set_profile(self, profile: str, normalise: bool) -> None:
        """Check and keep the profile; call it after ``super().__init__``."""
        if profile not in ("textbook", "compat"):
            raise InputError(f"profile must be 'textbook' or 'compat', not {profile!r}")
        self.profile = profile
        self.by_record = profile == "compat" and normalise
        if self.by_record and (bool((self.offset != 0).any()) or bool((self.scale != 1).any())):
            raise InputError(
                "profile='compat' normalises each record by its own minimum and maximum: leave out"
                " offset and scale, or give normalise=False"
            )

    @abc.abstractmethod
    def _decode_record(
        self, s: Tensor, p: list[Tensor], record: Record, initial: Tensor | None
    ) -> Tensor:
        """Decode float32 spikes (rows, time) to the units of the signal, as the package does.

        p: a tensor (rows,) for each of PARAMETERS, float32. record: (rows,). initial: as given,
        (rows,) in units of the signal.
        """

    def record(self, x: Tensor | ArrayLike) -> Record:
        """Minimum and scale of each signal of x (..., time), for :meth:`decode`."""
        signal = as_floats(x)
        self._check_channels(signal)
        return record_normalise(signal, symmetric=self.SYMMETRIC)[1]

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """As in the base class; InputError where whole records are normalised."""
        if self.by_record:
            raise InputError(
                "profile='compat' needs the minimum and maximum of the whole record, which a stream"
                " does not have yet: use profile='textbook', or normalise=False with offset, scale"
            )
        return super().step(x, state)

    def _whole(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        if not self.by_record:
            return super()._whole(x, dtype)
        self._check_channels(x)
        z, _ = record_normalise(x, symmetric=self.SYMMETRIC)
        return self._advance(z, self._fresh(z), dtype)

    def _engine(self, rows: Tensor) -> str:
        """As in the base class, but compat has no triton."""
        if self.profile == "textbook":
            return super()._engine(rows)
        return "numba" if engine_for(rows) == "numba" else "torch"

    def _reject(self, x: Tensor) -> None:
        """As in the base class, but a normalised record may be NaN: a constant one is.

        A kernel must not stop there either: let :meth:`_options` tell it ``int(self.by_record)``.
        """
        if not self.by_record:
            super()._reject(x)

    def _refuse_records(self) -> None:
        """Raise InputError where whole records are normalised: no golden model does that."""
        if self.by_record:
            raise InputError(
                "integers have no record normalisation: give normalise=False, offset and scale"
            )

    def _smooth(self, x: Tensor, temperature: float, hard: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.by_record:
            raise InputError(
                "profile='compat' has no gradient: encode under torch.no_grad(), or use"
                " profile='textbook'"
            )
        return super()._smooth(x, temperature, hard)

    def _round_trip(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.by_record:
            return super()._round_trip(x)
        spikes = self(x)
        return spikes, self.decode(spikes, record=self.record(x))

    def decode(
        self,
        spikes: Tensor | ArrayLike,
        initial: Tensor | ArrayLike | None = None,
        *,
        low_pass: float | None = None,
        record: Record | None = None,
    ) -> Tensor:
        """As in the base class. record: ``encoder.record(x)`` where records are normalised.

        Such a signal comes back in float32, without a gradient.
        """
        if not self.by_record:
            if record is not None:
                raise InputError("a record is only for profile='compat' with normalise=True")
            return super().decode(spikes, initial, low_pass=low_pass)
        if record is None:
            raise InputError(
                "profile='compat' normalised the record, so that decoding needs its minimum and"
                " scale: decode(spikes, record=encoder.record(x))"
            )
        s = as_floats(as_tensor(spikes, "spike train").detach().float(), "spike train")
        self._check_channels(s)
        reject_non_finite(s, "spike train")
        rows = s.reshape(-1, s.shape[-1])
        by_row = Record(
            self._by_row("record.minimum", record.minimum, s),
            self._by_row("record.scale", record.scale, s),
        )
        start = None if initial is None else self._by_row("initial", initial, s)
        y = self._decode_record(rows, self._columns(rows, self.PARAMETERS), by_row, start)
        y = y.reshape(s.shape)
        if low_pass is not None:
            from spikeloom.encoders.filters import smooth

            y = smooth(y, low_pass)
        return y

    def _by_row(self, name: str, value: Any, s: Tensor) -> Tensor:
        """One number for each signal of s, (rows,); InputError on another shape."""
        given: Tensor = torch.as_tensor(value, device=s.device)
        wanted: Sequence[int] = s.shape[:-1]
        try:
            return given.broadcast_to(wanted).reshape(-1).to(s.dtype)
        except RuntimeError:
            raise InputError(
                f"{name} has shape {tuple(given.shape)}, but there is one number for each of"
                f" {tuple(wanted)} signals"
            ) from None
