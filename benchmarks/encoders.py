"""Encoders side by side with spike-encoding 1.8.2 and with plain C, in one run.

Whole module calls with their checks, float32, the same batch of 64 signals of 4096 samples, and one
signal of 100,000. The C is compiled here: one thread, -O3 -march=native, no checks; it computes the
same spikes, which is verified.

Usage: python benchmarks/encoders.py [--rows 64] [--time 4096] [--long 100000] [--encoder NAME ...]
Prints a table and writes build/bench/encoders.json; exit code 1 when a bar is missed. The package
takes some minutes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from spikeloom import encoders

#: At least so many times as fast as the package: encoding, decoding, one long signal; and at least
#: this part of the speed of C.
ENCODE = {"step-forward": 500, "lif": 1000, "pwm": 1000, "bsa": 1000}
DECODE, LONG, OF_C = 100, 1000, 0.5
ORDER, CUTOFF = 10, 0.2


@dataclass(frozen=True)
class Case:
    """One encoder here and there. c: what the C function takes, beside the signal."""

    ours: Any
    package: Callable[[int], Any]
    theirs_decode: Callable[[Any, Any, torch.Tensor], Any]
    c: tuple[float, ...]
    taps: tuple[float, ...] = ()


def cases() -> dict[str, Case]:
    """Encoders with the parameters that the package's own speed was once measured with."""
    from spike_encoding.bens_spiker_algorithm import BensSpikerAlgorithm
    from spike_encoding.lif_based_encoding import LIFBasedEncoding
    from spike_encoding.pulse_width_modulation import PulseWidthModulation
    from spike_encoding.step_forward_converter import StepForwardConverter

    bsa = encoders.BSA(threshold=0.5, order=ORDER, cutoff=CUTOFF)
    return {
        "step-forward": Case(
            encoders.StepForward(0.05),
            lambda n: StepForwardConverter(threshold=[0.05] * n),
            lambda there, spikes, x: there.decode(spikes, initial_value=x[:, 0]),
            (0.05,),
        ),
        "lif": Case(
            encoders.LIF(0.3, 0.5, reset="zero"),
            lambda n: LIFBasedEncoding(threshold=[0.3] * n, membrane_constant=[0.5] * n),
            lambda there, spikes, x: there.decode(spikes),
            (0.3, 0.5),
        ),
        "pwm": Case(
            encoders.PWM(0.05),
            lambda n: PulseWidthModulation(frequency=[50.0] * n),
            lambda there, spikes, x: there.decode(spikes),
            (0.05,),
        ),
        "bsa": Case(
            bsa,
            lambda n: BensSpikerAlgorithm(
                threshold=[0.5] * n, filter_order=[ORDER] * n, filter_cutoff=[CUTOFF] * n
            ),
            lambda there, spikes, x: there.decode(spikes),
            (0.5,),
            tuple(bsa.taps.reshape(-1).tolist()),
        ),
    }


