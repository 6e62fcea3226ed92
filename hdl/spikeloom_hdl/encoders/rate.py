"""Deterministic rate code: a value becomes evenly spaced spikes."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value
from spikeloom.hardware.encoders import RateParameters

from spikeloom_hdl.encoders.pipeline import Pipeline
from spikeloom_hdl.encoders.word_encoder import WordEncoder

__all__ = ["Rate"]


class Rate(WordEncoder):
    """Words of :class:`~spikeloom.hardware.encoders.RateParameters`, one a cycle.

    The accumulator of step k holds k * t + half; its bit ``bits`` is the parity of the spikes
    before step k, and a spike is where two of these bits differ. So the word needs only the lowest
    bits + 1 bits of the multiples of t, and of those only the odd ones cost an adder: an even one
    is a shift, and adding half is an exclusive or of two bits.
    """

    depth = 4
    parameters: RateParameters

    def __init__(self, parameters: RateParameters):
        super().__init__(parameters)

    def _word(self, m: Module, line: Pipeline, value: Value) -> Value:
        bits, steps = self.parameters.bits, self.parameters.steps
        (t,) = line.stage(t=(value + value[-1])[: bits + 1])
        # odd multiples next to a power of two first, then those next to one by 3 .. 9
        near, far = {1: t}, {}
        for k in range(3, steps + 1, 2):
            power = 1 << (k.bit_length() - 1)
            if k - power == 1:
                near[k] = _shifted(t, power) + t
            elif 2 * power - k == 1:
                near[k] = _shifted(t, 2 * power) - t
            else:
                far[k] = power
        (near,) = line.stage(multiple={k: v[: bits + 1] for k, v in near.items()})
        odd = dict(near)
        for k, power in far.items():
            if k - power in near:
                odd[k] = _shifted(near[1], power) + near[k - power]
            else:
                odd[k] = _shifted(near[1], 2 * power) - near[2 * power - k]
        (odd,) = line.stage(odd={k: v[: bits + 1] for k, v in odd.items()})
        parity = [_parity(odd, k, bits) for k in range(steps + 1)]
        spikes = [parity[k] ^ parity[k + 1] for k in range(steps)]
        (word,) = line.stage(word=Cat(*reversed(spikes)))
        return word


def _shifted(value: Value, factor: int) -> Value:
    """Multiply by a power of two."""
    return Cat(Const(0, factor.bit_length() - 1), value)


def _parity(odd: dict[int, Signal], k: int, bits: int) -> Value:
    """Bit ``bits`` of k * t + 2^(bits - 1)."""
    if k == 0:
        return Const(0, 1)
    shift = (k & -k).bit_length() - 1
    multiple = odd[k >> shift]

    def bit(place: int) -> Value:
        return multiple[place - shift] if place >= shift else Const(0, 1)

    return bit(bits) ^ bit(bits - 1)
