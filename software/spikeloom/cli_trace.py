"""``spikeloom trace``: every layer of a network in gates beside the golden model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from spikeloom.errors import InputError, SpikeloomError

__all__ = ["trace"]


def trace(
    net: Annotated[str, typer.Argument(help="a .spikeloom file, or the name of a shipped one")],
    data: Annotated[
        str, typer.Argument(help=".npy (n, ...) uint8, .npz (x, y), IDX folder, mnist, smartwatch")
    ],
    device: Annotated[str, typer.Option("--device", "-d", help="only 'sim': inside the gates")] = (
        "sim"
    ),
    board: Annotated[str, typer.Option("--board", "-b", help="whose folding")] = "ulx3s-85f",
    plan: Annotated[Path | None, typer.Option(help="foldings, as 'plan --out' wrote them")] = None,
    images: Annotated[int, typer.Option("--images", "-n", min=1, help="so many samples")] = 20,
    picture: Annotated[Path | None, typer.Option("--picture", "-p", help="a .png")] = None,
    stalls: Annotated[
        int | None, typer.Option(help="seed: random pauses at both ends and between layers")
    ] = None,
) -> None:
    """Compare every layer of the gates with the golden model; show spikes by layer and step."""
    if device != "sim":
        raise InputError(f"--device {device!r}: only the simulation, 'sim', shows what is inside")
    if picture is not None and picture.is_dir():
        raise InputError(f"{picture} is a folder: --picture takes the name of a file")
    from spikeloom_boards.plan_file import planned
    from spikeloom_boards.registry import board as find_board
    from spikeloom_sim.harness import CoreHarness, Stalls
    from spikeloom_sim.trace import run_trace

    from spikeloom.shipped import open_network
    from spikeloom.sources import load_samples
    from spikeloom.study.trace_table import buffer_table, layer_table

    console = Console()
    network, target = open_network(net), find_board(board)
    samples, _ = load_samples(data)
    words = network.encode(samples[:images])
    parameters = planned(network, target, plan)
    with console.status("compiling the core with Verilator (a minute, for a big network)"):
        harness = CoreHarness(parameters, name=f"core-{board}")
    pauses = None if stalls is None else Stalls(stalls, inside=0.25)
    with console.status("running"):
        record = run_trace(network, parameters, words, harness=harness, stalls=pauses)
    title = f"{Path(net).stem} as on {target.title}, {len(words)} images"
    console.print(layer_table(record, title))
    if record.buffers:
        console.print(buffer_table(record))
    console.print(
        f"a result every {record.interval:,.0f} cycles, each {record.latency:,.0f} cycles after"
        f" its image; busy: the layer's input waited, and nothing held the layer up",
        highlight=False,
        soft_wrap=True,
    )
    if picture is not None:
        from spikeloom.study.trace_picture import draw_trace

        picture.parent.mkdir(parents=True, exist_ok=True)
        draw_trace(record, picture, title)
        console.print(f"wrote {picture}", soft_wrap=True)
    if record.difference is not None:
        raise SpikeloomError(record.verdict())
    console.print(record.verdict(), highlight=False)
