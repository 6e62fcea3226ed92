"""Builds bitstreams: synthesis, place and route, packing, reports, and a cache keyed by content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeloom.errors import BuildError, ToolError
from spikeloom.hardware.fixed_image import Image, fixed_crc, layer_contents
from spikeloom.hardware.folding import Folding
from spikeloom.hardware.memory_image import memory_image
from spikeloom.hardware.parameters import NetworkParameters

from spikeloom_boards.board import Board
from spikeloom_boards.cache import default_cache, fetch, store
from spikeloom_boards.flow import FLOWS
from spikeloom_boards.netlist import Design, prepare, structure
from spikeloom_boards.registry import board as find_board
from spikeloom_boards.report import BuildReport
from spikeloom_boards.toolchain import Tool, announce_first_call, find_tool

if TYPE_CHECKING:
    from spikeloom.network import Network

__all__ = ["MARGIN", "build", "fixed_image", "resolve"]

#: nextpnr's Fmax must be this much above the clock, or the build fails
MARGIN = 1.05

Progress = Callable[[str], None]


def resolve(
    board: Board | str,
    network: Network | NetworkParameters,
    *,
    foldings: Sequence[Folding] | None = None,
    fixed: bool = False,
) -> tuple[Board, NetworkParameters]:
    """Return the board of a name, and the parameters of a network folded onto it.

    foldings: instead of those that the board chooses. fixed: for weights in the bitstream.
    """
    device = find_board(board) if isinstance(board, str) else board
    if isinstance(network, NetworkParameters):
        if foldings is not None:
            raise BuildError("foldings go with a network: parameters have their own")
        return device, network
    if foldings is None:
        foldings = device.fold(network, fixed=fixed)
    return device, network.parameters(foldings)


def fixed_image(network: Network | NetworkParameters, parameters: NetworkParameters) -> Image:
    """Return the memories of a network for a bitstream that holds its weights.

    Raises BuildError when there are no weights, only parameters, or a memory cannot hold any.
    """
    if isinstance(network, NetworkParameters):
        raise BuildError(
            "fixed weights need a network: these are parameters, which hold its structure alone"
        )
    image = memory_image(network, parameters)
    try:
        layer_contents(parameters, image)
    except ValueError as error:
        raise BuildError(str(error)) from error
    return image


def build(
    board: Board | str,
    network: Network | NetworkParameters,
    *,
    out_dir: str | Path | None = None,
    seeds: Sequence[int] = (1, 2, 3, 4),
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
    top: Any = None,
    foldings: Sequence[Folding] | None = None,
    fixed: bool = False,
) -> BuildReport:
    """Build the bitstream of a network's structure for a board.

    Writes ``top.bit`` or ``top.bin``, ``report.json``, ``report.txt``, ``structure.json`` and the
    logs into ``out_dir`` (default ``build/<board>-<build id>``). A network is folded onto the
    board, with ``foldings`` if they are given. Its weights are not in the bitstream, unless
    ``fixed``: then no other network ever runs on it, and nothing is uploaded. A build of the same
    content comes from the cache.
    ``seeds`` are tried one after another until timing is met. ``progress`` is called with one line
    a step. ``top`` replaces the board's own top (experiments).

    Raises BuildError when the design does not fit or timing is not met with any seed, or weights
    cannot be fixed, ToolError when a tool is missing or fails.
    """
    say = progress or (lambda line: None)
    board, parameters = resolve(board, network, foldings=foldings, fixed=fixed)
    image = fixed_image(network, parameters) if fixed else None
    flow = FLOWS[board.family]
    tools = {name: find_tool(name) for name in ("yosys", flow.nextpnr, flow.packer)}
    say(f"{board.title}: elaborating")
    design = prepare(board, parameters, top=top, image=image)
    key = _key(design, tools, seeds)
    out = Path(
        out_dir
        or Path("build", f"{board.name}-{parameters.build_id:016x}{'-fixed' if fixed else ''}")
    )
    cache = Path(cache_dir) if cache_dir is not None else default_cache()
    stored = cache / key
    if (report := fetch(stored, out)) is not None:
        say(f"{board.title}: unchanged, taken from the cache")
        return report
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spikeloom-build-") as folder:
        work = Path(folder)
        design.write(work)
        for name in tools:
            if (line := announce_first_call(name)) is not None:
                say(line)
        try:
            say("yosys: synthesis")
            _run(tools["yosys"], ["-l", "yosys.log", "top.ys"], work, "yosys.out")
            seed, placed = _place(tools[flow.nextpnr], design, board, seeds, work, say)
            say(f"{flow.packer}: bitstream")
            _run(tools[flow.packer], design.pack_arguments, work, "pack.out")
            report = _report(board, parameters, key, seed, placed, tools, work)
            seconds = round(time.monotonic() - started, 1)
            crc = "" if image is None else f"{fixed_crc(image):08x}"
            report = dataclasses.replace(report, seconds=seconds, weights_crc=crc)
            (work / "report.json").write_text(report.to_json())
            (work / "report.txt").write_text(report.to_text())
            (work / "structure.json").write_text(structure(board, parameters, image))
        finally:
            out.mkdir(parents=True, exist_ok=True)
            for path in work.glob("*.log"):
                shutil.copy(path, out / path.name)
        store(work, stored, [*_PRODUCTS, flow.bitstream])
    restored = fetch(stored, out)
    if restored is None:
        raise BuildError(f"the build cache {stored} cannot be read back: delete it and build again")
    return restored


_PRODUCTS = ("report.json", "report.txt", "structure.json", "yosys.log", "nextpnr.log", "stat.json")


def _key(design: Design, tools: dict[str, Tool], seeds: Sequence[int]) -> str:
    parts = [design.content(), MARGIN, list(seeds), {n: t.identity for n, t in tools.items()}]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2s(text.encode(), digest_size=12).hexdigest()


#: a line of nextpnr's table of resources
_UTILISATION = re.compile(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%", re.M)


#: no tool takes longer for a design that it can finish
TOOL_SECONDS = 7200


def _run(tool: Tool, arguments: Sequence[str], work: Path, log: str) -> None:
    with open(work / log, "w") as stream:
        try:
            done = subprocess.run(
                [*tool.command, *arguments],
                cwd=work,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=TOOL_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise ToolError(
                f"{tool.name} was not done after {TOOL_SECONDS / 3600:g} hours: the design may not"
                " be routable; try a smaller folding"
            ) from None
    if done.returncode == 0:
        return
    text = (work / log).read_text(errors="replace")
    shutil.copy(work / log, work / f"{tool.name}-failed.log")
    errors = [line for line in text.splitlines() if line.startswith("ERROR")]
    why = errors[0] if errors else (text.strip().splitlines() or ["no message"])[-1]
    full = [
        f"{cell} {used} of {available}"
        for cell, used, available in _UTILISATION.findall(text)
        if int(used) > int(available)
    ]
    if "Unable to find legal placement" in why:
        raise BuildError(f"{tool.name} found no legal place for every cell: {why}")
    if full or "Unable to place cell" in why or "no BELs remaining" in why:
        raise BuildError(f"the design does not fit the device: {', '.join(full) or why}")
    raise ToolError(f"{tool.name} failed with status {done.returncode}: {why}")


def _place(
    tool: Tool, design: Design, board: Board, seeds: Sequence[int], work: Path, say: Progress
) -> tuple[int, dict[str, Any]]:
    best = 0.0
    for seed in seeds:
        say(f"{tool.name}: placing and routing, seed {seed}")
        arguments = [
            *design.place_arguments,
            *("--seed", str(seed), "--timing-allow-fail"),
            *("--report", "pnr.json", "--log", "nextpnr.log"),
        ]
        try:
            _run(tool, arguments, work, "nextpnr.out")
        except BuildError as error:
            if seed == seeds[-1] or "no legal place" not in str(error):
                raise
            say(f"{tool.name}: {error}")
            continue
        placed = json.loads((work / "pnr.json").read_text())
        fmax = _fmax(placed, board)
        if fmax >= MARGIN * board.clock_hz:
            return seed, placed
        best = max(best, fmax)
        say(f"{tool.name}: {fmax / 1e6:.1f} MHz with seed {seed}, not enough")
    raise BuildError(
        f"timing not met on {board.title}: the clock of {board.clock_hz / 1e6:.4g} MHz needs an"
        f" Fmax of {MARGIN * board.clock_hz / 1e6:.4g} MHz, the best of {len(seeds)} seeds reached"
        f" {best / 1e6:.4g} MHz: choose a slower clock"
    )


def _fmax(placed: dict[str, Any], board: Board) -> float:
    """Fmax in Hz of the design's clock, which nextpnr derives from the settings of the PLL."""
    clocks = [
        entry
        for entry in placed["fmax"].values()
        if abs(entry["constraint"] * 1e6 - board.clock_hz) < 1e-3 * board.clock_hz
    ]
    if not clocks:
        raise BuildError(
            f"{board.title}: nextpnr reports no clock of {board.clock_hz / 1e6:.4g} MHz,"
            f" only {placed['fmax']}"
        )
    return min(entry["achieved"] for entry in clocks) * 1e6


