"""``spikeloom convert``: a trained network into a spiking integer network, with what that cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from spikeloom.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from spikeloom.conversion import SpikingNetwork

__all__ = ["convert"]

_PICTURES = (".png", ".svg", ".pdf")
_HELD = 500  # training samples that the loss of rounding is predicted on
_BATCH = 250  # samples that pass through a network together: bounds the memory
_FEW = 250  # samples that each T is calibrated on; it is tried on four times as many


def convert(
    model: Annotated[
        str,
        typer.Argument(help="file.py:factory[@weights.safetensors|.pt] (it runs!), x.onnx, x.pt2"),
    ],
    data: Annotated[
        str,
        typer.Option("--data", "-d", help=".npy, .npz (x, y), IDX folder, 'mnist', 'smartwatch'"),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="the .spikeloom file to write")],
    steps: Annotated[str, typer.Option(help="spikes in a word, T; several: 1,2,4,8")] = "4",
    weight_bits: Annotated[int, typer.Option(min=2, max=8)] = 8,
    images: Annotated[int, typer.Option(min=1, help="training samples to calibrate on")] = 1000,
    reconstruct: Annotated[
        bool | None,
        typer.Option(
            help="fit the weights to the calibration samples; without either, for 4 bits and fewer"
        ),
    ] = None,
    allow_few_bits: Annotated[
        bool, typer.Option("--allow-few-bits", help="2 or 3 bits without training: loses a lot")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="test samples, 0: all")] = 0,
    report: Annotated[
        Path | None, typer.Option("--report", "-r", help="draw the report: .png, .svg or .pdf")
    ] = None,
    needed: Annotated[
        bool, typer.Option(help="which T is needed: try 1 to 8, on fewer samples, weights in float")
    ] = True,
) -> None:
    """Turn a trained ANN into a spiking integer network; the last T given is saved.

    A file.py is your own program and is executed. Weights are only read as tensors.
    """
    wanted = [int(part) for part in steps.split(",") if part.strip() in set("12345678")]
    if len(wanted) != len(steps.split(",")):
        raise InputError(f"--steps takes numbers from 1 to 8 such as 4 or 1,2,4,8, not {steps!r}")
    if out.is_dir():
        raise InputError(f"{out} is a folder: --out takes the name of a file")
    if report is not None and (report.suffix not in _PICTURES or report.is_dir()):
        raise InputError(f"--report takes the name of a {', '.join(_PICTURES)}, not {report}")
    for path in (out, report or out):
        path.parent.mkdir(parents=True, exist_ok=True)

    import numpy as np
    import torch

    from spikeloom.conversion import (
        SpikingNetwork,
        diagnose,
        lower,
        lowering_loss,
        steps_needed,
    )
    from spikeloom.conversion import convert as to_spikes
    from spikeloom.data import spread
    from spikeloom.sources import load_model, load_samples
    from spikeloom.study.diagnosis_picture import draw_diagnosis
    from spikeloom.study.diagnosis_table import cost_table, loss_table, steps_table

    console = Console()
    network = load_model(model)
    training, _ = load_samples(data, train=True)
    samples, labels = load_samples(data)
    apart = not np.array_equal(training, samples)
    chosen = spread(np.arange(len(training)), images)
    calibration, rest = training[chosen], np.delete(training, chosen, axis=0)
    held = spread(rest if len(rest) else calibration, _HELD)
    if limit:
        samples, labels = samples[:limit], None if labels is None else labels[:limit]
    title = f"{model}, {len(samples)} samples{'' if apart else ' (calibrated on some of them)'}"
    table = Table(title=title)
    for name in ("T", "ANN", "SNN (float)", "integers", "same decision as the ANN"):
        table.add_column(name, justify="right")
    fit = weight_bits <= 4 if reconstruct is None else reconstruct
    with torch.no_grad():
        ann: Any = None
        for count in wanted:
            snn = to_spikes(network, calibration, steps=count, integers=True)
            assert isinstance(snn, SpikingNetwork)
            net = lower(
                snn,
                weight_bits=weight_bits,
                reconstruct=calibration if fit else None,
                allow_few_bits=allow_few_bits,
            )
            which = "held-out training" if len(rest) else "calibration"
            loss = lowering_loss(snn, net, held)
            console.print(f"T = {count}, {len(held)} {which} samples: {loss}", soft_wrap=True)
            ann = _decisions(network, snn, samples) if ann is None else ann
            spiking = _decisions(snn, snn, samples)
            whole = np.concatenate([net.run(part).argmax(1) for part in _parts(samples)])
            shown = [_percent(found, labels) for found in (ann, spiking, whole)]
            table.add_row(str(count), *shown, _percent(whole, ann))
    console.print(table)
    net.save(out)
    bar = console.is_terminal
    diagnosis = diagnose(network, snn, samples, labels, net, progress=bar)
    heads = f"of {diagnosis.outputs.samples:,} samples, T = {wanted[-1]}"
    console.print(loss_table(diagnosis, f"layer by layer: what words lose, {heads}"))
    console.print(cost_table(diagnosis, f"layer by layer: what they cost, {heads}"))
    steps_of = None
    if needed:
        few = spread(calibration, _FEW)
        steps_of = steps_needed(
            network, few, samples, labels, samples=4 * _FEW, progress=bar, integers=True
        )
        console.print(steps_table(steps_of))
    if report is not None:
        short = Path(model.split("@")[0]).name
        draw_diagnosis(diagnosis, report, f"{short}, T = {wanted[-1]}", steps_of)
        console.print(f"wrote {report}", soft_wrap=True)
    console.print(f"wrote {out} (T = {wanted[-1]})", soft_wrap=True)


def _parts(samples: NDArray[Any]) -> list[NDArray[Any]]:
    return [samples[i : i + _BATCH] for i in range(0, len(samples), _BATCH)]


def _percent(decisions: NDArray[Any], truth: NDArray[Any] | None) -> str:
    return "-" if truth is None else f"{100 * float((decisions == truth).mean()):.2f} %"


def _decisions(model: nn.Module, snn: SpikingNetwork, samples: NDArray[Any]) -> NDArray[Any]:
    """Classes that a float model decides for samples, given in the shape that it takes."""
    import numpy as np
    import torch

    shape, found = snn.sample_shape, []
    if len(shape) == 3 and samples.shape[1:] == shape[:2]:
        shape = shape[:2]  # 1-D layers take no width
    for part in _parts(samples):
        # only the ANN's own code runs here: what it cannot take is the user's mistake
        x = torch.from_numpy(part).reshape(len(part), *shape)
        try:
            found.append(model(x.to(torch.get_default_dtype()) / 255).argmax(1).numpy())
        except (RuntimeError, ValueError, TypeError) as error:
            line = " ".join(str(error).split())
            raise InputError(f"the model does not take samples {shape}: {line}") from error
    return np.concatenate(found)
