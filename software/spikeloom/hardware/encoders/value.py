"""Value encoders in gates: a value becomes a packed word of spikes, first step = most significant.

A value v of ``bits`` bits, unsigned, stands for v / full in [0, 1], full = 2^bits - 1. Frames and
channels as in the signal encoders. With ``output="events"`` every set bit of a word is a transfer,
its time stamp the number of the word in its frame times ``steps`` plus the step, 0 the first.
``first`` marks the first event of the first word of a frame, ``last`` the last event of the last
word; where that word has no spikes, an event with spike = 0 and the time of its step 0 stands in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders.common import CoreParameters, Field, require, require_integer

__all__ = [
    "LatencyParameters",
    "ObservationParameters",
    "PhaseParameters",
    "PoissonParameters",
    "PopulationParameters",
    "RateParameters",
    "ValueParameters",
]

GOLDEN_RATIO = 0x9E3779B9  #: 2^32 / 1.618..., odd: multiples of it spread over 32 bits


@dataclass(frozen=True, kw_only=True)
class ValueParameters(CoreParameters):
    """Structure common to value encoders: values of ``bits`` bits in, ``steps`` spikes a word out.

    bits: 1..16. steps: 1..32.
    """

    bits: int = 8
    steps: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("bits", self.bits, 1, 16)
        require_integer("steps", self.steps, 1, 32)

    @property
    def full(self) -> int:
        """The value that stands for 1."""
        return (1 << self.bits) - 1


@dataclass(frozen=True, kw_only=True)
class RateParameters(ValueParameters):
    """Deterministic rate: an accumulator that starts at one half in every word; carry = spike.

    t = v + (v >> (bits - 1)), so that full gives 2^bits; spike at step k = 0 .. steps - 1:
    floor(((k + 1) t + half) / 2^bits) - floor((k t + half) / 2^bits), half = 2^(bits - 1).
    A word has floor(steps * t / 2^bits + 1/2) spikes.
    """

    NAME: ClassVar[str] = "rate"


@dataclass(frozen=True, kw_only=True)
class PoissonParameters(ValueParameters):
    """Random rate: spike at a step if u < t; t as in RateParameters: 0 never fires, full always.

    Each step of a word draws: x ^= x << 13; x ^= x >> 17; x ^= x << 5 (32 bits, xorshift32);
    u = x >> (32 - bits). Each channel has its own x, which runs on across words and frames; reset,
    or writing the channel's parameters, sets it to ``seed``.
    """

    NAME: ClassVar[str] = "poisson"

    @property
    def fields(self) -> tuple[Field, ...]:
        """Seed of a channel: not 0."""
        top = (1 << 32) - 1
        return (Field("seed", 32, 1, top, GOLDEN_RATIO, spread=GOLDEN_RATIO),)


@dataclass(frozen=True, kw_only=True)
class LatencyParameters(ValueParameters):
    """Time to first spike: one spike a word, the earlier the greater the value.

    boundaries: ``steps`` values, never rising, each 0..2^bits: the spike is at the first step k
    with v >= boundaries[k]; none if there is no such step. Computed from a linear or logarithmic
    rule by ``spikeloom.encoders.Latency``; () gives those of the linear rule.
    """

    NAME: ClassVar[str] = "latency"

    boundaries: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.boundaries:
            last = max(1, self.steps - 1)
            # the spike of v comes at round_half_up((full - v) / full * (steps - 1))
            linear = [
                max(0, -(-self.full * (2 * last - 2 * k - 1) // (2 * last)))
                for k in range(self.steps - 1)
            ]
            object.__setattr__(self, "boundaries", (*linear, 0))
        require(
            len(self.boundaries) == self.steps,
            f"boundaries must be {self.steps} numbers, one a step, not {len(self.boundaries)}",
        )
        for b in self.boundaries:
            require_integer("a boundary", b, 0, self.full + 1)
        require(
            list(self.boundaries) == sorted(self.boundaries, reverse=True),
            f"boundaries must never rise, not {self.boundaries}",
        )


@dataclass(frozen=True, kw_only=True)
class PhaseParameters(ValueParameters):
    """Bit planes, most significant first: SpikePack's own code for its input.

    word = (2 v (2^steps - 1) + full) // (2 full): v / full * (2^steps - 1), rounded half up.
    steps: 1..16.
    """

    NAME: ClassVar[str] = "phase"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("steps of a phase code", self.steps, 1, 16)


@dataclass(frozen=True, kw_only=True)
class PopulationParameters(CoreParameters):
    """Gaussian receptive fields: a value of ``bits`` bits becomes one of each of ``neurons``.

    table: neurons rows of 2^bits responses of ``response_bits`` bits; computed from centres and
    width by ``spikeloom.encoders.GaussianPopulation``, Gaussian for a rate or latency code, full or
    0 for one-hot. () gives zeros. bits: 1..10. A value of channel c gives transfers of channels
    c * neurons + n, n = 0, 1, ..., with table[n][v], ready for a value encoder; ``first`` and
    ``last`` mark all transfers of a value that had them.
    """

    NAME: ClassVar[str] = "population"

    bits: int = 8
    neurons: int = 8
    response_bits: int = 8
    table: tuple[tuple[int, ...], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("bits", self.bits, 1, 10)
        require_integer("neurons", self.neurons, 2, 64)
        require_integer("response_bits", self.response_bits, 1, 16)
        require(self.output == "dense", "a population gives values, not spikes: output is 'dense'")
        if not self.table:
            object.__setattr__(self, "table", ((0,) * (1 << self.bits),) * self.neurons)
        require(
            len(self.table) == self.neurons
            and all(len(row) == 1 << self.bits for row in self.table),
            f"table must be {self.neurons} rows of {1 << self.bits} responses",
        )
        top = (1 << self.response_bits) - 1
        require(
            all(0 <= entry <= top for row in self.table for entry in row),
            f"a response must be in 0..{top}",
        )


@dataclass(frozen=True, kw_only=True)
class ObservationParameters(CoreParameters):
    """Reinforcement-learning observations: a sample becomes one value or several, from its bounds.

    p = clip(((x - low) * gain + 2^15) >> 16, 0, full); full = 2^bits - 1, x a sample of ``format``.
    Without options the value is p. split: two values, max(0, 2 p - full) and max(0, full - 2 p).
    inverted: after the value or values, full minus each of them. Transfers of channel c have
    channels c * outputs + j; ``first`` and ``last`` mark all transfers of a sample that had them.
    """

    NAME: ClassVar[str] = "observation"

    format: Fixed = field(default_factory=lambda: Fixed(16, 8))
    bits: int = 8
    split: bool = False
    inverted: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("width", self.format.width, 4, 24)
        require_integer("bits", self.bits, 1, 16)
        require(self.output == "dense", "observations become values: output is 'dense'")

    @property
    def outputs(self) -> int:
        """Values that a sample becomes."""
        return (2 if self.split else 1) * (2 if self.inverted else 1)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Lower bound, and 2^16 full / (high - low), rounded."""
        f = self.format
        gain = max(1, round(((1 << self.bits) - 1) / (f.high - f.low) * 65536))
        return (
            Field("low", f.width, f.low, f.high, f.low, signed=True),
            Field("gain", 32, 1, (1 << 32) - 1, gain),
        )
