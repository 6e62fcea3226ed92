"""Phase code: the bit planes of a value, SpikePack's own code for its input."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Value
from spikeloom.hardware.encoders import PhaseParameters

from spikeloom_hdl.encoders.pipeline import Pipeline
from spikeloom_hdl.encoders.word_encoder import WordEncoder

__all__ = ["Phase"]


class Phase(WordEncoder):
    """Words of :class:`~spikeloom.hardware.encoders.PhaseParameters`, one a cycle.

    v / full in binary is the bits of v over and over: 0.vvv... So v / full * 2^steps is
    R + w / full, where R is the first ``steps`` bits of that and w is v rotated left by ``steps``
    bits, and v / full * (2^steps - 1) = R + (w - v) / full, exactly. Rounded, that is R plus one if
    w - v >= full / 2, minus one if v - w >= full / 2. The full value fits: R = 2^steps - 1, w = v.
    """

    depth = 3
    parameters: PhaseParameters

    def __init__(self, parameters: PhaseParameters):
        super().__init__(parameters)

    def _word(self, m: Module, line: Pipeline, value: Value) -> Value:
        bits, steps = self.parameters.bits, self.parameters.steps
        repeated = Cat(*(value[bits - 1 - k % bits] for k in reversed(range(steps))))
        turned = value.rotate_left(steps % bits)
        repeated, excess = line.stage(repeated=repeated, excess=turned - value)
        # full is odd, so at least full / 2 is at least 2^(bits - 1); it is never equal: v and that
        # power added would be v with one bit more, but w has as many ones as v
        up, down = ~excess[-1] & excess[bits - 1], excess[-1] & ~excess[bits - 1]
        repeated, up, down = line.stage(repeated=repeated, up=up, down=down)
        (word,) = line.stage(word=(repeated + Mux(down, Const(-1, steps), up)[:steps])[:steps])
        return word
