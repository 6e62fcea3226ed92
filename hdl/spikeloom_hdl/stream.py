"""Payload layouts and signatures shared by every core."""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.memory_image import ADDRESS_BITS
from spikeloom.hardware.parameters import COLUMN_BITS

__all__ = [
    "LoadBus",
    "potentials_layout",
    "potentials_signature",
    "words_layout",
    "words_signature",
]


def words_layout(lanes: int, bits: int) -> data.StructLayout:
    """Packed words, ``lanes`` a transfer; ``first`` and ``last`` mark the transfers of a sample."""
    return data.StructLayout(
        {"words": data.ArrayLayout(unsigned(bits), lanes), "first": 1, "last": 1}
    )


def potentials_layout(lanes: int, bits: int) -> data.StructLayout:
    """Membrane potentials, ``lanes`` a transfer, two's complement."""
    return data.StructLayout(
        {"potentials": data.ArrayLayout(signed(bits), lanes), "first": 1, "last": 1}
    )


def words_signature(lanes: int, bits: int) -> stream.Signature:
    """Stream of packed words."""
    return stream.Signature(words_layout(lanes, bits))


def potentials_signature(lanes: int, bits: int) -> stream.Signature:
    """Stream of membrane potentials."""
    return stream.Signature(potentials_layout(lanes, bits))


class LoadBus(wiring.Signature):
    """Memory-mapped access to weights, biases and thresholds while a core is idle.

    A cycle with ``write`` stores ``data`` at ``address``. A cycle with ``read`` asks for a word,
    which comes with ``read_valid`` a few cycles later, in order; requests may follow each other
    every cycle, but never together with a write. Addresses: ``spikeloom.hardware.memory_image``.
    """

    def __init__(self):
        super().__init__(
            {
                "address": Out(ADDRESS_BITS),
                "data": Out(COLUMN_BITS),
                "write": Out(1),
                "read": Out(1),
                "read_data": In(COLUMN_BITS),
                "read_valid": In(1),
            }
        )
