"""The register map of an accelerator: declared once, here.

The gateware builds its register bank from :data:`REGISTERS`, the driver reads by name from it,
``docs/registers.md`` is its :func:`markdown`, and :func:`map_hash` tells a driver whether a board
was built from the same map. Addresses count 32-bit words.

``python -m spikeloom.hardware.registers`` prints the page.
"""

from __future__ import annotations

import enum
import zlib
from dataclasses import dataclass
from typing import Literal

Access = Literal["constant", "read", "write", "read-write"]

CONSTANTS = 0x00  #: constants lie in a ROM below DYNAMIC
DYNAMIC = 0x80  #: registers that change
ADDRESS_BITS = 8

MAGIC = 0x4C50  #: "PL", the upper half of register ``protocol``


class Capability(enum.IntFlag):
    """What a board's link can do: field ``capabilities`` of register ``board``."""

    ZERO_RUNS = 1  #: runs of zero words may be coded
    FIXED_WEIGHTS = 2  #: the weights are in the bitstream; memories cannot be written


@dataclass(frozen=True)
class Field:
    """Some bits of a register, counted from ``low``."""

    name: str
    low: int
    bits: int
    doc: str

    def extract(self, word: int) -> int:
        """Take this field out of a register's value."""
        return word >> self.low & ((1 << self.bits) - 1)


@dataclass(frozen=True)
class Register:
    """One 32-bit register.

    access: ``constant`` (fixed by the bitstream), ``read``, ``read-write``, or ``write`` (a one
    written to a bit acts once; reads as zero).
    block: 0, or the name of what gives the number of consecutive registers of this meaning.
    """

    name: str
    address: int
    access: Access
    doc: str
    fields: tuple[Field, ...] = ()
    block: str = ""


REGISTERS: tuple[Register, ...] = (
    Register(
        "protocol",
        0x00,
        "constant",
        "What answers here, and how it speaks.",
        (
            Field("version", 0, 16, "version of the link protocol"),
            Field("magic", 16, 16, f"{MAGIC:#06x}"),
        ),
    ),
    Register("build_id_low", 0x01, "constant", "Hash of the network's structure, low half."),
    Register("build_id_high", 0x02, "constant", "Hash of the network's structure, high half."),
    Register("map_hash", 0x03, "constant", "Hash of this register map."),
    Register("clock_hz", 0x04, "constant", "Frequency of the accelerator's clock."),
    Register(
        "board",
        0x05,
        "constant",
        "The board and what its link can do.",
        (
            Field("id", 0, 16, "number of the board"),
            Field(
                "capabilities",
                16,
                16,
                "bit 0: runs of zero words may be coded; bit 1: the weights are fixed in the"
                " bitstream",
            ),
        ),
    ),
    Register(
        "buffers",
        0x06,
        "constant",
        "Sizes of the link's buffers.",
        (
            Field("results", 0, 8, "results kept until they are acknowledged"),
            Field("samples", 8, 8, "samples that wait for the network"),
            Field("frames", 16, 8, "received frames that wait to be executed"),
            Field("max_frame", 24, 8, "longest frame before coding, in bytes"),
        ),
    ),
    Register(
        "counts",
        0x07,
        "constant",
        "Lengths of the blocks below.",
        (
            Field("structure", 0, 8, "words that describe the network"),
            Field("counters", 8, 8, "counters of the network core"),
        ),
    ),
    Register(
        "structure",
        0x08,
        "constant",
        "The network's structure: `NetworkParameters.to_words()`.",
        block="counts.structure",
    ),
    Register(
        "status",
        0x80,
        "read",
        "State of the accelerator.",
        (
            Field(
                "weights_valid",
                0,
                1,
                "memories were verified since they were last written, or are fixed",
            ),
            Field("busy", 1, 1, "samples are being received or computed"),
            Field("error", 4, 4, "first error of this session, 0 if none"),
            Field("period", 16, 16, "clock cycles of one bit on the line, less one"),
        ),
    ),
    Register(
        "memory_crc",
        0x81,
        "read",
        "CRC-32 of the memories, as far as MEM_CRC has read them; with fixed weights, before it has"
        " read any, that of the bitstream's.",
    ),
    Register(
        "result_first",
        0x82,
        "read",
        "Number of the first logit in the RESULT being sent; of use to the link alone.",
    ),
    Register(
        "result_logit",
        0x83,
        "read",
        "The next logit of that RESULT; of use to the link alone.",
    ),
    Register(
        "link_faults",
        0x84,
        "read",
        "Frames that were not executed; each count stops at 255.",
        (
            Field("damaged", 0, 8, "bad CRC, coding, length or stop bit"),
            Field("overrun", 8, 8, "no room: earlier frames were still waiting"),
            Field("repeated", 16, 8, "sound, but executed before"),
            Field("early", 24, 8, "sound, but a frame before it is missing"),
        ),
    ),
    Register(
        "control",
        0x85,
        "write",
        "Actions.",
        (
            Field("clear_counters", 0, 1, "zero the counters of the network core"),
            Field("clear_faults", 1, 1, "zero the counters of the link"),
        ),
    ),
    Register(
        "scratch",
        0x86,
        "read-write",
        "Holds what is written; does nothing.",
        (Field("value", 0, 8, "any value"),),
    ),
    Register(
        "counters",
        0x90,
        "read",
        "Counters of the network core: `NetworkParameters.counter_names`.",
        block="counts.counters",
    ),
)

BY_NAME: dict[str, Register] = {register.name: register for register in REGISTERS}

#: Registers that IDENTIFY returns, from address 0.
IDENTITY = tuple(r for r in REGISTERS if r.address < BY_NAME["structure"].address)


def fields(name: str, word: int) -> dict[str, int]:
    """Split a register's value into its fields by name."""
    return {field.name: field.extract(word) for field in BY_NAME[name].fields}


def pack(name: str, **values: int) -> int:
    """Make a register's value from its fields; ValueError if one does not fit."""
    known = {field.name: field for field in BY_NAME[name].fields}
    word = 0
    for key, value in values.items():
        field = known[key]
        if not 0 <= value < 1 << field.bits:
            raise ValueError(f"{name}.{key} has {field.bits} bits, {value} does not fit")
        word |= value << field.low
    return word


def map_hash() -> int:
    """Hash of names, addresses, access and fields, 32 bits: equal maps have equal hashes."""
    text = ";".join(
        f"{r.name}@{r.address:#x}/{r.access}/{r.block}"
        + "".join(f",{f.name}:{f.low}+{f.bits}" for f in r.fields)
        for r in REGISTERS
    )
    return zlib.crc32(text.encode())


def markdown() -> str:
    """Return the page docs/registers.md."""
    lines = [
        "# Register map",
        "",
        "Generated by `python -m spikeloom.hardware.registers`; do not edit.",
        "",
        f"Words of 32 bits. Registers below {DYNAMIC:#04x} are fixed by the bitstream, those from"
        f" {DYNAMIC:#04x} on change. Addresses between them read as zero. Hash of this map:"
        f" `{map_hash():#010x}`.",
        "",
        "| address | name | access | bits | meaning |",
        "|---|---|---|---|---|",
    ]
    for r in REGISTERS:
        where = f"{r.address:#04x}" + (" ..." if r.block else "")
        many = f" As many as `{r.block}`." if r.block else ""
        lines.append(f"| {where} | `{r.name}` | {r.access} | | {r.doc}{many} |")
        for f in r.fields:
            high = f.low + f.bits - 1
            bits = f"{f.low}" if f.bits == 1 else f"{high}:{f.low}"
            lines.append(f"| | `.{f.name}` | | {bits} | {f.doc} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
