"""Whole data sets through a network in gates: NetworkCore, Verilator and a C++ main.

Files in, files out: no Python in the loop, so 10,000 images take a minute or two. Every membrane
potential of every layer comes back, not only the logits, so a difference is found where it arises.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.resources
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from spikeloom.errors import BuildError, InputError
from spikeloom.hardware.memory_image import Column
from spikeloom.hardware.parameters import NetworkParameters

from spikeloom_sim.cells import cell_sources
from spikeloom_sim.verilator import build_model, default_cache_dir

__all__ = ["CoreHarness", "HarnessResult", "Stalls", "core_verilog", "run_core"]

#: A core in which nothing moves for this many cycles is stuck; no sample takes as long.
QUIET_LIMIT = 2_000_000


@dataclass(frozen=True)
class Stalls:
    """Random pauses of the producer and of the consumer: probabilities of a cycle without."""

    seed: int
    producer: float = 0.3
    consumer: float = 0.3


@dataclass(frozen=True, eq=False)
class HarnessResult:
    """What came out of a run.

    logits: int64 (samples, classes). potentials: for each layer int64 (samples, outputs), v0 as it
    enters fire or leaves the readout. counters: by name. cycles: from the first offered transfer to
    the end. starts, ends: int64 (samples,), cycles of a sample's first transfer in and last out.
    seconds: wall clock of the simulation, loading included; total_cycles: likewise in cycles.
    """

    logits: np.ndarray
    potentials: list[np.ndarray]
    counters: dict[str, int]
    cycles: int
    starts: np.ndarray
    ends: np.ndarray
    seconds: float
    total_cycles: int

    @property
    def latency(self) -> float:
        """Mean cycles from a sample's first transfer in to its last transfer out."""
        return float((self.ends - self.starts + 1).mean())

    @property
    def interval(self) -> float:
        """Mean cycles between the results of successive samples."""
        ends = self.ends
        return float(ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else self.latency


def core_verilog(parameters: NetworkParameters, *, probe: bool = True) -> str:
    """Verilog of a network core with stream ports; module ``top``.

    The text is cached by the parameters and the sources of the gateware: Amaranth and Yosys take
    seconds to write a big network.
    """
    import amaranth
    import spikeloom_hdl

    what = repr((parameters, probe, amaranth.__version__))
    state = hashlib.blake2s(what.encode(), digest_size=16)
    for package in (spikeloom_hdl, importlib.import_module("spikeloom.hardware")):
        for source in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            state.update(source.read_bytes())
    kept = default_cache_dir().parent / "verilog" / f"{state.hexdigest()}.v"
    if kept.exists():
        return kept.read_text()
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    from amaranth.back import verilog
    from spikeloom_hdl.network import NetworkCore

    core = NetworkCore(parameters, probe=probe)
    text = verilog.convert(core, name="top", emit_src=False, strip_internal_attrs=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    staged = kept.with_suffix(f".{os.getpid()}")
    staged.write_text(text)
    staged.replace(kept)
    return text


def _words32(bits: int) -> int:
    """32-bit words that a Verilated port of so many bits is copied to."""
    return max(2, -(-bits // 32))


def _header(parameters: NetworkParameters) -> str:
    """C++ header that describes the ports of a core."""
    first, last = parameters.layers[0], parameters.layers[-1]
    fold, out = first.folding, last.folding
    probes, widest = [], 0
    for index, layer in enumerate(parameters.layers):
        lanes, bits = layer.folding.fire_lanes, layer.accumulator_bits
        probes.append(f"  X({index}, probe_{index}_valid, probe_{index}, {lanes}, {bits})")
        widest = max(widest, lanes * bits)
    constants = {
        "LAYERS": len(parameters.layers),
        "INPUTS": first.inputs,
        "SCAN": fold.scan,
        "IN_BITS": first.input_bits,
        "IN_WORDS": _words32(fold.scan * first.input_bits + 2),
        "BEATS": first.beats,
        "OUT_LANES": out.fire_lanes,
        "OUT_BITS": last.accumulator_bits,
        "OUT_WORDS": _words32(out.fire_lanes * last.accumulator_bits + 2),
        "OUT_TRANSFERS": last.drain_rows,
        "PROBE_WORDS": _words32(widest),
        "COUNTERS": len(parameters.counter_names),
        "QUIET_LIMIT": QUIET_LIMIT,
    }
    lines = ["#pragma once", *(f"#define {name} {value}" for name, value in constants.items())]
    # Verilator writes the double underscore of a Verilog name as an escape
    lines += [f"#define {name}(pin) {stream}___05F##pin" for name, stream in _STREAMS]
    return "\n".join([*lines, "#define PROBES(X) \\", " \\\n".join(probes), ""])


_STREAMS = (("INPUT", "i"), ("OUTPUT", "o"), ("LOAD", "load"))


class CoreHarness:
    """A compiled network core, ready to run data sets.

    Raises BuildError when it cannot be compiled.
    """

    def __init__(self, parameters: NetworkParameters, *, name: str = "core", optimise: str = "-O2"):
        self.parameters = parameters
        folder = importlib.resources.files("spikeloom_sim")
        sources = {"top.v": core_verilog(parameters), **cell_sources("ecp5", "ice40")}
        cpp = {
            "harness.cpp": (folder / "harness.cpp").read_text(),
            "ports.h": (folder / "ports.h").read_text(),
            "core.h": _header(parameters),
        }
        self.executable = build_model(sources, cpp, name=name, optimise=optimise, assertions=True)

    def run(
        self,
        image: Sequence[tuple[Column, np.ndarray]],
        words: np.ndarray,
        *,
        stalls: Stalls | int | None = None,
        memory_seed: int = 1,
    ) -> HarnessResult:
        """Load the memories and run samples.

        image: as ``memory_image`` returns. words: uint8 (samples, inputs), packed spike words.
        stalls: None feeds and drains without a pause; a seed or Stalls pauses both sides at random.
        memory_seed: chooses what undefined memories hold at power up.

        Raises InputError for words of a wrong shape, type or range; BuildError when the core breaks
        its stream contract, reads back other memory contents, or stops.
        """
        first = self.parameters.layers[0]
        if words.ndim != 2 or words.shape[1] != first.inputs or words.dtype != np.uint8:
            raise InputError(
                f"samples must be uint8 (n, {first.inputs}), not {words.dtype} {words.shape}"
            )
        if words.size and int(words.max()) >> first.input_bits:
            raise InputError(f"a word of {int(words.max())} does not fit {first.input_bits} bits")
        pause = Stalls(stalls) if isinstance(stalls, int) else stalls or Stalls(0, 0.0, 0.0)
        with tempfile.TemporaryDirectory(prefix="spikeloom-") as name:
            folder = Path(name)
            (folder / "image.bin").write_bytes(_image_bytes(image))
            (folder / "samples.bin").write_bytes(np.ascontiguousarray(words).tobytes())
            limits = [str(round(65536 * p)) for p in (pause.producer, pause.consumer)]
            command = [str(self.executable), name, str(len(words)), str(pause.seed), *limits]
            command.append(f"+verilator+seed+{memory_seed}")
            start = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            seconds = time.monotonic() - start
            if done.returncode:
                lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
                raise BuildError(f"the core failed in simulation: {lines[-1] if lines else done}")
            cycles, total = (int(number) for number in done.stdout.split()[-2:])
            return self._collect(folder, len(words), cycles, total, seconds)

    def _collect(
        self, folder: Path, samples: int, cycles: int, total: int, seconds: float
    ) -> HarnessResult:
        def table(file: str, rows: int, lanes: int, outputs: int) -> np.ndarray:
            values = np.fromfile(folder / file, dtype=np.int32)
            if values.size != samples * rows * lanes:
                raise BuildError(
                    f"{file}: {values.size} values for {samples} samples of {rows * lanes}"
                )
            return values.reshape(samples, rows * lanes)[:, :outputs].astype(np.int64)

        potentials = [
            table(f"potentials_{k}.bin", layer.drain_rows, layer.folding.fire_lanes, layer.outputs)
            for k, layer in enumerate(self.parameters.layers)
        ]
        last = self.parameters.layers[-1]
        logits = table("logits.bin", last.drain_rows, last.folding.fire_lanes, last.outputs)
        times = np.fromfile(folder / "times.bin", dtype=np.int64).reshape(samples, 2)
        values = np.fromfile(folder / "counters.bin", dtype=np.uint32)
        names = self.parameters.counter_names
        counters = {name: int(value) for name, value in zip(names, values, strict=True)}
        return HarnessResult(
            logits, potentials, counters, cycles, times[:, 0], times[:, 1], seconds, total
        )


def _image_bytes(image: Sequence[tuple[Column, np.ndarray]]) -> bytes:
    parts = []
    for column, values in image:
        parts.append(np.array([column.address, len(values)], dtype="<u4").tobytes())
        parts.append(values.astype("<u4").tobytes())
    return b"".join(parts)


def run_core(
    parameters: NetworkParameters,
    image: Sequence[tuple[Column, np.ndarray]],
    words: np.ndarray,
    *,
    stalls: Stalls | int | None = None,
) -> HarnessResult:
    """Compile (or find) the core of a network and run samples; see :class:`CoreHarness`."""
    return CoreHarness(parameters).run(image, words, stalls=stalls)
