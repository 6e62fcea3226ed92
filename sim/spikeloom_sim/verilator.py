"""Verilog and C++ to a simulator executable, with Verilator; built once for each content.

The cache key covers the Verilog, the C++, every flag, the Verilator and the compiler, so a stale
executable cannot be run. Verilator's run-time library does not depend on the design and is compiled
once for each set of flags; a small design then takes about three seconds instead of eight.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from spikeloom.errors import BuildError, ToolError

__all__ = ["build_model", "default_cache_dir", "waves_format"]

#: Bump when the way an executable is made changes without any of its inputs changing.
CACHE_VERSION = 1

VERILATOR_FLAGS = (
    "--cc",
    "--exe",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--no-timing",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
    # many small functions and files: the C++ compiler is faster on them, and uses both cores
    "--output-split",
    "8000",
    "--output-split-cfuncs",
    "1500",
    "--prefix",
    "Vtop",
)


def default_cache_dir() -> Path:
    """Return where executables are kept: ``$SPIKELOOM_CACHE``, or ``build/.cache`` here."""
    return Path(os.environ.get("SPIKELOOM_CACHE") or Path("build", ".cache")) / "verilator"


def _verilator() -> tuple[list[str], dict[str, str], str]:
    """Return the command, the environment and the identity of Verilator."""
    from spikeloom_boards import toolchain

    tool = toolchain.find_tool("verilator")
    environment = {**os.environ, **toolchain.verilator_environment()}
    return list(tool.command), environment, tool.identity


@functools.cache
def _compiler() -> tuple[str, str]:
    """Return the C++ compiler and its version text."""
    name = os.environ.get("CXX") or "c++"
    path = shutil.which(name) or shutil.which("g++") or shutil.which("clang++")
    if path is None or shutil.which("make") is None:
        missing = "a C++ compiler" if path is None else "make"
        raise ToolError(f"a simulation needs {missing}: apt install g++ make, or alike")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return path, version.stdout.splitlines()[0] if version.stdout else path


@functools.cache
def waves_format() -> str:
    """``fst`` where the compressed waveform writer can be compiled (zlib, lz4), else ``vcd``."""
    probe = "#include <zlib.h>\n#include <lz4.h>\nint main() { return 0; }\n"
    done = subprocess.run(
        [_compiler()[0], "-x", "c++", "-fsyntax-only", "-"],
        input=probe,
        capture_output=True,
        text=True,
        check=False,
    )
    return "fst" if done.returncode == 0 else "vcd"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file: two processes never build the same thing at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)


def _digest(*parts: object) -> str:
    state = hashlib.blake2s(digest_size=16)
    for part in parts:
        data = repr(part).encode()
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()


#: no design here compiles longer
BUILD_SECONDS = 1800


def _run(command: Sequence[str], cwd: Path, env: Mapping[str, str], log: Path) -> bool:
    with log.open("a") as out:
        out.write("$ " + " ".join(command) + "\n")
        out.flush()
        try:
            done = subprocess.run(
                command,
                cwd=cwd,
                env=env,
                stdout=out,
                stderr=out,
                check=False,
                timeout=BUILD_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise BuildError(
                f"{command[0]} was not done after {BUILD_SECONDS} s: see {log}"
            ) from None
    return done.returncode == 0


def _first_error(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    for line in lines:
        if re.search(r"%Error|error:|Error \d", line):
            return line.strip()
    return lines[-1].strip() if lines else "no output"


def _fail(what: str, name: str, log: Path, cache: Path) -> None:
    """Keep the log where the message can point at it, and raise."""
    kept = cache / f"{name}.failed.log"
    shutil.copyfile(log, kept)
    raise BuildError(f"{what} could not build {name}: {_first_error(log)} (log: {kept})")


def _place_runtime(runtime: Path, objects: Path) -> None:
    """Give make the run-time library's objects, newer than the makefile they depend on."""
    if runtime.is_dir():
        for item in runtime.iterdir():
            shutil.copyfile(item, objects / item.name)


