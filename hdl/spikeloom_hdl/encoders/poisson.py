"""Random rate code: each step of a word draws a number of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from spikeloom.hardware.encoders import PoissonParameters

from spikeloom_hdl.encoders.channel_table import ChannelState
from spikeloom_hdl.encoders.pipeline import Pipeline
from spikeloom_hdl.encoders.word_encoder import WordEncoder

__all__ = ["Poisson"]

STATE = 32  #: bits of a generator
NIBBLE = 4  #: bits of a state that a LUT adds up


class Poisson(WordEncoder):
    """Words of :class:`~spikeloom.hardware.encoders.PoissonParameters`, one a cycle.

    A draw is linear over GF(2): every bit of every one of the word's draws, and of the state after
    them, is the exclusive or of some bits of the state before them. So a word takes one cycle of
    the loop through the channel's state, whatever its steps, and the numbers are made behind it:
    first all sums of four neighbouring bits that occur, then their sums, then the comparisons.

    After reset the state of every channel is cleared, then seeded; a transfer at ``p`` seeds one
    in the same way, as if it were a value of the channel that gives no word.
    """

    depth = 5
    parameters: PoissonParameters

    def __init__(self, parameters: PoissonParameters):
        super().__init__(parameters)

    def _enter(self, m: Module, advance: Value) -> Value:
        (seed,) = self.parameters.fields
        self._table = table = ChannelState(channels=self.parameters.channels, state={"x": STATE})
        m.submodules.table = table
        self._seed = Signal.like(self.p.payload, init={"channel": 0, "seed": seed.default})
        self._seeds, defaults = Signal(init=1), Signal(init=1)
        enters = Signal()
        m.d.comb += [
            self.p.ready.eq(~defaults & (~self._seeds | advance)),
            enters.eq(~self._seeds & ~self.p.valid),
            table.advance.eq(advance),
            table.i_valid.eq(Mux(self._seeds, ~table.busy, self.i.valid & self.i.ready)),
            table.i.channel.eq(Mux(self._seeds, self._seed.channel, self.i.p.channel)),
        ]
        with m.If(defaults & ~table.busy):
            m.d.sync += [
                self._seed.channel.eq(self._seed.channel + 1),
                self._seed.seed.eq(self._seed.seed + seed.spread),
            ]
            with m.If(self._seed.channel == self.parameters.channels - 1):
                m.d.sync += [defaults.eq(0), self._seeds.eq(0)]
        with m.Elif(self.p.ready):
            m.d.sync += [self._seeds.eq(self.p.valid), self._seed.eq(self.p.payload)]
        return enters

    def _word(self, m: Module, line: Pipeline, value: Value) -> Value:
        bits, steps = self.parameters.bits, self.parameters.steps
        # into the loop, with the seed that some of what enters brings
        t, seeds, seed = line.stage(
            t=(value + value[-1])[: bits + 1], seeds=self._seeds, seed=self._seed.seed
        )
        t, seeds, seed = line.stage(t=t, seeds=seeds, seed=seed)
        draws = _draws(steps)
        state = list(self._table.state.x)
        after = Cat(_parity(state, mask) for mask in draws[-1])
        m.d.comb += self._table.next.x.eq(Mux(seeds, seed, after))
        # the most significant bits of each draw
        wanted = [row[STATE - bits :] for row in draws]
        nibbles = sorted({n for row in wanted for mask in row for n in _nibbles(mask)})
        sums, t = line.stage(sum={n: _parity(state, n) for n in nibbles}, t=t)
        numbers, t = line.stage(
            number=[Cat(_xor(sums[n] for n in _nibbles(mask)) for mask in row) for row in wanted],
            t=t,
        )
        (word,) = line.stage(word=Cat(u < t for u in reversed(numbers)))
        return word


def _draws(steps: int) -> list[list[int]]:
    """For each draw, and each bit of its state: the bits of the first state that it adds up."""

    def step(x: int) -> int:
        x ^= x << 13 & (1 << STATE) - 1
        x ^= x >> 17
        return x ^ (x << 5 & (1 << STATE) - 1)

    images, draws = [1 << k for k in range(STATE)], []
    for _ in range(steps):
        images = [step(x) for x in images]
        draws.append(
            [sum((x >> bit & 1) << k for k, x in enumerate(images)) for bit in range(STATE)]
        )
    return draws


def _nibbles(mask: int) -> list[int]:
    """Split a mask into those of its nibbles that are not zero."""
    pieces = [mask & ((1 << NIBBLE) - 1) << at for at in range(0, STATE, NIBBLE)]
    return [piece for piece in pieces if piece]


def _parity(state: Sequence[Value], mask: int) -> Value:
    """Exclusive or of the bits of a mask."""
    return _xor(bit for k, bit in enumerate(state) if mask >> k & 1)


def _xor(terms: Iterable[Value]) -> Value:
    return reduce(xor, terms)
