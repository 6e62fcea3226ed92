"""iCEBreaker: Lattice iCE40 UP5K with a USB serial port (FT2232H)."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import io
from amaranth_boards.icebreaker import ICEBreakerPlatform

from spikeloom_boards.board import Board, LedStates, Resources
from spikeloom_boards.clocking import ice40_pll

__all__ = ["ICEBREAKER", "ICEBreaker"]

OSCILLATOR_HZ = 12e6


class ICEBreaker(Board):
    """The iCEBreaker; its button resets the design, the green LED is heartbeat and link activity
    (it inverts while bytes flow), the red LED link error.
    """

    family = "ice40"

    def nearest_clock(self, clock_hz: float) -> float:
        """Return the frequency that the SB_PLL40_PAD makes from 12 MHz."""
        return ice40_pll(OSCILLATOR_HZ, clock_hz).output_hz

    def platform(self) -> Any:
        """Return the platform of amaranth-boards."""
        return ICEBreakerPlatform()

    def add_clock(self, m: Module, platform: Any) -> tuple[Signal, Signal]:
        """Add the SB_PLL40_PAD, which takes the pin itself."""
        pad = platform.request("clk12", dir="-")
        clock, lock = Signal(name="pll_clock"), Signal(name="pll_lock")
        pll = ice40_pll(OSCILLATOR_HZ, self.clock_hz)
        m.submodules.pll = pll.instance(pad=pad.io, clock_out=clock, lock=lock)
        return clock, lock

    def reset_button(self, platform: Any) -> io.PortLike:
        """The user button, active low."""
        return platform.request("button", 0, dir="-")

    def leds(self, platform: Any, states: LedStates) -> list[tuple[io.PortLike, Any]]:
        """The green and the red LED, active low."""
        return [
            (platform.request("led_g", 0, dir="-"), states.heartbeat ^ states.link_active),
            (platform.request("led_r", 0, dir="-"), states.link_error),
        ]


ICEBREAKER = ICEBreaker(
    name="icebreaker",
    title="iCEBreaker",
    device="iCE40UP5K",
    board_id=0x0201,
    clock_hz=24e6,
    resources=Resources(
        luts=5280,
        flip_flops=5280,
        block_rams=30,
        block_ram_bits=4096,
        block_ram_width=16,
        multiplier="sb_mac16",
        multipliers=8,
        spram=4,
    ),
)
