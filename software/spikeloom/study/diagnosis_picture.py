"""What a conversion costs, drawn: errors, spikes and contributions by layer, accuracy over T."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeloom.errors import ToolError
from spikeloom.study.diagnosis_table import share, summary
from spikeloom.study.drawing import FAINT, GRID, INK, note

if TYPE_CHECKING:
    from spikeloom.conversion.diagnosis import Diagnosis
    from spikeloom.conversion.steps_needed import StepsNeeded

__all__ = ["draw_diagnosis", "shortened"]

ROUNDING, SATURATION, SPIKES, LOST = "#0072b2", "#d55e00", "#009e73", "#8a4fbf"
_LONGEST = 30  # characters of a layer's name


def shortened(names: Sequence[str], most: int = _LONGEST) -> list[str]:
    """Names of layers that fit: without the modules around all of them, and without a middle."""
    parts = [name.split(".") for name in names]
    deep = [p for p in parts if len(p) > 1]  # the input and the like have no modules around them
    ahead = _common(deep)
    behind = _common([p[ahead:][::-1] for p in deep])
    cut = [".".join(p[ahead : len(p) - behind]) if len(p) > 1 else p[0] for p in parts]
    cut = cut if len(set(cut)) == len(set(names)) else list(names)
    return [
        n if len(n) <= most else f"{n[: most // 2]}…{n[-(most - most // 2 - 1) :]}" for n in cut
    ]


def _common(parts: list[list[str]]) -> int:
    """How many first parts all have in common, one always left."""
    least = min([len(p) for p in parts], default=1) - 1
    if len(parts) < 2:
        return 0
    return next((k for k in range(least) if len({p[k] for p in parts}) > 1), least)


def draw_diagnosis(
    diagnosis: Diagnosis, path: Path, title: str = "", steps: StepsNeeded | None = None
) -> None:
    """Write a picture of a diagnosis, and of the table of T; ToolError without matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ToolError("matplotlib is missing: pip install 'spikeloom[plots]'") from error
    rows = diagnosis.layers
    heights = [0.95 + 0.3 * max(len(rows), 3), *([2.2] if steps else [])]
    figure = plt.figure(
        figsize=(12.5, 0.75 + sum(heights)), facecolor="white", layout="constrained"
    )
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.08, wspace=0.02)  # type: ignore[union-attr]
    outer = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    top = outer[0].subgridspec(1, 3, width_ratios=[1.5, 1, 1])
    axes = [figure.add_subplot(top[column]) for column in range(3)]
    _errors(axes[0], diagnosis)
    _spikes(axes[1], diagnosis)
    _contributions(axes[2], diagnosis)
    for axis in axes:
        axis.set_ylim(len(rows) - 0.45, -0.55)
        axis.set_yticks(range(len(rows)), [""] * len(rows))
        _bare(axis)
    names = shortened([row.name for row in rows])
    labels = [f"{name}  T={row.bits}" for name, row in zip(names, rows, strict=True)]
    axes[0].set_yticklabels(labels)
    axes[0].tick_params(axis="y", pad=8)  # marks at 0 stand out to the left
    if steps is not None:
        bottom = outer[1].subgridspec(1, 2, width_ratios=[1, 1])
        _accuracy(figure.add_subplot(bottom[0]), steps)
        _off(figure.add_subplot(bottom[1]), steps)
    text = summary(diagnosis.outputs)
    figure.suptitle(
        f"{title}\n{text}" if title else text, color=INK, fontsize=11, x=0.01, ha="left"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _errors(axis: Any, diagnosis: Diagnosis) -> None:
    """Own errors, cut in the ratio of their squares; a mark where all of it is."""
    from matplotlib.lines import Line2D

    for row, layer in enumerate(diagnosis.layers):
        own = layer.own
        rounding = 100 * layer.rounding**2 / own if own else 0.0
        axis.barh(row, rounding, height=0.62, color=ROUNDING, zorder=3)
        axis.barh(row, 100 * own - rounding, left=rounding, height=0.62, color=SATURATION, zorder=3)
        axis.plot(100 * layer.error, row, **_MARK)
    handles = [
        axis.barh(0, 0, color=ROUNDING, label="rounding"),
        axis.barh(0, 0, color=SATURATION, label="saturation"),
        Line2D([], [], label="with errors from before", **_MARK),
    ]
    _title(axis, "error of a layer's words, % of the ANN's activations")
    legend = axis.legend(
        handles=handles,
        fontsize=7.5,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(-0.012, 0.995),
        ncols=3,
        columnspacing=1.2,
        handlelength=1.0,
        borderpad=0.1,
    )
    legend.set_in_layout(False)
    axis.set_xlim(left=0)


def _spikes(axis: Any, diagnosis: Diagnosis) -> None:
    spikes = [row.spikes for row in diagnosis.layers]
    axis.barh(range(len(spikes)), spikes, height=0.62, color=SPIKES, zorder=3)
    for row, layer in enumerate(diagnosis.layers):
        note(axis, f"{layer.spikes:.2f}  ({layer.spikes * layer.neurons:,.0f})", layer.spikes, row)
    axis.set_xlim(0, 1.5 * max([*spikes, 1e-9]))
    _title(axis, "spikes a neuron", "in brackets: spikes of the layer, a sample")


def _contributions(axis: Any, diagnosis: Diagnosis) -> None:
    shares = [100 * row.contribution for row in diagnosis.layers]
    colours = [LOST if value >= 0 else FAINT for value in shares]
    axis.barh(range(len(shares)), shares, height=0.62, color=colours, zorder=3)
    for row, layer in enumerate(diagnosis.layers):
        lost = f"  ({100 * layer.decisions:+.1f})" if layer.decisions else ""
        text = f"{share(layer.contribution)} %{lost}"
        note(axis, text, max(100 * layer.contribution, 0), row)
    low, high = min([*shares, 0]), max([*shares, 1e-9])
    axis.set_xlim(1.1 * low, 1.7 * high)
    axis.axvline(0, color=INK, lw=0.8, zorder=4)
    what = "; in brackets: decisions, points" if diagnosis.outputs.agreement is not None else ""
    _title(axis, "share in the output's squared error", f"gone with this layer in float{what}")


def _accuracy(axis: Any, found: StepsNeeded) -> None:
    """Accuracy, or equal decisions, or the cosine, over T."""
    steps = list(found.outputs)
    rows = list(found.outputs.values())
    first = rows[0]
    if first.accuracy is not None and first.ann_accuracy is not None:
        values, title = [row.accuracy for row in rows], "accuracy over T, %"
        axis.axhline(100 * first.ann_accuracy, color=INK, lw=1.0, ls="--", zorder=2)
        axis.annotate(
            f"ANN {100 * first.ann_accuracy:.1f}",
            (steps[-1], 100 * first.ann_accuracy),
            xytext=(0, -13),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=INK,
        )
    elif first.agreement is not None:
        values, title = [row.agreement for row in rows], "decisions as the ANN's over T, %"
    else:
        values, title = [row.cosine for row in rows], "cosine to the ANN's output over T, %"
    _line(axis, steps, 100 * np.array(values, dtype=float), LOST, "{:.1f}", found.needed)
    axis.set_title(f"{title}: {found.verdict()}", **_TITLE)


def _off(axis: Any, found: StepsNeeded) -> None:
    values = [100 * row.error for row in found.outputs.values()]
    _line(axis, list(found.outputs), np.array(values), ROUNDING, "{:.3g}", found.needed)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.minorticks_off()
    axis.set_title("error of the output over T, %", **_TITLE)


def _line(
    axis: Any, steps: list[int], values: Any, colour: str, form: str, needed: int | None
) -> None:
    axis.plot(steps, values, "o-", color=colour, lw=1.8, ms=4.5, zorder=3)
    for x, y, after in zip(steps, values, [*values[1:], values[-1]], strict=True):
        steep = after - y > 0.2 * (max(values) - min(values))  # the line would cross the number
        axis.annotate(
            form.format(y),
            (x, y),
            xytext=(7, -4) if steep else (0, 6),
            textcoords="offset points",
            ha="left" if steep else "center",
            fontsize=8,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.75},
        )
    if needed is not None:
        axis.axvspan(needed - 0.4, needed + 0.4, color=GRID, zorder=0, lw=0)
    axis.set_xticks(steps, [f"T={t}" for t in steps])
    axis.margins(x=0.05, y=0.22)
    axis.grid(axis="y", color=GRID, lw=0.8)
    _bare(axis, grid="y")


def _title(axis: Any, title: str, below: str = "") -> None:
    """A title, and a smaller line under it."""
    axis.set_title(title, **_TITLE, pad=20)
    text = axis.annotate(
        below,
        (0, 1),
        xytext=(0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=7.5,
        color=INK,
    )
    text.set_in_layout(False)  # a narrow picture has narrow panels


def _bare(axis: Any, grid: str = "x") -> None:
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(FAINT)
    axis.grid(axis=grid, color=GRID, lw=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(colors=INK, labelsize=8, length=0)


_TITLE: dict[str, Any] = {"fontsize": 9, "color": INK, "loc": "left"}
_MARK: dict[str, Any] = {
    "marker": "o", "ls": "", "ms": 5.5, "color": INK, "mfc": "white", "mew": 1.4,
    "zorder": 5, "clip_on": False,
}  # fmt: skip
