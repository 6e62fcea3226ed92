"""Ben's spiker algorithm: a spike wherever taking the filter's response away leaves less signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spikeloom.encoders.base import (
    as_tensor,
    column,
    engine_for,
    non_finite,
    reject_non_finite,
    threaded,
)
from spikeloom.encoders.compat import Profile, Record, RecordEncoder, record_normalise
from spikeloom.encoders.golden.bsa import FixedBSA
from spikeloom.encoders.golden.quantise import to_integers
from spikeloom.encoders.search import Range
from spikeloom.encoders.signal import State
from spikeloom.errors import InputError
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import BSAParameters
from spikeloom.hardware.encoders.filters import low_pass

__all__ = ["BSA"]


class BSA(RecordEncoder):
    """Ben's spiker algorithm (Schrauwen & Van Campenhout 2003), with an additive threshold.

    For a signal whose z = (x - offset) * scale is in [0, 1], and that a spike train through the
    filter h is to give again. The residual r starts as z. For each sample t, over the
    K = min(taps, samples left) samples that its response covers:

        s[t] = 1, r[t+k] -= h[k] for k < K,  if  sum |r[t+k] - h[k]| <= sum |r[t+k]| - threshold
        s[t] = 0                             otherwise

    in the dtype of x, each sum in ascending k. There are many variants; this one is the paper's.

    threshold: in units of z; any number, low ones spike more often. taps: the filter h, (taps,) or
    (channels, taps), or else a Hamming low-pass with sum 1, of ``order`` + 1 taps and with a
    ``cutoff`` above 0 and below 0.5 cycles a sample, or in Hz if ``rate``, the samples a second, is
    given; both may be per channel.

    A spike needs ``latency`` samples to come: :meth:`step` returns what is decided, :meth:`flush`
    the rest. A signal or a stream shorter than the filter raises InputError.

    profile: ``"compat"`` is spike-encoding 1.8.2 bit for bit, in float32: records are normalised to
    [0, 1] unless ``normalise=False``; its encoder never uses tap 0, so that h[k+1] stands for h[k]
    above, and never tests t = 0; its decoder uses all taps, is aligned with the encoder for even
    orders only (one sample late for odd ones), and leaves the first taps // 2 samples at the
    minimum. Signals shorter than the filter are allowed there. Not reproduced: that the package
    squeezes and overwrites its input, and forgets parameters of channels it did not need.
    """

    NAME: ClassVar[str] = "bsa"
    PARAMETERS: ClassVar[tuple[str, ...]] = ("threshold",)
    REALS: ClassVar[int] = 0  # but for the residuals, as many as the latency
    COUNTS: ClassVar[int] = 1  # samples seen
    SYMMETRIC: ClassVar[bool] = False
    SEARCH: ClassVar[Mapping[str, Range]] = {
        "threshold": Range(0.0, 1.1),
        "cutoff": Range(5e-3, 0.4, log=True),
        "order": Range(2, 50, integer=True),
    }
    FIT_RANGE: ClassVar[tuple[float, float] | None] = (0.0, 1.0)

    threshold: Tensor
    taps: Tensor  #: the filter, float64 (taps,) or (channels, taps), zeros after shorter ones
    lengths: Tensor  #: how many taps a filter has, float64 () or (channels,)

    def __init__(
        self,
        threshold: float | Sequence[float] | Tensor = 0.5,
        taps: Sequence[float] | Sequence[Sequence[float]] | Tensor | None = None,
        *,
        order: int | Sequence[int] | Tensor = 10,
        cutoff: float | Sequence[float] | Tensor = 0.2,
        rate: float | None = None,
        profile: Profile = "textbook",
        normalise: bool = True,
        **common: Any,
    ):
        super().__init__({"threshold": column("threshold", threshold)}, **common)
        self._set_profile(profile, normalise)
        if taps is None:
            filters, lengths = _designed(order, cutoff, rate, single=profile == "compat")
        else:
            filters = _given(taps)
            lengths = torch.tensor(filters.shape[-1], dtype=torch.float64)
        if profile == "compat":
            filters = filters.float().double()
            if int(lengths.min()) < 2:
                raise InputError("profile='compat' never uses tap 0: order must be at least 1")
        if filters.ndim == 2 and len(filters) > 1:
            if self.channels not in (None, 1, len(filters)):
                raise InputError(
                    f"there are filters for {len(filters)} channels, but other parameters for"
                    f" {self.channels}"
                )
            self.channels = len(filters)
        self.register_buffer("taps", filters)
        self.register_buffer("lengths", lengths)

    @classmethod
    def _search(cls, fixed: Mapping[str, Any]) -> Mapping[str, Range]:
        if fixed.get("taps") is not None:
            return {"threshold": cls.SEARCH["threshold"]}
        rate, found = float(fixed.get("rate") or 1.0), cls.SEARCH["cutoff"]
        return {**cls.SEARCH, "cutoff": Range(found.low * rate, found.high * rate, log=True)}

    @property
    def latency(self) -> int:
        """Samples that :meth:`step` holds back: one less than the (used) taps."""
        return self._used - 1

    @property
    def _used(self) -> int:
        """Taps the encoder uses, of the longest filter."""
        return self.taps.shape[-1] - int(self.profile == "compat")

    # Encoding ---------------------------------------------------------------------------------

    def _fresh(self, x: Tensor) -> State:
        rows = x.shape[:-1].numel()
        counts = torch.zeros((rows, self.COUNTS), dtype=torch.int64, device=x.device)
        return State(x.shape[:-1], x.new_zeros((rows, self.latency)), counts)

    def _whole(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        self._check_channels(x)
        self._check_length(x.shape[-1], "signal")
        z = record_normalise(x, symmetric=False)[0] if self.by_record else x.detach()
        return self._decide(z, self._fresh(z), dtype, z.shape[-1])

    def _advance(self, x: Tensor, state: State, dtype: torch.dtype) -> Tensor:
        seen = int(state.count[0, 0])
        ready = max(0, min(seen, self.latency) + x.shape[-1] - self.latency)
        return self._decide(x.detach(), state, dtype, ready)

    def flush(self, state: State) -> Tensor:
        """Spikes still held back, (..., up to latency), in the dtype of the stream.

        Raises InputError if the whole stream was shorter than the filter.
        """
        seen = int(state.count[0, 0])
        if seen:
            self._check_length(seen, "stream")
        state = State(state.shape, state.real.clone(), state.count.clone())
        rest = state.real.new_zeros((*state.shape, 0))
        return self._decide(rest, state, rest.dtype, min(seen, self.latency))

    def _check_length(self, length: int, what: str) -> None:
        if self.profile == "textbook" and length < self._used:
            raise InputError(
                f"the filter has {self._used} taps, but the {what} only {length} samples: give a"
                f" longer {what}, or a shorter filter (order={length - 1})"
            )

    def _decide(self, x: Tensor, state: State, dtype: torch.dtype, decisions: int) -> Tensor:
        """Decide on so many samples, of those in the state and those of x, (..., decisions)."""
        rows = x.reshape(len(state.count), x.shape[-1]).contiguous()
        out = torch.empty((len(rows), decisions), dtype=dtype, device=x.device)
        columns = self._columns(rows, ("offset", "scale", *self.PARAMETERS))
        taps, lengths = self._filters(rows)
        if self.profile == "compat":
            taps, lengths = taps[:, 1:].contiguous(), lengths - 1
        if engine_for(rows) == "numba":
            arrays = (rows, torch.stack(columns, 1), taps, lengths, state.real, state.count, out)
            views = [a.detach().numpy() for a in arrays]
            bad = threaded(self._kernel(), views, *self._options())
            if bad >= 0:
                raise non_finite(x, bad)
        else:
            if not self.by_record:
                reject_non_finite(x)
            z = (rows - columns[0][:, None]) * columns[1][:, None]
            waiting = min(int(state.count[0, 0]), self.latency)
            residual = torch.cat((state.real[:, :waiting], z), 1)
            self._reference(residual, [columns[2], taps, lengths], state, out)
        return out.reshape(*x.shape[:-1], decisions)

    def _kernel(self) -> Any:
        """Numba kernel (x, p, taps, lengths, real, count, out, *options) -> index."""
        from spikeloom.encoders.kernels.bsa import encode

        return encode

    def _options(self) -> tuple[int, ...]:
        return int(self.profile == "compat"), int(self.by_record)

    def _reference(self, z: Tensor, p: list[Tensor], state: State, out: Tensor) -> None:
        """As in the base class, but z starts with the residuals that wait in the state.

        Decides out.shape[1] times; what is left of z, which is overwritten, waits in the state. p:
        threshold (rows,), taps (rows, n), and how many of them a row has (rows,).
        """
        threshold, taps, lengths = p
        seen, total, decisions = int(state.count[0, 0]), z.shape[1], out.shape[1]
        waiting = min(seen, self.latency)
        begin = min(1, decisions) if self.profile == "compat" and seen == waiting else 0
        out[:, :begin] = 0
        used = torch.arange(taps.shape[1], device=z.device) < lengths[:, None]
        for t in range(begin, decisions):
            window = z[:, t : t + taps.shape[1]]
            width = window.shape[1]
            rest = window - taps[:, :width]
            # a sum of magnitudes does not change where 0 is added, so that shorter filters may end
            plain = window.abs().where(used[:, :width], 0.0)
            less = rest.abs().where(used[:, :width], 0.0)
            without, with_spike = torch.zeros_like(threshold), torch.zeros_like(threshold)
            for k in range(width):
                without = without + plain[:, k]
                with_spike = with_spike + less[:, k]
            spike = with_spike <= without - threshold
            z[:, t : t + width] = torch.where(spike[:, None], rest, window)
            out[:, t] = spike
        state.real[:, : total - decisions] = z[:, decisions:]
        state.count[:, 0] += total - waiting

    # Decoding ---------------------------------------------------------------------------------

    def decode(
        self,
        spikes: Tensor | ArrayLike,
        initial: Tensor | ArrayLike | None = None,
        *,
        low_pass: float | None = None,
        record: Record | None = None,
    ) -> Tensor:
        """Signal of a spike train, (..., time), units of the original: z[t] = sum h[k] s[t-k].

        ``initial`` has no meaning here; low_pass, record, errors as in the base classes.
        """
        return super().decode(spikes, None, low_pass=low_pass, record=record)

    def _decode(self, s: Tensor, p: list[Tensor], initial: Tensor | None) -> Tensor:
        taps, lengths = self._filters(s)
        if self.profile == "textbook" and engine_for(s) == "numba":
            from spikeloom.encoders.kernels.bsa import decode

            out = torch.empty_like(s, memory_format=torch.contiguous_format)
            threaded(decode, [a.detach().numpy() for a in (s.contiguous(), taps, out)])
            return out
        y = torch.zeros_like(s)
        if self.profile == "textbook":
            for k in range(min(taps.shape[1], s.shape[1])):
                y[:, k:] += taps[:, k, None] * s[:, : s.shape[1] - k]
            return y
        time = torch.arange(s.shape[1], device=s.device)
        blank = lengths[:, None] // 2
        padded = torch.nn.functional.pad(s, (int(blank.max()) * 2, taps.shape[1]))
        first = time - 2 * blank + 1 + 2 * blank.max()
        for j in range(taps.shape[1]):
            y += taps[:, j, None] * padded.gather(1, first + j)
        return y.where(time >= blank, 0.0)

    def _decode_record(
        self, s: Tensor, p: list[Tensor], record: Record, initial: Tensor | None
    ) -> Tensor:
        return self._decode(s, p, None) / record.scale[:, None] + record.minimum[:, None]

    # Filters ----------------------------------------------------------------------------------

    def _filters(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Taps (rows, n), in the dtype of the rows, and how many of them each row has."""
        taps = self.taps.to(rows).reshape(-1, self.taps.shape[-1])
        return taps.repeat(len(rows) // len(taps), 1), self._spread(self.lengths, rows).long()

    def fixed(self, format: Fixed, *, channels: int | None = None) -> FixedBSA:
        """Integer golden model with these parameters rounded to a format: the bits of the core.

        channels: of the core; default as many as there are parameters. Raises InputError if the
        channels' filters differ (a core has one), or are beyond the format.
        """
        self._refuse_records()
        taps = self._common_taps(format)
        parameters = BSAParameters(
            format=format, channels=channels or self.channels or 1, taps=len(taps)
        )
        return FixedBSA(
            parameters,
            {"threshold": to_integers("threshold", self.threshold, format)},
            taps=taps,
            profile=self.profile,
            offset=self.offset,
            scale=self.scale,
        )

    def _common_taps(self, format: Fixed) -> list[int]:
        """Taps of all channels in LSB of a format; InputError if they differ."""
        taps = self.taps.reshape(-1, self.taps.shape[-1])
        if bool((taps != taps[0]).any()) or bool((self.lengths != self.lengths.max()).any()):
            raise InputError(
                f"a {type(self).__name__} core has one filter for all its channels, these are"
                " different: give the same taps, order and cutoff to all, or use a core for each"
            )
        return [int(h) for h in to_integers("taps", taps[0], format)]

    def extra_repr(self) -> str:
        """Parameters, short."""
        return f"taps={tuple(self.taps.shape)}, {super().extra_repr()}"


def _given(taps: Any) -> Tensor:
    """Check taps; float64 (taps,) or (channels, taps)."""
    filters = as_tensor(taps, "filter").detach().to(torch.float64, copy=True)
    if filters.ndim not in (1, 2) or filters.numel() == 0:
        raise InputError(
            f"taps must be one filter (taps,), or one a channel (channels, taps), not of shape"
            f" {tuple(filters.shape)}"
        )
    if not bool(torch.isfinite(filters).all()):
        raise InputError("taps must be finite numbers")
    return filters


def _designed(
    order: Any, cutoff: Any, rate: float | None, *, single: bool
) -> tuple[Tensor, Tensor]:
    """Low-pass filters (taps,) or (channels, taps), and how many taps each has.

    single: round cutoffs to float32.
    """
    orders, cutoffs = column("order", order, low=0.0, above=False), column("cutoff", cutoff)
    if bool((orders != orders.round()).any()):
        raise InputError(f"order must be a whole number, not {order}")
    if rate is not None:
        cutoffs = cutoffs / column("rate", rate, low=0.0)
    cutoffs = cutoffs.float().double() if single else cutoffs
    wrong = cutoffs[(cutoffs <= 0) | (cutoffs >= 0.5)].reshape(-1)
    if len(wrong):
        raise InputError(
            f"cutoff is {float(wrong[0]):g} cycles a sample, allowed is above 0 and below 0.5: give"
            " the sampling rate (rate=...) if it is in Hz"
        )
    counts = {len(c) for c in (orders, cutoffs) if c.ndim} - {1}
    if len(counts) > 1:
        raise InputError(
            f"order is for {len(orders)} channels, but cutoff for {len(cutoffs)}: give one number,"
            " or one for each channel"
        )
    wide = torch.broadcast_tensors(orders, cutoffs)
    designs = [
        torch.from_numpy(low_pass(int(n) + 1, f))
        for n, f in zip(*(c.reshape(-1).tolist() for c in wide), strict=True)
    ]
    taps = torch.nn.utils.rnn.pad_sequence(designs, batch_first=True)
    lengths = torch.tensor([len(h) for h in designs], dtype=torch.float64)
    if wide[0].ndim == 0:
        return taps[0], lengths[0]
    return taps, lengths
