"""The streams that enter and leave a layer in gates."""

from __future__ import annotations

from dataclasses import dataclass

from spikeloom.hardware.folding import ceil_div

__all__ = ["Port"]


@dataclass(frozen=True)
class Port:
    """A stream of pixels in raster order, each of ``channels`` words, ``lanes`` a transfer.

    Every pixel begins with a new transfer; the last transfer of a pixel is padded. Flat samples are
    one pixel. bits: T of packed words, or the width of potentials (``signed``).
    """

    pixels: int
    channels: int
    bits: int
    signed: bool = False
    lanes: int = 1

    @property
    def transfers_per_pixel(self) -> int:
        """Transfers of one pixel."""
        return ceil_div(self.channels, self.lanes)

    @property
    def transfers(self) -> int:
        """Transfers of one sample."""
        return self.pixels * self.transfers_per_pixel

    def __str__(self) -> str:
        kind = "potentials" if self.signed else "words"
        return f"{self.pixels} pixels of {self.channels} {kind} of {self.bits} bits"
