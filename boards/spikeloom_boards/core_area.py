"""Area and clock of one core by itself: synthesis, place and route behind a few pins.

The core sits in a PinWrapper, and stays a module of its own until it is mapped: its cells are
counted without those around it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from spikeloom.errors import BuildError, ToolError
from spikeloom.study.encoder_area import CoreArea
from spikeloom_hdl.pin_wrapper import PinWrapper

from spikeloom_boards.cache import default_cache
from spikeloom_boards.netlist import memory_hints
from spikeloom_boards.toolchain import Tool, announce_first_call, find_tool

__all__ = ["TARGETS", "Target", "measure_core"]

#: Bump when the way a core is measured changes.
VERSION = 1


@dataclass(frozen=True)
class Target:
    """A device, what yosys and nextpnr are told about it, and the least Fmax a core must have.

    luts: cells with the four-input tables in each; lut_ram likewise, where they hold state.
    """

    device: str
    family: str
    fmax_mhz: float
    synth: str
    place: tuple[str, ...]
    luts: dict[str, int]
    lut_ram: dict[str, int]
    flip_flops: str
    block_ram: str
    multiplier: str


_ECP5 = Target(
    device="LFE5U-25F-6",
    family="ecp5",
    fmax_mhz=100.0,
    synth="synth_ecp5",
    place=("--25k", "--package", "CABGA256", "--speed", "6", "--lpf-allow-unconstrained"),
    luts={"LUT4": 1, "CCU2C": 2},
    lut_ram={"TRELLIS_DPR16X4": 4},
    flip_flops="TRELLIS_FF",
    block_ram="DP16KD",
    multiplier="MULT18X18D",
)

TARGETS = {
    "ecp5": _ECP5,
    "ecp5-85f": replace(
        _ECP5,
        device="LFE5U-85F-6",
        place=("--85k", "--package", "CABGA381", *_ECP5.place[3:]),
    ),
    "up5k": Target(
        device="iCE40UP5K-SG48",
        family="ice40",
        fmax_mhz=24.0,
        synth="synth_ice40 -device u -dsp",
        place=("--up5k", "--package", "sg48"),
        luts={"SB_LUT4": 1},
        lut_ram={},
        flip_flops="SB_DFF",
        block_ram="SB_RAM40_4K",
        multiplier="SB_MAC16",
    ),
}


_SCRIPT = """\
read_rtlil top.il
setattr -mod -set keep_hierarchy 1 top.core
{synth} -top top
tee -q -o stat.json stat -json
setattr -mod -unset keep_hierarchy top.core
flatten
opt_clean -purge
write_json top.json
"""


def measure_core(
    core: Any,
    target: Target,
    *,
    seeds: Sequence[int] = (1, 2, 3),
    cache_dir: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> CoreArea:
    """Synthesise, place and route a core; results are kept under a hash of netlist and tools.

    core: a component. seeds: of the placement, tried until the target's Fmax is met; else the best
    one counts. progress: called with one line a step.

    Raises BuildError when the core does not fit, ToolError when a tool is missing or fails.
    """
    say = progress or (lambda line: None)
    yosys, nextpnr = find_tool("yosys"), find_tool(f"nextpnr-{target.family}")
    text = memory_hints(rtlil.convert(PinWrapper(core), name="top", emit_src=False), target.family)
    script = _SCRIPT.format(synth=target.synth)
    what = [VERSION, text, script, target.place, list(seeds), yosys.identity, nextpnr.identity]
    key = hashlib.blake2s(json.dumps(what).encode(), digest_size=12).hexdigest()
    kept = (cache_dir or default_cache().parent / "areas") / f"{key}.json"
    if kept.exists():
        return CoreArea(**json.loads(kept.read_text()))
    for tool in (yosys, nextpnr):
        if (line := announce_first_call(tool.name)) is not None:
            say(line)
    with tempfile.TemporaryDirectory(prefix="spikeloom-area-") as folder:
        work = Path(folder)
        (work / "top.il").write_text(text)
        (work / "top.ys").write_text(script)
        say("yosys")
        _run(yosys, ["-q", "top.ys"], work)
        stat = json.loads((work / "stat.json").read_text())["modules"]
        cells: dict[str, int] = next(
            entry["num_cells_by_type"] for name, entry in stat.items() if name.endswith("top.core")
        )
        best = (0.0, seeds[0])
        for seed in seeds:
            say(f"{nextpnr.name}, seed {seed}")
            best = max(best, (_place(nextpnr, target, seed, work), seed), key=lambda b: b[0])
            if best[0] >= target.fmax_mhz:
                break
    area = CoreArea(
        device=target.device,
        lut4=sum(tables * cells.get(cell, 0) for cell, tables in target.luts.items()),
        lut_ram=sum(tables * cells.get(cell, 0) for cell, tables in target.lut_ram.items()),
        flip_flops=sum(n for cell, n in cells.items() if cell.startswith(target.flip_flops)),
        block_ram=cells.get(target.block_ram, 0),
        dsp=cells.get(target.multiplier, 0),
        fmax_mhz=round(best[0], 1),
        seed=best[1],
        netlist=key,
    )
    kept.parent.mkdir(parents=True, exist_ok=True)
    staged = kept.with_suffix(f".{os.getpid()}")
    staged.write_text(json.dumps(asdict(area)))
    staged.replace(kept)
    return area


def _place(tool: Tool, target: Target, seed: int, work: Path) -> float:
    """Fmax in MHz of a placement."""
    wish = f"{1.25 * target.fmax_mhz:g}"
    arguments = [*target.place, "--json", "top.json", "--report", "pnr.json", "--freq", wish]
    _run(tool, [*arguments, "--seed", str(seed), "--timing-allow-fail"], work)
    clocks = json.loads((work / "pnr.json").read_text())["fmax"]
    if not clocks:
        raise BuildError(f"{tool.name} reports no clock: the core has no registers")
    return min(entry["achieved"] for entry in clocks.values())


def _run(tool: Tool, arguments: Sequence[str], work: Path) -> None:
    command = ["nice", *tool.command, *arguments]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    lines = (done.stdout + done.stderr).strip().splitlines() or ["no message"]
    why = next((line for line in lines if line.startswith("ERROR")), lines[-1])
    if "Unable to" in why or "no BELs" in why or "No more" in why:
        raise BuildError(f"the core does not fit the device: {why}")
    raise ToolError(f"{tool.name} failed with status {done.returncode}: {why}")
