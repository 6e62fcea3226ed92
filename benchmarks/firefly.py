"""scnn5 on a ULX3S-85F beside FireFly-S's row for the same network, every difference named.

With 8-bit weights and with 4-bit ones. Takes LUT, FF, block RAM, DSP and MHz from the reports of
the builds (`make bitstream NET=scnn5`, `NET=scnn5-w4`), and cycles and multiply-adds from 1,000
held-out digits in the gates (Verilator, the core's counters).

Usage: python benchmarks/firefly.py [--nets scnn5 scnn5-w4] [--digits FOLDER] [--images N]
Prints a table and writes build/bench/firefly.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from spikeloom.data import Images, digits_10k
from spikeloom.errors import InputError, SpikeloomError
from spikeloom.hardware.memory_image import memory_image
from spikeloom.hardware.parameters import ConvParameters, NetworkParameters, SynapseParameters
from spikeloom.network import Network
from spikeloom.shipped import open_network
from spikeloom_boards.activity import measured
from spikeloom_boards.cycle_model import window_events
from spikeloom_boards.registry import board
from spikeloom_boards.report import BuildReport
from spikeloom_sim.harness import CoreHarness

BOARD, NETS = "ulx3s-85f", ("scnn5", "scnn5-w4")

#: Table VI of the FireFly-S paper, its SCNN5 on MNIST.
FIREFLY: dict[str, Any] = {
    "weight bits": 4, "accuracy": 98.03, "images a second": 10_047, "MHz": 333, "kLUT": 30.9,
    "kFF": 56.0, "block RAM": 5, "DSP": 0,
}  # fmt: skip

DIFFERENCES = """\
FireFly-S: XCZU5EV (16 nm), 36-kbit block RAM, six-input LUTs; trained on all 60,000 digits; LIF
neurons, T = 4 binary steps, 4-bit weights of which 86 to 94 % are zero; vendor tools; its figures
are its paper's. Here: LFE5U-85F (40 nm), 18-kbit block RAM, four-input LUTs (a six-input one is
two to four of them); trained on 8,000 digits, tested on 2,000 others of the same 10,000; SpikePack,
T = 4 (words of 4 bits), dense weights, pixels of 8 bits; open tools; frequency from nextpnr,
cycles from Verilator, no physical board. What takes part: the whole design with its host link
here, the paper does not say there. Both depend on how many spikes the data has."""


def multiply_adds(network: Network, parameters: NetworkParameters, images: np.ndarray) -> float:
    """Mean multiplications of a weight by a word that is not zero, an image."""
    activity = measured(network, images)
    total = 0
    for layer, spikes in zip(parameters.layers, activity.spikes, strict=True):
        if spikes is None or not isinstance(layer, SynapseParameters):
            continue
        events = np.count_nonzero(spikes)
        if isinstance(layer, ConvParameters):
            events = int((window_events(layer.window, spikes, 1, "packed") - 1).sum())
        total += events * layer.outputs
    return total / len(images)


def measure(name: str, count: int, digits: Images) -> dict[str, Any]:
    """The row of one network."""
    path = Path("build", f"{BOARD}-{name}", "report.json")
    if not path.exists():
        raise InputError(f"no {path}: make bitstream BOARD={BOARD} NET={name} writes it")
    report = BuildReport.from_json(path.read_text())
    network = open_network(name)
    parameters = network.parameters(board(BOARD).fold(network))
    if report.build_id != f"{parameters.build_id:016x}":
        raise InputError(f"{path} is of another folding: build {name} again")
    images = digits.test_images[:count]
    result = CoreHarness(parameters, name=f"core-{BOARD}").run(
        memory_image(network, parameters), network.encode(images)
    )
    golden = network.run(digits.test_images)
    cycles = result.counters["cycles"] / result.counters["samples"]
    per_image = multiply_adds(network, parameters, images)
    spikes = sum(v for k, v in result.counters.items() if k.startswith("spikes_")) / len(images)
    kilo = report.luts / 1000
    first = parameters.layers[0]
    assert isinstance(first, ConvParameters)
    return {
        "weight bits": first.weight_bits,
        "accuracy": round(float((golden.argmax(1) == digits.test_labels).mean()) * 100, 2),
        "images a second": round(report.clock_hz / cycles),
        "MHz": report.clock_hz / 1e6,
        "kLUT": round(kilo, 1),
        "kFF": round(report.flip_flops / 1000, 1),
        "block RAM": report.block_rams,
        "DSP": report.multipliers,
        "Fmax": round(report.fmax_hz / 1e6, 1),
        "cycles an image": round(cycles, 1),
        "spikes an image": round(spikes),
        "multiply-adds an image": round(per_image),
        "multiply-adds a cycle and kLUT": round(per_image / cycles / kilo, 2),
        "differing logits": int((result.logits != golden[: len(images)]).sum()),
    }


def main() -> int:
    """Measure, and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", nargs="+", default=NETS, choices=NETS)
    parser.add_argument("--digits", default="data/mnist-10k")
    parser.add_argument("--images", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    digits = digits_10k(given.digits)
    ours = {name: measure(name, given.images, digits) for name in given.nets}
    table = Table(
        box=SIMPLE, title=f"{NETS[0]}, {min(given.images, len(digits.test_images))} images"
    )
    for head in ("", "FireFly-S", *given.nets):
        table.add_column(head, justify="right" if head else "left")
    for name in ours[given.nets[0]]:
        table.add_row(
            name, f"{FIREFLY.get(name, '-')}", *(f"{row[name]:,}" for row in ours.values())
        )
    screen = Console(width=100)
    screen.print(table)
    screen.print(DIFFERENCES, highlight=False)
    out = Path("build", "bench")
    out.mkdir(parents=True, exist_ok=True)
    (out / "firefly.json").write_text(json.dumps({"ours": ours, "firefly": FIREFLY}, indent=2))
    return 1 if any(row["differing logits"] for row in ours.values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SpikeloomError as error:
        sys.exit(f"firefly: {error}")
