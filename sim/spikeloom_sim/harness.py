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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from spikeloom.errors import BuildError, InputError
from spikeloom.hardware.fixed_image import Image
from spikeloom.hardware.parameters import (
    DenseParameters,
    NetworkParameters,
    Port,
)

from spikeloom_sim.cells import cell_sources
from spikeloom_sim.harness_header import core_header
from spikeloom_sim.harness_result import BufferUse, FlowUse, HarnessResult, Stalls
from spikeloom_sim.verilator import build_model, default_cache_dir

__all__ = [
    "BufferUse",
    "CoreHarness",
    "FlowUse",
    "HarnessResult",
    "Stalls",
    "core_verilog",
    "run_core",
]

Depths = Mapping[tuple[int, int], int]


def core_verilog(
    parameters: NetworkParameters,
    *,
    probe: bool = True,
    depths: Depths | None = None,
    image: Image | None = None,
) -> str:
    """Verilog of a network core with stream ports; module ``top``. Arguments: see NetworkCore.

    The text is cached by the parameters and the sources of the gateware: Amaranth and Yosys take
    seconds to write a big network.
    """
    import amaranth
    import spikeloom_hdl

    what = repr((parameters, probe, sorted((depths or {}).items()), amaranth.__version__))
    state = hashlib.blake2s(what.encode(), digest_size=16)
    for column, words in image or ():
        state.update(repr(column).encode() + words.tobytes())
    state.update(Path(__file__).read_bytes())
    for package in (spikeloom_hdl, importlib.import_module("spikeloom.hardware")):
        for source in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            state.update(source.read_bytes())
    kept = default_cache_dir().parent / "verilog" / f"{state.hexdigest()}.v"
    if kept.exists():
        return kept.read_text()
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    from amaranth.back import verilog
    from spikeloom_hdl.network import NetworkCore

    core = NetworkCore(parameters, probe=probe, depths=depths, image=image)
    text = verilog.convert(core, name="top", emit_src=False, strip_internal_attrs=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    staged = kept.with_suffix(f".{os.getpid()}")
    staged.write_text(text)
    staged.replace(kept)
    return text


def _shapes(parameters: NetworkParameters) -> list[tuple[int, ...]]:
    """Height and width of what leaves each layer, () of flat samples."""
    shapes: list[tuple[int, ...]] = []
    for layer, feeds in zip(parameters.layers, parameters.sources, strict=True):
        frame: Any = getattr(layer, "window", layer)
        if hasattr(frame, "out_height"):
            shapes.append((frame.out_height, frame.out_width))
        elif isinstance(layer, DenseParameters):
            shapes.append(())
        else:  # a pixel at a time: as what feeds it
            shapes.append(shapes[feeds[0]] if feeds[0] >= 0 else (layer.port_out.pixels,))
    return shapes


class CoreHarness:
    """A compiled network core, ready to run data sets.

    depths: of buffers behind forks, instead of those computed, by (layer, slot).
    image: what the memories hold for ever, as ``memory_image`` returns it.
    Raises BuildError when it cannot be compiled.
    """

    def __init__(
        self,
        parameters: NetworkParameters,
        *,
        name: str = "core",
        optimise: str = "-O2",
        depths: Depths | None = None,
        image: Image | None = None,
    ):
        from spikeloom_hdl.network import buffer_depths

        self.parameters = parameters
        self.depths = buffer_depths(parameters, depths)
        folder = importlib.resources.files("spikeloom_sim")
        sources = {
            "top.v": core_verilog(parameters, depths=depths, image=image),
            **cell_sources("ecp5", "ice40"),
        }
        cpp = {
            "harness.cpp": (folder / "harness.cpp").read_text(),
            "ports.h": (folder / "ports.h").read_text(),
            "core.h": core_header(parameters, self.depths, fixed=image is not None),
        }
        self.executable = build_model(sources, cpp, name=name, optimise=optimise, assertions=True)

    def run(
        self,
        image: Image,
        words: np.ndarray,
        *,
        stalls: Stalls | int | None = None,
        memory_seed: int = 1,
    ) -> HarnessResult:
        """Load the memories and run samples.

        image: as ``memory_image`` returns; fixed memories are not written, but must read back as
        this. words: uint8 (samples, inputs), packed spike words, C
        order of (channels, height, width).
        stalls: None feeds and drains without a pause; a seed or Stalls pauses both sides at random.
        memory_seed: chooses what undefined memories hold at power up.

        Raises InputError for words of a wrong shape, type or range; BuildError when the core breaks
        its stream contract, reads back other memory contents, or stops.
        """
        port = self.parameters.input_port
        inputs = port.pixels * port.channels
        if words.ndim != 2 or words.shape[1] != inputs or words.dtype != np.uint8:
            raise InputError(
                f"samples must be uint8 (n, {inputs}), not {words.dtype} {words.shape}"
            )
        if words.size and int(words.max()) >> port.bits:
            raise InputError(f"a word of {int(words.max())} does not fit {port.bits} bits")
        pause = Stalls(stalls) if isinstance(stalls, int) else stalls or Stalls(0, 0.0, 0.0)
        with tempfile.TemporaryDirectory(prefix="spikeloom-") as name:
            folder = Path(name)
            (folder / "image.bin").write_bytes(_image_bytes(image))
            (folder / "samples.bin").write_bytes(self.parameters.stream_words(words).tobytes())
            limits = [str(round(65536 * p)) for p in (pause.producer, pause.consumer)]
            command = [str(self.executable), name, str(len(words)), str(pause.seed), *limits]
            command += [str(max(1, pause.burst)), str(round(16 * pause.inside))]
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
        def table(file: str, port: Port) -> np.ndarray:
            """(samples, pixels, channels) without the padding of transfers."""
            wide = port.transfers_per_pixel * port.lanes
            values = np.fromfile(folder / file, dtype=np.int32)
            if values.size != samples * port.pixels * wide:
                raise BuildError(
                    f"{file}: {values.size} values for {samples} samples of {port.pixels * wide}"
                )
            return values.reshape(samples, port.pixels, wide)[..., : port.channels].astype(np.int64)

        layers, shapes = self.parameters.layers, _shapes(self.parameters)
        potentials: list[np.ndarray | None] = [None] * len(layers)
        for k in self.parameters.potential_layers:
            port = layers[k].port_out
            found = table(f"potentials_{k}.bin", port).swapaxes(1, 2)
            potentials[k] = found.reshape(samples, port.channels, *shapes[k])
        outputs: list[np.ndarray | None] = [None] * len(layers)
        for k in self.parameters.output_layers:
            port = layers[k].port_out
            found = table(f"outputs_{k}.bin", port).swapaxes(1, 2)
            outputs[k] = found.reshape(samples, port.channels, *shapes[k])
        logits = table("logits.bin", layers[-1].port_out)[:, 0]
        uses = np.fromfile(folder / "buffers.bin", dtype=np.uint64).reshape(-1, 2).tolist()
        buffers = {
            f"fifo_{layer}_{slot}": BufferUse(depth, *use)
            for ((layer, slot), depth), use in zip(self.depths.items(), uses, strict=True)
        }
        times = np.fromfile(folder / "times.bin", dtype=np.int64).reshape(samples, 2)
        flows = np.fromfile(folder / "flows.bin", dtype=np.uint64).reshape(-1, 4).tolist()
        values = np.fromfile(folder / "counters.bin", dtype=np.uint32)
        names = self.parameters.counter_names
        counters = {name: int(value) for name, value in zip(names, values, strict=True)}
        return HarnessResult(
            logits=logits,
            potentials=potentials,
            outputs=outputs,
            counters=counters,
            cycles=cycles,
            starts=times[:, 0],
            ends=times[:, 1],
            seconds=seconds,
            total_cycles=total,
            buffers=buffers,
            flows=[FlowUse(*use) for use in flows],
        )


def _image_bytes(image: Image) -> bytes:
    parts = []
    for column, values in image:
        parts.append(np.array([column.address, len(values)], dtype="<u4").tobytes())
        parts.append(values.astype("<u4").tobytes())
    return b"".join(parts)


def run_core(
    parameters: NetworkParameters,
    image: Image,
    words: np.ndarray,
    *,
    stalls: Stalls | int | None = None,
) -> HarnessResult:
    """Compile (or find) the core of a network and run samples; see :class:`CoreHarness`."""
    return CoreHarness(parameters).run(image, words, stalls=stalls)
