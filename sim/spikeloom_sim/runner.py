"""cocotb on Verilator: named ports instead of a public design, executables from the cache.

cocotb's own runner passes ``--public-flat-rw``, which makes every signal of the design reachable,
at several times the cost, and compiles anew each time. Here a control file names the ports of the
top module, and the executable comes from :func:`spikeloom_sim.verilator.build_model`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cocotb_tools.config
from cocotb_tools.runner import Verilator
from spikeloom.errors import BuildError, SpikeloomError

from spikeloom_sim.cells import cell_sources
from spikeloom_sim.verilator import build_model, waves_format

__all__ = [
    "CachedVerilator",
    "Design",
    "Outcome",
    "component_verilog",
    "control_file",
    "port_names",
    "run_design",
]

#: Environment variable through which a bench learns what it tests, as JSON.
SETTINGS = "SPIKELOOM_BENCH"


@dataclass(frozen=True)
class Design:
    """Something to test: its Verilog (module ``top``) and what the bench must know about it.

    name: core/variant. module: import path of the cocotb bench. verilog: sources by file name.
    settings: plain data, given to the bench. assertions: check the design's own assertions.
    """

    name: str
    module: str
    verilog: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    assertions: bool = True


@dataclass(frozen=True)
class Outcome:
    """Result of one test; ``detail`` holds the failure, ``report`` what the bench noted."""

    design: str
    test: str
    passed: bool
    seed: int
    seconds: float
    detail: str = ""
    report: str = ""


def component_verilog(component: Any) -> dict[str, str]:
    """Verilog of an Amaranth component as module ``top``, with our models of vendor cells."""
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    from amaranth.back import verilog

    text = verilog.convert(component, name="top", emit_src=False, strip_internal_attrs=True)
    return {"top.v": text, **cell_sources("ecp5", "ice40")}


def port_names(verilog: str, top: str = "top") -> list[str]:
    """Names of the ports of a module, in the Verilog that Yosys writes."""
    module = re.search(rf"^\s*module {re.escape(top)}\s*\((.*?)\);", verilog, re.S | re.M)
    if module is None:
        raise SpikeloomError(f"no module {top} in the Verilog of the design")
    names = module.group(1).replace("\n", " ").split(",")
    return [name.split()[-1] for name in names if name.strip()]


def control_file(ports: list[str], top: str = "top") -> str:
    """Verilator control file that lets cocotb reach the named ports and nothing else."""
    lines = [f'public_flat_rw -module "{top}" -var "{port}"' for port in ports]
    return "\n".join(["`verilator_config", *lines, ""])


class CachedVerilator(Verilator):
    """cocotb's runner for Verilator, with the build replaced."""

    def build_design(self, design: Design, *, waves: bool = False) -> Path:
        """Compile a design for cocotb, or find it in the cache; the folder is ``build_dir``."""
        main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
        libraries = cocotb_tools.config.libs_dir
        text = next(t for t in design.verilog.values() if re.search(r"^module top\b", t, re.M))
        executable = build_model(
            {**design.verilog, "ports.vlt": control_file(port_names(text))},
            {"verilator.cpp": main.read_text()},
            name=design.name.replace("/", "-"),
            waves=waves,
            assertions=design.assertions,
            optimise="-O1",
            flags=["--vpi", "--timescale", "1ns/1ns"],
            link=[f"-Wl,-rpath,{libraries}", f"-L{libraries}", "-lcocotbvpi_verilator"],
        )
        self.build_dir = executable.parent
        return self.build_dir


def _outcomes(
    design: Design, results: Path, seed: int, reports: Mapping[str, str]
) -> list[Outcome]:
    found = []
    for case in ElementTree.parse(results).getroot().iter("testcase"):
        if case.find("skipped") is not None:  # says nothing about this design
            continue
        trouble = case.find("failure")
        if trouble is None:
            trouble = case.find("error")
        detail = ""
        if trouble is not None:
            message = trouble.get("message") or trouble.get("error_msg") or trouble.text or "failed"
            detail = message.strip().splitlines()[-1] if message.strip() else "failed"
        name = case.get("name", "?")
        seconds = float(case.get("time", 0))
        report = reports.get(name, "")
        found.append(Outcome(design.name, name, trouble is None, seed, seconds, detail, report))
    return found


def run_design(
    design: Design,
    *,
    seed: int,
    out_dir: Path,
    waves: bool = False,
    test: str | None = None,
) -> list[Outcome]:
    """Build a design and run its bench; return one outcome a test.

    seed: of all random choices. out_dir: gets results.xml, the log and, with ``waves``, the
    waveforms. test: run only the tests whose name matches this expression.
    """
    folder = out_dir / design.name.replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    log, results, notes = folder / "bench.log", folder / "results.xml", folder / "reports.jsonl"
    start = time.monotonic()
    notes.unlink(missing_ok=True)
    try:
        runner = CachedVerilator()
        runner.build_design(design, waves=waves)
    except BuildError as error:
        took = time.monotonic() - start
        return [Outcome(design.name, "build", False, seed, took, str(error))]
    form = waves_format()
    environment = {
        SETTINGS: json.dumps(dict(design.settings)),
        "SPIKELOOM_REPORTS": str(notes.absolute()),
        "NO_COLOR": "1",
        # benches import nothing that needs more than one thread
        "OMP_NUM_THREADS": "1",
    }
    pytest_name = os.environ.pop("PYTEST_CURRENT_TEST", None)  # cocotb would rename its results
    trouble = ""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            runner.test(
                test_module=design.module,
                hdl_toplevel="top",
                hdl_toplevel_lang="verilog",
                seed=seed,
                test_dir=folder,
                results_xml=str(results.absolute()),
                log_file=log,
                extra_env=environment,
                test_filter=test,
                test_args=["--trace", "--trace-file", f"waves.{form}"] if waves else [],
            )
    except (RuntimeError, SystemExit) as error:
        trouble = str(error)
    finally:
        if pytest_name is not None:
            os.environ["PYTEST_CURRENT_TEST"] = pytest_name
    if not results.is_file():
        took = time.monotonic() - start
        detail = f"{trouble or 'no result'} (log: {log})"
        return [Outcome(design.name, "run", False, seed, took, detail)]
    found = _outcomes(design, results, seed, _reports(notes))
    if trouble and all(outcome.passed for outcome in found):
        # an assertion of the design fired, or the simulator ended badly after the tests
        found.append(Outcome(design.name, "end", False, seed, 0.0, f"{trouble} (log: {log})"))
    return found


def _reports(notes: Path) -> dict[str, str]:
    if not notes.exists():
        return {}
    return dict(json.loads(line) for line in notes.read_text().splitlines())
