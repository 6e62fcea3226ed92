"""PLL settings: every limit of the data sheets holds, for any target."""

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st
from spikeloom.errors import BuildError
from spikeloom_boards.clocking import ecp5_pll, ice40_pll
from spikeloom_boards.reset import PowerOnReset


@given(st.floats(8e6, 400e6), st.floats(1e6, 500e6))
def test_ecp5_settings_are_legal(input_hz, target_hz):
    try:
        pll = ecp5_pll(input_hz, target_hz, tolerance=0.05)
    except BuildError:
        return
    detector = input_hz / pll.input_divider
    output = detector * pll.feedback_divider
    vco = output * pll.output_divider
    assert 10e6 <= detector <= 400e6
    assert 400e6 <= vco <= 800e6
    assert 3.125e6 <= output <= 400e6
    assert output == pytest.approx(pll.output_hz)
    assert abs(output - target_hz) <= 0.05 * target_hz
    assert 1 <= pll.input_divider <= 128
    assert 1 <= pll.feedback_divider <= 80
    assert 1 <= pll.output_divider <= 128


@given(st.floats(10e6, 133e6), st.floats(1e6, 300e6))
def test_ice40_settings_are_legal(input_hz, target_hz):
    try:
        pll = ice40_pll(input_hz, target_hz, tolerance=0.05)
    except BuildError:
        return
    detector = input_hz / (pll.divr + 1)
    vco = detector * (pll.divf + 1)
    output = vco / 2**pll.divq
    assert 10e6 <= detector <= 133e6
    assert 533e6 <= vco <= 1066e6
    assert 16e6 <= output <= 275e6
    assert abs(output - target_hz) <= 0.05 * target_hz
    assert 0 <= pll.divr <= 15
    assert 0 <= pll.divf <= 127
    assert 1 <= pll.divq <= 6


@pytest.mark.parametrize("hz", [50e6, 62.5e6, 75e6, 87.5e6, 100e6])
def test_ecp5_exact(hz):
    assert ecp5_pll(25e6, hz).output_hz == hz


def test_ice40_exact():
    # the settings that icepll prints for -i 12 -o 24
    pll = ice40_pll(12e6, 24e6)
    assert (pll.divr, pll.divf, pll.divq, pll.filter_range) == (0, 63, 5, 1)
    assert pll.output_hz == 24e6


def test_out_of_reach_names_the_nearest():
    with pytest.raises(BuildError, match=r"cannot make 900 MHz .* the nearest is 400 MHz"):
        ecp5_pll(25e6, 900e6)
    with pytest.raises(BuildError, match=r"cannot make 1 MHz .* the nearest is 16\.\d+ MHz"):
        ice40_pll(12e6, 1e6)


def test_reset_waits_for_lock_and_button():
    dut = PowerOnReset(cycles=16)
    m = Module()
    m.submodules.dut = dut

    async def bench(ctx):
        async def cycles_to_release():
            cycles = 0
            while ctx.get(dut.reset):
                await ctx.tick()
                cycles += 1
                assert cycles < 100
            return cycles

        assert ctx.get(dut.reset)
        await ctx.tick().repeat(50)
        assert ctx.get(dut.reset)  # no lock yet
        ctx.set(dut.lock, 1)
        assert await cycles_to_release() >= 16
        ctx.set(dut.button, 1)
        await ctx.tick().repeat(4)
        assert ctx.get(dut.reset)
        ctx.set(dut.button, 0)
        assert await cycles_to_release() >= 16
        ctx.set(dut.lock, 0)
        await ctx.tick().repeat(4)
        assert ctx.get(dut.reset)

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
