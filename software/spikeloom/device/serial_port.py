"""A board on a serial port."""

from __future__ import annotations

import time

import serial

from spikeloom.errors import DeviceError

DEFAULT_BAUD = 115_200
MAX_BAUD = 3_000_000  # what the USB bridges of the supported boards reach
POLL = 0.05  # longest single wait, in seconds, so that an unplugged cable is noticed


def _reason(error: Exception) -> str:
    """Say what the operating system said, and what to do about it."""
    text = str(error).lower()
    if isinstance(error, PermissionError) or "permission" in text or "access is denied" in text:
        return (
            "permission denied: add yourself to the group of serial ports (dialout), log in again"
        )
    if isinstance(error, FileNotFoundError) or "no such file" in text or "cannot find" in text:
        return (
            "no such port: is the board plugged in? `python -m serial.tools.list_ports` lists them"
        )
    if "lock" in text or "busy" in text or "temporarily unavailable" in text:
        return "another program uses it"
    return str(error)


class SerialTransport:
    """A :class:`~spikeloom.device.transport.Transport` over pyserial, opened exclusively.

    port: path or name of the port. Raises DeviceError, one line, when it cannot be opened.
    """

    max_baud = MAX_BAUD

    def __init__(self, port: str) -> None:
        self.port = port
        self.baud = DEFAULT_BAUD
        if not port:
            raise DeviceError("serial:// needs a port, such as serial:///dev/ttyUSB0")
        try:
            self._serial = serial.serial_for_url(
                port, baudrate=DEFAULT_BAUD, timeout=0, write_timeout=10, exclusive=True
            )
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise DeviceError(f"cannot open {port}: {_reason(error)}") from error

    def _lost(self, error: Exception) -> DeviceError:
        return DeviceError(f"lost {self.port}: {_reason(error)}")

    def write(self, data: bytes) -> None:
        """Queue bytes for the board."""
        try:
            self._serial.write(data)
        except (OSError, ValueError) as error:
            raise self._lost(error) from error

    def read(self, deadline: float) -> bytes:
        """Return every byte that has arrived, waiting for one until the deadline."""
        try:
            while True:
                left = deadline - self.now()
                self._serial.timeout = min(max(left, 0), POLL)
                data = self._serial.read(1)
                if data:
                    return data + self._serial.read(self._serial.in_waiting)
                if left <= 0:
                    return b""
        except (OSError, ValueError) as error:
            raise self._lost(error) from error

    def now(self) -> float:
        """Return seconds of the monotonic clock."""
        return time.monotonic()

    def set_baud(self, baud: int) -> None:
        """Change the line rate once every queued byte has left."""
        try:
            self._serial.flush()
            self._serial.baudrate = baud
        except (OSError, ValueError) as error:
            raise DeviceError(f"{self.port} cannot do {baud} baud: {_reason(error)}") from error
        self.baud = baud

    def close(self) -> None:
        """Close the port."""
        self._serial.close()
