"""The register bank answers as declared."""

from __future__ import annotations

import pytest
from amaranth.sim import Simulator
from spikeloom.hardware import registers
from spikeloom_hdl.link.registers import RegisterBank

CONSTANTS = {
    r.name: 0x1000 + r.address
    for r in registers.REGISTERS
    if r.access == "constant" and not r.block and r.name != "map_hash"
}


def bank(words: int = 9, counters: int = 7) -> RegisterBank:
    return RegisterBank(
        constants=CONSTANTS, structure=[0xABCD0000 + k for k in range(words)], counters=counters
    )


@pytest.mark.parametrize("words", [9, 61])
def test_every_register_reads_as_declared(words: int):
    dut = bank(words)
    expected = {registers.BY_NAME["map_hash"].address: registers.map_hash()}
    expected |= {registers.BY_NAME[name].address: value for name, value in CONSTANTS.items()}
    expected |= {0x08 + k: 0xABCD0000 + k for k in range(words)}
    inputs = {
        r.name: 0x7700_0000 + 0x0101 * r.address
        for r in registers.REGISTERS
        if r.access == "read" and not r.block
    }
    expected |= {registers.BY_NAME[name].address: value for name, value in inputs.items()}
    expected |= {0x90 + k: 0xC0000000 + k for k in range(7)}

    async def bench(ctx) -> None:
        for name, value in inputs.items():
            port = getattr(dut, name)
            mask = 0
            for field in registers.BY_NAME[name].fields:
                ctx.set(port[field.name], field.extract(value))
                mask |= (1 << field.bits) - 1 << field.low
            if mask:
                expected[registers.BY_NAME[name].address] = value & mask
            else:
                ctx.set(port, value)
        for k in range(7):
            ctx.set(dut.counters[k], 0xC0000000 + k)
        for address, value in expected.items():
            ctx.set(dut.address, address)
            await ctx.tick().repeat(2)
            assert ctx.get(dut.read_data) == value, hex(address)
        # Writing.
        control, scratch = (registers.BY_NAME[n].address for n in ("control", "scratch"))
        ctx.set(dut.write_data, 0xFFFFFFFF)
        for address, writable in ((control, 1), (scratch, 1), (0x80, 0), (0x00, 0), (0x90, 0)):
            ctx.set(dut.address, address)
            assert ctx.get(dut.writable) == writable
        ctx.set(dut.address, control)
        assert ctx.get(dut.control.clear_counters) == 0
        ctx.set(dut.write, 1)
        assert ctx.get(dut.control.clear_counters) == 1
        assert ctx.get(dut.control.clear_faults) == 1
        ctx.set(dut.address, scratch)
        ctx.set(dut.write_data, 0x5A)
        assert ctx.get(dut.control.clear_counters) == 0
        await ctx.tick()
        ctx.set(dut.write, 0)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.read_data) == 0x5A

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_impossible_banks():
    with pytest.raises(ValueError, match="constants must be"):
        RegisterBank(constants={}, structure=[1], counters=1)
    with pytest.raises(ValueError, match="structure of 200 words"):
        bank(words=200)
    with pytest.raises(ValueError, match="200 counters"):
        bank(counters=200)
