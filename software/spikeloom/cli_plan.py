"""``spikeloom plan``: how a network would lie on a board, how fast, and what it would take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from spikeloom.errors import InputError

__all__ = ["plan"]


def plan(
    net: Annotated[str, typer.Argument(help="a .spikeloom file, or the name of a shipped one")],
    board: Annotated[str, typer.Option("--board", "-b", help="board name: see 'boards'")],
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="images to measure spikes on")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="so many of them")] = 64,
    target: Annotated[
        str, typer.Option("--target", "-t", help="balanced, throughput, latency or area")
    ] = "balanced",
    rate: Annotated[
        float, typer.Option("--images-per-second", help="the smallest plan that reaches this")
    ] = 0.0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="the .toml to write")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", "-p", help="a .png")] = None,
) -> None:
    """Plan a network for a board: folding, cycles, resources, and what limits them."""
    from spikeloom_boards.plan import Goal
    from spikeloom_boards.plan import plan as make_plan
    from spikeloom_boards.plan_file import write_plan
    from spikeloom_boards.plan_report import layer_table, resource_table, summary
    from spikeloom_boards.registry import board as find_board

    from spikeloom.shipped import open_network

    console = Console()
    for path in (out, picture):
        if path is not None:
            if path.is_dir():
                raise InputError(f"{path} is a folder: give the name of a file")
            path.parent.mkdir(parents=True, exist_ok=True)
    try:
        goal = Goal(target, rate)  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(str(error)) from None
    chosen, network = find_board(board), open_network(net)
    activity: Any = None
    if data is not None:
        from spikeloom_boards.activity import measured

        from spikeloom.sources import load_samples

        samples, _ = load_samples(data, train=True)
        activity = measured(network, samples[:limit])
    result = make_plan(network, chosen, goal=goal, activity=activity)
    console.print(layer_table(result, chosen, registers=console.width >= 100))
    console.print(resource_table(result, chosen))
    console.print(summary(result), highlight=False, soft_wrap=True)
    if out is not None:
        write_plan(result, out)
        console.print(f"wrote {out}: spikeloom build {net} -b {board} --plan {out}", soft_wrap=True)
    if picture is not None:
        from spikeloom_boards.plan_picture import draw_plan

        draw_plan(result, chosen, picture)
        console.print(f"wrote {picture}", soft_wrap=True)