def signals(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    """Sums of sines with noise in [0, 1], float32 (rows, length)."""
    random = np.random.default_rng(seed)
    t = np.arange(length)
    x = np.zeros((rows, length))
    for _ in range(3):
        period = random.uniform(30, 900, (rows, 1))
        x += np.sin(2 * np.pi * (t / period + random.random((rows, 1))))
    x += 0.1 * random.standard_normal(x.shape)
    low, high = x.min(1, keepdims=True), x.max(1, keepdims=True)
    return torch.from_numpy((x - low) / (high - low)).float()


def seconds(call: Callable[[], Any], *, repeat: int = 9, at_least: float = 0.05) -> float:
    """Median seconds of a call, each of ``repeat`` measurements long enough to be trusted."""
    call()
    start = time.perf_counter()
    call()
    count = max(1, int(at_least / max(time.perf_counter() - start, 1e-9)))
    found = []
    for _ in range(repeat):
        start = time.perf_counter()
        for _ in range(count):
            call()
        found.append((time.perf_counter() - start) / count)
    return statistics.median(found)


def once(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the one call, for what takes minutes, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


class PlainC:
    """benchmarks/encoders.c, compiled."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="spikeloom-")
        target = Path(self.folder.name) / "encoders.so"
        source = Path(__file__).with_name("encoders.c")
        flags = ["-O3", "-march=native", "-shared", "-fPIC", "-o"]
        subprocess.run(["gcc", *flags, str(target), str(source), "-lm"], check=True)
        self.library = ctypes.CDLL(str(target))

    def call(self, name: str, case: Case, x: torch.Tensor, out: torch.Tensor) -> None:
        """Run a function of encoders.c on x, writing spikes to out."""
        rows, length = x.shape
        p = np.array(case.c, dtype=np.float32)
        h = np.zeros(len(case.taps) + length, dtype=np.float32)
        h[: len(case.taps)] = case.taps
        pointers = [ctypes.c_void_p(a) for a in (x.data_ptr(), p.ctypes.data, h.ctypes.data)]
        self.library[name.replace("-", "_")](
            pointers[0], ctypes.c_long(rows), ctypes.c_long(length), pointers[1], pointers[2],
            ctypes.c_long(len(case.taps)), ctypes.c_void_p(out.data_ptr()),
        )  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Samples a second of one encoder: ours, the package's, C's; and whether C has our spikes."""

    encoder: str
    ours_encode: float
    package_encode: float
    c_encode: float
    ours_decode: float
    package_decode: float
    ours_long: float
    package_long: float
    same_as_c: bool

    @property
    def ratios(self) -> dict[str, tuple[float, float]]:
        """Name of a ratio: (what it is, what it must at least be)."""
        return {
            "encode / package": (
                self.ours_encode / self.package_encode,
                ENCODE[self.encoder],
            ),
            "decode / package": (self.ours_decode / self.package_decode, DECODE),
            "long / package": (self.ours_long / self.package_long, LONG),
            "encode / C": (self.ours_encode / self.c_encode, OF_C),
        }


def measure(name: str, case: Case, x: torch.Tensor, long: torch.Tensor, c: PlainC) -> Measured:
    """Measure one encoder; the package runs once, everything else is a median."""
    ours = case.ours
    spikes = ours(x)
    out = torch.empty_like(x)
    c.call(name, case, x, out)
    same = torch.equal(out, spikes)
    encode = seconds(lambda: ours(x))
    plain = seconds(lambda: c.call(name, case, x, out))
    decode = seconds(lambda: ours.decode(spikes))
    alone = seconds(lambda: ours(long))
    there = case.package(len(x))
    # it edits its inputs
    theirs, their_spikes = once(lambda: there.encode(x.clone()))
    theirs_decode, _ = once(lambda: case.theirs_decode(there, their_spikes, x))
    there = case.package(1)
    theirs_long, _ = once(lambda: there.encode(long.clone()))
    n, m = x.numel(), long.numel()
    return Measured(
        name, n / encode, n / theirs, n / plain, n / decode, n / theirs_decode, m / alone,
        m / theirs_long, same,
    )  # fmt: skip


def table(rows: list[Measured], shape: tuple[int, int], long: int) -> Table:
    """All measurements, with the bars."""
    out = Table(title=f"million samples a second: {shape[0]} x {shape[1]} float32", box=SIMPLE)
    for name in ("encoder", "what", "rival", "ours", "rival's", "ratio", "bar"):
        out.add_column(name, justify="left" if name in ("encoder", "what", "rival") else "right")
    for row in rows:
        pairs = (
            ("encode", "package", row.ours_encode, row.package_encode),
            ("decode", "package", row.ours_decode, row.package_decode),
            (f"1 x {long}", "package", row.ours_long, row.package_long),
            ("encode", "C -O3", row.ours_encode, row.c_encode),
        )
        for k, (what, rival, ours, theirs) in enumerate(pairs):
            value, bar = list(row.ratios.values())[k]
            shown = f"{value:,.0f}" if value > 20 else f"{value:.2f}"
            cells = (f"{ours / 1e6:.4g}", f"{theirs / 1e6:.3g}", shown, f"{bar:g}")
            out.add_row("" if k else row.encoder, what, rival, *cells)
    return out


def main() -> int:
    """Measure, print, write; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--time", type=int, default=4096)
    parser.add_argument("--long", type=int, default=100_000)
    parser.add_argument("--encoder", nargs="+", choices=ENCODE, default=list(ENCODE))
    parser.add_argument("--out", type=Path, default=Path("build", "bench"))
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    console = Console()
    x, long = signals(given.rows, given.time), signals(1, given.long, seed=1)
    rows, c, known = [], PlainC(), cases()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=len(given.encoder))
        for name in given.encoder:
            progress.update(task, description=f"{name}: the package runs minutes")
            rows.append(measure(name, known[name], x, long, c))
            progress.advance(task)
    console.print(table(rows, tuple(x.shape), given.long))
    given.out.mkdir(parents=True, exist_ok=True)
    found = [{**asdict(row), "ratios": row.ratios} for row in rows]
    (given.out / "encoders.json").write_text(json.dumps(found, indent=1))
    missed = [
        f"{row.encoder}: {name} is {value:,.3g}, the bar {bar:g}"
        for row in rows
        for name, (value, bar) in row.ratios.items()
        if value < bar
    ]
    missed += [f"{row.encoder}: C computes other spikes" for row in rows if not row.same_as_c]
    for line in missed:
        console.print(f"MISSED {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