def _keep_runtime(runtime: Path, objects: Path) -> None:
    if runtime.is_dir():
        return
    staging = Path(tempfile.mkdtemp(dir=runtime.parent))
    for item in objects.glob("verilated*.o"):
        shutil.copyfile(item, staging / item.name)
    try:
        staging.rename(runtime)
    except OSError:  # another process was first
        shutil.rmtree(staging, ignore_errors=True)


def build_model(
    verilog: str | Mapping[str, str],
    cpp: str | Mapping[str, str],
    *,
    name: str,
    top: str = "top",
    waves: bool = False,
    assertions: bool = False,
    optimise: str = "-O2",
    flags: Sequence[str] = (),
    link: Sequence[str] = (),
    cache_dir: Path | None = None,
) -> Path:
    """Compile Verilog and C++ into an executable; return its path in the cache.

    verilog: the source, or sources by file name (``.v``, ``.sv``, ``.vlt``).
    cpp: the C++ with ``main``, or sources by file name (headers too); the model's class is Vtop.
    name: what messages call it. top: the top module; also the executable's file name.
    waves: able to write waveforms (:func:`waves_format`). assertions: check them at run time.
    optimise: level for the C++ compiler. flags, link: more for Verilator, for the linker.

    Raises BuildError with the first error and the path of the log; ToolError if a tool is missing.
    """
    sources = {f"{top}.v": verilog} if isinstance(verilog, str) else dict(verilog)
    mains = {"main.cpp": cpp} if isinstance(cpp, str) else dict(cpp)
    command, environment, identity = _verilator()
    compiler, compiler_version = _compiler()
    options = [*VERILATOR_FLAGS, "--top-module", top, "-o", top]
    options += ["--assert"] if assertions else ["--no-assert"]
    options += [f"--trace-{waves_format()}"] if waves else []
    options += [*flags, *(item for flag in link for item in ("-LDFLAGS", flag))]
    options += ["-CFLAGS", "-std=c++17"]
    cache = (cache_dir or default_cache_dir()).absolute()
    tools = (CACHE_VERSION, identity, compiler_version, optimise)
    key = _digest(*tools, options, sorted(sources.items()), sorted(mains.items()))
    kept = cache / key
    executable = kept / top
    if executable.exists():
        return executable
    # macros and parameters of the design do not touch the run-time library
    modes = [flag for flag in flags if not flag.startswith(("-D", "-G", "-W"))]
    runtime = cache / f"runtime-{_digest(*tools, waves, modes)}"
    with _locked(cache / f"{key}.lock"):
        if executable.exists():
            return executable
        staging = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=cache))
        try:
            for file, text in {**sources, **mains}.items():
                (staging / file).write_text(text)
            log = staging / "build.log"
            compiled = [file for file in mains if file.endswith(".cpp")]
            # control files first: they speak about what follows
            ordered = sorted(sources, key=lambda file: not file.endswith(".vlt"))
            verilate = [*command, *options, "-CFLAGS", "-I..", "--Mdir", "obj", *ordered, *compiled]
            if not _run(verilate, staging, environment, log):
                _fail("Verilator", name, log, cache)
            _place_runtime(runtime, staging / "obj")
            make = ["make", "-C", "obj", "-f", "Vtop.mk", f"-j{min(2, os.cpu_count() or 1)}"]
            # The wheel's makefile was configured without a compiler: name everything here.
            make += [f"CXX={compiler}", f"LINK={compiler}", f"PYTHON3={sys.executable}", "AR=ar"]
            make += ["CFG_CXXFLAGS_PCH_I=-include", f"OPT_FAST={optimise}", "OPT_GLOBAL=-O2"]
            make += ["OBJCACHE=ccache"] if shutil.which("ccache") else []
            if not _run([*make, top], staging, environment, log):
                _fail("the C++ compiler", name, log, cache)
            _keep_runtime(runtime, staging / "obj")
            result = staging / "result"
            result.mkdir()
            shutil.copy2(staging / "obj" / top, result / top)
            shutil.copyfile(log, result / "build.log")
            result.rename(kept)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return executable
