"""``fit`` against ``optimize`` of spike-encoding: time of a trial, and who finds the better one.

Both tune the same rule (profile="compat") on five test signals. Ours gets the package's optimum as
one of its candidates and may not use more spikes. CPU seconds, one thread, of both.

Usage: python benchmarks/encoder_fit.py [--trials N] [--ours N] [--signals NAME ...] [--again]
--trials: of the package; its optima are kept in build/bench/encoder_fit_optima.json (--again: not).
Prints two tables and writes build/bench/encoder_fit.json; exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import track
from rich.table import Table
from spikeloom.encoders import LIF, SignalEncoder, StepForward
from spikeloom.encoders.bsa import BSA
from spikeloom.encoders.pwm import PWM
from spikeloom.errors import SpikeloomError
from spikeloom.study.signals import NAMES, signal
from torch import Tensor

FASTER = 1000  # bar: CPU seconds a trial of the package over ours
WORSE_DB = 0.05  # bar: most that our SNR may be lower, at no more spikes

Parameters = dict[str, float]


@dataclass(frozen=True)
class Rival:
    """An encoder of the package and its twin.

    make: the package's object of parameters. names: its attribute of each of our parameters.
    trials: enough to time one.
    """

    ours: type[SignalEncoder]
    make: Callable[[Parameters], Any]
    names: dict[str, str]
    trials: int


def rivals() -> dict[str, Rival]:
    """Return the four encoders that the package can tune."""
    from spike_encoding.bens_spiker_algorithm import BensSpikerAlgorithm
    from spike_encoding.lif_based_encoding import LIFBasedEncoding
    from spike_encoding.pulse_width_modulation import PulseWidthModulation
    from spike_encoding.step_forward_converter import StepForwardConverter

    def bsa(p: Parameters) -> Any:
        return BensSpikerAlgorithm(
            threshold=[p["threshold"]],
            filter_order=[int(p["order"])],
            filter_cutoff=[p["cutoff"]],
        )

    def lif(p: Parameters) -> Any:
        return LIFBasedEncoding(threshold=[p["threshold"]], membrane_constant=[p["leak"]])

    bsa_names = {"threshold": "threshold", "order": "filter_order", "cutoff": "filter_cutoff"}
    return {
        "step-forward": Rival(
            StepForward,
            lambda p: StepForwardConverter(threshold=[p["threshold"]]),
            {"threshold": "threshold"},
            20,
        ),
        "lif": Rival(LIF, lif, {"threshold": "threshold", "leak": "membrane_constant"}, 20),
        "pwm": Rival(
            PWM,
            lambda p: PulseWidthModulation(frequency=[p["frequency"]]),
            {"frequency": "frequency"},
            5,
        ),
        "bsa": Rival(BSA, bsa, bsa_names, 3),
    }


START = {"threshold": 0.5, "leak": 0.5, "frequency": 50.0, "order": 35.0, "cutoff": 0.1}


@contextlib.contextmanager
def quiet_and_seeded() -> Iterator[None]:
    """Package without its output, and with a seeded sampler, which it does not have."""
    import optuna

    plain = optuna.create_study

    def seeded(**options: Any) -> Any:
        return plain(**{**options, "sampler": optuna.samplers.TPESampler(seed=0)})

    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
        mock.patch("optuna.create_study", seeded),
    ):
        warnings.simplefilter("ignore")
        yield


def optimise(rival: Rival, x: Tensor, trials: int) -> tuple[Parameters, float]:
    """Return the package's optimum, and its CPU seconds a trial."""
    package = rival.make(START)
    with quiet_and_seeded():
        begin = time.process_time()
        package.optimize(x.clone()[None], trials=trials)
        seconds = time.process_time() - begin
    found = {
        mine: float(torch.as_tensor(getattr(package, theirs)).reshape(-1)[0])
        for mine, theirs in rival.names.items()
    }
    return found, seconds / trials


def package_result(rival: Rival, x: Tensor, parameters: Parameters) -> tuple[float, float]:
    """SNR in dB and density of the package itself, encoder and decoder."""
    package = rival.make(parameters)
    with quiet_and_seeded():
        spikes = package.encode(x.clone()[None])
        density = float(spikes.abs().sum()) / x.numel()
        if rival.ours is StepForward:
            back = package.decode(spikes, initial_value=x[:1])
        else:
            back = package.decode(spikes)
    return snr_db(x, torch.as_tensor(back).reshape(-1)), density


def snr_db(x: Tensor, back: Tensor) -> float:
    """Signal variance over mean square error, in dB."""
    mse = float((back.double() - x.double()).square().mean())
    return 10 * math.log10(float(x.double().var(unbiased=False)) / mse)


