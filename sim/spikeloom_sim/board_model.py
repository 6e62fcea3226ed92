"""Compiles a board's own top, with models of its vendor cells and a serial port, to a program."""

from __future__ import annotations

import importlib.resources
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spikeloom.errors import BuildError
from spikeloom.hardware.fixed_image import Image
from spikeloom.hardware.parameters import NetworkParameters

from spikeloom_sim.cells import cell_sources
from spikeloom_sim.runner import port_names
from spikeloom_sim.verilator import build_model

__all__ = ["DEFAULT_BAUD", "DESCRIPTION", "EXECUTABLE", "build_virtual_board", "wrapper"]

DEFAULT_BAUD = 115_200  #: line rate of a board that nobody has told otherwise
DESCRIPTION, EXECUTABLE = "board.json", "board"
FORMAT = 1  #: of board.json and of the protocol that the program speaks

#: C++ optimisation: what a board spends more on compiling it wins back within one run of the demo.
OPTIMISE = "-O2"


def wrapper(ports: list[str], inverted: dict[str, bool]) -> tuple[str, list[str]]:
    """Verilog of module ``board`` around module ``top``: plain pins, whatever the pads are called.

    ports: of the top. inverted: pads whose low level means on or pressed. Returns the text and the
    names of the lights, from bit 0. Raises BuildError for a pad that there is no model of.
    """
    pins: dict[str, str] = {}
    lights: list[str] = []
    pads: list[str] = []
    for port in ports:
        name = port.removesuffix("__io")
        level = f"1'b{int(inverted.get(port, False))}"
        if name in ("uart_0__rx", "uart_0__tx"):
            pins[port] = name.removeprefix("uart_0__")
        elif name.startswith("clk"):
            pins[port] = "clk"
        elif name.startswith("led"):
            pads.append(f"wire light{len(lights)};")
            pads.append(f"assign lights[{len(lights)}] = light{len(lights)} ^ {level};")
            pins[port] = f"light{len(lights)}"
            lights.append(name)
        elif name.startswith("button"):
            pads.append(f"wire {name} = buttons[0] ^ {level};")
            pins[port] = name
        else:
            raise BuildError(f"the virtual board has no model for the pin {port} of the top")
    missing = {"rx", "tx", "clk"} - set(pins.values())
    if missing:
        raise BuildError(f"the top has no pin for {', '.join(sorted(missing))}")
    # the serial pads may be bidirectional: nets of their own keep them apart from the ports
    pads.append("wire pad_rx = rx; wire pad_tx; assign tx = pad_tx;")
    nets = {"rx": "pad_rx", "tx": "pad_tx"}
    connections = ", ".join(f".{port}({nets.get(pin, pin)})" for port, pin in pins.items())
    text = f"""\
module board(input clk, input rx, output tx, output [31:0] lights, input [31:0] buttons);
  {" ".join(pads)}
  assign lights[31:{len(lights)}] = 0;
  top top({connections});
endmodule
"""
    return text, lights


def _inverted(board: Any) -> dict[str, bool]:
    """Pads of a board whose low level means on or pressed."""
    from spikeloom_boards.board import LedStates

    platform = board.platform()
    ports = [board.reset_button(platform)]
    ports += [port for port, _ in board.leds(platform, LedStates(0, 0, 0))]
    return {port.io.name: port.invert[0] for port in ports}


def build_virtual_board(
    board_name: str,
    parameters: NetworkParameters,
    out_dir: str | Path,
    *,
    verilog: str | None = None,
    clock_hz: float | None = None,
    progress: Callable[[str], None] | None = None,
    optimise: str = OPTIMISE,
    cache_dir: Path | None = None,
    image: Image | None = None,
) -> Path:
    """Build the virtual board of a network's structure; returns its folder, for ``sim://FOLDER``.

    board_name: a name that ``spikeloom boards`` lists. verilog: replaces the board's own top, for
    example by its netlist after synthesis. clock_hz: another clock than the board's own.
    progress: called with one line a step. image: weights that are fixed in it, as ``memory_image``
    gives them (of a ``verilog``, those that it was written with).

    Raises BuildError when it cannot be compiled, ToolError when a tool is missing.
    """
    from spikeloom_boards import registry
    from spikeloom_boards.netlist import board_verilog, structure

    say = progress or (lambda line: None)
    board = registry.board(board_name)
    if clock_hz is not None:
        board = board.at_clock(clock_hz)
    if verilog is None:
        say(f"{board.title}: writing the Verilog of its top")
        verilog = board_verilog(board, parameters, image=image)
    text, lights = wrapper(port_names(verilog), _inverted(board))
    folder = importlib.resources.files("spikeloom_sim")
    # a clock cycle here is a cycle of the PLL's output: the model of the PLL passes the clock on
    main = (folder / "virtual_board.cpp").read_text()
    say(f"{board.title}: compiling the simulation")
    executable = build_model(
        {"board.v": text, "top.v": verilog, **cell_sources(board.family)},
        {"main.cpp": f"#define DEFAULT_PERIOD {board.clock_hz / DEFAULT_BAUD!r}\n{main}"},
        name=board.name,
        top="board",
        assertions=True,
        optimise=optimise,
        flags=[f"-DINPUT_HZ={round(board.platform().default_clk_frequency)}"],
        cache_dir=cache_dir,
    )
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    staged = out / f".{EXECUTABLE}.new"
    shutil.copy2(executable, staged)
    staged.replace(out / EXECUTABLE)
    description = json.loads(structure(board, parameters, image))
    description |= {"format": FORMAT, "title": board.title, "lights": lights}
    (out / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
    return out
