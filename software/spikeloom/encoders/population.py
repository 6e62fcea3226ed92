"""Gaussian receptive fields: a value becomes the responses of a population of neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from spikeloom.encoders.base import column
from spikeloom.encoders.golden.population import FixedPopulation
from spikeloom.encoders.latency import Latency
from spikeloom.encoders.rate import Rate
from spikeloom.encoders.value import ValueEncoder, as_values, core_parameters, integer
from spikeloom.errors import InputError
from spikeloom.hardware.encoders import PopulationParameters

__all__ = ["GaussianPopulation"]

Into = Literal["rate", "latency", "onehot"]


class GaussianPopulation(ValueEncoder):
    """Gaussian receptive fields (Bohte, Kok & La Poutre 2002), (...) to (..., neurons, steps).

    Neuron n responds with exp(-(u - c[n])^2 / (2 width^2)) to u, which runs from 0 to 1. Default as
    in the paper: c[n] = (n - 1/2) / (neurons - 2), n = 0 .. neurons - 1, width = 1 / (beta
    (neurons - 2)): the outer centres lie half a distance outside the range.

    into: what becomes of a response: ``rate``, ``latency`` (linear: the neuron that responds most
    spikes first), ``onehot`` (only the nearest neuron spikes, at every step), or a value encoder of
    your own, which then has the steps. neurons: 2..64 (3 at least without centres). centres:
    increasing, in units of u. width: in units of u. bits: as in ValueEncoder; response_bits: 1..16,
    a response is rounded to a multiple of 1 / (2^response_bits - 1); both are needed for spikes
    that equal those of the cores.

    Gradient only where the code that follows has one. decode: the centroid, centres weighted with
    the decoded responses; NaN where nothing spikes.
    """

    NAME: ClassVar[str] = "population"

    centres: Tensor
    width: Tensor

    def __init__(
        self,
        neurons: int = 8,
        steps: int | None = None,
        *,
        into: Into | ValueEncoder = "rate",
        centres: Sequence[float] | Tensor | None = None,
        width: float | None = None,
        beta: float = 1.5,
        response_bits: int | None = None,
        **common: Any,
    ):
        if isinstance(into, ValueEncoder):
            if steps not in (None, into.steps):
                raise InputError(f"steps is {steps}, but those of {into.NAME} are {into.steps}")
            if into.bits != response_bits:
                raise InputError(
                    f"response_bits is {response_bits}, but {into.NAME} has bits={into.bits}: give"
                    f" both the same"
                )
            coder = into
        elif into in ("rate", "onehot"):
            coder = Rate(8 if steps is None else steps, bits=response_bits)
        elif into == "latency":
            coder = Latency(8 if steps is None else steps, bits=response_bits)
        else:
            raise InputError(
                f"into must be 'rate', 'latency', 'onehot' or a value encoder, not {into!r}"
            )
        super().__init__(coder.steps, **common)
        self.neurons = integer("neurons", neurons, 2, 64)
        self.onehot = into == "onehot"
        self.response_bits = response_bits
        self.coder = coder
        if not 0 < beta < float("inf"):
            raise InputError(f"beta must be a number above 0, not {beta!r}")
        if centres is None:
            if neurons < 3:
                raise InputError("2 neurons need centres=(.., ..) and width=..: Bohte's rule has 3")
            centres = (torch.arange(neurons, dtype=torch.float64) - 0.5) / (neurons - 2)
        places = column("centres", centres)
        if places.shape != (neurons,) or bool((places.diff() <= 0).any()):
            raise InputError(f"centres must be {neurons} increasing numbers, not {centres}")
        distance = (places[-1] - places[0]) / (neurons - 1)
        self.register_buffer("centres", places)
        self.register_buffer(
            "width", column("width", float(distance) / beta if width is None else width, low=0.0)
        )
        if self.width.ndim:
            raise InputError(f"width must be one number, not {tuple(self.width.shape)}")

    def responses(self, u: Tensor) -> Tensor:
        """Responses, float64 (..., neurons) from 0 to 1, of u (...) from 0 to 1."""
        distance = u.double().unsqueeze(-1) - self.centres.to(u.device)
        if self.onehot:
            nearest = distance.abs().argmin(-1, keepdim=True)
            return torch.zeros_like(distance).scatter(-1, nearest, 1.0)
        return torch.exp(-0.5 * (distance / self.width.to(u.device)) ** 2)

    def _encode(self, u: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.coder._encode(self.coder._unit(self.responses(u)), state)

    def _spikes(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        x = as_values(x)
        y, state = self.coder._spikes(self.responses(self._unit(x)), state)
        return y.to(x.dtype), state

    def decode(self, spikes: Tensor) -> Tensor:
        """Values (...) of spikes (..., neurons, steps), in the units of x; see ValueEncoder."""
        s = torch.as_tensor(spikes)
        if s.ndim < 2 or s.shape[-2] != self.neurons:
            raise InputError(
                f"spikes must be (..., {self.neurons}, {self.steps}), not {tuple(s.shape)}"
            )
        return super().decode(s)

    def _decode(self, s: Tensor) -> Tensor:
        weights = self.coder.decode(s)
        return (weights * self.centres.to(s.device)).sum(-1) / weights.sum(-1)

    def fixed(
        self,
        *,
        bits: int | None = None,
        channels: int | None = None,
        response_bits: int | None = None,
    ) -> FixedPopulation:
        """Integer golden model, values in and values out; ``coder.fixed()`` makes them spikes.

        bits: 1..10, of a value; response_bits of a response; those of the encoder unless given,
        else 8.
        """
        response_bits = response_bits or self.response_bits or 8
        arguments = self._core(bits, channels)
        del arguments["steps"]
        full = (1 << arguments["bits"]) - 1
        u = torch.arange(full + 1, dtype=torch.float64) / full
        table = torch.round(self.responses(u.to(self.centres.device)) * ((1 << response_bits) - 1))
        parameters = core_parameters(
            PopulationParameters,
            **arguments,
            neurons=self.neurons,
            response_bits=response_bits,
            table=tuple(tuple(row) for row in table.T.to(torch.int64).tolist()),
        )
        return FixedPopulation(parameters, offset=self.offset, scale=self.scale)

    def extra_repr(self) -> str:
        """Parameters, short."""
        return f"neurons={self.neurons}, onehot={self.onehot}, {super().extra_repr()}"
