"""Millions of payloads through a core of streams: Verilator and a C++ main, no Python in the loop.

For any component with one input stream ``i``, one output stream ``o``, and any number of streams
that configure it. Several components can share one executable, each with its own clock.
"""

from __future__ import annotations

import importlib.resources
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from spikeloom.errors import BuildError, InputError

from spikeloom_sim.cells import cell_sources
from spikeloom_sim.harness import Stalls
from spikeloom_sim.payloads import PayloadLayout
from spikeloom_sim.verilator import build_model

__all__ = ["StreamHarness", "StreamResult", "Write"]

#: index of the input before which it happens, configuring stream, fields; indices and fields may be
#: arrays of one length, for as many writes
Write = tuple[ArrayLike, str, Mapping[str, ArrayLike]]


@dataclass(frozen=True, eq=False)
class StreamResult:
    """What came out of a run.

    outputs: by field, int64 (outputs,). taken: int64 (inputs,), cycle in which each input was
    taken, counted from the end of the reset. given: likewise of each output.
    """

    outputs: dict[str, NDArray[np.int64]]
    taken: NDArray[np.int64]
    given: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.given)

    @property
    def cycles(self) -> int:
        """From the first input taken to the last output, both included."""
        if not len(self.given) or not len(self.taken):
            return 0
        return int(self.given[-1] - self.taken[0]) + 1


