"""The main job, `make demo`: a trained ANN becomes spikes, integers, gates and a running board."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from spikeloom.data import mnist_5k
from spikeloom.device import Device
from spikeloom.errors import SpikeloomError
from spikeloom.hardware.memory_image import memory_image
from spikeloom.network import Network
from spikeloom.study.picture import draw
from spikeloom_boards.registry import board as find_board

from spikeloom_sim.harness import run_core
from spikeloom_sim.virtual_board import build_virtual_board

#: Images that go once more over a line at a board's real rate, many cycles a bit; all others use
#: the fast line, one cycle a bit.
EXACT_IMAGES, EXACT_BAUD = 20, 3_000_000


@dataclass(frozen=True)
class Stages:
    """The accuracy of each stage, in per cent, and the integer network they end in."""

    ann: float
    snn: float
    golden: float
    network: Network


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Per cent of samples whose largest logit is their label; ties go to the lowest index."""
    return 100 * float((logits.argmax(axis=1) == labels).mean())


def prepare(train: np.ndarray, test: np.ndarray, labels: np.ndarray, *, steps: int) -> Stages:
    """Convert the checked-in ANN on calibration images and lower it to integers."""
    import torch
    from spikeloom.checkpoint import load_mlp
    from spikeloom.conversion import convert, lower

    model = load_mlp()
    calibration = train[:2000]
    inputs = torch.from_numpy(test).float() / 255
    snn = convert(model, calibration, steps=steps)
    network = lower(snn, weight_bits=8)
    with torch.no_grad():
        ann_logits, snn_logits = model(inputs).numpy(), snn(inputs).numpy()
    return Stages(
        accuracy(ann_logits, labels),
        accuracy(snn_logits, labels),
        accuracy(network.run(test), labels),
        network,
    )


@dataclass(frozen=True)
class Classified:
    """What the board answered: logits, counters and device seconds, and the same for the images
    that went over the bit-accurate line."""

    logits: np.ndarray
    counters: dict[str, int]
    seconds: float
    exact_logits: np.ndarray
    exact_seconds: float


def classify(address: str, network: Network, images: np.ndarray, console: Console) -> Classified:
    """Upload the weights through the link, run the images, then a few at a real line rate."""
    with Device.open(address) as device:
        device.load(network, progress=True)
        device.clear_counters()
        start = device.now()
        logits = device.run(images, progress=True)
        seconds, counters = device.now() - start, device.counters()
        device.set_baud(EXACT_BAUD)
        few = images[:EXACT_IMAGES]
        console.print(f"{len(few)} of them again, every bit of the line simulated at 3 Mbaud")
        start = device.now()
        exact = device.run(few, progress=True)
        return Classified(logits, counters, seconds, exact, device.now() - start)


def run_demo(board_name: str, *, images: int, out: Path, console: Console, steps: int = 4) -> None:
    """Do the main job and print one table. Raises SpikeloomError if one logit differs."""
    started = time.monotonic()
    board = find_board(board_name)
    data = mnist_5k()
    test, labels = data.test_images[:images], data.test_labels[:images]
    console.print(
        f"[bold]Spikeloom demo[/bold]: 784-128-10 on {len(test)} MNIST digits, T = {steps}"
    )
    stages = prepare(data.train_images, test, labels, steps=steps)
    network = stages.network
    out.mkdir(parents=True, exist_ok=True)
    network.save(out / "digits.spikeloom")
    picture = draw(network, test[0], out / "demo.png", label=int(labels[0]))
    console.print(
        f"golden accuracy {stages.golden:.2f} % (ANN {stages.ann:.2f} %)"
        f" after {time.monotonic() - started:.0f} s; picture: {picture}"
    )

    parameters = network.parameters(board.fold(network))
    console.print(
        f"building the virtual board: the {board.title}'s own top, compiled by Verilator"
        " (a minute or two the first time, cached afterwards)"
    )
    folder = build_virtual_board(board_name, parameters, out / board_name)
    done = classify(f"sim://{folder}", network, test, console)
    golden = network.run(test)
    exact = len(done.exact_logits)
    differing = int((done.logits != golden).sum())
    differing += int((done.exact_logits != golden[:exact]).sum())

    console.print("the same core with its input never starved, for the interval")
    full = run_core(parameters, memory_image(network, parameters), network.encode(test))
    differing += int((full.logits != golden).sum())

    count = len(test)
    microseconds = 1e6 / board.clock_hz
    latency = done.counters["occupancy"] / done.counters["samples"]
    interval = full.counters["cycles"] / full.counters["samples"]
    spikes = [done.counters[f"spikes_{k}"] / count for k in range(len(network.layers))]
    table = Table(
        title=f"MNIST, {count} test images, {board.title} at {board.clock_hz / 1e6:g} MHz"
    )
    table.add_column("what")
    table.add_column("figure", justify="right")
    rows = [
        ("accuracy, ANN (float)", f"{stages.ann:.2f} %"),
        ("accuracy, SNN (float)", f"{stages.snn:.2f} %"),
        ("accuracy, integer golden model", f"{stages.golden:.2f} %"),
        ("accuracy, virtual board", f"{accuracy(done.logits, labels):.2f} %"),
        ("latency per image", f"{latency:.0f} cycles, {latency * microseconds:.2f} us"),
        (
            "interval per image, input never starved",
            f"{interval:.0f} cycles, {interval * microseconds:.2f} us",
        ),
        ("spikes per image, into each layer", ", ".join(f"{value:.0f}" for value in spikes)),
        ("images a second in the core", f"{1e6 / (interval * microseconds):,.0f}"),
        ("images a second over a 3 Mbaud link", f"{exact / done.exact_seconds:,.0f}"),
        ("images a second over the simulation's fast link", f"{count / done.seconds:,.0f}"),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(f"differing logits: {differing}")
    (out / "demo.json").write_text(
        json.dumps({"differing_logits": differing, **dict(rows)}, indent=1) + "\n"
    )
    console.print(f"[dim]{time.monotonic() - started:.0f} s in all[/dim]")
    if differing:
        raise SpikeloomError(f"{differing} logits differ between the board and the golden model")
