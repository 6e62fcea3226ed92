"""The tools of a family of devices, from the netlist to the bitstream."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FLOWS", "Flow"]


@dataclass(frozen=True)
class Flow:
    """The tools of a family, and the names its reports use for resources.

    synth_options, place_options: extra arguments of yosys and nextpnr.
    logic, block_ram, multiplier, spram: keys of nextpnr's utilisation.
    luts: cells after synthesis, with the four-input tables in each.
    flip_flops: how the names of registers begin.
    """

    nextpnr: str
    packer: str
    bitstream: str
    synth_options: tuple[str, ...]
    place_options: tuple[str, ...]
    logic: str
    block_ram: str
    multiplier: str
    spram: str
    luts: dict[str, int]
    flip_flops: str


# multipliers are placed by name, where a folding asks for them: synthesis must not add others
FLOWS = {
    "ecp5": Flow(
        nextpnr="nextpnr-ecp5",
        packer="ecppack",
        bitstream="top.bit",
        synth_options=("-nodsp",),
        # the analytic placer throws multipliers far from their lanes: 59 MHz and a third more wire
        # on the MNIST network, where this one gets 77 MHz
        place_options=("--placer", "static"),
        logic="TRELLIS_COMB",
        block_ram="DP16KD",
        multiplier="MULT18X18D",
        spram="",
        luts={"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4},
        flip_flops="TRELLIS_FF",
    ),
    "ice40": Flow(
        nextpnr="nextpnr-ice40",
        packer="icepack",
        bitstream="top.bin",
        synth_options=(),
        # a design that is nearly too large must fail, not look for a place for hours
        place_options=("--placer-heap-cell-placement-timeout", "256"),
        logic="ICESTORM_LC",
        block_ram="ICESTORM_RAM",
        multiplier="ICESTORM_DSP",
        spram="ICESTORM_SPRAM",
        luts={"SB_LUT4": 1},
        flip_flops="SB_DFF",
    ),
}
