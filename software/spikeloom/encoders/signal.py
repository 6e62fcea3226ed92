"""Signal encoders: (..., time) to (..., time), whole or in chunks, parameters per channel.

An encoder is a recurrence over time of a few numbers per row (a row is one signal: one channel of
one batch entry). Subclasses say what the numbers are, and what one engine does with them; shapes,
checks, streaming and normalisation are here.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from spikeloom.encoders.base import (
    as_floats,
    column,
    engine_for,
    non_finite,
    reject_non_finite,
    threaded,
)
from spikeloom.errors import InputError

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

    NaN, infinity, an empty signal, another dtype or a wrong number of channels raise InputError.
    """

    NAME: ClassVar[str]  #: as in ``spikeloom encoders``
    PARAMETERS: ClassVar[tuple[str, ...]]  #: attributes the kernels get, after offset and scale
    REALS: ClassVar[int]  #: numbers of state a row, in the dtype of the signal
    COUNTS: ClassVar[int]  #: integers of state a row

    offset: Tensor
    scale: Tensor

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        *,
        offset: float | Sequence[float] | Tensor = 0.0,
        scale: float | Sequence[float] | Tensor = 1.0,
        trainable: Sequence[str] | bool = False,
    ):
        """Register parameters, float64, () or (channels,); ``trainable`` ones take gradients."""
        super().__init__()
        wanted = (
            ([*parameters] if trainable else []) if isinstance(trainable, bool) else [*trainable]
        )
        if unknown := sorted(set(wanted) - set(parameters)):
            raise InputError(f"{self.NAME} cannot train {unknown}: it has {sorted(parameters)}")
        table = {
            "offset": column("offset", offset),
            "scale": column("scale", scale, low=0.0),
            **parameters,
        }
        for name, value in table.items():
            if name in wanted:
                self.register_parameter(name, nn.Parameter(value))
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

    def _options(self) -> tuple[int, ...]:
        """Structural options that the kernels take as integers."""
        return ()

    def _decode(self, s: Tensor, p: list[Tensor], initial: Tensor | None) -> Tensor:
        """Decode float spikes (rows, time) in units of z; ``initial`` is (rows,), if given."""
        raise InputError(f"{self.NAME} cannot be decoded")

    # Encoding ---------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of x in its dtype, same shape; stateless."""
        x = as_floats(x)
        return self._whole(x, x.dtype)

    def spikes(self, x: Tensor) -> Tensor:
        """Spikes of x as int8, same shape; stateless."""
        return self._whole(as_floats(x), torch.int8)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Encode the next chunk of a stream; None starts one.

        Returns spikes in the dtype of x, (..., chunk), and the state to go on with, which does not
        share memory with ``state``. A look-ahead code returns fewer at the start, see ``latency``.
        """
        x = as_floats(x, "chunk", empty=True)
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

    def _advance(self, x: Tensor, state: State, dtype: torch.dtype) -> Tensor:
        """Encode x and bring the state, in place, to its end."""
        rows = x.reshape(-1, x.shape[-1]).contiguous()
        out = torch.empty(rows.shape, dtype=dtype, device=x.device)
        self._run(rows, x, state, out)
        return out.reshape(x.shape)

    def _run(self, rows: Tensor, x: Tensor, state: State, out: Tensor) -> None:
        """Encode ``rows`` (a view of x) with the engine of choice."""
        columns = self._columns(rows, ("offset", "scale", *self.PARAMETERS))
        if engine_for(rows) == "numba":
            arrays = (rows, torch.stack(columns, 1), state.real, state.count, out)
            views = [a.detach().numpy() for a in arrays]
            bad = threaded(self._kernel(), views, *self._options())
            if bad >= 0:
                raise non_finite(x, bad)
        else:
            reject_non_finite(x)
            z = (rows - columns[0][:, None]) * columns[1][:, None]
            self._reference(z, columns[2:], state, out)

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
        given = spikes if isinstance(spikes, Tensor) else torch.as_tensor(np.asarray(spikes))
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
        z = self._decode(rows, columns[2:], start)
        y = (z / columns[1][:, None] + columns[0][:, None]).reshape(s.shape)
        if low_pass is not None:
            from spikeloom.encoders.filters import smooth

            y = smooth(y, low_pass)
        return y

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
        count = rows.shape[0]
        columns = []
        for name in names:
            value = getattr(self, name).to(dtype=rows.dtype, device=rows.device)
            if value.ndim and len(value) > 1:
                columns.append(value.repeat(count // len(value)))
            else:
                columns.append(value.reshape(1).expand(count))
        return columns

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
