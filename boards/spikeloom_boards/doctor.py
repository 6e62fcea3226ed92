"""What is installed, where, and what to do about the rest: the rows of ``spikeloom doctor``."""

from __future__ import annotations

import ctypes
import importlib.metadata
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

from spikeloom.errors import ToolError

from spikeloom_boards.toolchain import TOOLS, announce_first_call, find_tool

__all__ = ["Row", "doctor_rows"]

#: distributions, with what needs them and how to get them
PACKAGES = {
    "torch": ("models and golden runs", "pip install spikeloom"),
    "amaranth": ("gateware", "pip install 'spikeloom[hdl]'"),
    "amaranth-boards": ("boards", "pip install 'spikeloom[boards]'"),
    "cocotb": ("benches", "pip install 'spikeloom[sim]'"),
    "pyserial": ("a board's serial port", "pip install spikeloom"),
}

#: programs of the system that Verilator's builds need
PROGRAMS = {"g++": "a C++ compiler", "make": "make", "perl": "perl"}

USB_ADVICE = "apt install libusb-1.0-0 libftdi1-2, or your system's like; only to program boards"


@dataclass(frozen=True)
class Row:
    """One line of the table: ``advice`` says what to do, and is empty when nothing is."""

    tool: str
    where: str
    version: str
    ok: bool
    advice: str


def doctor_rows() -> list[Row]:
    """Look for everything Spikeloom can use; never raises."""
    rows = [_python_row()]
    checks = (
        *((_package_row, name) for name in PACKAGES),
        *((_program_row, name) for name in PROGRAMS),
        *((_tool_row, name) for name in TOOLS),
        (_usb_row, "libusb"),
    )
    for check, name in checks:
        try:
            rows.append(check(name))
        except Exception as error:  # a table of what is wrong must not fail itself
            rows.append(Row(name, "", "", False, f"cannot be checked: {error}"))
    return rows


def _python_row() -> Row:
    version = ".".join(str(part) for part in sys.version_info[:3])
    ok = sys.version_info >= (3, 11)
    return Row("python", sys.executable, version, ok, "" if ok else "install Python 3.11 or newer")


def _package_row(name: str) -> Row:
    purpose, advice = PACKAGES[name]
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return Row(name, "", "", False, f"{advice} ({purpose})")
    return Row(name, str(distribution.locate_file("")), distribution.version, True, "")


def _program_row(name: str) -> Row:
    where = shutil.which(name)
    if where is None:
        return Row(name, "", "", False, f"install {PROGRAMS[name]} (Verilator needs it)")
    answer = subprocess.run([where, "--version"], capture_output=True, text=True, timeout=20)
    version = re.search(r"\d+(?:\.\d+)+", answer.stdout)
    return Row(name, where, version.group() if version else "", True, "")


def _tool_row(name: str) -> Row:
    try:
        tool = find_tool(name)
    except ToolError as error:
        return Row(name, "", "", False, str(error))
    note = announce_first_call(name) or ""
    return Row(name, tool.command[0], f"{tool.version} ({tool.origin})", True, note)


def _usb_row(name: str) -> Row:
    if _origin("openFPGALoader") == "native":
        return Row(name, "", "", True, "")  # a native program found its libraries already
    missing = [lib for lib in ("libusb-1.0.so.0", "libftdi1.so.2") if not _loads(lib)]
    if sys.platform.startswith("linux") and missing:
        return Row(name, "", "", False, f"{' and '.join(missing)} missing: {USB_ADVICE}")
    return Row(name, "system", "", True, "")


def _origin(name: str) -> str | None:
    """Return the origin of a tool, or None when it is missing."""
    try:
        return find_tool(name).origin
    except ToolError:
        return None


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
