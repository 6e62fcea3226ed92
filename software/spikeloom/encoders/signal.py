"""Signal encoders: (..., time) to (..., time), whole or in chunks, parameters per channel.

An encoder is a recurrence over time of a few numbers per row (a row is one signal: one channel of
one batch entry). Subclasses say what the numbers are, and what one engine does with them; shapes,
checks, streaming and normalisation are here.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from spikeloom.encoders.base import (
    as_floats,
    as_tensor,
    column,
    engine,
    engine_for,
    non_finite,
    reject_non_finite,
    reject_options,
    threaded,
)
from spikeloom.encoders.relax import TEMPERATURE
from spikeloom.encoders.search import Range
from spikeloom.errors import InputError

if TYPE_CHECKING:
    from typing import Self

    from spikeloom.encoders.fit import Candidate
    from spikeloom.encoders.fit_report import Error, FitReport
    from spikeloom.encoders.golden.quantise import FixedSignal
    from spikeloom.fixed import Fixed

__all__ = ["SignalEncoder", "State"]


@dataclass(frozen=True, eq=False)
class State:
    """Where a stream stands: opaque, but plain tensors, so that it can be saved.

    shape: leading shape of the stream. real: (rows, n) in the stream's dtype. count: int64
    (rows, m).
    """

    shape: torch.Size
    real: Tensor
    count: Tensor


class SignalEncoder(nn.Module, abc.ABC):
    """Base of the signal encoders.

    x: float32 or float64 of shape (..., time), or (..., channels, time) if parameters are given for
    each channel. It is first normalised: z = (x - offset) * scale, in the dtype of x; thresholds
    and the like are in units of z. ``forward`` returns spikes in the dtype of x, :meth:`spikes`
    int8, :meth:`decode` a signal in the units of x.

    trainable: names of parameters that take gradients, or True for all that can. A trainable
    threshold or leak moves in relative steps and stays in its range
    (:mod:`spikeloom.encoders.trainable`). Where a gradient is wanted, of x or of a parameter,
    ``forward`` and ``on_off`` give the same spikes with a surrogate gradient
    (:mod:`spikeloom.encoders.relax`) of width ``temperature``, and ``decode`` an exact one; a code
    that has no gradient raises InputError.

    NaN, infinity, an empty signal, another dtype or a wrong number of channels raise InputError.
    """

    NAME: ClassVar[str]  #: as in ``spikeloom encoders``
    PARAMETERS: ClassVar[tuple[str, ...]]  #: attributes the kernels get, after offset and scale
    REALS: ClassVar[int]  #: numbers of state a row, in the dtype of the signal
    COUNTS: ClassVar[int]  #: integers of state a row
    TRITON: ClassVar[bool] = False  #: whether there is a kernel for CUDA
    SEARCH: ClassVar[Mapping[str, Range]] = {}  #: what :meth:`fit` searches
    #: parameters that have a gradient, and what keeps each in its range
    TRAINABLE: ClassVar[Mapping[str, Callable[[Tensor], nn.Module] | None]] = {}
    FIT_RANGE: ClassVar[tuple[float, float] | None] = None  #: what fit maps min and max to

    offset: Tensor
    scale: Tensor
    fit_report: FitReport | None = None  #: set by :meth:`fit`
    side_band: bool = False  #: whether :meth:`decode` asks for the first sample
    temperature: float = TEMPERATURE  #: width of the surrogate gradient, in thresholds

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        *,
        offset: float | Sequence[float] | Tensor = 0.0,
        scale: float | Sequence[float] | Tensor = 1.0,
        trainable: Sequence[str] | bool = False,
        **unknown: object,
    ):
        """Register parameters, float64, () or (channels,); ``trainable`` ones take gradients."""
        super().__init__()
        reject_options(type(self), unknown)
        if isinstance(trainable, str):
            trainable = (trainable,)
        wanted = set(self.TRAINABLE if trainable is True else trainable or ())
        if not self.TRAINABLE and trainable:
            raise InputError(f"{self.NAME} has no gradient, nothing of it can be trained: use fit")
        if strange := sorted(wanted - set(self.TRAINABLE)):
            raise InputError(f"{self.NAME} cannot train {strange}: only {sorted(self.TRAINABLE)}")
        table = {
            "offset": column("offset", offset),
            "scale": column("scale", scale, low=0.0),
            **parameters,
        }
        for name, value in table.items():
            if name in wanted:
                self.register_parameter(name, nn.Parameter(value))
                if (guard := self.TRAINABLE[name]) is not None:
                    register_parametrization(self, name, guard(value))
            else:
                self.register_buffer(name, value)
        lengths = {len(value) for value in table.values() if value.ndim}
        if len(lengths) > 1:
            found = {name: len(value) for name, value in table.items() if value.ndim}
            raise InputError(f"parameters are for different numbers of channels: {found}")
        self.channels: int | None = lengths.pop() if lengths else None

    @property
    def latency(self) -> int:
        """Samples that :meth:`step` holds back, because the code looks ahead."""
        return 0

    # What a subclass provides -----------------------------------------------------------------

    @abc.abstractmethod
    def _reference(self, z: Tensor, p: list[Tensor], state: State, out: Tensor) -> None:
        """Encode z (rows, time), writing spikes to out and the new state in place; torch only.

        p: a tensor (rows,) for each of PARAMETERS, in the dtype of z. Rows start together, so that
        ``state.count[0, 0]``, which is 0 before the first sample, may be read for all.
        """

    def _kernel(self) -> Any:
        """Numba kernel (x, p, real, count, out, *options) -> index; see :func:`threaded`."""
        raise NotImplementedError

    def _triton_kernel(self) -> Any:
        """Kernel for CUDA, called as that of numba, on tensors."""
        raise InputError(f"{self.NAME} has no triton kernel: use the engine 'auto' or 'torch'")

    def _options(self) -> tuple[int, ...]:
        """Structural options that the kernels take as integers."""
        return ()

    def _decode(self, s: Tensor, p: list[Tensor], initial: Tensor | None) -> Tensor:
        """Decode float spikes (rows, time) in units of z; ``initial`` is (rows,), if given."""
        raise InputError(f"{self.NAME} cannot be decoded")

    def _decode_smooth(self, s: Tensor, p: list[Tensor], initial: Tensor | None) -> Tensor:
        """Decode with a gradient: the torch reference has one as it stands."""
        with engine("torch"):
            z = self._decode(s, p, initial)
        if not z.requires_grad:
            raise InputError(
                f"what {self.NAME} decodes has no gradient: decode under torch.no_grad(), or give"
                " spikes.detach()"
            )
        return z

    def _relaxed(
        self, z: Tensor, p: list[Tensor], temperature: float, hard: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Smooth ON and OFF spikes (rows, time), or ``hard`` ones with a gradient."""
        raise InputError(
            f"{self.NAME} has no gradient: encode under torch.no_grad(), or give signal.detach()"
        )

    def fixed(self, format: Fixed, *, channels: int | None = None) -> FixedSignal:
        """Integer golden model with these parameters rounded to a format: the bits of the core.

        channels: of the core; default as many as there are parameters. Raises InputError if a
        parameter does not fit.
        """
        raise InputError(f"{self.NAME} has no integer golden model")

    # Encoding ---------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of x in its dtype, same shape; stateless."""
        x = as_floats(x)
        if not self._differentiates(x):
            return self._whole(x, x.dtype)
        up, down = self._smooth(x, self.temperature, self._whole(x, x.dtype))
        return up - down

    def on_off(self, x: Tensor) -> Tensor:
        """ON and OFF spikes apart, (..., 2 * channels, time): channel 2c ON, 2c + 1 OFF.

        Values of ``forward``, the OFF spikes without their sign. For what treats the two
        differently this has the right gradient; splitting what ``forward`` returns has not,
        because where there is no spike it does not say which one there nearly was. A signal (time,)
        gives (2, time).
        """
        x = as_floats(x)
        hard = self._whole(x, x.dtype)
        if self._differentiates(x):
            parts = self._smooth(x, self.temperature, hard)
        else:
            parts = hard.clamp_min(0), (-hard).clamp_min(0)
        both = torch.stack(parts, -2)
        return both if x.ndim == 1 else both.flatten(-3, -2)

    def spikes(self, x: Tensor) -> Tensor:
        """Spikes of x as int8, same shape; stateless."""
        return self._whole(as_floats(x), torch.int8)

    def relaxed(self, x: Tensor, temperature: float | None = None) -> Tensor:
        """Return the smooth function behind the gradient, same shape and dtype as x.

        temperature: width of a relaxed spike in thresholds, > 0; towards 0 the values become those
        of ``forward``. Raises InputError for a code that has no relaxation.
        """
        x = as_floats(x)
        self._check_channels(x)
        reject_non_finite(x)
        width = self.temperature if temperature is None else temperature
        if not width > 0:
            raise InputError(f"temperature must be > 0, not {width}")
        up, down = self._smooth(x, width, None)
        return up - down

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Encode the next chunk of a stream; None starts one.

        Returns spikes in the dtype of x, (..., chunk), and the state to go on with, which does not
        share memory with ``state``. A look-ahead code returns fewer at the start, see ``latency``.
        """
        x = as_floats(x, "chunk", empty=True)
        if torch.is_grad_enabled() and x.requires_grad:
            raise InputError("a stream carries no gradient: use forward, or give chunk.detach()")
        self._check_channels(x)
        shape = x.shape[:-1]
        if state is None:
            state = self._fresh(x)
        elif state.shape != shape or state.real.dtype != x.dtype:
            raise InputError(
                f"a chunk of shape {tuple(x.shape)} and {x.dtype} does not continue a stream of"
                f" shape {tuple(state.shape)} and {state.real.dtype}"
            )
        else:
            state = State(shape, state.real.clone(), state.count.clone())
        if not x.numel():
            return x.detach().clone(), state
        out = self._advance(x, state, x.dtype)
        return out, state

    def flush(self, state: State) -> Tensor:
        """Spikes that a look-ahead code still holds back: (..., up to latency)."""
        return state.real.new_zeros((*state.shape, 0))

    def _fresh(self, x: Tensor) -> State:
        rows = x.shape[:-1].numel()
        return State(
            x.shape[:-1],
            x.new_zeros((rows, self.REALS)),
            torch.zeros((rows, self.COUNTS), dtype=torch.int64, device=x.device),
        )

    def _whole(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        self._check_channels(x)
        return self._advance(x.detach(), self._fresh(x), dtype)

    @torch.no_grad()
    def _advance(self, x: Tensor, state: State, dtype: torch.dtype) -> Tensor:
        """Encode x and bring the state, in place, to its end."""
        rows = x.reshape(-1, x.shape[-1]).contiguous()
        out = torch.empty(rows.shape, dtype=dtype, device=x.device)
        self._run(rows, x, state, out)
        return out.reshape(x.shape)

    def _differentiates(self, *given: Tensor) -> bool:
        """Whether somebody wants the gradient of what is given, or of a parameter."""
        return torch.is_grad_enabled() and (
            any(x.requires_grad for x in given) or any(p.requires_grad for p in self.parameters())
        )

    def _smooth(self, x: Tensor, temperature: float, hard: Tensor | None) -> tuple[Tensor, Tensor]:
        rows = x.reshape(-1, x.shape[-1])
        columns = self._columns(rows, ("offset", "scale", *self.PARAMETERS))
        z = (rows - columns[0][:, None]) * columns[1][:, None]
        given = None if hard is None else hard.reshape(rows.shape)
        up, down = self._relaxed(z, columns[2:], temperature, given)
        return up.reshape(x.shape), down.reshape(x.shape)

    def _run(self, rows: Tensor, x: Tensor, state: State, out: Tensor) -> None:
        """Encode ``rows`` (a view of x) with the engine of choice."""
        columns = self._columns(rows, ("offset", "scale", *self.PARAMETERS))
        chosen = self._engine(rows)
        if chosen != "torch":
            arrays = (rows, torch.stack(columns, 1), state.real, state.count, out)
            if chosen == "triton":
                bad = self._triton_kernel()(*arrays, *self._options())
            else:
                views = [a.detach().numpy() for a in arrays]
                bad = threaded(self._kernel(), views, *self._options())
            if bad >= 0:
                raise self._refusal(x, bad)
        else:
            self._reject(x)
            z = (rows - columns[0][:, None]) * columns[1][:, None]
            self._reference(z, columns[2:], state, out)

    def _engine(self, rows: Tensor) -> str:
        """Engine that encodes these rows."""
        return engine_for(rows, triton=self.TRITON)

    def _reject(self, x: Tensor) -> None:
        """Raise InputError at the first sample that cannot be encoded."""
        reject_non_finite(x)

    def _refusal(self, x: Tensor, flat: int) -> InputError:
        """Return the error for the sample at a flat index, which a kernel has refused."""
        return non_finite(x, flat)

    # Decoding ---------------------------------------------------------------------------------

    def decode(
        self,
        spikes: Tensor | ArrayLike,
        initial: Tensor | ArrayLike | None = None,
        *,
        low_pass: float | None = None,
    ) -> Tensor:
        """Signal of a spike train, (..., time), in the units of the original.

        spikes: any number type; the result has their dtype if that is float, else float32.
        initial: the side-band of an encoder with ``initial="first"``: x[..., 0].
        low_pass: cut-off of a reconstruction filter in cycles a sample, 0 to 0.5; it runs forward
        and backward, without delay.

        Raises InputError for an empty train, a missing side-band, or a code without a decoder.
        """
        given = as_tensor(spikes, "spike train")
        floats = given if given.dtype in (torch.float32, torch.float64) else given.float()
        s = as_floats(floats, "spike train")
        self._check_channels(s)
        reject_non_finite(s, "spike train")
        rows = s.reshape(-1, s.shape[-1])
        columns = self._columns(rows, ("offset", "scale", *self.PARAMETERS))
        start = None
        if initial is not None:
            value = torch.as_tensor(initial, dtype=s.dtype, device=s.device)
            try:
                value = value.broadcast_to(s.shape[:-1]).reshape(-1)
            except RuntimeError:
                raise InputError(
                    f"initial has shape {tuple(value.shape)}, but there is one number for each of"
                    f" {tuple(s.shape[:-1])} signals"
                ) from None
            start = (value - columns[0]) * columns[1]
        given_start = () if start is None else (start,)
        decode = self._decode_smooth if self._differentiates(s, *given_start) else self._decode
        z = decode(rows, columns[2:], start)
        plain = bool((self.scale == 1).all()) and bool((self.offset == 0).all())
        y = (z if plain else z / columns[1][:, None] + columns[0][:, None]).reshape(s.shape)
        if low_pass is not None:
            from spikeloom.encoders.filters import smooth

            y = smooth(y, low_pass)
        return y

    # Fitting ----------------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        signal: Tensor | ArrayLike,
        *,
        weight: float = 0.01,
        error: Error = "mse",
        max_density: float | None = None,
        candidates: Sequence[Candidate] = (),
        trials: int = 512,
        seed: int = 0,
        progress: bool = False,
        **fixed: Any,
    ) -> Self:
        """Return the encoder with the least error + weight * spike density on a signal.

        signal: (time,), (channels, time) or (..., channels, time); parameters are per channel if
        there are several. error: "mse", over the signal's variance, or "correlation", one minus it.
        density: spikes a sample; none above max_density, if given. candidates: parameter sets that
        are tried as well. trials: parameter sets tried on each channel. seed: the same seed, the
        same result. progress: show a bar. fixed: options of the constructor; parameters among them
        are not searched. ``offset`` and ``scale``, where the code needs them and they are not
        given, map each channel's minimum and maximum to the code's range.

        What was found is in ``fit_report``. Raises InputError for a signal that is constant, too
        short or not finite, and if max_density cannot be reached.
        """
        from spikeloom.encoders.fit import fit

        return fit(
            cls,
            signal,
            weight=weight,
            error=error,
            max_density=max_density,
            candidates=candidates,
            trials=trials,
            seed=seed,
            progress=progress,
            **fixed,
        )

    @classmethod
    def _search(cls, fixed: Mapping[str, Any]) -> Mapping[str, Range]:
        """Ranges that :meth:`fit` searches, given the constructor's other options."""
        return cls.SEARCH

    @classmethod
    def _fit_defaults(cls, first: Tensor, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """Options that :meth:`fit` sets unless they are given; first: z[0] of each channel."""
        return {}

    def _round_trip(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes of x (..., channels, time) and what they decode to."""
        spikes = self(x)
        return spikes, self.decode(spikes, x[..., 0] if self.side_band else None)

    # Helpers ----------------------------------------------------------------------------------

    def _check_channels(self, x: Tensor) -> None:
        if self.channels is None or self.channels == 1:
            return
        if x.ndim < 2 or x.shape[-2] != self.channels:
            raise InputError(
                f"{self.NAME} has parameters for {self.channels} channels, so that a signal must be"
                f" (..., {self.channels}, time), not {tuple(x.shape)}"
            )

    def _columns(self, rows: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Parameters as tensors (rows,), in the dtype of the rows; row r: channel r % channels."""
        return [self._spread(getattr(self, name), rows) for name in names]

    def _spread(self, value: Tensor, rows: Tensor) -> Tensor:
        """One parameter, () or (channels,), as a tensor (rows,)."""
        count = rows.shape[0]
        value = value.to(dtype=rows.dtype, device=rows.device)
        if value.ndim and len(value) > 1:
            return value.repeat(count // len(value))
        return value.reshape(1).expand(count)

    def extra_repr(self) -> str:
        """Parameters, short."""
        parts = []
        for name in (*self.PARAMETERS, "offset", "scale"):
            value = getattr(self, name).detach()
            default = {"offset": 0.0, "scale": 1.0}.get(name)
            if value.ndim == 0 and float(value) == default:
                continue
            parts.append(f"{name}={value.tolist() if value.numel() < 9 else tuple(value.shape)}")
        return ", ".join(parts)