def measure_speed(name: str, rival: Rival, trials: int) -> dict[str, Any]:
    """CPU seconds a trial on 1,000 samples of the sum of sines."""
    x = torch.from_numpy(signal("sines"))
    theirs = optimise(rival, x, rival.trials)[1]
    seconds = []
    for _ in range(4):  # the first compiles
        begin = time.process_time()
        rival.ours.fit(x, profile="compat", trials=trials)
        seconds.append((time.process_time() - begin) / trials)
    ours = min(seconds)
    return {"encoder": name, "package_s": theirs, "ours_s": ours, "ratio": theirs / ours}


def measure_quality(
    name: str, rival: Rival, title: str, optimum: Parameters, trials: int
) -> dict[str, Any]:
    """Both optima on one signal, and what our own rule would give with no more spikes."""
    x = torch.from_numpy(signal(title))
    snr, density = package_result(rival, x, optimum)
    common = {"weight": 0.0, "max_density": density, "trials": trials}
    ours = rival.ours.fit(x, profile="compat", candidates=[optimum], **common).fit_report
    textbook = rival.ours.fit(x, **common).fit_report
    assert ours is not None
    assert textbook is not None
    return {
        "encoder": name,
        "signal": title,
        "package": {"snr_db": snr, "density": density, "parameters": optimum},
        "ours": {
            "snr_db": ours.snr_db[0],
            "density": ours.density[0],
            "parameters": {k: v[0] for k, v in ours.parameters.items()},
        },
        "textbook": {"snr_db": textbook.snr_db[0], "density": textbook.density[0]},
        "gain_db": ours.snr_db[0] - snr,
    }


class Optima:
    """The package's optima, kept in a file, because they take minutes."""

    def __init__(self, path: Path, again: bool):
        self.path = path
        self.known: dict[str, Parameters] = {}
        if path.exists() and not again:
            self.known = json.loads(path.read_text())

    def get(self, name: str, rival: Rival, title: str, trials: int) -> Parameters:
        """Optimum of an encoder on a signal."""
        version = importlib.metadata.version("spike-encoding")
        key = f"{version} {name} {title} {trials}"
        if key not in self.known:
            self.known[key] = optimise(rival, torch.from_numpy(signal(title)), trials)[0]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.known, indent=2) + "\n")
        return self.known[key]


def main() -> int:
    """Measure, print, write, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=30, help="of the package, for an optimum")
    parser.add_argument("--ours", type=int, default=512, help="trials of ours")
    parser.add_argument("--signals", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--again", action="store_true", help="do not use kept optima")
    parser.add_argument("--out", type=Path, default=Path("build", "bench"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    screen = Console(width=100)
    try:
        everyone = rivals()
    except ImportError as error:
        sys.exit(f"encoder_fit: {error}: pip install spike-encoding==1.8.2 scipy")
    optima = Optima(given.out / "encoder_fit_optima.json", given.again)

    speed = [measure_speed(name, r, given.ours) for name, r in everyone.items()]
    table = Table(box=SIMPLE, title="CPU time of a trial, 1,000 samples")
    for heading in ("encoder", "package ms", "ours ms", "times as fast", f"bar {FASTER}"):
        table.add_column(heading, justify="right")
    for row in speed:
        table.add_row(
            row["encoder"],
            f"{1e3 * row['package_s']:.1f}",
            f"{1e3 * row['ours_s']:.4f}",
            f"{row['ratio']:,.0f}",
            "met" if row["ratio"] >= FASTER else "MISSED",
        )
    screen.print(table)

    pairs = [(name, title) for name in everyone for title in given.signals]
    quality = [
        measure_quality(
            name, r := everyone[name], title, optima.get(name, r, title, given.trials), given.ours
        )
        for name, title in track(pairs, "optimising with the package", console=screen)
    ]
    table = Table(
        box=SIMPLE,
        title=f"SNR dB (spikes a sample): the package's optimum of {given.trials} trials, ours of"
        f" {given.ours}",
    )
    for heading in ("encoder", "signal", "package", "ours", "gain dB", "textbook rule", "bar"):
        table.add_column(heading, justify="right")
    failed = any(row["ratio"] < FASTER for row in speed)
    for row in quality:
        cells = [f"{row[k]['snr_db']:.2f} ({row[k]['density']:.3f})" for k in ("package", "ours")]
        met = row["gain_db"] >= -WORSE_DB and row["ours"]["density"] <= row["package"]["density"]
        failed |= not met
        table.add_row(
            row["encoder"],
            row["signal"],
            *cells,
            f"{row['gain_db']:+.2f}",
            f"{row['textbook']['snr_db']:.2f} ({row['textbook']['density']:.3f})",
            "met" if met else "MISSED",
        )
    screen.print(table)
    given.out.mkdir(parents=True, exist_ok=True)
    result = {"speed": speed, "quality": quality, "package_trials": given.trials}
    (given.out / "encoder_fit.json").write_text(json.dumps(result, indent=2) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SpikeloomError as error:
        sys.exit(f"encoder_fit: {error}")
