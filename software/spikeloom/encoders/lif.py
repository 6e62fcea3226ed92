"""Leaky integrate and fire: a spike whenever the leaky sum of the signal passes a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikeloom.encoders import relax, surrogate, trainable
from spikeloom.encoders.base import column, engine_for
from spikeloom.encoders.compat import Profile, Record, RecordEncoder
from spikeloom.encoders.golden.lif import FixedLIF
from spikeloom.encoders.golden.quantise import to_integers
from spikeloom.encoders.search import Range
from spikeloom.encoders.signal import State
from spikeloom.encoders.spike_charge import spike_charge
from spikeloom.errors import InputError
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import LIFParameters
from spikeloom.hardware.encoders.signal import GUARD_BITS, MAX_LEAK_SHIFT

__all__ = ["LIF"]


class LIF(RecordEncoder):
    """Leaky integrate and fire with signed spikes (after Yarga, Rouat & Wood 2022).

    For each sample z, the potential v being 0 at first: v += z; the spike is +1 if v > threshold,
    -1 if v < -threshold, else 0; a spike resets v; v *= leak.

    threshold: > 0, in units of the normalised signal. leak: 0..1, what is left of v a sample later.
    reset: ``"subtract"`` takes the threshold off v (which is then limited to +-threshold), so that
    nothing is lost while |z| <= threshold; ``"zero"`` sets v to 0. refractory: samples after a
    spike that are ignored, 0..255, v unchanged. All but ``reset`` may be one number a channel.

    Decoding is a leaky sum, y = decode_leak * y + gain * spike, decode_leak = leak unless given.
    With reset by subtraction, the spikes times threshold and the signal have the same leaky sum but
    for v, and |v| <= threshold: so gain = (1 - decode_leak) * threshold, which has gain 1 at
    frequency 0, gives the signal behind a low-pass of 1 / (1 - leak) samples, with an error of at
    most (1 - leak) * threshold. A smaller decode_leak delays less and needs ``low_pass``. What
    reset to zero or a refractory period drop makes a spike stand for more than the threshold: the
    gain is :func:`spike_charge` times as much. A leak of 1 (integrate and fire) needs a decode_leak
    below 1.

    profile: ``"compat"`` is spike-encoding 1.8.2, reset to zero, no refractory period. It
    normalises each record to [-1, 1] (see :class:`RecordEncoder`; a constant one does not spike,
    and decodes to itself); ignores the first sample; until the first spike of a channel it compares
    v - z[1] instead of v, because its baseline is an alias of v in the second sample; its decoder
    adds one threshold a spike, unmatched: it overshoots by up to 1 / (1 - leak).
    """

    NAME: ClassVar[str] = "lif"
    PARAMETERS: ClassVar[tuple[str, ...]] = ("threshold", "leak", "refractory")
    REALS: ClassVar[int] = 2  # potential; compat: baseline
    COUNTS: ClassVar[int] = 2  # samples seen, up to 2; samples still to be ignored
    SYMMETRIC: ClassVar[bool] = True
    TRITON: ClassVar[bool] = True  # textbook only
    SEARCH: ClassVar[Mapping[str, Range]] = {
        "threshold": Range(0.05, 20, log=True),
        "leak": Range(0.05, 0.99),
    }
    TRAINABLE: ClassVar[Mapping[str, Any]] = {
        "threshold": trainable.Positive,
        "leak": trainable.Decay,
    }
    FIT_RANGE: ClassVar[tuple[float, float] | None] = (-1.0, 1.0)

    threshold: Tensor
    leak: Tensor
    refractory: Tensor
    decode_leak: Tensor | None

    def __init__(
        self,
        threshold: float | Sequence[float] | Tensor = 1.0,
        leak: float | Sequence[float] | Tensor = 0.9,
        *,
        refractory: int | Sequence[int] | Tensor = 0,
        reset: Literal["zero", "subtract"] | None = None,
        decode_leak: float | Sequence[float] | Tensor | None = None,
        profile: Profile = "textbook",
        normalise: bool = True,
        **common: Any,
    ):
        """Reset is ``"subtract"``, in compat ``"zero"``, if not given; normalise: for compat."""
        parameters = {
            "threshold": column("threshold", threshold, low=0.0),
            "leak": _fraction("leak", leak),
            "refractory": _samples("refractory", refractory),
        }
        if decode_leak is not None:
            parameters["decode_leak"] = _fraction("decode_leak", decode_leak)
        super().__init__(parameters, **common)
        if decode_leak is None:
            self.register_buffer("decode_leak", None)
        self._set_profile(profile, normalise)
        compat = profile == "compat"
        self.reset = reset or ("zero" if compat else "subtract")
        if self.reset not in ("zero", "subtract"):
            raise InputError(f"reset must be 'zero' or 'subtract', not {reset!r}")
        if compat and (self.reset != "zero" or bool(self.refractory.any())):
            raise InputError("profile='compat' resets to zero and has no refractory period")
        if compat and decode_leak is not None:
            raise InputError("profile='compat' decodes with the leak it encodes with")

    # Encoding ---------------------------------------------------------------------------------

    def _options(self) -> tuple[int, ...]:
        if self.profile == "compat":
            return (int(self.by_record),)
        return int(self.reset == "subtract"), int(bool(self.refractory.any()))

    def _kernel(self) -> Any:
        from spikeloom.encoders.kernels.lif import encode, encode_compat

        return encode_compat if self.profile == "compat" else encode

    def _triton_kernel(self) -> Any:
        from spikeloom.encoders.kernels.triton_signal import lif

        return lif

    def _reference(self, z: Tensor, p: list[Tensor], state: State, out: Tensor) -> None:
        if self.profile == "compat":
            self._reference_compat(z, p, state, out)
            return
        threshold, leak, refractory = p
        v, (seen, wait) = state.real[:, 0], state.count.unbind(1)
        seen.fill_(1)
        for t in range(z.shape[1]):
            awake = wait == 0
            u = v + z[:, t]
            up, down = (u > threshold) & awake, (u < -threshold) & awake
            if self.reset == "subtract":
                u = torch.where(up, torch.minimum(u - threshold, threshold), u)
                u = torch.where(down, torch.maximum(u + threshold, -threshold), u)
            else:
                u = torch.where(up | down, torch.zeros_like(u), u)
            v.copy_(torch.where(awake, u * leak, v))
            wait.copy_(torch.where(up | down, refractory.long(), (wait - 1).clamp(min=0)))
            out[:, t] = up.to(out.dtype) - down.to(out.dtype)

    def _reference_compat(self, z: Tensor, p: list[Tensor], state: State, out: Tensor) -> None:
        threshold, leak, _ = p
        (v, base), seen = state.real.unbind(1), state.count[:, 0]
        for t in range(z.shape[1]):
            if seen[0] == 0:  # the first sample is not looked at
                seen.fill_(1)
                out[:, t] = 0
                continue
            v.add_(z[:, t])
            if seen[0] == 1:  # the alias: the baseline has moved with the potential
                seen.fill_(2)
                base.copy_(v)
            d = v - base
            up, down = d > threshold, d < -threshold
            v.masked_fill_(up | down, 0)
            base.masked_fill_(up | down, 0)
            v.mul_(leak)
            out[:, t] = up.to(out.dtype) - down.to(out.dtype)

    def _relaxed(
        self, z: Tensor, p: list[Tensor], temperature: float, hard: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if self.profile == "compat" or bool(self.refractory.any()):
            raise InputError(
                "lif has a gradient in profile='textbook' and without a refractory period: change"
                " these, encode under torch.no_grad(), or give signal.detach()"
            )
        threshold, leak, _ = p
        subtract = self.reset == "subtract"
        if hard is None:
            return relax.lif(z, threshold, leak, temperature, subtract=subtract)
        return surrogate.lif(z, threshold, leak, temperature, hard, subtract=subtract)

    # Decoding ---------------------------------------------------------------------------------

    def gain(self) -> Tensor:
        """What a spike adds to the decoder, float64, () or (channels,).

        Its gradient takes :func:`spike_charge` as a constant.
        """
        if self.profile == "compat":
            return self.threshold
        unit = 1 - self._decode_leak()
        if bool((unit == 0).any()):
            raise InputError(
                "a leaky sum with leak 1 has no gain at frequency 0 to match: give a decode_leak"
                " below 1"
            )
        charge = spike_charge(self.leak, self.refractory, subtract=self.reset == "subtract")
        return unit * charge * self.threshold

    def _decode_leak(self) -> Tensor:
        return self.leak if self.decode_leak is None else self.decode_leak

    def _decode(self, s: Tensor, p: list[Tensor], initial: Tensor | None) -> Tensor:
        if initial is not None:
            raise InputError("lif decodes without an initial value: its potential starts at 0")
        if self.profile == "compat":
            return self._sum_compat(s, p)
        leak, gain = (self._spread(value, s) for value in (self._decode_leak(), self.gain()))
        if engine_for(s) == "numba":
            from spikeloom.encoders.kernels.lif import decode

            out = torch.empty_like(s, memory_format=torch.contiguous_format)
            arrays = (s.contiguous(), torch.stack((leak, gain), 1), out)
            decode(*(a.detach().numpy() for a in arrays))
            return out
        y, steps = torch.zeros_like(leak), []
        for t in range(s.shape[1]):
            y = y * leak + s[:, t] * gain
            steps.append(y)
        return torch.stack(steps, 1)

    def _sum_compat(self, s: Tensor, p: list[Tensor]) -> Tensor:
        """Leaky sum as in the package: in units of z, the first sample 0."""
        threshold, leak, _ = p
        if engine_for(s) == "numba":
            from spikeloom.encoders.kernels.lif import decode_compat

            out = torch.empty_like(s, memory_format=torch.contiguous_format)
            arrays = (s.contiguous(), torch.stack((leak, threshold), 1), out)
            decode_compat(*(a.detach().numpy() for a in arrays))
            return out
        y = torch.zeros_like(leak)
        steps = [y]
        for t in range(1, s.shape[1]):
            y = y * leak + threshold * s[:, t]
            steps.append(y)
        return torch.stack(steps, 1)

    def _decode_record(
        self, s: Tensor, p: list[Tensor], record: Record, initial: Tensor | None
    ) -> Tensor:
        half = (self._decode(s, p, initial) + 1) / 2
        return half / record.scale[:, None] + record.minimum[:, None]

    def fixed(
        self,
        format: Fixed,
        *,
        channels: int | None = None,
        leak: Literal["multiply", "shift"] = "multiply",
        leak_bits: int = 16,
    ) -> FixedLIF:
        """Integer golden model with these parameters rounded: the bits of the core.

        channels: of the core; default as many as there are parameters. leak_bits: 2..16, of the
        leak. leak: ``"shift"``, for a core without a multiplier, takes leaks of 1 - 2^-k and 1. No
        leak is rounded to one of these: it would be another encoder.

        Raises InputError if a threshold is below one LSB or beyond the format, for a compat encoder
        that normalises records, and for a leak (of the encoder, of the decoder) that a shift does
        not give.
        """
        self._refuse_records()
        rest = self.refractory.detach().cpu().long().numpy()
        parameters = LIFParameters(
            format=format,
            channels=channels or self.channels or 1,
            leak=leak,
            leak_bits=leak_bits,
            refractory=int(rest.max()),
            reset="subtract" if self.reset == "subtract" else "zero",
        )

        def leak_setting(name: str, value: Tensor) -> Any:
            if leak == "shift":
                return _shifts(name, value)
            return to_integers(name, value, Fixed(leak_bits + 2, leak_bits))

        guarded = Fixed(format.width + GUARD_BITS, format.fraction + GUARD_BITS)
        given = {
            "threshold": to_integers("threshold", self.threshold, format),
            "leak": leak_setting("leak", self.leak),
        }
        if parameters.refractory:
            given["refractory"] = rest
        decoder = None
        if self.profile == "textbook" and bool((self._decode_leak() < 1).all()):
            decoder = {
                "leak": leak_setting("decode_leak", self._decode_leak()),
                # from this one on, a spike saturates the sum wherever it is
                "gain": to_integers("gain", self.gain(), guarded).clip(
                    max=(1 << guarded.width) - 1
                ),
            }
        return FixedLIF(
            parameters,
            given,
            decoder=decoder,
            profile=self.profile,
            offset=self.offset,
            scale=self.scale,
        )


def _fraction(name: str, value: float | Sequence[float] | Tensor) -> Tensor:
    result = column(name, value, low=0.0, above=False)
    if bool((result > 1).any()):
        raise InputError(f"{name} must be in 0..1, not {float(result.max())}")
    return result


def _shifts(name: str, leak: Tensor) -> NDArray[np.int64]:
    """Return k of leaks of 1 - 2^-k, 0 for a leak of 1: int64, () or (channels,)."""
    possible = {1 - 2.0**-k: k for k in range(1, MAX_LEAK_SHIFT + 1)} | {1.0: 0}
    values = leak.detach().cpu().double()
    for value in values.reshape(-1).tolist():
        if value in possible:
            continue
        below = max((p for p in possible if p < value), default=None)
        near = [p for p in (below, min(p for p in possible if p > value)) if p is not None]
        raise InputError(
            f"{name} is {value:g}, but leak='shift' needs 1 - 2^-k, k in 1..{MAX_LEAK_SHIFT}, or 1:"
            f" take {' or '.join(str(p) for p in near)}, or leak='multiply'"
        )
    return np.vectorize(possible.__getitem__, otypes=[np.int64])(values.numpy())


def _samples(name: str, value: int | Sequence[int] | Tensor) -> Tensor:
    result = column(name, value, low=0.0, above=False)
    if bool(((result != result.round()) | (result > 255)).any()):
        raise InputError(f"{name} must be whole numbers of samples in 0..255, not {value}")
    return result
