"""A run drawn: spikes by layer and time step, where they lie in the picture, buffers, busy time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeloom.errors import ToolError
from spikeloom.study.drawing import FAINT, GRID, INK, note

if TYPE_CHECKING:
    from spikeloom.study.trace_table import BufferRecord, LayerRecord, TraceRecord

__all__ = ["draw_trace"]

LEVEL, WRONG = "#009e73", "#d55e00"
#: what a layer does, and its colour and name
STATES = {
    "busy": ("#0072b2", "busy"),
    "held": ("#cc79a7", "held up by what follows"),
    "starved": (GRID, "waits for input"),
}
COLUMNS = 6  # maps beside each other


def draw_trace(record: TraceRecord, path: Path, title: str = "") -> None:
    """Write a picture of a run; ToolError without matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ToolError("matplotlib is missing: pip install 'spikeloom[plots]'") from error
    spiking = [layer for layer in record.layers if layer.words]
    maps = [layer for layer in spiking if layer.pixels is not None]
    lines = -(-len(maps) // COLUMNS)
    buffers = list(record.buffers.values())
    heights = [0.9 + 0.34 * len(spiking), *[1.75] * lines]
    heights += [0.9 + 0.34 * len(buffers)] if buffers else []
    figure = plt.figure(figsize=(12.5, 0.8 + sum(heights)), facecolor="white", layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08, hspace=0.04)  # type: ignore[union-attr]
    outer = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    top = outer[0].subgridspec(1, 2, width_ratios=[2.2, 1.0])
    _heat(figure, figure.add_subplot(top[0]), spiking)
    _cycles(figure.add_subplot(top[1]), record, spiking)
    for line in range(lines):
        inner = outer[1 + line].subgridspec(1, COLUMNS)
        for column, layer in enumerate(maps[line * COLUMNS : (line + 1) * COLUMNS]):
            _map(figure, figure.add_subplot(inner[column]), layer)
    if buffers:
        _levels(figure.add_subplot(outer[-1]), buffers)
    text = title or record.network.sizes
    figure.suptitle(
        f"{text}, {record.samples:,} images in gates: {record.verdict()}",
        color=INK if record.difference is None else WRONG,
        fontsize=11,
        x=0.01,
        ha="left",
        wrap=True,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _label(layer: LayerRecord) -> str:
    return f"{layer.name} ({layer.kind.removesuffix('2d')})" if layer.kind != "input" else "input"


def _heat(figure: Any, axis: Any, layers: Sequence[LayerRecord]) -> None:
    """Spikes a neuron and step, in percent; the first step weighs most."""
    steps = max(layer.bits for layer in layers)
    rates = np.full((len(layers), steps), np.nan)
    for row, layer in enumerate(layers):
        rates[row, : layer.bits] = 100 * layer.rates
    top = max(float(np.nanmax(rates)), 1e-9)
    shown = axis.imshow(rates, cmap="magma_r", vmin=0, vmax=top, aspect="auto")
    for row, step in np.argwhere(~np.isnan(rates)):
        rate = rates[row, step]
        colour = "white" if rate > 0.55 * top else INK
        axis.text(step, row, f"{rate:.3g}", ha="center", va="center", fontsize=8, color=colour)
    axis.set_yticks(range(len(layers)), [_label(layer) for layer in layers])
    axis.set_xticks(range(steps), [f"t={t + 1}" for t in range(steps)])
    axis.set_title(
        "spikes a neuron and time step, % (t=1 weighs most)", fontsize=9, color=INK, loc="left"
    )
    figure.colorbar(shown, ax=axis, pad=0.01, aspect=30).ax.tick_params(labelsize=7, colors=INK)
    _bare(axis, spines=())


def _cycles(axis: Any, record: TraceRecord, layers: Sequence[LayerRecord]) -> None:
    """What the layers did in the cycles of an image, beside the rows of the heat map."""
    axis.set_ylim(len(layers) - 0.5, -0.5)
    axis.set_yticks(range(len(layers)), [""] * len(layers))
    images = max(record.samples, 1)
    for row, layer in enumerate(layers):
        left = 0.0
        for name, (colour, _) in STATES.items():
            cycles = (getattr(layer, name) or 0) / images
            axis.barh(row, cycles, left=left, height=0.62, color=colour, zorder=3)
            left += cycles
    title = "cycles an image"
    if record.interval:
        axis.axvline(record.interval, color=WRONG, lw=1.0, ls="--", zorder=4)
        title += f": {record.interval:,.0f}"
    axis.set_title(title, fontsize=9, color=INK, loc="left")
    handles = [axis.barh(0, 0, color=colour, label=text) for colour, text in STATES.values()]
    axis.legend(
        handles=handles,
        fontsize=7,
        frameon=False,
        loc="lower right",
        bbox_to_anchor=(1.02, 0.99),
        ncols=3,
        columnspacing=1.0,
        handlelength=1.0,
    )
    axis.grid(axis="x", color=GRID, lw=0.8)
    axis.set_axisbelow(True)
    _bare(axis)


def _map(figure: Any, axis: Any, layer: LayerRecord) -> None:
    """Spikes of every pixel, mean over channels and images."""
    assert layer.pixels is not None
    mean = layer.pixels / max(layer.samples * layer.shape[0], 1)
    if mean.shape[1] == 1:
        mean = np.repeat(mean.T, max(1, len(mean) // 5), 0)  # a signal over time: a band
    elif mean.shape[0] == 1:
        mean = np.repeat(mean, max(1, mean.shape[1] // 5), 0)
    shown = axis.imshow(mean, cmap="magma_r", vmin=0, vmax=max(float(mean.max()), 1e-9))
    axis.set_title(
        f"{_label(layer)}\n{'x'.join(map(str, layer.shape))}: {mean.mean():.2f} spikes a word",
        fontsize=8,
        color=INK,
        loc="left",
    )
    axis.set_xticks([])
    axis.set_yticks([])
    bar = figure.colorbar(shown, ax=axis, pad=0.02, aspect=18)
    bar.locator = _locator(2)
    bar.ax.tick_params(labelsize=7, colors=INK)
    _bare(axis, spines=())


def _levels(axis: Any, buffers: Sequence[BufferRecord]) -> None:
    """How full every buffer became, against its depth."""
    most = max(buffer.depth for buffer in buffers)
    for row, buffer in enumerate(buffers):
        axis.barh(row, buffer.depth, height=0.62, color=FAINT, zorder=2)
        axis.barh(row, buffer.most, height=0.62, color=LEVEL, zorder=3)
        text = f"{buffer.most:,} of {buffer.depth:,}; stalled {buffer.stalled:,} cycles"
        note(axis, text, buffer.depth, row)
    axis.set_yticks(range(len(buffers)), [f"{b.source} > {b.layer}" for b in buffers])
    axis.set_ylim(len(buffers) - 0.5, -0.5)
    axis.set_xlim(0, 1.25 * most)
    axis.set_title(
        "buffers behind forks: highest level, in transfers", fontsize=9, color=INK, loc="left"
    )
    axis.grid(axis="x", color=GRID, lw=0.8)
    axis.set_axisbelow(True)
    _bare(axis)


def _bare(axis: Any, spines: Sequence[str] = ("bottom",)) -> None:
    for side in ("top", "right", "left", "bottom"):
        axis.spines[side].set_visible(side in spines)
    axis.tick_params(colors=INK, labelsize=8, length=0)


def _locator(bins: int) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=bins)
