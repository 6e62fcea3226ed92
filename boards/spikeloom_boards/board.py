"""What a board is, and the top that every board shares: clock, reset, serial port, LEDs."""
# Amaranth is untyped: the ports of a component mean nothing to pyright
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module, ResetSignal, Signal
from amaranth.lib import io
from spikeloom.errors import BuildError
from spikeloom.hardware.fixed_image import Image
from spikeloom.hardware.parameters import Folding, NetworkParameters

from spikeloom_boards.reset import PowerOnReset

if TYPE_CHECKING:
    from spikeloom.network import Network

__all__ = ["Board", "BoardTop", "LedStates", "Resources"]


@dataclass(frozen=True)
class Resources:
    """What a device offers.

    luts, flip_flops: four-input tables and registers. block_rams: blocks of ``block_ram_bits``,
    at most ``block_ram_width`` bits wide. multipliers: of the kind ``multiplier``. spram: big
    single-port memories of 16384 x 16 bits. dual_port: a block RAM has two ports that read.
    """

    luts: int
    flip_flops: int
    block_rams: int
    block_ram_bits: int
    block_ram_width: int
    multiplier: Literal["mult18x18d", "sb_mac16"]
    multipliers: int
    spram: int = 0
    dual_port: bool = False


@dataclass(frozen=True)
class Board(ABC):
    """A board and the clock that its designs run at.

    name: as on the command line. title: as people call it. device: the FPGA. board_id: what a
    running design says it is. clock_hz: frequency out of the PLL.
    """

    name: str
    title: str
    device: str
    board_id: int
    clock_hz: float
    resources: Resources

    #: family of the device, the suffix of its nextpnr
    family = ""

    def at_clock(self, clock_hz: float) -> Board:
        """Return the same board with another clock; BuildError when its PLL cannot make it."""
        return dataclasses.replace(self, clock_hz=self.nearest_clock(clock_hz))

    @abstractmethod
    def nearest_clock(self, clock_hz: float) -> float:
        """Return the frequency that the PLL makes for a target, in Hz; BuildError if none."""

    @abstractmethod
    def platform(self) -> Any:
        """Return a new Amaranth platform; one build uses it up."""

    @abstractmethod
    def add_clock(self, m: Module, platform: Any) -> tuple[Signal, Signal]:
        """Add the PLL to a top; returns its output clock and its lock."""

    @abstractmethod
    def reset_button(self, platform: Any) -> io.PortLike:
        """Return the pin of the button that resets the design."""

    @abstractmethod
    def leds(self, platform: Any, states: LedStates) -> list[tuple[io.PortLike, Any]]:
        """Return LED pins, each with the value it shows."""

    def foldings(self, network: NetworkParameters) -> tuple[Folding, ...]:
        """Choose how the layers of a network are laid onto this board; BuildError if it cannot."""
        from spikeloom_boards.plan import foldings

        return foldings(network, self)

    def fold(self, network: Network, *, fixed: bool = False) -> tuple[Folding, ...]:
        """Choose the folding of a network; BuildError names the layer and what does not fit.

        A shipped network has a plan of its own where there is one, see ``plans``. fixed: for
        weights in the bitstream, which cannot lie in SPRAM.
        """
        from spikeloom_boards.plan import foldings
        from spikeloom_boards.shipped_plans import shipped_foldings

        if fixed and self.resources.spram:
            resources = dataclasses.replace(self.resources, spram=0)
            return foldings(network, dataclasses.replace(self, resources=resources))
        return shipped_foldings(network, self) or foldings(network, self)

    def check(self, parameters: NetworkParameters) -> None:
        """Raise BuildError for a folding that needs cells which this FPGA does not have."""
        for index, layer in enumerate(parameters.layers):
            if layer.folding.paired and not self.resources.dual_port:
                raise BuildError(
                    f"{self.title}: layer {index} has paired units, but the block RAM of the"
                    f" {self.device} has no two ports that read: fold it with paired = false"
                )

    def top(self, parameters: NetworkParameters, image: Image | None = None) -> BoardTop:
        """Return the board's own top: everything between its pins for one network.

        image: weights that are fixed in the bitstream, as ``memory_image`` gives them.
        """
        return BoardTop(self, parameters, image=image)


@dataclass(frozen=True)
class LedStates:
    """What a design shows on LEDs; one bit each."""

    heartbeat: Any
    link_error: Any
    link_active: Any


class BoardTop(Elaboratable):
    """The top of a board: PLL, reset, serial port, LEDs and the accelerator.

    ``core`` replaces the accelerator (same ports) in experiments and tests. ``image``: weights that
    are fixed in the bitstream.
    """

    def __init__(
        self,
        board: Board,
        parameters: NetworkParameters,
        *,
        core: Any = None,
        image: Image | None = None,
    ):
        self.board = board
        self.parameters = parameters
        self.image = image
        self._core = core

    def elaborate(self, platform: Any) -> Module:
        """Build the top for a platform of the board."""
        m = Module()
        clock, lock = self.board.add_clock(m, platform)
        # the domain is made here: what Amaranth would add starts from the pin, not from the PLL
        m.domains.sync = ClockDomain("sync")
        m.d.comb += ClockSignal("sync").eq(clock)
        m.submodules.reset = reset = PowerOnReset()
        m.submodules.button = button = io.Buffer("i", self.board.reset_button(platform))
        m.d.comb += [
            reset.lock.eq(lock),
            reset.button.eq(button.i),
            ResetSignal("sync").eq(reset.reset),
        ]
        if self._core is None:
            from spikeloom_hdl.accelerator import Accelerator

            self._core = Accelerator(
                self.parameters,
                clock_hz=self.board.clock_hz,
                board_id=self.board.board_id,
                image=self.image,
            )
        m.submodules.core = core = self._core
        uart = platform.request("uart", dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [core.rx.eq(rx.i), tx.o.eq(core.tx)]  # the receiver has its synchroniser
        states = LedStates(core.heartbeat, core.link_error, core.link_active)
        for index, (pin, value) in enumerate(self.board.leds(platform, states)):
            m.submodules[f"led{index}"] = led = io.Buffer("o", pin)
            m.d.comb += led.o.eq(value)
        return m
