"""Streams between layers, and what stands between those: converters, forks, buffers.

A process is a generator: it computes the cycles of transfer after transfer, in order, from those of
the streams around it, and yields while one that it needs is not known yet. Streams only delay each
other, so the order in which processes run does not matter.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from spikeloom.hardware.parameters import Port

__all__ = ["Link", "Process", "fifo", "fork", "known", "lanes"]

Process = Generator[None, None, None]


@dataclass
class Link:
    """A stream: the cycle from which each transfer is offered, and that in which it is taken."""

    put: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)


def known(times: list[int], index: int) -> Process:
    """Wait until entry ``index`` of ``times`` is there."""
    while len(times) <= index:
        yield


def lanes(a: Port, b: Port, i: Link, o: Link, samples: int) -> Process:
    """Convert the words of a transfer."""
    wide, narrow = a.transfers_per_pixel, b.transfers_per_pixel
    if a.lanes > b.lanes:  # input transfers are cut; each is taken with its last piece
        pieces = a.lanes // b.lanes
        for pixel in range(samples * a.pixels):
            for k in range(wide):
                index = pixel * wide + k
                yield from known(i.put, index)
                for _ in range(min(pieces, narrow - k * pieces)):
                    before = o.taken[-1] + 1 if o.taken else 0
                    o.put.append(max(i.put[index], before))
                    yield from known(o.taken, len(o.put) - 1)
                i.taken.append(o.taken[-1])
        return
    pieces = b.lanes // a.lanes
    now = 0
    for _ in range(samples * a.pixels):
        for k in range(wide):
            index = len(i.taken)
            yield from known(i.put, index)
            if o.put:
                yield from known(o.taken, len(o.put) - 1)
                now = max(now, o.taken[-1])
            now = max(now, i.put[index])
            i.taken.append(now)
            now += 1
            if (k + 1) % pieces == 0 or k == wide - 1:
                o.put.append(now)


def fork(i: Link, outs: Sequence[Link]) -> Process:
    """Give every transfer to all."""
    while True:
        index = len(i.taken)
        yield from known(i.put, index)
        for o in outs:
            o.put.append(i.put[index])
        for o in outs:
            yield from known(o.taken, index)
        i.taken.append(max(o.taken[index] for o in outs))


def fifo(depth: int, i: Link, o: Link) -> Process:
    """Hold ``depth`` transfers."""
    late = 1 if depth <= 8 else 3
    now = -1
    while True:
        index = len(i.taken)
        yield from known(i.put, index)
        now = max(now + 1, i.put[index])
        if index >= depth:
            yield from known(o.taken, index - depth)
            now = max(now, o.taken[index - depth] + 1)
        i.taken.append(now)
        o.put.append(now + late)
