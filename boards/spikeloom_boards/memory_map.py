"""What synthesis makes of a memory: block RAM, RAM of LUTs, or registers. Exact.

Yosys' memory_libmap tries every kind of RAM of a family and every width of its ports, and takes the
cheapest. The prices below are those of its libraries; so is the way it cuts a memory into blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

__all__ = ["Mapped", "Ram", "map_ram"]


@dataclass(frozen=True)
class Ram:
    """``count`` equal memories of ``rows`` words of ``bits`` bits.

    spram: in the big single-port RAM of an iCE40 UP5K. distributed: read without a clock, so never
    in block RAM. rom: never written, and told to lie in block RAM. dual: with a second port that
    reads; only on an ECP5.
    """

    rows: int
    bits: int
    count: int = 1
    spram: bool = False
    distributed: bool = False
    rom: bool = False
    dual: bool = False


@dataclass(frozen=True)
class Mapped:
    """Cells of a memory: block RAMs, SPRAMs, 16 x 4 RAMs made of LUTs, bits in registers.

    deep: blocks above each other, whose outputs a multiplexer chooses from, one a reading port.
    """

    blocks: int = 0
    spram: int = 0
    lut_rams: int = 0
    register_bits: int = 0
    deep: int = 1


@dataclass(frozen=True)
class _Library:
    """A kind of RAM: address bits at its narrowest, widths, granularity of writes, price."""

    address_bits: int
    widths: tuple[int, ...]
    byte: int
    price: float


_BLOCKS = {
    "ecp5": _Library(14, (1, 2, 4, 9, 18, 36), 9, 128),
    "ice40": _Library(11, (2, 4, 8, 16), 1, 64),
}
_LUT_RAM = _Library(4, (4,), 4, 4)
#: both ports of a block read, one of them writes
_TWO_PORTS = _Library(14, (1, 2, 4, 9, 18), 9, 128)


def _cut(
    rows: int, bits: int, library: _Library, *, ports: int = 1, copies: int = 1
) -> tuple[float, int, int]:
    """Return (price, cells, deep) of the cheapest way to cut a memory into cells.

    ports: that read; copies: so many of the memory, where a cell has too few ports.
    """
    found = []
    for k, width in enumerate(library.widths):
        step = min(library.byte, width)
        padded = -(-bits // step) * step
        deep = -(-rows // (1 << (library.address_bits - k)))
        cells = -(-deep * padded // width) * copies
        # the price of choosing between blocks that lie above each other
        select = 0.5 * (deep - 1) * bits * ports + (0.5 * deep if deep > 1 else 0)
        found.append((library.price * cells + select, cells, deep))
    return min(found, key=lambda entry: entry[0])


@cache
def map_ram(ram: Ram, family: str) -> Mapped:
    """Return the cells of one of the ``count`` memories on an ``ecp5`` or an ``ice40``.

    Raises ValueError for two reading ports on an ``ice40``.
    """
    rows = max(2, ram.rows)
    if ram.spram:
        return Mapped(spram=-(-ram.bits // 16))
    ports = 2 if ram.dual else 1
    if ram.dual and family == "ice40":
        raise ValueError("no block RAM of an ice40 has two ports that read: use no paired units")
    price, blocks, deep = _cut(rows, ram.bits, _BLOCKS[family], ports=ports, copies=ports)
    if ram.dual:
        price, blocks, deep = min((price, blocks, deep), _cut(rows, ram.bits, _TWO_PORTS, ports=2))
    if family == "ice40":
        if ram.distributed:  # there is none
            return Mapped(register_bits=rows * ram.bits)
        return Mapped(blocks=blocks, deep=deep)
    if ram.rom:
        return Mapped(blocks=blocks, deep=deep)
    small, cells, banks = _cut(rows, ram.bits, _LUT_RAM, ports=ports, copies=ports)
    if ram.distributed:
        return Mapped(lut_rams=cells, deep=banks)
    small += 2 * ports  # for the registers that make its reads synchronous
    if rows * ram.bits <= min(small, price):
        return Mapped(register_bits=rows * ram.bits)
    if small <= price:
        return Mapped(lut_rams=cells, deep=banks)
    return Mapped(blocks=blocks, deep=deep)
