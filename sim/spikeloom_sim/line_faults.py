"""A line that harms frames, for tests: seeded, so that a failure can be run again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

Fault = Callable[[bytes], Iterable[bytes]]

KINDS = ("lost", "flipped", "shortened", "repeated", "cut", "garbage", "late")


def faulty_line(seed: int, rate: float, kinds: tuple[str, ...] = KINDS) -> Fault:
    """Return a function from a frame on the wire (delimiter included) to what arrives of it.

    A share ``rate`` of the frames is harmed, each in one way: lost, a bit flipped, shortened by a
    byte, repeated, cut (what is left runs into the next frame), preceded by garbage, or followed
    by the frame before it once more (late).
    """
    generator = random.Random(seed)
    last = b""

    def line(frame: bytes) -> Iterable[bytes]:
        nonlocal last
        previous, last = last, frame
        if generator.random() >= rate:
            return (frame,)
        place = generator.randrange(len(frame))
        kind = generator.choice(kinds)
        if kind == "lost":
            return ()
        if kind == "flipped":
            flipped = bytearray(frame)
            flipped[place] ^= 1 << generator.randrange(8)
            return (bytes(flipped),)
        if kind == "shortened":
            return (frame[:place] + frame[place + 1 :],)
        if kind == "repeated":
            return (frame, frame)
        if kind == "cut":
            return (frame[:place],)
        if kind == "garbage":
            return (generator.randbytes(generator.randrange(1, 40)), frame)
        if kind == "late":
            return (frame, previous)
        raise ValueError(f"kind must be one of {KINDS}, not {kind!r}")

    return line
