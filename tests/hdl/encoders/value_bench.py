"""Drives a core with streams ``i`` (and ``p``) and ``o`` in Amaranth's simulator.

Everything happens in one process, cycle by cycle: what is offered, taken, held and given.
"""

from __future__ import annotations

import random
from typing import Any

from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator

Item = tuple[str, dict[str, int]]  # ("i", a transfer) or ("p", run-time parameters of a channel)


def fields(payload: Any) -> dict[str, int]:
    return {name: int(payload[name]) for name, _ in payload.shape()}


def run(
    core: Any, *segments: tuple[list[Item], int], seed: int | None = None
) -> tuple[list[list[dict[str, int]]], list[int]]:
    """Send segments of items, with a reset before each but the first.

    A segment is its items, in order, and how many transfers come out before the reset that ends it:
    what is inside then is dropped. After the last one nothing more may come. With a seed, both
    sides pause at random. An item for ``p`` is offered together with the next one for ``i``, which
    must wait. Returns the transfers out of every segment, and the cycles of those of the last one,
    counted from its first transfer in.
    """
    found: list[list[dict[str, int]]] = [[] for _ in segments]
    cycles: list[int] = []

    async def main(ctx: Any) -> None:
        rng = random.Random(seed)

        def pause() -> bool:
            return seed is not None and rng.random() < 0.4

        for index, (items, expected) in enumerate(segments):
            if index:
                ctx.set(domain.rst, 1)
                for port in (core.i, getattr(core, "p", None)):
                    if port is not None:
                        ctx.set(port.valid, 0)
                await ctx.tick()
                ctx.set(domain.rst, 0)
            position, offered, held = 0, False, None
            cycle, begun, quiet = 0, None, 0
            while len(found[index]) < expected or (index == len(segments) - 1 and quiet < 60):
                if not offered and position < len(items) and not pause():
                    offered = True
                    kind, payload = items[position]
                    port = getattr(core, kind)
                    ctx.set(port.valid, 1)
                    ctx.set(port.payload, payload)
                    if kind == "p" and position + 1 < len(items):
                        follower, payload = items[position + 1]
                        if follower == "i":
                            ctx.set(core.i.valid, 1)
                            ctx.set(core.i.payload, payload)
                ready = not pause()
                ctx.set(core.o.ready, ready)
                kind = items[position][0] if position < len(items) else "i"
                port = getattr(core, kind)
                _, _, taken, other, valid, payload = await ctx.tick().sample(
                    port.ready, core.i.ready, core.o.valid, core.o.payload
                )
                if offered and kind == "p":
                    assert not other, "a sample goes in while parameters are offered"
                if offered and taken:
                    begun = cycle if begun is None and kind == "i" else begun
                    position, offered = position + 1, False
                    ctx.set(port.valid, 0)
                    if kind == "p" and position < len(items) and items[position][0] == "i":
                        offered = True  # as it has been since the parameters were
                if held is not None:
                    assert valid, "valid goes without a transfer"
                    assert payload == held, "the payload changes while it waits"
                held = payload if valid and not ready else None
                quiet = 0 if valid else quiet + 1
                if valid and ready:
                    found[index].append(fields(payload))
                    if index == len(segments) - 1:
                        cycles.append(cycle - (begun or 0))
                assert len(found[index]) <= expected, "a transfer that nobody sent"
                cycle += 1
                assert cycle < 3000 + 200 * (len(items) + expected), "simulation timed out"
            assert index < len(segments) - 1 or position == len(items), "not everything went in"

    domain = ClockDomain("sync")
    m = Module()
    m.domains.sync = domain
    m.submodules.core = core
    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(main)
    sim.run()
    return found, cycles


def values(numbers: list[int], channels: int = 1, *, frame: int = 5, seed: int = 1) -> list[Item]:
    """Values as items for ``i``, on channels in random order, each in frames of its own."""
    rng = random.Random(seed)
    places = [0] * channels
    items: list[Item] = []
    for value in numbers:
        c = rng.randrange(channels)
        items.append(
            (
                "i",
                {
                    "value": value,
                    "channel": c,
                    "first": places[c] == 0,
                    "last": places[c] == frame - 1,
                },
            )
        )
        places[c] = (places[c] + 1) % frame
    return items


def word_of(spikes: list[int]) -> int:
    """Pack spikes, the first one most significant."""
    word = 0
    for s in spikes:
        word = 2 * word + s
    return word
