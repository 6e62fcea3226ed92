"""Time to first spike: the greater the value, the earlier its only spike."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Value
from spikeloom.hardware.encoders import LatencyParameters

from spikeloom_hdl.encoders.pipeline import Pipeline
from spikeloom_hdl.encoders.word_encoder import WordEncoder

__all__ = ["Latency"]

DIGIT = 4  #: bits of a value that a stage looks at


class Latency(WordEncoder):
    """Words of :class:`~spikeloom.hardware.encoders.LatencyParameters`, one a cycle.

    The value is compared with all boundaries at once, a hexadecimal digit a stage, the lowest
    first; boundaries that end in the same digits share the flag of these. As boundaries never rise,
    the spike is at the step whose comparison differs from that of the step before.
    """

    parameters: LatencyParameters

    def __init__(self, parameters: LatencyParameters):
        super().__init__(parameters)

    @property
    def depth(self) -> int:
        """A stage for each digit, and one for the spike."""
        return 1 - (-self.parameters.bits // DIGIT)

    def _word(self, m: Module, line: Pipeline, value: Value) -> Value:
        bits, boundaries = self.parameters.bits, self.parameters.boundaries
        always, never = Const(1, 1), Const(0, 1)
        # by constant: whether the digits seen so far reach it; zero is always reached
        flags: dict[int, Value] = {0: always}
        rest = value
        for low in range(0, bits, DIGIT):
            high = min(bits, low + DIGIT)
            seen = {b % (1 << high) for b in boundaries} - {0}
            made = {c: _reaches(rest[: high - low], c >> low, flags[c % (1 << low)]) for c in seen}
            flags, rest = line.stage(reaches=made, rest=rest[high - low :])
            flags[0] = always
        spikes, before = [], never
        for b in boundaries:
            now = never if b > self.parameters.full else flags[b]
            spikes.append(now & ~before)
            before = now
        (word,) = line.stage(word=Cat(*reversed(spikes)))
        return word


def _reaches(digit: Value, constant: int, below: Value) -> Value:
    """Whether a digit, with what the digits below it say, reaches a constant."""
    for place, bit in enumerate(digit):
        below = bit & below if constant >> place & 1 else bit | below
    return below
