"""Clocks of a board: settings of the device's PLL that keep every limit of its data sheet.

ECP5 EHXPLLL (TN1263, DS ECP5-5G): the phase detector runs at ``input / input_divider``, the VCO at
``output * output_divider`` when the output is the feedback. iCE40 SB_PLL40 (TN1251) with simple
feedback: detector = input / (DIVR + 1), VCO = detector * (DIVF + 1), output = VCO / 2^DIVQ.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from amaranth.hdl import Const, Instance
from spikeloom.errors import BuildError

__all__ = ["ECP5Pll", "ICE40Pll", "ecp5_pll", "ice40_pll"]


@dataclass(frozen=True)
class ECP5Pll:
    """Settings of an EHXPLLL; all frequencies in Hz.

    ``output_hz = input_hz / input_divider * feedback_divider``.
    """

    input_hz: float
    input_divider: int  # CLKI_DIV, 1..128
    feedback_divider: int  # CLKFB_DIV, 1..80
    output_divider: int  # CLKOP_DIV, 1..128

    #: limits of the data sheet
    INPUT_HZ = (8e6, 400e6)
    DETECTOR_HZ = (10e6, 400e6)
    VCO_HZ = (400e6, 800e6)
    OUTPUT_HZ = (3.125e6, 400e6)

    @property
    def detector_hz(self) -> float:
        """Frequency of the phase detector."""
        return self.input_hz / self.input_divider

    @property
    def output_hz(self) -> float:
        """Frequency of the clock that the design uses."""
        return self.detector_hz * self.feedback_divider

    @property
    def vco_hz(self) -> float:
        """Frequency of the oscillator."""
        return self.output_hz * self.output_divider

    @property
    def legal(self) -> bool:
        """Whether every frequency and divider is within the limits."""
        return (
            _within(self.input_hz, self.INPUT_HZ)
            and _within(self.detector_hz, self.DETECTOR_HZ)
            and _within(self.vco_hz, self.VCO_HZ)
            and _within(self.output_hz, self.OUTPUT_HZ)
            and 1 <= self.input_divider <= 128
            and 1 <= self.feedback_divider <= 80
            and 1 <= self.output_divider <= 128
        )

    def instance(self, *, clock_in, clock_out, lock) -> Instance:
        """Return the cell; ``clock_out`` is also its feedback, ``lock`` rises when it is stable."""
        return Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.input_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.output_hz / 1e6:g}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            p_CLKI_DIV=self.input_divider,
            p_CLKFB_DIV=self.feedback_divider,
            p_CLKOP_DIV=self.output_divider,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=self.output_divider // 2,  # rising edges of input and output coincide
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            p_OUTDIVIDER_MUXA="DIVA",
            i_CLKI=clock_in,
            i_CLKFB=clock_out,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(0),
            i_PHASESTEP=Const(0),
            i_PHASELOADREG=Const(0),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=clock_out,
            o_LOCK=lock,
        )


@dataclass(frozen=True)
class ICE40Pll:
    """Settings of an SB_PLL40_PAD or SB_PLL40_CORE with simple feedback; frequencies in Hz."""

    input_hz: float
    divr: int  # 0..15
    divf: int  # 0..127
    divq: int  # 1..6

    #: limits of the data sheet
    INPUT_HZ = (10e6, 133e6)
    DETECTOR_HZ = (10e6, 133e6)
    VCO_HZ = (533e6, 1066e6)
    OUTPUT_HZ = (16e6, 275e6)

    @property
    def detector_hz(self) -> float:
        """Frequency of the phase detector."""
        return self.input_hz / (self.divr + 1)

    @property
    def vco_hz(self) -> float:
        """Frequency of the oscillator."""
        return self.detector_hz * (self.divf + 1)

    @property
    def output_hz(self) -> float:
        """Frequency of the clock that the design uses."""
        return self.vco_hz / (1 << self.divq)

    @property
    def filter_range(self) -> int:
        """FILTER_RANGE, which follows from the frequency of the phase detector."""
        limits = (17e6, 26e6, 44e6, 66e6, 101e6)
        return 1 + sum(self.detector_hz >= limit for limit in limits)

    @property
    def legal(self) -> bool:
        """Whether every frequency and divider is within the limits."""
        return (
            _within(self.input_hz, self.INPUT_HZ)
            and _within(self.detector_hz, self.DETECTOR_HZ)
            and _within(self.vco_hz, self.VCO_HZ)
            and _within(self.output_hz, self.OUTPUT_HZ)
            and 0 <= self.divr <= 15
            and 0 <= self.divf <= 127
            and 1 <= self.divq <= 6
        )

    def instance(self, *, pad, clock_out, lock) -> Instance:
        """Return the cell fed by the clock's own pin; ``clock_out`` is a global net."""
        return Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=Const(self.divr, 4),
            p_DIVF=Const(self.divf, 7),
            p_DIVQ=Const(self.divq, 3),
            p_FILTER_RANGE=Const(self.filter_range, 3),
            i_PACKAGEPIN=pad,
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=clock_out,
            o_LOCK=lock,
        )


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


@functools.lru_cache(maxsize=256)
def ecp5_pll(input_hz: float, target_hz: float, tolerance: float = 1e-3) -> ECP5Pll:
    """Find EHXPLLL settings for ``target_hz``: the nearest frequency, then the fastest detector.

    Raises BuildError when no legal settings come within ``tolerance`` (relative) of the target.
    """
    candidates = []
    for input_divider in range(1, 129):
        for feedback_divider in range(1, 81):
            output = input_hz / input_divider * feedback_divider
            # the middle of the VCO's range has the largest margin on both sides
            output_divider = min(128, max(1, round(600e6 / output)))
            pll = ECP5Pll(input_hz, input_divider, feedback_divider, output_divider)
            if pll.legal:
                candidates.append((abs(output - target_hz), input_divider, feedback_divider, pll))
    return _choose(candidates, target_hz, tolerance, f"the PLL with {input_hz / 1e6:g} MHz in")


@functools.lru_cache(maxsize=256)
def ice40_pll(input_hz: float, target_hz: float, tolerance: float = 2e-2) -> ICE40Pll:
    """Find SB_PLL40 settings for ``target_hz``: the nearest frequency, then the fastest detector.

    Raises BuildError when no legal settings come within ``tolerance`` (relative) of the target.
    """
    candidates = []
    for divr in range(16):
        for divf in range(128):
            for divq in range(1, 7):
                pll = ICE40Pll(input_hz, divr, divf, divq)
                if pll.legal:
                    candidates.append((abs(pll.output_hz - target_hz), divr, divf, pll))
    return _choose(candidates, target_hz, tolerance, f"the PLL with {input_hz / 1e6:g} MHz in")


def _choose(candidates, target_hz: float, tolerance: float, kind: str):
    if not candidates:
        raise BuildError(f"{kind} has no legal settings at all")
    best = min(candidates, key=lambda entry: entry[:3])[3]
    if abs(best.output_hz - target_hz) > tolerance * target_hz:
        raise BuildError(
            f"{kind} cannot make {target_hz / 1e6:.4g} MHz within {tolerance:.2%}:"
            f" the nearest is {best.output_hz / 1e6:.4g} MHz"
        )
    return best
