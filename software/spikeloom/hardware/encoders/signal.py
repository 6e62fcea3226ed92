"""Signal encoders and their decoders in gates: structure, run-time parameters, integer rules.

All rules are per channel and use plain integers without a bound; the widths given make sure that
none is ever exceeded. x is a sample, s its spike. A frame begins with a sample marked ``first``, or
with the first one after reset, and ends with one marked ``last``; nothing crosses frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from spikeloom.fixed import Fixed
from spikeloom.hardware.encoders.common import CoreParameters, Field, require, require_integer

__all__ = [
    "GUARD_BITS",
    "MAX_LEAK_SHIFT",
    "BSADecoderParameters",
    "BSAForm",
    "BSAParameters",
    "DeltaParameters",
    "Initial",
    "LIFDecoderParameters",
    "LIFParameters",
    "PWMParameters",
    "SignalParameters",
    "StepForwardDecoderParameters",
    "StepForwardParameters",
]

#: Bits below the LSB of a sample that a state with a product keeps.
GUARD_BITS = 8
MAX_WIDTH = 24
#: A leak by shifting is 1 - 2^-k, k up to this.
MAX_LEAK_SHIFT = 15

Initial = Literal["first", "value"]
Carrier = Literal["wrap", "restart"]
Reset = Literal["zero", "subtract"]
Leak = Literal["multiply", "shift"]
BSAForm = Literal["parallel", "interleaved", "serial"]


def _one_of(name: str, value: str, allowed: object) -> None:
    choices = get_args(allowed)
    require(value in choices, f"{name} must be one of {choices}, not {value!r}")


def _only_dense(decoder: SignalParameters) -> None:
    require(decoder.output == "dense", "a decoder gives samples, not spikes: output is 'dense'")


def _threshold(width: int) -> Field:
    # the difference of two samples needs `width` bits without its sign
    return Field("threshold", width, 1, (1 << width) - 1, 1 << max(0, width - 4))


def _leak(leak: Leak, leak_bits: int) -> Field:
    # one half after reset, either way
    if leak == "shift":
        return Field("leak", MAX_LEAK_SHIFT.bit_length(), 0, MAX_LEAK_SHIFT, 1)
    one = 1 << leak_bits
    return Field("leak", leak_bits + 1, 0, one, one // 2)


def _initial(format: Fixed) -> Field:
    return Field("initial", format.width, format.low, format.high, 0, signed=True)


@dataclass(frozen=True, kw_only=True)
class SignalParameters(CoreParameters):
    """Structure common to signal encoders: samples of a format in, spikes out.

    format: of a sample; width 4..24.
    """

    format: Fixed = field(default_factory=lambda: Fixed(16, 15))

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("width", self.format.width, 4, MAX_WIDTH)

    @property
    def spike_bits(self) -> int:
        """Width of a spike at the output, two's complement: -1, 0, 1 unless a code has more."""
        return 2

    @property
    def side_band(self) -> bool:
        """Whether the first sample of a frame goes along with its spike, for the decoder."""
        return False


