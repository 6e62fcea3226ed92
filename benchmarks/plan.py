"""The planner against place and route, and its cycles against gates: a table for docs/planner.md.

`--measure` places and routes every design of spikeloom_boards.plan_designs (the cache keeps them),
fits the cost model to those that are not held out, and writes plan_calibration.json beside it.
Without, the table comes from that file and the model as it is now. Cycles run on every call, on
images that the plan has not seen.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
from spikeloom_boards.build import build
from spikeloom_boards.calibration import CALIBRATION, fit_weights
from spikeloom_boards.cost import link_terms, network_cost, terms
from spikeloom_boards.plan_designs import DESIGNS, PlanDesign
from spikeloom_boards.registry import board

ROOT = Path(__file__).parents[1]
DOC = ROOT / "docs" / "planner.md"
#: clocks that every design meets with its first placement, in Hz
CLOCK = {"ecp5": 25e6, "ice40": 18e6}
RESOURCES = ("luts", "flip_flops", "block_rams", "multipliers", "spram")


def measure(design: PlanDesign) -> dict:
    """Place and route a design; return what it takes, as the model counts it."""
    device = board(design.board)
    report = build(
        device.at_clock(CLOCK[device.family]),
        design.network,
        out_dir=ROOT
        / "build"
        / "plan"
        / f"{design.board}-{re.sub('[^a-z0-9]+', '-', design.name)}",
        seeds=(1,),
        progress=lambda line: print("  ", line, flush=True),
    )
    return {
        "luts": report.logic_cells,
        "flip_flops": report.flip_flops,
        "block_rams": report.block_rams,
        "multipliers": report.multipliers,
        "spram": report.spram,
        "luts_synthesised": report.luts,
        "tools": report.tools,
    }


def counted(design: PlanDesign) -> dict[str, float]:
    """Terms of a whole design."""
    family = board(design.board).family
    total = dict(link_terms(design.network, family))
    for layer in design.network.layers:
        for name, count in terms(layer, family).items():
            total[name] = total.get(name, 0) + count
    return total


def key(design: PlanDesign) -> str:
    """Name of a design in the file."""
    return f"{design.board}: {design.name}"


def measure_all(only: str) -> None:
    """Measure what matches, then fit the weights to all that is measured."""
    content = json.loads(CALIBRATION.read_text()) if CALIBRATION.exists() else {}
    designs = content.setdefault("designs", {})
    for design in DESIGNS:
        if not re.search(only, key(design)):
            continue
        print(key(design), flush=True)
        designs[key(design)] = {
            "held_out": design.held_out,
            "build_id": f"{design.network.build_id:016x}",
            "measured": measure(design),
        }
        _write(content)
    known = {key(design): design for design in DESIGNS}
    designs = content["designs"] = {k: e for k, e in designs.items() if k in known}
    for name, entry in designs.items():
        entry["terms"] = counted(known[name])
    content["weights"] = {
        family: fit_weights(
            [
                (entry["terms"], entry["measured"])
                for name, entry in designs.items()
                if not entry["held_out"] and board(known[name].board).family == family
            ],
            family,
        )
        for family in ("ecp5", "ice40")
    }
    _write(content)


def _write(content: dict) -> None:
    CALIBRATION.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def resource_rows() -> list[dict]:
    """Predicted and measured, for every design that was measured."""
    designs = json.loads(CALIBRATION.read_text())["designs"]
    rows = []
    for design in DESIGNS:
        entry = designs.get(key(design))
        if entry is None:
            continue
        predicted = network_cost(design.network, board(design.board))
        rows.append(
            {
                "board": design.board,
                "name": design.name,
                "held_out": design.held_out,
                "current": entry["build_id"] == f"{design.network.build_id:016x}",
                **{n: (getattr(predicted, n), entry["measured"][n]) for n in RESOURCES},
            }
        )
    return rows


def resource_table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [
        "| board | design | LUT | placed | off | FF | placed | off | block RAM | DSP | SPRAM |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        name = row["name"] + (" (held out)" if row["held_out"] else "")
        cells = [row["board"], name]
        for resource in ("luts", "flip_flops"):
            mine, placed = row[resource]
            cells += [f"{mine:,}", f"{placed:,}", f"{100 * (mine / placed - 1):+.1f} %"]
        for resource in ("block_rams", "multipliers", "spram"):
            mine, placed = row[resource]
            cells.append(f"{mine}" if mine == placed else f"{mine}, placed {placed}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(rows: list[dict]) -> str:
    """How far off, in two lines."""

    def off(which: list[dict], resource: str) -> str:
        errors = [abs(r[resource][0] / r[resource][1] - 1) for r in which]
        return f"median {100 * np.median(errors):.1f} %, worst {100 * max(errors):.1f} %"

    exact = all(r[n][0] == r[n][1] for r in rows for n in ("block_rams", "multipliers", "spram"))
    held = [r for r in rows if r["held_out"]]
    lines = [
        f"{len(rows)} designs; block RAM, DSP and SPRAM"
        f" {'equal in all' if exact else 'NOT EQUAL'}.",
        f"LUT: {off(rows, 'luts')}; FF: {off(rows, 'flip_flops')}.",
    ]
    if held:
        lines.append(
            f"The {len(held)} held out: LUT {off(held, 'luts')}; FF {off(held, 'flip_flops')}."
        )
    return "\n".join(lines)


def cycle_rows(count: int) -> list[dict]:
    """Interval and latency on unseen images, planned and in gates."""
    from spikeloom.data import mnist_5k
    from spikeloom.hardware.memory_image import memory_image
    from spikeloom.shipped import open_network
    from spikeloom_boards.activity import measured
    from spikeloom_boards.dataflow import simulate
    from spikeloom_boards.plan import plan
    from spikeloom_sim.harness import CoreHarness

    digits, rows = mnist_5k(), []
    for name, where in (
        ("mnist-mlp", "ulx3s-85f"),
        ("mnist-mlp", "icebreaker"),
        ("lenet", "ulx3s-85f"),
        ("scnn5", "ulx3s-85f"),
    ):
        network, device = open_network(name), board(where)
        seen = measured(network, digits.train_images[:32])
        chosen = plan(network, device, activity=seen)
        parameters = chosen.parameters(network)
        images = digits.test_images[: count + 1]
        unseen = measured(network, images)
        model = simulate(parameters, unseen)
        words = network.encode(images)
        gates = CoreHarness(parameters).run(memory_image(network, parameters), words)
        rows.append(
            {
                "name": name,
                "board": where,
                "interval": (model.interval, gates.interval),
                "latency": (model.latency, gates.latency),
                "planned": chosen.interval,
                "worst": chosen.worst_interval,
            }
        )
        print(rows[-1], flush=True)
    return rows


def cycle_table(rows: list[dict], count: int) -> str:
    """The rows as Markdown."""
    lines = [
        "| network | board | interval | in gates | off | latency | in gates | off | planned on 32"
        " other images | bound |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [row["name"], row["board"]]
        for what in ("interval", "latency"):
            mine, gates = row[what]
            cells += [f"{mine:,.0f}", f"{gates:,.0f}", f"{100 * (mine / gates - 1):+.2f} %"]
        cells += [f"{row['planned']:,.0f}", f"{row['worst']:,.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _replace(text: str, name: str, table: str) -> str:
    """Put a table between its marks in the docs."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def main() -> int:
    """Print the tables; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", nargs="?", const=".", help="place and route (a pattern)")
    parser.add_argument("--images", type=int, default=20, help="unseen images for cycles; 0: none")
    parser.add_argument("--write", action="store_true", help="into docs/planner.md")
    given = parser.parse_args()
    if given.measure:
        measure_all(given.measure)
        print("measured: run again without --measure for the tables")
        return 0
    if not CALIBRATION.exists():
        print(f"no {CALIBRATION.name} yet: run with --measure first")
        return 1
    rows = resource_rows()
    text = DOC.read_text() if DOC.exists() else ""
    tables = [("resources", f"{resource_table(rows)}\n\n{summary(rows)}")]
    good = all(r[n][0] == r[n][1] for r in rows for n in ("block_rams", "multipliers", "spram"))
    errors = [abs(r["luts"][0] / r["luts"][1] - 1) for r in rows]
    good &= bool(np.median(errors) <= 0.10) and max(errors) <= 0.20
    if given.images:
        cycles = cycle_rows(given.images)
        tables.append(("cycles", cycle_table(cycles, given.images)))
        good &= all(abs(r["interval"][0] / r["interval"][1] - 1) <= 0.02 for r in cycles)
    for name, table in tables:
        print(table, end="\n\n")
        text = _replace(text, name, table)
    if given.write:
        DOC.write_text(text)
    print("every bar is met" if good else "a bar is MISSED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
