"""The register bank, built from the declaration in ``spikeloom.hardware.registers``."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Shape, Signal, Value, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from spikeloom.hardware.registers import (
    ADDRESS_BITS,
    BY_NAME,
    DYNAMIC,
    REGISTERS,
    Register,
    map_hash,
)

__all__ = ["RegisterBank", "register_layout"]

#: Up to this many constants are looked up in logic; more go to block RAM.
LOGIC_ROM = 64


def register_layout(register: Register) -> Shape | data.FlexibleLayout:
    """Return the shape of a register: its fields, or 32 bits."""
    if not register.fields:
        return unsigned(32)
    return data.FlexibleLayout(
        32, {f.name: data.Field(unsigned(f.bits), f.low) for f in register.fields}
    )


def _either(words: list[Value]) -> Value:
    """OR, as a balanced tree."""
    if len(words) == 1:
        return words[0]
    return _either(words[: len(words) // 2]) | _either(words[len(words) // 2 :])


def _own(access: str) -> list[Register]:
    return [r for r in REGISTERS if r.access == access and not r.block]


class RegisterBank(wiring.Component):
    """Every declared register behind one address.

    ``read_data`` is the word at ``address``, two cycles after it was set; a word that changes is
    taken whole. ``write`` stores ``write_data`` at ``address`` and acts at once; ``writable`` says
    whether there is anything to write there. A ``read`` register is an input of its name, a
    ``write`` register an output that is high for one cycle, a ``read-write`` register an output.

    constants: values of the constant registers by name, ``structure`` excepted.
    structure: ``NetworkParameters.to_words()``. counters: how many the core has.
    Raises ValueError if a constant is missing or a block is too long for the map.
    """

    def __init__(self, *, constants: dict[str, int], structure: Sequence[int], counters: int):
        constants = {**constants, "map_hash": map_hash()}
        names = [r.name for r in _own("constant")]
        if sorted(constants) != sorted(names):
            raise ValueError(f"constants must be {names}, not {list(constants)}")
        first = BY_NAME["structure"].address
        if first + len(structure) > DYNAMIC:
            raise ValueError(f"a structure of {len(structure)} words exceeds {DYNAMIC - first}")
        first = BY_NAME["counters"].address
        if first + counters > 1 << ADDRESS_BITS:
            raise ValueError(f"{counters} counters exceed {(1 << ADDRESS_BITS) - first}")
        self.rom = [constants[r.name] & 0xFFFFFFFF for r in _own("constant")] + list(structure)
        self.counters_count = counters
        members = {
            "address": In(ADDRESS_BITS),
            "read_data": Out(32),
            "write": In(1),
            "write_data": In(32),
            "writable": Out(1),
            "counters": In(data.ArrayLayout(unsigned(32), counters)),
        }
        members |= {r.name: In(register_layout(r)) for r in _own("read")}
        members |= {r.name: Out(register_layout(r)) for r in _own("write") + _own("read-write")}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.rom = rom = memory.Memory(
            shape=unsigned(32),
            depth=max(2, len(self.rom)),
            init=self.rom,
            attrs={"rom_style": "logic" if len(self.rom) <= LOGIC_ROM else "block"},
        )
        constant = rom.read_port()
        m.d.comb += constant.addr.eq(self.address[: len(constant.addr)])

        # One-hot selection, registered: an AND-OR of two words is one LUT4 a bit.
        words: dict[int, Value] = {}
        for register in _own("read") + _own("read-write"):
            words[register.address] = Value.cast(getattr(self, register.name))
        for k in range(self.counters_count):
            words[BY_NAME["counters"].address + k] = self.counters[k]
        chosen = Signal(len(words))
        for k, address in enumerate(words):
            m.d.sync += chosen[k].eq(self.address == address)
        masked = [word & chosen[k].replicate(len(word)) for k, word in enumerate(words.values())]
        in_rom = Signal()
        m.d.sync += [
            in_rom.eq(self.address < DYNAMIC),
            self.read_data.eq(_either([*masked, constant.data & in_rom.replicate(32)])),
        ]

        with m.Switch(self.address):
            for register in _own("write") + _own("read-write"):
                with m.Case(register.address):
                    m.d.comb += self.writable.eq(1)
                    target = getattr(self, register.name)
                    for field in register.fields:
                        bits = self.write_data[field.low : field.low + field.bits]
                        if register.access == "write":
                            m.d.comb += target[field.name].eq(
                                bits & self.write.replicate(field.bits)
                            )
                        else:
                            with m.If(self.write):
                                m.d.sync += target[field.name].eq(bits)
        return m
