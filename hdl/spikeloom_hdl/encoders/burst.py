"""Burst code in gates: comparators find the number and the distance of the spikes."""

from __future__ import annotations

from amaranth.hdl import C, Cat, Module, Mux, Value
from spikeloom.hardware.encoders.more import BurstParameters

from spikeloom_hdl.encoders.pipeline import Pipeline
from spikeloom_hdl.encoders.word_encoder import WordEncoder

__all__ = ["Burst"]


class Burst(WordEncoder):
    """Words of :class:`~spikeloom.hardware.encoders.BurstParameters`, one a cycle.

    The word changes at few values only: the value is compared with all of these, and the greatest
    that it reaches chooses the word.
    """

    parameters: BurstParameters
    depth = 3

    def __init__(self, parameters: BurstParameters):
        super().__init__(parameters)

    def _words(self) -> list[tuple[int, int]]:
        """Values at which the word changes, rising, and the word from there on."""
        p = self.parameters
        found: list[tuple[int, int]] = []
        for v in range(p.full + 1):
            count = -(-v * p.spikes // p.full)
            distance = p.gap if count <= 1 else p.gap - v * (p.gap - 1) // p.full
            at = {k * distance for k in range(count)}
            word = sum(1 << (p.steps - 1 - k) for k in at if k < p.steps)
            if not found or found[-1][1] != word:
                found.append((v, word))
        return found

    def _word(self, m: Module, line: Pipeline, value: Value) -> Value:
        steps = self.parameters.steps
        (_, lowest), *changes = self._words()
        (reached,) = line.stage(reached=[value >= C(v, len(value)) for v, _ in changes])
        # one of several words, in two stages: the choice within eight, then among the eights
        words = [word for _, word in changes]
        groups = []
        for low in range(0, len(words), 8):
            chosen: Value = C(words[low], steps)
            for k in range(low + 1, min(low + 8, len(words))):
                chosen = Mux(reached[k], C(words[k], steps), chosen)
            groups.append(chosen)
        firsts = [reached[low] for low in range(0, len(words), 8)]
        groups, firsts = line.stage(group=groups, first=firsts)
        result: Value = C(lowest, steps)
        for first, group in zip(firsts, groups, strict=True):
            result = Mux(first, group, result)
        (word,) = line.stage(word=Cat(result[k] for k in range(steps)))
        return word
