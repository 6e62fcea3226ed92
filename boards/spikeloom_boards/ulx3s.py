"""ULX3S: Lattice ECP5 with a USB serial port (FT231X), in four sizes."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import io
from amaranth_boards import ulx3s as amaranth_ulx3s

from spikeloom_boards.board import Board, LedStates, Resources
from spikeloom_boards.clocking import ecp5_pll

__all__ = ["ULX3S", "ULX3S_BOARDS"]

OSCILLATOR_HZ = 25e6


class ULX3S(Board):
    """The ULX3S; FIRE1 resets the design, LEDs 0 to 2 show heartbeat, link activity, link error."""

    family = "ecp5"

    def nearest_clock(self, clock_hz: float) -> float:
        """Return the frequency that the EHXPLLL makes from 25 MHz."""
        return ecp5_pll(OSCILLATOR_HZ, clock_hz).output_hz

    def platform(self) -> Any:
        """Return the platform of amaranth-boards."""
        size = self.name.removeprefix("ulx3s-").upper()
        return getattr(amaranth_ulx3s, f"ULX3S_{size}_Platform")()

    def add_clock(self, m: Module, platform: Any) -> tuple[Signal, Signal]:
        """Add the input buffer and the EHXPLLL."""
        clk25: Any = io.Buffer("i", platform.request("clk25", dir="-"))
        m.submodules.clk25 = clk25
        clock, lock = Signal(name="pll_clock"), Signal(name="pll_lock")
        pll = ecp5_pll(OSCILLATOR_HZ, self.clock_hz)
        m.submodules.pll = pll.instance(clock_in=clk25.i, clock_out=clock, lock=lock)
        return clock, lock

    def reset_button(self, platform: Any) -> io.PortLike:
        """FIRE1."""
        return platform.request("button_fire", 0, dir="-")

    def leds(self, platform: Any, states: LedStates) -> list[tuple[io.PortLike, Any]]:
        """LEDs 0, 1 and 2."""
        values = (states.heartbeat, states.link_active, states.link_error)
        return [(platform.request("led", k, dir="-"), value) for k, value in enumerate(values)]


def _ulx3s(size: str, board_id: int, luts: int, blocks: int, multipliers: int, clock_hz: float):
    return ULX3S(
        name=f"ulx3s-{size.lower()}",
        title=f"ULX3S-{size}",
        device=f"LFE5U-{size}",
        board_id=board_id,
        clock_hz=clock_hz,
        resources=Resources(
            luts=luts,
            flip_flops=luts,
            block_rams=blocks,
            block_ram_bits=18432,
            block_ram_width=36,
            multiplier="mult18x18d",
            multipliers=multipliers,
            dual_port=True,
        ),
    )


# a 12F is sold as a 12F and is the die of a 25F; the open tools use all of it
ULX3S_BOARDS = (
    _ulx3s("12F", 0x0112, 24288, 56, 28, 75e6),
    _ulx3s("25F", 0x0125, 24288, 56, 28, 75e6),
    _ulx3s("45F", 0x0145, 43848, 108, 72, 75e6),
    _ulx3s("85F", 0x0185, 83640, 208, 156, 75e6),
)