@dataclass(frozen=True, kw_only=True)
class StepForwardParameters(SignalParameters):
    """Step-forward (Kasabov et al. 2016; Petro, Kasabov & Kiss 2020).

    The first sample of a frame: ``initial="first"``: base = x, s = 0, and x is the side-band.
    ``initial="value"``: base = initial before the first sample, which is encoded like any other.
    Then, with theta = threshold << level (level is 0 at the start of a frame):

        s = +1, base += theta   if x > base + theta
        s = -1, base -= theta   if x < base - theta
        s = 0                   otherwise

    The base never leaves the range between initial and the samples seen, so it has their width.
    levels > 0 makes the threshold adapt: after each sample level = min(level + 1, levels) if s and
    the spike of the previous sample in the frame are equal and not 0, else max(level - 1, 0). (The
    sample that only sets the base counts as a sample without a spike.)
    """

    NAME: ClassVar[str] = "step-forward"

    levels: int = 0
    initial: Initial = "first"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("levels", self.levels, 0, 3)
        _one_of("initial", self.initial, Initial)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Threshold, in LSB of a sample, and the initial base where it is a parameter."""
        first = (_threshold(self.format.width),)
        return first if self.initial == "first" else (*first, _initial(self.format))

    @property
    def side_band(self) -> bool:
        """The first sample goes along."""
        return self.initial == "first"


@dataclass(frozen=True, kw_only=True)
class LIFParameters(SignalParameters):
    """Leaky integrate and fire with signed spikes (after Yarga, Rouat & Wood 2022).

    The membrane potential v has GUARD_BITS bits below the LSB of a sample, and is 0 before the
    first sample of a frame, which is integrated like any other. With theta = threshold << GUARD:

        v = round_half_even(v * leak / 2^leak_bits) + (x << GUARD)
        s = +1 if v > theta;  s = -1 if v < -theta;  s = 0 otherwise
        if s:  v = 0                                   reset = "zero"
               v = clip(v - s * theta, -theta, theta)  reset = "subtract"

    refractory > 0: for ``refractory`` samples (a run-time parameter up to this number) after a
    spike the sample is ignored, s = 0 and v stays as it is, without leak.
    |v| <= theta after every sample, so that 1 + width + GUARD bits hold it. (The leak belongs to
    the sample after it: a change of ``leak`` inside a frame takes effect there. As long as it is
    constant, leaking at the end of a sample gives the same spikes.)

    leak = "shift" needs no multiplier: the run-time parameter ``leak`` is k in 0..15, and v leaks
    to round_half_even(v - v / 2^k), or not at all where k = 0; ``leak_bits`` does not count.
    """

    NAME: ClassVar[str] = "lif"

    leak: Leak = "multiply"
    leak_bits: int = 16
    refractory: int = 0
    reset: Reset = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("leak_bits", self.leak_bits, 2, 16)
        require_integer("refractory", self.refractory, 0, 255)
        _one_of("reset", self.reset, Reset)
        _one_of("leak", self.leak, Leak)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Threshold in LSB of a sample; leak (2^leak_bits for 1, or k); refractory samples."""
        fields = (_threshold(self.format.width), _leak(self.leak, self.leak_bits))
        if self.refractory:
            bits = self.refractory.bit_length()
            fields += (Field("refractory", bits, 0, self.refractory, self.refractory),)
        return fields


@dataclass(frozen=True, kw_only=True)
class PWMParameters(SignalParameters):
    """Pulse width modulation (Arriandiaga et al. 2020) with a mirrored carrier for OFF spikes.

    A signal in [0, 1]: full = 2^fraction of its format stands for 1. With P = phase_bits and
    a = max(x, 0) << (P - fraction), phase = 0 at the first sample of a frame:

        p = -1 if bipolar and a > 2^P - phase;  else +1 if a < phase;  else 0
        s = p if p differs from the p of the previous sample in the frame (0 before the first)
            else 0
        phase += step                                  after the sample

    carrier = "wrap": phase modulo 2^P. carrier = "restart": phase = 0 when it reaches 2^P.
    """

    NAME: ClassVar[str] = "pwm"

    phase_bits: int = 32
    carrier: Carrier = "wrap"
    bipolar: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("phase_bits", self.phase_bits, 8, 32)
        require(
            1 <= self.format.fraction <= self.phase_bits,
            f"the format's fraction must be in 1..{self.phase_bits}, not {self.format.fraction}",
        )
        _one_of("carrier", self.carrier, Carrier)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Step of the phase a sample: carrier frequency over sampling rate, times 2^phase_bits."""
        top = 1 << self.phase_bits
        return (Field("step", self.phase_bits, 1, top - 1, top // 20),)


@dataclass(frozen=True, kw_only=True)
class BSAParameters(SignalParameters):
    """Ben's spiker algorithm (Schrauwen & Van Campenhout 2003), additive threshold.

    With the filter h[0 .. taps-1] (integers, common to all channels, writable at run time through
    the port ``taps``) and the residual r, which starts as the signal: for each t of a frame of L
    samples, with K = min(taps, L - t):

        e = sum_{k<K} |r[t+k]| - |r[t+k] - h[k]|
        s[t] = 1, r[t+k] -= h[k] for k < K,  if e >= threshold, else s[t] = 0

    (|r| - |r - h| = clip(sign(h) * (2r - h), -|h|, |h|).) The spike of sample t comes when sample
    t + taps - 1 is in, or when the frame ended, with the threshold in force for the sample that
    came last. A frame cut off by the next ``first``, without ``last``, gives only the spikes that
    its samples allow. sum |h| <= 2^width (``filters.checked_taps``), so that a residual has
    width + 2 bits; e has width + 2 bits too. Taps written while a frame is under way make its
    spikes undefined.

    form: ``parallel`` decides in one cycle; ``interleaved`` is pipelined, and makes a sample wait
    while a decision of the same channel is under way, so that interleaved channels run at one
    sample a cycle; ``serial`` looks at one tap a cycle.
    """

    NAME: ClassVar[str] = "bsa"

    taps: int = 10
    form: BSAForm = "parallel"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("taps", self.taps, 1, 128)
        _one_of("form", self.form, BSAForm)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Threshold, in LSB of a sample; signed, because a useful one may be below zero."""
        w = self.format.width
        low = -(1 << (w + 1))
        return (Field("threshold", w + 2, low, -low - 1, 1 << (w - 2), signed=True),)

    @property
    def tap_bits(self) -> int:
        """Width of a tap, two's complement."""
        return self.format.width + 1


