"""Streams between layers, and what stands between those: converters, forks, buffers.

A process is a generator: it computes the cycles of transfer after transfer, in order, from those of
the streams around it, and yields while one that it needs is not known yet. Streams only delay each
other, so the order in which processes run does not matter.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field

from spikeloom.hardware.parameters import Port

__all__ = [
    "Link",
    "Process",
    "fifo",
    "fork",
    "join",
    "known",
    "lanes",
    "pipeline",
    "pipelines",
    "run",
    "sink",
    "skid",
]

#: What a process waits for: an entry of a list of cycles.
Wait = tuple[list[int], int]
Process = Generator[Wait, None, None]


@dataclass
class Link:
    """A stream: the cycle from which each transfer is offered, and that in which it is taken."""

    put: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)


def known(times: list[int], index: int) -> Process:
    """Wait until entry ``index`` of ``times`` is there."""
    if len(times) <= index:
        yield times, index


def run(processes: Iterable[Process], times: list[int], count: int) -> bool:
    """Let processes go on until ``times`` has ``count`` entries; False if they stand still."""
    waiting: list[tuple[Process, list[int], int]] = []

    def step(process: Process) -> None:
        wait = next(process, None)
        if wait is not None:
            waiting.append((process, *wait))

    for process in processes:
        step(process)
    while len(times) < count:
        before, moved = list(waiting), False
        waiting.clear()
        for entry in before:
            process, awaited, index = entry
            if len(awaited) > index:
                step(process)
                moved = True
            else:
                waiting.append(entry)
        if not moved:
            return False
    return True


def sink(link: Link) -> Process:
    """Take every transfer at once."""
    while True:
        index = len(link.taken)
        yield from known(link.put, index)
        before = link.taken[-1] + 1 if link.taken else 0
        link.taken.append(max(before, link.put[index]))


def pipeline(i: Link, o: Link, depth: int, keeps: Iterable[bool] | None = None) -> list[Process]:
    """Registers that move together, unless the last one holds a transfer that is not taken.

    keeps: for each transfer, whether it gets to the end; those that do not leave a gap.
    """
    leaves: list[int] = []  # number of the move with which each leaves

    def take() -> Process:
        move = -1
        stalled, resumed, seen = 0, 0, 0  # the last departure: its move, its cycle, how many before
        for kept in itertools.repeat(True) if keeps is None else keeps:
            index = len(i.taken)
            yield from known(i.put, index)
            move += 1
            while True:
                # without further stalls, taken with this move
                wanted = move + max(0, i.put[index] - (resumed + move - stalled))
                if seen == len(leaves) or leaves[seen] > wanted:
                    break
                yield from known(o.taken, seen)
                stalled, resumed = leaves[seen], o.taken[seen]
                seen, move = seen + 1, max(move, stalled)
            move = wanted
            i.taken.append(resumed + move - stalled)
            if kept:
                leaves.append(move + depth)

    def give() -> Process:
        before = now = 0
        while True:
            index = len(o.put)
            yield from known(leaves, index)
            if index:
                yield from known(o.taken, index - 1)
                before, now = leaves[index - 1], o.taken[index - 1]
            o.put.append(now + leaves[index] - before)

    return [take(), give()]


def join(ins: Sequence[Link], o: Link, steps: Iterable[tuple[bool, bool]] | None = None) -> Process:
    """Take transfers of all inputs together.

    steps: for each output transfer, whether inputs are taken with it, and whether it waits for them
    even if not. Always both without.
    """
    used = 0
    for takes, waits in itertools.repeat((True, True)) if steps is None else steps:
        offered = 0
        for link in ins if takes or waits else ():
            yield from known(link.put, used)
            offered = max(offered, link.put[used])
        o.put.append(offered)
        yield from known(o.taken, len(o.put) - 1)
        if takes:
            for link in ins:
                link.taken.append(o.taken[-1])
            used += 1


def skid(i: Link, o: Link) -> Process:
    """Two places without latency: what waits is kept."""
    while True:
        index = len(i.taken)
        yield from known(i.put, index)
        now = i.put[index]
        if index:
            yield from known(o.taken, index - 1)
            now = max(now, o.taken[index - 1] + 1)
        i.taken.append(now)
        o.put.append(now)


def pipelines(i: Link, o: Link, *depths: int) -> list[Process]:
    """Pipelines one behind the other, and a skid buffer."""
    processes: list[Process] = []
    for depth in depths:
        behind = Link()
        processes += pipeline(i, behind, depth)
        i = behind
    return [*processes, skid(i, o)]


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