class StreamHarness:
    """A compiled core, ready to run.

    component: with ``i``, ``o`` and other streams, whose payloads are struct layouts. name: what
    messages call it. Raises BuildError when it cannot be compiled.
    """

    def __init__(self, component: Any, *, name: str = "core", optimise: str = "-O1"):
        made = self.bundle({name: component}, optimise=optimise)[name]
        self.__dict__ = made.__dict__

    @classmethod
    def bundle(
        cls, components: Mapping[str, Any], *, optimise: str = "-O1"
    ) -> dict[str, StreamHarness]:
        """Compile several components into one executable; return a harness for each name."""
        executable = _build(components, optimise)
        result = {}
        for index, (name, component) in enumerate(components.items()):
            harness = cls.__new__(cls)
            harness.name, harness._index, harness._executable = name, index, executable
            streams = _streams(component)
            harness.layouts = {s: PayloadLayout(layout) for s, layout in streams.items()}
            harness._configuring = [s for s in streams if s not in ("i", "o")]
            result[name] = harness
        return result

    name: str
    layouts: dict[str, PayloadLayout]
    _index: int
    _executable: Path
    _configuring: list[str]

    def run(
        self,
        inputs: Mapping[str, ArrayLike],
        *,
        writes: Sequence[Write] = (),
        stalls: Stalls | int | None = None,
        expect: int | None = None,
        quiet: int = 256,
        patience: int = 20_000,
        memory_seed: int = 1,
    ) -> StreamResult:
        """Feed payloads, collect what comes out.

        inputs: by field of ``i``, integers (n,), or one number for all; missing fields are zero.
        writes: each is done before the input of its index (n: after all), in the order given for
        one index; the input may already be offered beside it, and must not be taken before.
        stalls: None feeds and drains without a pause; a seed or Stalls pauses both sides and the
        writes at random. expect: how many outputs there must be, one more is a fault. The run ends
        when they, or without ``expect`` any, are out and nothing came for ``quiet`` cycles.
        patience: cycles without a transfer until the core counts as stuck. memory_seed: chooses
        what undefined memories hold at power up.

        Raises InputError for a value that does not fit its field; BuildError when the core breaks
        its stream contract, one of its assertions, or stops, with the cycle and what it waited for.
        """
        words = self.layouts["i"].pack(inputs)
        entries = self._entries(writes, len(words))
        pause = Stalls(stalls) if isinstance(stalls, int) else stalls or Stalls(0, 0.0, 0.0)
        with tempfile.TemporaryDirectory(prefix="spikeloom-") as name:
            folder = Path(name)
            words.tofile(folder / "i.bin")
            entries.tofile(folder / "w.bin")
            numbers = [self._index, len(words), len(entries), -1 if expect is None else expect]
            limits = [round(65536 * p) for p in (pause.producer, pause.consumer, pause.producer)]
            numbers += [quiet, patience, pause.seed & 0x7FFFFFFF, *limits]
            command = [str(self._executable), name, *(str(number) for number in numbers)]
            command += ["+verilator+rand+reset+2", f"+verilator+seed+{memory_seed}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
                why = next((line for line in lines if "%Error" in line), lines[-1] if lines else "")
                raise BuildError(f"{self.name} failed in simulation: {why or done}")
            return StreamResult(
                self.layouts["o"].unpack(np.fromfile(folder / "o.bin", dtype="<u4")),
                np.fromfile(folder / "taken.bin", dtype="<i8"),
                np.fromfile(folder / "given.bin", dtype="<i8"),
            )

    def _entries(self, writes: Sequence[Write], inputs: int) -> NDArray[np.uint32]:
        """Rows of index, stream and payload, in the order in which they happen."""
        width = 2 + max((self.layouts[s].words for s in self._configuring), default=0)
        rows = [np.zeros((0, width), dtype="<u4")]
        for at, stream, fields in writes:
            if stream not in self._configuring:
                known = ", ".join(self._configuring) or "none"
                raise InputError(
                    f"{self.name} has no stream {stream!r} to write: there are {known}"
                )
            index = np.atleast_1d(np.asarray(at, dtype=np.int64))
            if ((index < 0) | (index > inputs)).any():
                raise InputError(f"a write before input {index.max()}: there are {inputs} inputs")
            payloads = self.layouts[stream].pack(fields, count=len(index))
            row = np.zeros((len(index), width), dtype="<u4")
            row[:, 0], row[:, 1] = index, self._configuring.index(stream)
            row[:, 2 : 2 + payloads.shape[1]] = payloads
            rows.append(row)
        table = np.concatenate(rows)
        return table[np.argsort(table[:, 0], kind="stable")]


def _streams(component: Any) -> dict[str, Any]:
    """Payload layouts of a component's streams, by name; ``i`` and ``o`` must be there."""
    from amaranth.lib import stream

    found = {
        name: member.signature.members["payload"].shape
        for name, member in component.signature.members.items()
        if not member.is_port and isinstance(member.signature, stream.Signature)
    }
    if missing := {"i", "o"} - set(found):
        raise InputError(
            f"{type(component).__name__} has no stream {' and '.join(sorted(missing))}"
        )
    return found


def _verilog(components: Mapping[str, Any]) -> str:
    """Verilog of components side by side, each with its own clock; memories power up unknown."""
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    from amaranth.back import rtlil
    from amaranth.back.verilog import _convert_rtlil_text
    from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal
    from amaranth.lib import wiring
    from amaranth.lib.wiring import In, Out

    class Bundle(wiring.Component):
        def __init__(self):
            members = {}
            for k, component in enumerate(components.values()):
                members |= {f"core{k}": Out(component.signature)}
                members |= {f"clk{k}": In(1), f"rst{k}": In(1)}
            super().__init__(members)

        def elaborate(self, platform: object) -> Module:
            m = Module()
            for k, component in enumerate(components.values()):
                m.domains += ClockDomain(f"domain{k}")
                m.d.comb += [
                    ClockSignal(f"domain{k}").eq(getattr(self, f"clk{k}")),
                    ResetSignal(f"domain{k}").eq(getattr(self, f"rst{k}")),
                ]
                m.submodules[f"core{k}"] = DomainRenamer(f"domain{k}")(component)
                ports = getattr(self, f"core{k}")
                wiring.connect(m, wiring.flipped(ports), component)
            return m

    text = rtlil.convert(Bundle(), name="top", emit_src=False)
    return _convert_rtlil_text(_MODULE.sub(_unknown_memories, text), strip_internal_attrs=True)


_MODULE = re.compile(r"^module .*?^end$", re.M | re.S)
_INITIAL = re.compile(r"^  cell \$meminit_v2 .*?^  end\n", re.M | re.S)
_WRITTEN = re.compile(r'^  cell \$memwr_v2 [^\n]*\n    parameter \\MEMID "(.*?)"', re.M)


def _unknown_memories(module: re.Match[str]) -> str:
    """Drop initial zeros of memories that are written: no device promises them for block RAM."""
    written = set(_WRITTEN.findall(module[0]))

    def initial(cell: re.Match[str]) -> str:
        name = re.search(r'parameter \\MEMID "(.*?)"', cell[0])
        zero = re.search(r"connect \\DATA \d+'0*$", cell[0], re.M)
        return "" if name and name[1] in written and zero else cell[0]

    return _INITIAL.sub(initial, module[0])


def _header(components: Mapping[str, Any]) -> str:
    """C++ that gives each core's ports the same names."""
    lines = ["#pragma once"]
    for k, component in enumerate(components.values()):
        streams = {name: PayloadLayout(layout) for name, layout in _streams(component).items()}
        rest = [name for name in streams if name not in ("i", "o")]

        def pin(stream: str, part: str, core: int = k) -> str:
            # Verilator writes the double underscore of a Verilog name as an escape
            return f"t.core{core}___05F{stream}___05F{part}"

        def choose(body: dict[str, str], otherwise: str = "") -> str:
            cases = " ".join(f"case {n}: {text} break;" for n, text in enumerate(body.values()))
            return f"switch (stream) {{ {cases} default: break; }} {otherwise}"

        words = max((streams[name].words for name in rest), default=0)
        put = {name: f"put({pin(name, 'payload')}, words);" for name in rest}
        valid = {name: f"{pin(name, 'valid')} = value;" for name in rest}
        ready = {name: f"return {pin(name, 'ready')};" for name in rest}
        lines += [
            f"struct Core{k} {{",
            f"  static constexpr unsigned in_words = {streams['i'].words};",
            f"  static constexpr unsigned out_words = {streams['o'].words};",
            f"  static constexpr unsigned write_words = {words};",
            f"  static constexpr unsigned write_streams = {len(rest)};",
            f"  static void clk(Vtop& t, bool value) {{ t.clk{k} = value; }}",
            f"  static void rst(Vtop& t, bool value) {{ t.rst{k} = value; }}",
            f"  static void put_i(Vtop& t, const uint32_t* w) {{ put({pin('i', 'payload')}, w); }}",
            f"  static void i_valid(Vtop& t, bool value) {{ {pin('i', 'valid')} = value; }}",
            f"  static bool i_ready(Vtop& t) {{ return {pin('i', 'ready')}; }}",
            "  static void get_o(Vtop& t, uint32_t* words) {",
            "    std::memset(words, 0, 4 * out_words);",
            f"    get({pin('o', 'payload')}, words);",
            "  }",
            f"  static bool o_valid(Vtop& t) {{ return {pin('o', 'valid')}; }}",
            f"  static void o_ready(Vtop& t, bool value) {{ {pin('o', 'ready')} = value; }}",
            f"  static void put_write(Vtop& t, unsigned stream, const uint32_t* words) {{"
            f" {choose(put)} }}",
            f"  static void write_valid(Vtop& t, unsigned stream, bool value) {{"
            f" {choose(valid)} }}",
            f"  static bool write_ready(Vtop& t, unsigned stream) {{"
            f" {choose(ready, 'return false;')} }}",
            "};",
        ]
    cases = " ".join(f"case {k}: return run<Core{k}>(top, job);" for k in range(len(components)))
    lines.append("int dispatch(unsigned core, Vtop& top, const Job& job) {")
    lines += [f"  switch (core) {{ {cases} default: return 1; }}", "}", ""]
    return "\n".join(lines)


def _build(components: Mapping[str, Any], optimise: str) -> Path:
    folder = importlib.resources.files("spikeloom_sim")
    sources = {"top.v": _verilog(components), **cell_sources("ecp5", "ice40")}
    cpp = {
        "stream_harness.cpp": (folder / "stream_harness.cpp").read_text(),
        "ports.h": (folder / "ports.h").read_text(),
        "cores.h": _header(components),
    }
    name = "-".join(re.sub(r"\W+", "-", name) for name in list(components)[:1])
    return build_model(
        sources,
        cpp,
        name=name,
        assertions=True,
        optimise=optimise,
        flags=["--x-initial", "unique"],
    )