@dataclass(frozen=True, kw_only=True)
class DeltaParameters(SignalParameters):
    """Send on delta with several quanta, hysteresis and optional log intensity.

    ``initial`` as in StepForwardParameters (ref is its base). d = x - ref, n spikes of one sample:

        m = |d| - (hysteresis if sign(d) is opposite to the last spike of the frame else 0)
        n = min(floor(m / threshold), quanta) if m > 0 else 0
        s = sign(d) * n;  ref += s * threshold

    log: x, clipped to >= 1, is first replaced by its logarithm: with e = floor(log2 x) and
    f = floor(256 * (x / 2^e - 1)):  (e << LOG) + table[f], table[f] = round(2^LOG log2(1 + f/256)),
    LOG = 8; ref, initial, side-band and thresholds are then in units of 2^-LOG octaves.
    """

    NAME: ClassVar[str] = "delta"

    quanta: int = 1
    initial: Initial = "first"
    log: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer("quanta", self.quanta, 1, 15)
        _one_of("initial", self.initial, Initial)

    @property
    def inner(self) -> Fixed:
        """Format of ref: that of the sample, or 2^-LOG octaves."""
        if not self.log:
            return self.format
        return Fixed(8 + self.format.width.bit_length() + 1, 8)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Threshold and hysteresis in LSB of ``inner``."""
        inner = self.inner
        fields = (
            _threshold(inner.width),
            Field("hysteresis", inner.width, 0, (1 << inner.width) - 1, 0),
        )
        return fields if self.initial == "first" else (*fields, _initial(inner))

    @property
    def spike_bits(self) -> int:
        """Sign and number of quanta."""
        return self.quanta.bit_length() + 1

    @property
    def side_band(self) -> bool:
        """The first sample (its logarithm with ``log``) goes along."""
        return self.initial == "first"


@dataclass(frozen=True, kw_only=True)
class StepForwardDecoderParameters(StepForwardParameters):
    """The inverse of step-forward: spikes, with the side-band, in; samples of ``format`` out.

    base = side-band at the first sample of a frame (initial="first", y = base, and its spike does
    not count) or the parameter ``initial`` before it. Then base = clip(base + s * (threshold <<
    level)) to the format, and y = base; level as in the encoder.
    """

    NAME: ClassVar[str] = "step-forward-decoder"

    def __post_init__(self) -> None:
        super().__post_init__()
        _only_dense(self)


@dataclass(frozen=True, kw_only=True)
class LIFDecoderParameters(SignalParameters):
    """Leaky sum of spikes; y and gain have GUARD_BITS bits below the LSB of a sample.

    y = 0 before the first sample of a frame. Then, for each:
    y = clip(round_half_even(y * leak / 2^leak_bits) + s * gain);
    the output is clip(round_half_even(y / 2^GUARD)) in ``format``. The first clip is to
    width + GUARD bits. leak = "shift" as in LIFParameters.
    """

    NAME: ClassVar[str] = "lif-decoder"

    leak: Leak = "multiply"
    leak_bits: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        _only_dense(self)
        require_integer("leak_bits", self.leak_bits, 2, 16)
        _one_of("leak", self.leak, Leak)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Leak as in the encoder; gain, what one spike adds."""
        bits = self.format.width + GUARD_BITS
        return (
            _leak(self.leak, self.leak_bits),
            Field("gain", bits, 0, (1 << bits) - 1, 1 << (bits - 4)),
        )


@dataclass(frozen=True, kw_only=True)
class BSADecoderParameters(SignalParameters):
    """Binary FIR: y[t] = clip(sum_{k<taps} h[k] * s[t-k]) in ``format``; s = 0 before the frame.

    s is 0 or 1. The taps, common to all channels, are writable at run time through the port
    ``taps``, at any time; any that fit in width + 1 bits are allowed.
    """

    NAME: ClassVar[str] = "bsa-decoder"

    taps: int = 10

    @property
    def tap_bits(self) -> int:
        """Width of a tap, two's complement."""
        return self.format.width + 1
