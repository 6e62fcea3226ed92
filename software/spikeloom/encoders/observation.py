"""Observations of reinforcement learning: bounded numbers become values, and those spikes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from spikeloom.encoders.golden.observation import FixedObservation
from spikeloom.encoders.population import GaussianPopulation
from spikeloom.encoders.rate import Rate
from spikeloom.encoders.value import ROUNDING, ValueEncoder, as_values, core_parameters, integer
from spikeloom.errors import InputError
from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders import ObservationParameters

if TYPE_CHECKING:
    from gymnasium import Space

__all__ = ["Observation"]

#: Bounds of spaces from here on mean "any float" and are no range to encode.
NO_BOUND = 1e30


class Observation(nn.Module):
    """Observations (..., channels) to spikes (..., channels * outputs * neurons, steps).

    u = (x - low) / (high - low) of each channel, clipped to 0..1 (:meth:`clipped` counts), becomes
    one value or several. Without options the value is u. split: max(0, 2u - 1) and max(0, 1 - 2u),
    the two sides of the middle. inverted: after the value or values, 1 minus each of them. The
    values of a channel follow each other. Each then becomes spikes:

    into: ``rate`` (Rate(steps)), ``population`` (GaussianPopulation(neurons, steps): the neurons of
    a value follow each other), or a value encoder of your own. low, high: bounds, finite, one a
    channel. bits: 1..16: values are rounded as in the cores (half up), and coders made here have
    as many bits.

    Errors as in ValueEncoder; the gradient is that of the coder. decode gives observations.
    """

    NAME: ClassVar[str] = "observation"

    low: Tensor
    high: Tensor

    def __init__(
        self,
        low: ArrayLike,
        high: ArrayLike,
        *,
        split: bool = False,
        inverted: bool = False,
        into: Literal["rate", "population"] | ValueEncoder = "rate",
        steps: int = 16,
        neurons: int = 8,
        bits: int | None = None,
    ):
        super().__init__()
        bounds = [np.asarray(bound, dtype=np.float64) for bound in (low, high)]
        if bounds[0].ndim != 1 or bounds[0].shape != bounds[1].shape or not bounds[0].size:
            raise InputError(
                f"low and high must be lists of one number a channel, not of shapes"
                f" {bounds[0].shape} and {bounds[1].shape}"
            )
        for c, (a, b) in enumerate(zip(*bounds, strict=True)):
            if not (abs(a) < NO_BOUND and abs(b) < NO_BOUND):
                raise InputError(
                    f"observation[{c}] has the bounds {a:g} and {b:g}: give finite ones, what it"
                    f" really reaches (Observation.from_space(space, low={{{c}: ..}},"
                    f" high={{{c}: ..}}))"
                )
            if not a < b:
                raise InputError(f"observation[{c}] has low = {a:g}, which is not below {b:g}")
        self.register_buffer("low", torch.as_tensor(bounds[0]))
        self.register_buffer("high", torch.as_tensor(bounds[1]))
        self.split, self.inverted = bool(split), bool(inverted)
        self.bits = None if bits is None else integer("bits", bits, 1, 16)
        self.channels = len(bounds[0])
        if into == "rate":
            into = Rate(steps, bits=bits)
        elif into == "population":
            into = GaussianPopulation(neurons, steps, bits=bits, response_bits=bits)
        elif not isinstance(into, ValueEncoder):
            raise InputError(f"into must be 'rate', 'population' or a value encoder, not {into!r}")
        self.coder = into
        self.steps = into.steps

    @classmethod
    def from_space(
        cls,
        space: Space[Any],
        *,
        low: Mapping[int, float] | None = None,
        high: Mapping[int, float] | None = None,
        **options: Any,
    ) -> Observation:
        """Make one with the bounds of a Gymnasium ``Box`` of one dimension.

        low, high: bounds by index, instead of those of the space; needed where it has none. Raises
        InputError for another space, and where a bound is infinite.
        """
        from gymnasium.spaces import Box  # a package of the user's, only needed here

        if not isinstance(space, Box):
            raise InputError(
                f"an observation space must be a Box of numbers, not {type(space).__name__}"
            )
        if len(space.shape) != 1:
            raise InputError(
                f"an observation must be a list of numbers, not of shape {space.shape}: use"
                f" gymnasium.wrappers.FlattenObservation"
            )
        bounds = []
        for name, limit, given in (("low", space.low, low), ("high", space.high, high)):
            bound = np.asarray(limit, dtype=np.float64)
            for c, value in (given or {}).items():
                integer(f"an index of {name}", c, 0, len(bound) - 1)
                bound[c] = value
            bounds.append(bound)
        return cls(*bounds, **options)

    @property
    def outputs(self) -> int:
        """Values that a channel becomes."""
        return (2 if self.split else 1) * (2 if self.inverted else 1)

    def values(self, x: Tensor) -> Tensor:
        """Values, float64 (..., channels * outputs) from 0 to 1, of observations."""
        u = self._normalised(as_values(x, "observation")).clamp(0.0, 1.0)
        if self.bits is not None:
            full = (1 << self.bits) - 1
            u = u + (torch.floor(u.detach() * full + 0.5) / full - u.detach())
        values = [(2 * u - 1).clamp(min=0), (1 - 2 * u).clamp(min=0)] if self.split else [u]
        if self.inverted:
            values += [1 - value for value in values]
        return torch.stack(values, -1).flatten(-2)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of observations, in their dtype; stateless."""
        return self._features(self.coder(self.values(x))).to(x.dtype)

    def spikes(self, x: Tensor) -> Tensor:
        """Spikes of observations as int8; stateless."""
        return self._features(self.coder.spikes(self.values(x)))

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Encode the next observation of an episode; see ValueEncoder.step."""
        y, state = self.coder.step(self.values(x), state)
        return self._features(y).to(x.dtype), state

    def flush(self, state: Tensor | None) -> Tensor:
        """Spikes held back: none."""
        tail = self.coder.flush(state)
        return tail if state is None else self._features(tail)

    def clipped(self, x: Tensor) -> int:
        """Count the numbers outside their bounds, which ``forward`` clips."""
        u = self._normalised(as_values(x, "observation"))
        return int(((u < -ROUNDING) | (u > 1 + ROUNDING)).sum())

    def decode(self, spikes: Tensor) -> Tensor:
        """Observations (..., channels) of spikes, in the dtype of the spikes if that is float."""
        s = torch.as_tensor(spikes)
        features = self.channels * self.outputs * getattr(self.coder, "neurons", 1)
        if s.ndim < 2 or s.shape[-2:] != (features, self.steps):
            raise InputError(
                f"spikes must be (..., {features}, {self.steps}), not {tuple(s.shape)}"
            )
        if isinstance(self.coder, GaussianPopulation):
            s = s.unflatten(-2, (-1, self.coder.neurons))
        values = self.coder.decode(s).unflatten(-1, (self.channels, self.outputs))
        if self.inverted:
            plain, inverse = values.chunk(2, -1)
            values = (plain + 1 - inverse) / 2
        u = (values[..., 0] - values[..., 1] + 1) / 2 if self.split else values[..., 0]
        low, high = (b.to(u) for b in (self.low, self.high))
        return u * (high - low) + low

    def fixed(self, format: Fixed, *, bits: int | None = None) -> FixedObservation:
        """Integer golden model, samples of a format in, values out; ``coder.fixed()`` goes on.

        bits: of a value; those of the encoder unless given, else 8. Its values are at most one LSB
        from those of :meth:`values`, since 1 / (high - low) is rounded to 2^-16 LSB a step. Raises
        InputError if a bound does not fit the format.
        """
        bits = bits or self.bits or 8
        parameters = core_parameters(
            ObservationParameters,
            format=format,
            channels=self.channels,
            bits=bits,
            split=self.split,
            inverted=self.inverted,
        )
        low, high = (format.quantise(b.cpu().numpy()) for b in (self.low, self.high))
        if low.count or high.count:
            raise InputError(
                f"bounds {self.low.tolist()} to {self.high.tolist()} are beyond {format}: use fewer"
                f" fraction bits"
            )
        span = high.values - low.values
        if not span.all():
            raise InputError(f"bounds of a channel are the same number in {format}: use more bits")
        gain = np.rint((1 << 16) * ((1 << bits) - 1) / span).astype(np.int64)
        return FixedObservation(parameters, {"low": low.values, "gain": gain})

    def _normalised(self, x: Tensor) -> Tensor:
        if x.ndim == 0 or x.shape[-1] != self.channels:
            raise InputError(
                f"an observation must be (..., {self.channels}), one number a channel, not"
                f" {tuple(x.shape)}"
            )
        low, high = self.low.to(x.device), self.high.to(x.device)
        return (x.double() - low) / (high - low)

    def _features(self, y: Tensor) -> Tensor:
        """Join the neurons of a population with the channels."""
        return y.flatten(-3, -2) if isinstance(self.coder, GaussianPopulation) else y

    def extra_repr(self) -> str:
        """Parameters, short."""
        return f"channels={self.channels}, split={self.split}, inverted={self.inverted}"
