"""The command processor alone: the line rate that it keeps, fed with the bytes of frames."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from amaranth.sim import Simulator
from spikeloom.hardware.protocol import HOST_HEADER, POLL_RESEND, Command, words_payload
from spikeloom_hdl.link.command import REVERT_TICKS, CommandProcessor

DEFAULT, FIRST, SECOND = 86, 9, 3  # periods of a bit
NONCE = 0xDEADBEEF


class Host:
    """Hands frames to the processor, and takes its requests for answers."""

    def __init__(self, ctx, dut: CommandProcessor) -> None:
        self.ctx, self.dut = ctx, dut
        self._seq = itertools.count(1)

    async def frame(self, command: Command, payload: bytes = b"", seq: int | None = None) -> None:
        """Give a frame; wait until it is executed and answered."""
        ctx, dut = self.ctx, self.dut
        seq = next(self._seq) if seq is None else seq
        data = HOST_HEADER.pack(command, seq, 0, NONCE) + payload
        position, released, idle = 0, False, 0
        for _ in range(500):
            valid = position < len(data) and not released
            ctx.set(dut.i.valid, valid)
            if valid:
                ctx.set(dut.i.payload.data, data[position])
                ctx.set(dut.i.payload.last, position == len(data) - 1)
            taken = valid and ctx.get(dut.i.ready)
            released |= bool(ctx.get(dut.release))
            idle = 0 if ctx.get(dut.o.valid) else idle + released
            await ctx.tick()
            position += taken
            if idle > 8:
                return
        raise AssertionError(f"frame {seq} was never released")

    async def identify(self) -> None:
        await self.frame(Command.IDENTIFY, seq=0)

    async def set_rate(self, period: int) -> None:
        await self.frame(Command.SET_BAUD, words_payload(period))
        assert self.period == period

    async def poll(self) -> None:
        await self.frame(Command.POLL, words_payload(POLL_RESEND))

    async def milliseconds(self, count: int) -> None:
        self.ctx.set(self.dut.tick, 1)
        await self.ctx.tick().repeat(count)
        self.ctx.set(self.dut.tick, 0)
        await self.ctx.tick()

    @property
    def period(self) -> int:
        return self.ctx.get(self.dut.period)


def simulate(script: Callable) -> None:
    dut = CommandProcessor(results=16, input_bits=4, period=DEFAULT)
    done = []

    async def bench(ctx) -> None:
        for signal in (dut.o.ready, dut.tx_free, dut.tx_idle):
            ctx.set(signal, 1)
        host = Host(ctx, dut)
        await host.identify()
        # A first rate, kept: two frames came at it.
        await host.set_rate(FIRST)
        await host.poll()
        await host.poll()
        await host.milliseconds(2 * REVERT_TICKS)
        assert host.period == FIRST
        await script(host)
        done.append(True)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert done


@pytest.mark.parametrize("heard", [0, 1])
def test_a_rate_that_is_not_confirmed_is_given_up(heard: int):
    async def script(host: Host) -> None:
        await host.set_rate(SECOND)
        for _ in range(heard):
            await host.poll()
        await host.milliseconds(REVERT_TICKS - 1)
        assert host.period == SECOND
        await host.milliseconds(1)
        assert host.period == FIRST

    simulate(script)


@pytest.mark.parametrize("heard", [0, 1, 2])
def test_close_returns_to_the_default_rate_for_good(heard: int):
    async def script(host: Host) -> None:
        await host.set_rate(SECOND)
        for _ in range(heard):
            await host.poll()
        await host.frame(Command.CLOSE)
        assert host.period == DEFAULT
        await host.milliseconds(2 * REVERT_TICKS)
        assert host.period == DEFAULT

    simulate(script)


def test_reset_leaves_the_rate_on_trial():
    async def script(host: Host) -> None:
        await host.set_rate(SECOND)
        await host.frame(Command.RESET)
        assert host.period == SECOND
        await host.milliseconds(REVERT_TICKS)
        assert host.period == FIRST

    simulate(script)


def test_a_session_after_reset_confirms_the_rate():
    async def script(host: Host) -> None:
        await host.set_rate(SECOND)
        await host.frame(Command.RESET)
        await host.identify()
        await host.milliseconds(2 * REVERT_TICKS)
        assert host.period == SECOND

    simulate(script)


def test_a_rate_on_trial_is_none_to_go_back_to():
    async def script(host: Host) -> None:
        await host.set_rate(SECOND)
        await host.set_rate(SECOND + 1)
        await host.milliseconds(REVERT_TICKS)
        assert host.period == FIRST

    simulate(script)
