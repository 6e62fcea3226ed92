"""The virtual board: the transport ``sim://DIR``, and a pseudo-terminal for people.

The driver that runs a board runs a simulation of it, unchanged. Time is the device's: a cycle
passes only while the driver waits, so a run is the same every time, whatever the machine's speed.
In the fast mode the line can run at one bit a cycle; with ``?uart=exact`` only at real rates.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
import tty
import urllib.parse
from pathlib import Path
from typing import Any

from spikeloom.errors import DeviceError, LinkTimeoutError, SpikeloomError

from spikeloom_sim.board_model import (
    DEFAULT_BAUD,
    DESCRIPTION,
    EXECUTABLE,
    FORMAT,
    build_virtual_board,
)

__all__ = ["PseudoTerminal", "SimTransport", "build_virtual_board", "main"]

EXACT_BAUD = 3_000_000  #: what the USB bridges of real boards reach
BUILD_COMMAND = "python -m spikeloom_sim.virtual_board DIR --board BOARD --net NET"
#: Until then the PLL locks and the board holds itself in reset; a real one has long been on.
POWER_UP_CYCLES = 4096
#: Seconds of wall clock without an answer after which a simulated board is given up.
WALL_LIMIT = 300.0
_ANSWER = struct.Struct("<QIII")


def _describe(folder: Path) -> dict[str, Any]:
    """Read board.json; DeviceError says how to build what is missing or old."""
    how = f"build it: {BUILD_COMMAND.replace('DIR', str(folder))}"
    if not folder.is_dir():
        raise DeviceError(f"there is no virtual board in {folder}; {how}")
    if not (folder / EXECUTABLE).is_file() or not (folder / DESCRIPTION).is_file():
        raise DeviceError(f"{folder} holds no virtual board ({EXECUTABLE}, {DESCRIPTION}); {how}")
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        known = description["format"] == FORMAT and description["clock_hz"] > 0
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise DeviceError(f"the virtual board in {folder} is damaged or of another version; {how}")
    return description


class SimTransport:
    """Transport to a virtual board, in lockstep: the simulation runs while :meth:`read` waits.

    address: the folder, then options: ``?uart=exact`` for rates of real serial ports only (the
    fast mode goes up to one bit a cycle), ``&seed=N`` for the power-up contents of memories.
    """

    def __init__(self, address: str, *, wall_limit: float = WALL_LIMIT):
        path, _, query = address.partition("?")
        options = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        mode, seed = options.pop("uart", "fast"), options.pop("seed", "1")
        if mode not in ("fast", "exact") or options or not seed.isdigit():
            raise DeviceError(
                f"sim://{address}: the options are uart=fast or uart=exact, and seed=N"
            )
        folder = Path(path)
        description = _describe(folder)
        self.board: str = description["board"]
        self.clock_hz = float(description["clock_hz"])
        self.max_baud = int(self.clock_hz) if mode == "fast" else EXACT_BAUD
        self.lights = 0  #: LEDs that are lit, from bit 0, when time last moved
        self.framing_errors = 0  #: bytes from the board without a stop bit
        self._names: list[str] = description["lights"]
        self._cycle = 0
        self._wall_limit = wall_limit
        self._received = bytearray()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the transport
        command = [str((folder / EXECUTABLE).absolute()), f"+verilator+seed+{seed}"]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
            )
        except OSError as error:
            raise DeviceError(f"the virtual board in {folder} does not start: {error}") from error
        self.set_baud(DEFAULT_BAUD)
        self._advance(POWER_UP_CYCLES)

    def __enter__(self) -> SimTransport:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def now(self) -> float:
        """Return the device time in seconds."""
        return self._cycle / self.clock_hz

    @property
    def cycles(self) -> int:
        """Clock cycles since power up."""
        return self._cycle

    def lit(self) -> list[str]:
        """Names of the LEDs that were lit when time last moved."""
        return [name for bit, name in enumerate(self._names) if self.lights >> bit & 1]

    def write(self, data: bytes) -> None:
        """Queue bytes for the board; they leave while time moves."""
        if data:
            self._send(b"W" + struct.pack("<I", len(data)) + data)

    def set_baud(self, baud: int) -> None:
        """Change the line rate once every queued byte has left the wire."""
        if not 0 < baud <= max(self.max_baud, DEFAULT_BAUD):
            raise DeviceError(f"this virtual board goes up to {self.max_baud} baud, not {baud}")
        self._send(b"B" + struct.pack("<d", self.clock_hz / baud))

    def press(self, pressed: bool = True) -> None:
        """Press or release the reset button."""
        self._send(b"P" + struct.pack("<I", int(pressed)))

    def read(self, deadline: float) -> bytes:
        """Let time pass until a byte has arrived or the deadline is reached; return what came.

        Raises LinkTimeoutError when the simulation needs too long for it on the wall clock,
        DeviceError when it ended.
        """
        until = math.ceil(deadline * self.clock_hz)
        until += until / self.clock_hz < deadline  # now() must reach the deadline, rounded or not
        if not self._received and until > self._cycle:
            self._advance(until)
        data = bytes(self._received)
        self._received.clear()
        return data

    def _advance(self, until: int) -> None:
        self._send(b"A" + struct.pack("<Q", until))
        self._cycle, self.lights, self.framing_errors, count = _ANSWER.unpack(
            self._take(_ANSWER.size)
        )
        self._received += self._take(count)

    def close(self) -> None:
        """End the simulation."""
        process = self._process
        if process.poll() is None:
            try:
                self._send(b"Q")
                process.wait(timeout=5)
            except (SpikeloomError, subprocess.TimeoutExpired):
                process.kill()
                process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        self._errors.close()

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        view = memoryview(data)
        try:
            while view:
                view = view[self._process.stdin.write(view) :]
        except (OSError, ValueError) as error:
            raise self._ended() from error

    def _take(self, count: int) -> bytes:
        """Read exactly so many bytes of an answer."""
        assert self._process.stdout is not None
        handle, data = self._process.stdout.fileno(), b""
        limit = time.monotonic() + self._wall_limit
        while len(data) < count:
            if not select.select([handle], [], [], max(0.0, limit - time.monotonic()))[0]:
                self._process.kill()
                raise LinkTimeoutError(
                    f"the virtual board sent nothing for {self._wall_limit:g} s of wall clock, from"
                    f" device time {self.now():.6f} s on"
                )
            chunk = os.read(handle, count - len(data))
            if not chunk:
                raise self._ended()
            data += chunk
        return data

    def _ended(self) -> DeviceError:
        if self._errors.closed:
            return DeviceError("the virtual board is closed")
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it closed its pipes and lives on
            self._process.kill()
            self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        told = [line for line in lines if "%Error" in line] or lines[-1:] or ["no message"]
        status = self._process.returncode
        return DeviceError(
            f"the virtual board ended with status {status} after cycle {self._cycle}: {told[0]}"
        )


_SPEEDS = {
    getattr(termios, name): int(name[1:])
    for name in dir(termios)
    if name.startswith("B") and name[1:].isdigit() and int(name[1:]) > 0
}


class PseudoTerminal:
    """A virtual board behind a serial port that any program can open; runs while it is stepped.

    path: the device to open. The line rate follows the one that is set on the device.
    """

    def __init__(self, transport: SimTransport):
        self._transport, self._speed = transport, DEFAULT_BAUD
        self._host, self._device = os.openpty()
        tty.setraw(self._device)
        self.path = os.ttyname(self._device)

    def step(self, seconds: float = 1e-4) -> None:
        """Pass bytes on, and let at most so much device time pass."""
        transport = self._transport
        wanted = _SPEEDS.get(termios.tcgetattr(self._device)[5], self._speed)
        if wanted != self._speed and wanted <= max(transport.max_baud, DEFAULT_BAUD):
            transport.set_baud(wanted)
            self._speed = wanted
        if select.select([self._host], [], [], 0)[0]:
            transport.write(os.read(self._host, 4096))
        data = transport.read(transport.now() + seconds)
        if data:
            os.write(self._host, data)

    def close(self) -> None:
        """Remove the device."""
        os.close(self._host)
        os.close(self._device)


def main(arguments: list[str] | None = None) -> int:
    """Build a virtual board, or run one behind a pseudo-terminal."""
    name = "python -m spikeloom_sim.virtual_board"
    parser = argparse.ArgumentParser(prog=name, description=__doc__)
    parser.add_argument("folder", help="the folder of the virtual board")
    parser.add_argument("--board", help="build it first, for this board")
    parser.add_argument("--net", help="the network to build it for: a .spikeloom file")
    parser.add_argument(
        "--fixed-weights", action="store_true", help="with the network's weights in it"
    )
    parser.add_argument("--pty", action="store_true", help="run it behind a pseudo-terminal")
    given = parser.parse_args(arguments)
    try:
        if given.board or given.net:
            if not (given.board and given.net):
                parser.error("--board and --net go together")
            from spikeloom.network import Network
            from spikeloom_boards.build import fixed_image, resolve

            fixed, network = given.fixed_weights, Network.load(given.net)
            _, parameters = resolve(given.board, network, fixed=fixed)
            image = fixed_image(network, parameters) if fixed else None
            build_virtual_board(given.board, parameters, given.folder, progress=print, image=image)
        if given.pty:
            with SimTransport(given.folder + "?uart=exact") as transport:
                terminal = PseudoTerminal(transport)
                print(terminal.path, flush=True)
                with contextlib.suppress(KeyboardInterrupt):
                    while True:
                        terminal.step()
        elif not given.board:
            _describe(Path(given.folder))
            print(f"sim://{given.folder} is ready")
    except SpikeloomError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
