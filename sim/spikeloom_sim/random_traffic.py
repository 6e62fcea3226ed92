"""Streams in Amaranth's simulator with random pauses on both sides, for tests of small cores."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

__all__ = ["receive", "send"]


async def send(
    ctx: Any, stream: Any, payloads: Sequence[Any], *, seed: int, pause: float = 0.4
) -> None:
    """Offer payloads one after another; ``pause``: probability of a cycle without."""
    rng = random.Random(seed)
    for payload in payloads:
        while rng.random() < pause:
            await ctx.tick()
        ctx.set(stream.payload, payload)
        ctx.set(stream.valid, 1)
        await ctx.tick().until(stream.ready)
        ctx.set(stream.valid, 0)


async def receive(ctx: Any, stream: Any, count: int, *, seed: int, pause: float = 0.4) -> list[Any]:
    """Take ``count`` payloads; an AssertionError if one that waits changes or is withdrawn."""
    rng = random.Random(seed)
    found: list[Any] = []
    held = None
    while len(found) < count:
        ready = rng.random() >= pause
        ctx.set(stream.ready, ready)
        _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
        if held is not None:
            assert valid, "a payload that waits was withdrawn"
            assert payload == held[0], "a payload that waits has changed"
        held = (payload,) if valid and not ready else None
        if valid and ready:
            found.append(payload)
    ctx.set(stream.ready, 0)
    return found
