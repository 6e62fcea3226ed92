"""A plan drawn: layers as bars of cycles, memory, multipliers and LUTs, against the board."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikeloom.errors import ToolError
from spikeloom.study.drawing import FAINT, GRID, INK, note

from spikeloom_boards.board import Board
from spikeloom_boards.plan import LayerPlan, Plan

__all__ = ["draw_plan"]

SLOW, CYCLES = "#d55e00", "#0072b2"
MEMORY, CELLS, LUTS = "#009e73", "#cc79a7", "#6b5b95"


def draw_plan(plan: Plan, board: Board, path: Path) -> None:
    """Write a picture of a plan; ToolError without matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ToolError("matplotlib is missing: pip install 'spikeloom[plots]'") from error
    total, have = plan.total, board.resources
    panels = [
        ("LUT", "luts", have.luts, LUTS),
        ("block RAM", "block_rams", have.block_rams, MEMORY),
    ]
    if have.multipliers:
        panels.append(("DSP", "multipliers", have.multipliers, CELLS))
    if have.spram and total.spram:
        panels.append(("SPRAM", "spram", have.spram, MEMORY))
    rows = len(plan.layers) + 2  # the link, and the whole design
    figure, axes = plt.subplots(
        1,
        1 + len(panels),
        figsize=(5.6 + 2.4 * len(panels), 1.9 + 0.42 * rows),
        sharey=True,
        facecolor="white",
        gridspec_kw={"width_ratios": [2.2] + [1.0] * len(panels)},
        layout="constrained",
    )
    axes[0].set_ylim(rows - 0.4, -0.6)
    axes[0].set_yticks(range(rows), [*_labels(plan.layers), "link and buffers", "whole design"])
    _cycles(axes[0], plan)
    for axis, (name, field, limit, colour) in zip(axes[1:], panels, strict=True):
        amounts = [getattr(layer.cost, field) for layer in plan.layers]
        amounts += [getattr(plan.link, field), getattr(total, field)]
        _resource(axis, name, amounts, limit, colour)
    for axis in axes:
        _bare(axis, rows)
    figure.suptitle(
        f"{board.title} at {plan.clock_hz / 1e6:g} MHz: {plan.images_per_second:,.0f} images a"
        f" second, {plan.latency / plan.clock_hz * 1e6:,.0f} us for one; {plan.bottleneck.name} is"
        " the slowest",
        color=INK,
        fontsize=11,
        x=0.01,
        ha="left",
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _labels(layers: Sequence[LayerPlan]) -> list[str]:
    """Name, kind and folding of each layer."""
    labels = []
    for layer in layers:
        f = layer.folding
        units = " paired units" if f.paired else " units"
        counts = [(f.lanes, ""), (f.slices, " slices"), (f.units, units)]
        shape = " x ".join(f"{n}{what}" for n, what in counts if n > 1 or not what)
        labels.append(f"{layer.name} ({layer.kind}, {shape})")
    return labels


def _cycles(axis: Any, plan: Plan) -> None:
    """Mean cycles of every layer over its worst ones; the line is what an image takes."""
    slowest = plan.bottleneck
    for row, layer in enumerate(plan.layers):
        axis.barh(row, layer.worst, height=0.62, color=FAINT, zorder=2)
        colour = SLOW if layer is slowest else CYCLES
        axis.barh(row, layer.cycles, height=0.62, color=colour, zorder=3)
        note(axis, f"{layer.cycles:,.0f}", max(layer.cycles, layer.worst), row)
    axis.axvline(plan.interval, color=SLOW, lw=1.0, ls="--", zorder=4)
    row = len(plan.layers) + 1
    note(
        axis,
        f"{plan.interval:,.0f} an image, {plan.worst_interval:,.0f} at worst",
        plan.interval,
        row,
    )
    axis.set_xlim(0, 1.16 * max(max(layer.worst for layer in plan.layers), plan.interval))
    axis.set_title("cycles an image (grey: worst data)", fontsize=9, color=INK, loc="left")


def _resource(axis: Any, name: str, amounts: Sequence[int], limit: int, colour: str) -> None:
    """What every layer takes; the whole design against what the board has."""
    *layers, total = amounts
    amounts = layers  # the title has the last one
    last = len(layers)
    axis.barh(range(last), layers, height=0.62, color=colour, zorder=3)
    axis.barh(last, limit, height=0.62, color=FAINT, zorder=2)
    axis.barh(last, total, height=0.62, color=colour if total <= limit else SLOW, zorder=3)
    for row, amount in enumerate(amounts):
        if amount:
            note(axis, f"{amount:,}", amount, row)
    axis.set_xlim(0, 1.18 * max(limit, total))
    title = f"{name}: {total:,} of {limit:,}"
    axis.set_title(title, fontsize=9, color=INK if total <= limit else SLOW, loc="left")


def _bare(axis: Any, rows: int) -> None:
    axis.grid(axis="x", color=GRID, lw=0.8)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.axhline(rows - 1.5, color=GRID, lw=0.8)
    axis.tick_params(colors=INK, labelsize=8, length=0)
    axis.xaxis.set_major_locator(_locator())


def _locator() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4, integer=True)