def _report(
    board: Board,
    parameters: NetworkParameters,
    key: str,
    seed: int,
    placed: dict[str, Any],
    tools: dict[str, Tool],
    work: Path,
) -> BuildReport:
    flow = FLOWS[board.family]
    cells = json.loads((work / "stat.json").read_text())["design"]["num_cells_by_type"]
    used = placed["utilization"]

    def pair(name: str) -> tuple[int, int]:
        entry = used.get(name, {})
        return entry.get("used", 0), entry.get("available", 0)

    logic, blocks = pair(flow.logic), pair(flow.block_ram)
    multipliers, spram = pair(flow.multiplier), pair(flow.spram)
    return BuildReport(
        board=board.name,
        device=board.device,
        build_id=f"{parameters.build_id:016x}",
        key=key,
        luts=sum(tables * cells.get(cell, 0) for cell, tables in flow.luts.items()),
        flip_flops=sum(n for cell, n in cells.items() if cell.startswith(flow.flip_flops)),
        logic_cells=logic[0],
        logic_cells_available=logic[1],
        block_rams=blocks[0],
        block_rams_available=blocks[1],
        multipliers=multipliers[0],
        multipliers_available=multipliers[1],
        spram=spram[0],
        spram_available=spram[1],
        clock_hz=board.clock_hz,
        fmax_hz=_fmax(placed, board),
        seed=seed,
        seconds=0.0,
        bitstream=flow.bitstream,
        tools={name: f"{tool.version} ({tool.origin})" for name, tool in tools.items()},
        layers=[{"kind": layer.kind, **dataclasses.asdict(layer)} for layer in parameters.layers],
    )
