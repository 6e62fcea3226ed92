"""Further codes of the literature in gates: structure, run-time parameters, integer rules.

Conventions as in ``signal`` and ``value``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spikeloom.hardware.encoders.common import Field, require_integer
from spikeloom.hardware.encoders.signal import BSAParameters, SignalParameters, _threshold
from spikeloom.hardware.encoders.value import ValueParameters

__all__ = [
    "BurstParameters",
    "HoughSpikerParameters",
    "MovingWindowParameters",
    "SigmaDeltaParameters",
    "ThresholdBasedParameters",
]


@dataclass(frozen=True, kw_only=True)
class ThresholdBasedParameters(SignalParameters):
    """Threshold-based representation, TBR (Delbruck 2007; Petro, Kasabov & Kiss 2020).

    d = x - previous sample of the frame; s = +1 if d > threshold, -1 if d < -threshold, else 0. The
    first sample of a frame has s = 0 and is the side-band. The threshold is fixed: mean + factor *
    standard deviation of |d|, as ``fit`` finds it on a record.
    """

    NAME: ClassVar[str] = "threshold-based"

    @property
    def fields(self) -> tuple[Field, ...]:
        """Threshold, in LSB of a sample."""
        return (_threshold(self.format.width),)

    @property
    def side_band(self) -> bool:
        """The first sample goes along."""
        return True


@dataclass(frozen=True, kw_only=True)
class MovingWindowParameters(SignalParameters):
    """Moving window (Petro, Kasabov & Kiss 2020): against the mean of the last 2^window samples.

    sum: of the 2^window samples before x; samples before the frame count as its first one, which
    has s = 0 and is the side-band. Then s = +1 if (x << window) > sum + (threshold << window), -1
    if (x << window) < sum - (threshold << window), else 0. window: 0..8.
    """

    NAME: ClassVar[str] = "moving-window"

    window: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("window", self.window, 0, 8)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Threshold, in LSB of a sample."""
        return (_threshold(self.format.width),)

    @property
    def side_band(self) -> bool:
        """The first sample goes along."""
        return True


@dataclass(frozen=True, kw_only=True)
class HoughSpikerParameters(BSAParameters):
    """Hough's spiker algorithm (Hough et al. 1999) and its modification (Schrauwen 2003).

    With the filter h[0 .. taps-1] (integers, common to all channels, writable at run time through
    the port ``taps``) and the residual r, which starts as the signal: for each t of a frame of L
    samples

        e = sum_{k<taps} max(0, h[k] - r[t+k])
        s[t] = 1, r[t+k] -= h[k] for k < taps,  if t + taps <= L and e <= threshold, else s[t] = 0

    With threshold 0, the default, it is the original: every residual must reach its tap. A window
    that the end of the frame cuts has no spike, unlike that of BSA. The spike of sample t comes
    when sample t + taps - 1 is in, or when the frame ended, with the threshold in force for the
    sample that came last. A frame cut off by the next ``first``, without ``last``, gives only the
    spikes that its samples allow. e < taps 2^(width+1) does not wrap.

    Bounds of the filter, when it may be written, and the forms: as of bsa (BSAParameters).
    """

    NAME: ClassVar[str] = "hough-spiker"

    @property
    def fields(self) -> tuple[Field, ...]:
        """Threshold, in LSB of a sample; signed as that of BSA, but not below zero."""
        w = self.format.width
        return (Field("threshold", w + 2, 0, (1 << (w + 1)) - 1, 0, signed=True),)


@dataclass(frozen=True, kw_only=True)
class SigmaDeltaParameters(SignalParameters):
    """Second-order sigma-delta with three levels: the mean of the spikes is the signal / threshold.

    a = b = 0 before the first sample of a frame. Then, for each, from the a and b before it:

        s = +1 if 2 b >= threshold;  s = -1 if 2 b <= -threshold;  s = 0 otherwise
        a = a + x - s * threshold;  b = b + a - 2 s * threshold

    Two delaying integrators: spikes = z^-2 signal + (1 - z^-1)^2 error (Candy 1985). Signals beyond
    +-threshold overload them: where the a or the b before the sample is outside -2^(width+2) ..
    2^(width+2) - 1, both start again at 0 after it. So width + 5 bits hold them.
    """

    NAME: ClassVar[str] = "sigma-delta"

    @property
    def fields(self) -> tuple[Field, ...]:
        """Threshold: full scale, in LSB of a sample."""
        w = self.format.width
        return (Field("threshold", w, 1, (1 << w) - 1, 1 << (w - 1)),)


@dataclass(frozen=True, kw_only=True)
class BurstParameters(ValueParameters):
    """Burst code (Guo et al. 2021): more spikes, closer together, the greater the value.

    n = ceil(v * spikes / full) spikes, at steps 0, d, 2 d, ..., with d = gap for n <= 1, else
    d = ceil(gap - v * (gap - 1) / full), as far as they lie within the word. spikes: most spikes of
    a burst; gap: longest distance of two; both 1..steps.
    """

    NAME: ClassVar[str] = "burst"

    steps: int = 15
    spikes: int = 5
    gap: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("spikes", self.spikes, 1, self.steps)
        require_integer("gap", self.gap, 1, self.steps)
