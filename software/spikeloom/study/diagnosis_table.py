"""What a conversion costs, as tables: layer by layer, and at every T."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from spikeloom.conversion.diagnosis import Diagnosis
    from spikeloom.conversion.integers import LayerReport
    from spikeloom.conversion.outputs import Outputs
    from spikeloom.conversion.steps_needed import StepsNeeded

__all__ = ["cost_table", "loss_table", "plain_text", "points", "share", "steps_table", "summary"]


def share(value: float | None) -> str:
    """Show a share or a relative error in percent, two to four digits."""
    if value is None:
        return "-"
    percent = 100 * value
    return f"{percent:.1f}" if abs(percent) >= 0.995 else f"{percent:.2g}"


def points(value: float | None) -> str:
    """Show a difference of shares in points, with its sign."""
    return "-" if value is None else "0.0" if value == 0 else f"{100 * value:+.1f}"


def summary(outputs: Outputs) -> str:
    """One line on the outputs of both networks."""
    parts = [f"{outputs.samples:,} samples"]
    if outputs.accuracy is not None and outputs.ann_accuracy is not None:
        parts.append(f"right: ANN {100 * outputs.ann_accuracy:.1f} %")
        parts[-1] += f", SNN {100 * outputs.accuracy:.1f} %"
    if outputs.agreement is not None:
        parts.append(f"decided alike {100 * outputs.agreement:.1f} %")
    parts.append(f"outputs off by {share(outputs.error)} %, cosine {outputs.cosine:.4f}")
    return "; ".join(parts)


def _table(title: str, heads: tuple[str, ...]) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("layer", overflow="fold", min_width=6)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def loss_table(diagnosis: Diagnosis, title: str = "what the words of each layer lose") -> Table:
    """Return the errors of every layer, and their share in that of the output."""
    heads = ("T", "beyond\nrange %", "saturation\nerror %", "rounding\nerror %", "error\nin all %")
    table = _table(title, (*heads, "cosine", "of output\nerror %", "points\nlost"))
    for row in diagnosis.layers:
        table.add_row(
            row.name,
            str(row.bits),
            share(row.saturated),
            share(row.saturation),
            share(row.rounding),
            share(row.error),
            f"{row.cosine:.4f}",
            share(row.contribution),
            points(row.decisions),
        )
    table.caption = (
        "errors: RMS, relative to the ANN's activations; in all: with what came from the layers"
        " before. Of output error: so much of its square goes with the layer in float; points"
        " lost: of decisions, which come back then"
    )
    return table


def cost_table(diagnosis: Diagnosis, title: str = "what they cost") -> Table:
    """Return the spikes of every layer, and what lowering did to its weights, if it did."""
    lowered = bool(diagnosis.others) or any(row.lowered for row in diagnosis.layers)
    heads = ("spikes a\nneuron", "a\nsample", "silent\n%", "dead\n")
    more = ("weight\nerror %", "\nclipped", "bits\nof v") if lowered else ()
    table = _table(title, ("LSB", *heads, *more))
    table.columns[1].no_wrap = False
    for row in diagnosis.layers:
        low, high = row.thresholds
        table.add_row(
            row.name,
            f"{low:.2g}" if f"{low:.2g}" == f"{high:.2g}" else f"{low:.2g} .. {high:.2g}",
            f"{row.spikes:.2f}",
            f"{row.spikes * row.neurons:,.0f}",
            share(row.silent),
            str(row.pruned),
            *(_lowered(row.lowered) if lowered else ()),
        )
    for report in diagnosis.others:  # the readout, and convolutions that do not fire
        table.add_row(report.name, *["-"] * (1 + len(heads)), *_lowered(report))
    table.caption = (
        "LSB: real value of one; silent: words that are zero; dead: channels that never fire"
    )
    if lowered:
        table.caption += "; clipped: of the weights' codes; v: the accumulator"
    return table


def _lowered(report: LayerReport | None) -> tuple[str, ...]:
    if report is None:
        return ("-",) * 3
    return share(report.weight_error), str(report.clipped), str(report.accumulator_bits)


def steps_table(found: StepsNeeded, title: str = "T needed, weights in float") -> Table:
    """Return what each T gives; the least that is near enough to the ANN is marked."""
    first = next(iter(found.outputs.values()))
    table = Table(title=f"{title}, {first.samples:,} samples", box=SIMPLE_HEAD, pad_edge=False)
    table.caption = found.verdict()
    heads = ["T", "cosine", "off by %"]
    heads[1:1] = ["decides as the ANN"] if first.agreement is not None else []
    heads[1:1] = ["ANN", "SNN"] if first.accuracy is not None else []
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for steps, row in found.outputs.items():
        cells = {
            "T": str(steps),
            "ANN": _percent(row.ann_accuracy),
            "SNN": _percent(row.accuracy),
            "decides as the ANN": _percent(row.agreement),
            "cosine": f"{row.cosine:.4f}",
            "off by %": share(row.error),
        }
        table.add_row(*(cells[h] for h in heads), style="bold" if steps == found.needed else "")
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def plain_text(diagnosis: Diagnosis) -> str:
    """Both tables as text, without colours."""
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(summary(diagnosis.outputs), highlight=False, soft_wrap=True)
    console.print(loss_table(diagnosis))
    console.print(cost_table(diagnosis))
    file = console.file
    assert isinstance(file, io.StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())
