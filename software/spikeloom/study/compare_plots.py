"""Pictures of a comparison: error against spikes, and what each reconstruction looks like."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from spikeloom.errors import ToolError
from spikeloom.study.compare import Comparison, Entry
from spikeloom.study.drawing import GRID, INK

__all__ = ["draw_comparison"]

SIGNAL = "#8a93a5"
ON, OFF = "#e4572e", "#2e6fb7"
#: Told apart by people with any colour vision (after Okabe & Ito), and by marker.
COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#6b5b95", "#8c8c00",
    "#444444", "#7f3c1d", "#1b7f79", "#b0003a",
)  # fmt: skip
MARKERS = "osD^vP<>Xp*hd"
WINDOW = 400  #: samples that a reconstruction shows


def _pyplot() -> Any:
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ToolError("matplotlib is missing: pip install 'spikeloom[plots]'") from error
    return plt


def draw_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write pareto.png and one picture an encoder into a folder; ToolError without matplotlib."""
    plt = _pyplot()
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "pareto.png"]
    _pareto(plt, comparison, paths[0])
    window = _busiest(comparison.recording.values[0])
    for entry in comparison.entries:
        paths.append(folder / f"{entry.name}.png")
        _reconstruction(plt, comparison, entry, window, paths[-1])
    return paths


def _bare(axis: Any) -> None:
    axis.grid(color=GRID, lw=0.8)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.tick_params(colors=INK, labelsize=9)


def _pareto(plt: Any, comparison: Comparison, path: Path) -> None:
    figure, axis = plt.subplots(figsize=(9.5, 6.2), facecolor="white")
    _bare(axis)
    lowest = 0.0
    for k, entry in enumerate(comparison.entries):
        points = [p for p in entry.curve if p.density > 0 and math.isfinite(p.snr)]
        if not points:
            continue
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        x, y = [p.density for p in points], [p.snr for p in points]
        lowest = min(lowest, *y)
        # codes that spend a word on every sample
        style = "-" if entry.spikes.ndim == 2 else (0, (3, 1.5))
        axis.plot(x, y, color=colour, marker=marker, ms=5, lw=1.6, ls=style, label=entry.name)
        if entry.density > 0 and math.isfinite(entry.snr):
            axis.plot(
                [entry.density], [entry.snr], marker=marker, ms=11, mfc="none", mec=colour, mew=1.8
            )
    axis.axhline(comparison.target_snr, color=INK, lw=0.8, ls=(0, (4, 3)))
    axis.axvline(comparison.target_density, color=INK, lw=0.8, ls=(0, (4, 3)))
    axis.set_xscale("log")
    axis.set_xlabel("spikes a sample (log scale): sparser to the left", color=INK)
    axis.set_ylabel("SNR of the reconstruction, dB: better upwards", color=INK)
    axis.set_ylim(bottom=max(lowest - 1, -10))
    names = ", ".join(comparison.recording.names[:4])
    axis.set_title(
        f"What a spike buys: {names}\nring: the fitted encoder; broken line: a word a sample;"
        " thin lines: where they are matched",
        loc="left",
        fontsize=11,
        color=INK,
    )
    axis.legend(frameon=False, fontsize=9, ncols=2, loc="best")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _busiest(x: np.ndarray) -> slice:
    """The stretch of at most WINDOW samples in which the signal moves most."""
    if len(x) <= WINDOW:
        return slice(0, len(x))
    travel = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)))])
    start = int(np.argmax(travel[WINDOW - 1 :] - travel[: len(x) - WINDOW + 1]))
    return slice(start, start + WINDOW)


def _reconstruction(
    plt: Any, comparison: Comparison, entry: Entry, window: slice, path: Path
) -> None:
    recording = comparison.recording
    x, y = recording.values[0, window], entry.estimate[0, window]
    time = np.arange(window.start, window.stop) / recording.rate
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(11, 5.6), sharex=True, height_ratios=[3, 1.1, 1], facecolor="white"
    )
    for axis in (top, middle, bottom):
        _bare(axis)
        axis.margins(x=0.01)
    top.plot(time, x, color=SIGNAL, lw=3.2, alpha=0.55, label=recording.names[0])
    top.plot(time, y, color=INK, lw=1.3, label="from the spikes")
    top.legend(frameon=False, fontsize=9, loc="upper right", ncols=2)
    settings = ", ".join(f"{name} {value:.4g}" for name, value in entry.settings.items())
    top.set_title(
        f"{entry.name}: SNR {entry.snr:.1f} dB with {entry.density:.3f} spikes a sample"
        f"   ({settings})",
        loc="left",
        fontsize=11,
        color=INK,
    )
    _raster(middle, entry, window, time)
    bottom.plot(time, y - x, color=ON, lw=1.0)
    bottom.axhline(0, color=INK, lw=0.6)
    bottom.set_ylabel("error", fontsize=9, color=INK)
    bottom.set_xlabel("seconds" if recording.rate != 1 else "samples", fontsize=9, color=INK)
    figure.align_ylabels()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _raster(axis: Any, entry: Entry, window: slice, time: np.ndarray) -> None:
    """Spikes as strokes, ON up and OFF down; words as columns of dots, first step on top."""
    spikes = entry.spikes[0, window]
    if spikes.ndim == 1:
        for sign, colour in ((1, ON), (-1, OFF)):
            at = np.flatnonzero(np.sign(spikes) == sign)
            axis.vlines(time[at], 0, spikes[at], color=colour, lw=1.1)
        reach = max(1, int(np.abs(spikes).max(initial=0)))
        bottom = -reach if spikes.min() < 0 else 0
        axis.set_ylim(1.15 * bottom - 0.05, 1.15 * reach)
        axis.set_yticks(sorted({bottom, 0, reach}))
        axis.axhline(0, color=INK, lw=0.6)
        axis.set_ylabel("spikes", fontsize=9, color=INK)
        return
    at, step = np.nonzero(spikes)
    axis.scatter(time[at], step + 1, s=6, color=ON, marker="s", lw=0)
    axis.set_ylim(spikes.shape[1] + 0.8, 0.2)
    axis.set_ylabel("step", fontsize=9, color=INK)
