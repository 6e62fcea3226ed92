"""A plan as a table for people."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

from spikeloom_boards.board import Board
from spikeloom_boards.cost import Cost
from spikeloom_boards.plan import LayerPlan, Plan

__all__ = ["layer_table", "resource_table", "summary"]


def _fold(layer: LayerPlan) -> str:
    """A folding in a few words."""
    f = layer.folding
    parts = [f"{f.lanes} lanes"]
    if f.slices > 1:
        parts.append(f"{f.slices} slices")
    if f.units > 1:
        parts.append(f"{f.units} units{' in pairs' if f.paired else ''}")
    if f.fire_lanes > 1:
        parts.append(f"fire {f.fire_lanes}")
    return ", ".join(parts)


def layer_table(plan: Plan, board: Board, *, registers: bool = True) -> Table:
    """Return the layers: folding, cycles, memories and area; registers: with a column of them."""
    table = Table(
        title=f"{board.title} at {plan.clock_hz / 1e6:g} MHz; {plan.activity}", box=SIMPLE_HEAD
    )
    table.add_column("layer")
    table.add_column("folding", overflow="fold")
    head = ["busy", "cycles", "worst", "LUT", "FF", "RAM", "DSP"]
    for name in head if registers else [name for name in head if name != "FF"]:
        table.add_column(name, justify="right", no_wrap=True)
    slowest = plan.bottleneck
    for layer in plan.layers:
        mark = " <" if layer is slowest else "  "
        table.add_row(
            f"{layer.name} {layer.kind}",
            _fold(layer),
            "" if layer.density < 0 else f"{100 * layer.density:.0f} %",
            f"{layer.cycles:,.0f}{mark}",
            f"{layer.worst:,.0f}",
            *_amounts(layer.cost, registers),
        )
    table.add_row("link", "", "", "", "", *_amounts(plan.link, registers), end_section=True)
    table.caption = "busy: non-zero words that enter; worst: cycles if all were; <: the bottleneck"
    return table


def _amounts(cost: Cost, registers: bool) -> tuple[str, ...]:
    area = (cost.luts, cost.flip_flops) if registers else (cost.luts,)
    return tuple(f"{n:,}" if n else "" for n in (*area, cost.block_rams, cost.multipliers))


def resource_table(plan: Plan, board: Board) -> Table:
    """Return what the design takes of what the board has."""
    table = Table(box=SIMPLE_HEAD)
    for name in ("", "takes", "of", "share"):
        table.add_column(name, justify="left" if not name else "right")
    total, have = plan.total, board.resources
    rows = [
        ("LUT", total.luts, have.luts),
        ("registers", total.flip_flops, have.flip_flops),
        ("block RAM", total.block_rams, have.block_rams),
        ("DSP", total.multipliers, have.multipliers),
        ("SPRAM", total.spram, have.spram),
    ]
    for name, takes, of in rows:
        if of:
            table.add_row(name, f"{takes:,}", f"{of:,}", f"{100 * takes / of:.0f} %")
    return table


def summary(plan: Plan) -> str:
    """Return the plan's speed and its bottleneck, two lines."""
    slow = plan.bottleneck
    name = f"{slow.name} ({slow.kind}), {slow.cycles:,.0f} cycles an image"
    if plan.waits:
        name = f"layers wait for each other, the slowest by itself is {name}"
    micro = 1e6 / plan.clock_hz
    return (
        f"an image every {plan.interval:,.0f} cycles: {plan.images_per_second:,.0f} images a"
        f" second; one image alone takes {plan.latency * micro:,.1f} us\n"
        f"never slower, whatever the data: {plan.clock_hz / plan.worst_interval:,.0f} images a"
        f" second, {plan.worst_latency * micro:,.1f} us\n"
        f"bottleneck: {name}"
    )
