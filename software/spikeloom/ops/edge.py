"""What flows from op to op."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spikeloom.ops.checks import require

__all__ = ["Edge", "images", "short_shapes", "words"]


@dataclass(frozen=True)
class Edge:
    """Packed words (unsigned, ``bits`` = T) or membrane potentials (``signed``, ``bits`` = A).

    shape: of one sample, (channels, height, width) or (features,).
    """

    shape: tuple[int, ...]
    bits: int
    signed: bool = False

    @property
    def size(self) -> int:
        """Number of words of a sample."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        """Words of one pixel; all of them for flat samples."""
        return self.shape[0]

    @property
    def pixels(self) -> int:
        """Pixels of a sample; one for flat samples."""
        return math.prod(self.shape[1:])

    def __str__(self) -> str:
        kind = "potentials" if self.signed else "words"
        return f"{kind} of {self.bits} bits, {'x'.join(map(str, self.shape))}"


def short_shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Other shapes in which samples (channels, height, width) may come.

    Pictures of one channel as (height, width); samples of width 1, which 1-D layers take, as
    (channels, length).
    """
    short = []
    if len(shape) == 3 and shape[0] == 1:
        short.append(shape[1:])
    if len(shape) == 3 and shape[2] == 1:
        short.append(shape[:2])
    return short


def images(where: str, edge: Edge) -> tuple[int, int, int]:
    """Return (channels, height, width) of an edge; ValueError for samples of another shape."""
    require(
        len(edge.shape) == 3,
        f"{where} needs samples (channels, height, width), it is given {edge.shape}",
    )
    return edge.shape  # type: ignore[return-value]


def words(where: str, edge: Edge, bits: int) -> Edge:
    """Return the edge if it carries unsigned words of ``bits`` bits; ValueError otherwise."""
    require(
        not edge.signed and edge.bits == bits,
        f"{where} takes words of {bits} bits, it is given {edge}",
    )
    return edge
