"""The tools of a family of devices, from the netlist to the bitstream."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FLOWS", "Flow"]


@dataclass(frozen=True)
class Flow:
    """The tools of a family, and the names its reports use for resources.

    logic, block_ram, multiplier, spram: keys of nextpnr's utilisation. luts, flip_flops: prefixes
    of cells after synthesis. options: extra arguments of synthesis.
    """

    nextpnr: str
    packer: str
    bitstream: str
    synth_options: tuple[str, ...]
    logic: str
    block_ram: str
    multiplier: str
    spram: str
    luts: tuple[str, ...]
    flip_flops: tuple[str, ...]


# multipliers are placed by name, where a folding asks for them: synthesis must not add others
FLOWS = {
    "ecp5": Flow(
        nextpnr="nextpnr-ecp5",
        packer="ecppack",
        bitstream="top.bit",
        synth_options=("-nodsp",),
        logic="TRELLIS_COMB",
        block_ram="DP16KD",
        multiplier="MULT18X18D",
        spram="",
        luts=("LUT4", "CCU2C", "TRELLIS_DPR16X4"),
        flip_flops=("TRELLIS_FF",),
    ),
    "ice40": Flow(
        nextpnr="nextpnr-ice40",
        packer="icepack",
        bitstream="top.bin",
        synth_options=(),
        logic="ICESTORM_LC",
        block_ram="ICESTORM_RAM",
        multiplier="ICESTORM_DSP",
        spram="ICESTORM_SPRAM",
        luts=("SB_LUT4",),
        flip_flops=("SB_DFF",),
    ),
}
